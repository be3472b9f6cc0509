"""A transfer as another centre reads it: pydicom, fhirclient, pdftotext, a parser of pages."""

import json
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pydicom
from fhirclient.models.bundle import Bundle

from peer import WORK
from tap import check, main, same

OPENED = WORK / "transfer"
DATA = json.loads((OPENED / "transfer.json").read_text())
NUMBER = DATA["seen"]["number"]


def objects():
    return [(path, pydicom.dcmread(path)) for path in sorted(OPENED.glob("dicom/*/*.dcm"))]


@check
def dicom():
    """pydicom reads every object, hers and of the modality that its folder says"""
    found = Counter()
    for path, data in objects():
        same(data.PatientID, NUMBER, path.name)
        same(data.Modality, path.parent.name, path.name)
        same(str(data.SOPInstanceUID), path.stem.split("-v")[0], path.name)
        found[path.parent.name] += 1
    same(dict(found), DATA["objects"], "objects of each modality")
    assert {"CT", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD"} <= set(found), found


@check
def references():
    """what plan, structures and dose name is there"""
    there = {str(data.SOPInstanceUID) for _, data in objects()}
    named = set()
    for _, data in objects():
        for keyword in ("ReferencedStructureSetSequence", "ReferencedRTPlanSequence"):
            named |= {str(item.ReferencedSOPInstanceUID) for item in data.get(keyword, [])}
        for contours in data.get("ROIContourSequence", []):
            for contour in contours.get("ContourSequence", []):
                named |= {str(item.ReferencedSOPInstanceUID) for item in contour.get("ContourImageSequence", [])}
    assert named and named <= there, named - there
    same(DATA["missing"], [])


@check
def document():
    """fhirclient reads the document; its Composition comes first and refers to what is in it"""
    bundle = Bundle(json.loads((OPENED / "fhir/summary.json").read_text()))
    same(bundle.type, "document")
    first = bundle.entry[0].resource
    same(first.resource_type, "Composition")
    addresses = [entry.fullUrl for entry in bundle.entry]
    for section in first.section:
        for entry in section.entry or []:
            assert any(address.endswith(entry.reference) for address in addresses), entry.reference
    patient = [entry.resource for entry in bundle.entry if entry.resource.resource_type == "Patient"]
    assert any(identifier.value == NUMBER for identifier in patient[0].identifier)


@check
def records():
    """every line of the records is a resource of the file's kind"""
    found = Counter()
    for path in OPENED.glob("fhir/*.ndjson"):
        for line in path.read_text().splitlines():
            kind = json.loads(line)["resourceType"]
            same(kind, path.name.split("-")[0])
            found[kind] += 1
    same(dict(found), DATA["resources"], "resources of each kind")


@check
def paper():
    """pdftotext finds number, plan digest and pages; and no name is left out in silence"""
    text = subprocess.run(["pdftotext", "-layout", OPENED / "summary.pdf", "-"], capture_output=True, check=True, text=True)
    text = text.stdout
    for said in (NUMBER, DATA["seen"]["courses"][0]["delivery"], "page 1 of", DATA["to"], DATA["by"]):
        assert said in text, said
    for name in DATA["names"]:
        assert name in text or "[see the .html]" in text, name


@check
def page():
    """the page has her names and the digest, no script, and nothing from elsewhere"""
    text = (OPENED / "summary.html").read_text()
    for said in (*DATA["names"], NUMBER, DATA["seen"]["courses"][0]["delivery"]):
        assert said in text, said
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.feed(text)
    for tag, attributes in tags:
        assert tag not in ("script", "iframe", "object", "img", "link"), tag
        assert not {"src", "href", "onclick", "onload"} & set(attributes), attributes


main()
