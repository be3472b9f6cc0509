"""What rsyslog got: every event that the auditor reads over FHIR, each a DICOM audit message by another XML parser."""

import base64
import re
import time
import xml.etree.ElementTree as ElementTree

import requests

from peer import FHIR, TOKENS, WORK
from tap import check, main, same

MESSAGES = WORK / "siem" / "messages"
# Not from the line's beginning: rsyslog was killed, perhaps in the middle of one.
LINE = re.compile(r"(\d+) (\S+) (holdfast) (\S+) \s*(?:\ufeff)?(<AuditMessage>(?:(?!<AuditMessage>).)*</AuditMessage>)$")
WAIT_S = 120


def received():
    """Each line of rsyslog's file: priority, program, kind, XML. A line that is none fails."""
    lines = MESSAGES.read_text(encoding="utf-8").splitlines()
    if lines and not MESSAGES.read_bytes().endswith(b"\n"):
        lines.pop()
    for line in lines:
        found = LINE.search(line)
        # rsyslog's own words stand in the same file.
        if found is None and " holdfast " not in line:
            continue
        assert found, f"no audit message: {line[:300]!r}"
        yield int(found[1]), found[3], found[4], ElementTree.fromstring(found[5])


def detail(message, kind):
    for one in message.iter("ParticipantObjectDetail"):
        if one.get("type") == kind:
            return base64.b64decode(one.get("value"), validate=True).decode()
    return None


def events():
    """All AuditEvents that there are now, page by page."""
    headers = {"Authorization": f"Bearer {TOKENS['auditor']}"}
    url = f"{FHIR}/AuditEvent?_count=500"
    while url:
        answer = requests.get(url, headers=headers, timeout=60)
        same(answer.status_code, 200, answer.text[:200])
        page = answer.json()
        yield from (entry["resource"] for entry in page.get("entry", []))
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)


ALL = list(events())


@check
def nothing_is_missing():
    """every event of the log has arrived, what was done while rsyslog was dead as well"""
    wanted = {event["id"].split("-")[0] for event in ALL}
    assert len(wanted) > 100, f"{len(wanted)} entries are hardly a day's work"
    deadline = time.monotonic() + WAIT_S
    while True:
        missing = wanted - {detail(message, "entry") for *_, message in received()}
        if not missing or time.monotonic() > deadline:
            break
        time.sleep(1)
    same(sorted(missing, key=int)[:20], [], f"{len(missing)} of {len(wanted)} entries that are missing")


@check
def each_message_is_dicoms():
    """each is an AuditMessage with the elements that DICOM PS3.15 A.5.1 asks for, in their order"""
    for priority, program, kind, message in received():
        same((program, kind, priority // 8), ("holdfast", "DICOM+RFC3881", 10))
        names = [child.tag for child in message]
        order = ["EventIdentification", "ActiveParticipant", "AuditSourceIdentification", "ParticipantObjectIdentification"]
        same(sorted(names, key=order.index), names)
        same((names.count("EventIdentification"), names.count("AuditSourceIdentification")), (1, 1))
        event = message.find("EventIdentification")
        assert event.get("EventActionCode") in "CRUDE" and event.get("EventOutcomeIndicator") in ("0", "8"), event.attrib
        same(event.find("EventID").get("codeSystemName"), "DCM")
        for person in message.iter("ActiveParticipant"):
            assert person.get("UserID") and person.get("UserIsRequestor") in ("true", "false"), person.attrib
        for thing in message.iter("ParticipantObjectIdentification"):
            assert thing.get("ParticipantObjectID"), thing.attrib
            same(thing[0].tag, "ParticipantObjectIDTypeCode")
            assert thing[1].tag in ("ParticipantObjectName", "ParticipantObjectQuery"), thing[1].tag


@check
def both_say_the_same():
    """who did it and how it ended is the same in both forms"""
    told = {}
    for *_, message in received():
        who = next(person.get("UserID") for person in message.iter("ActiveParticipant"))
        outcome = message.find("EventIdentification").get("EventOutcomeIndicator")
        told.setdefault(detail(message, "entry"), set()).add((who, outcome))
    for event in ALL:
        who = event["agent"][0]["who"]["identifier"]["value"]
        assert (who, event["outcome"]) in told[event["id"].split("-")[0]], event["id"]


@check
def refusals_are_warnings():
    """what was refused is a warning, with its reason and the policy that decided"""
    refused = [(priority, message) for priority, _, _, message in received()
               if message.find("EventIdentification").get("EventOutcomeIndicator") == "8"]
    assert refused, "nothing was refused in all that time"
    for priority, message in refused:
        same(priority % 8, 4, "severity")
        assert detail(message, "reason") and re.fullmatch("[0-9a-f]{64}", detail(message, "policy") or ""), detail(message, "policy")


@check
def no_patient_is_named():
    """patients are named by 32 hexadecimal digits and nothing else"""
    for *_, message in received():
        for thing in message.iter("ParticipantObjectIdentification"):
            if thing.get("ParticipantObjectTypeCodeRole") == "1":
                assert re.fullmatch("[0-9a-f]{32}", thing.get("ParticipantObjectID")), thing.attrib


main()
