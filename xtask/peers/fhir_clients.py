"""FHIR by other people's clients: fhirpy (as scripts use it) and fhirclient (typed models, strict on what it reads)."""

import uuid

import requests
from fhirclient.models.auditevent import AuditEvent
from fhirclient.models.bundle import Bundle
from fhirclient.models.patient import Patient
from fhirclient.server import FHIRServer
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome, ResourceNotFound

from peer import FHIR, TOKENS
from tap import check, main, same

RUN = uuid.uuid4().hex[:8]
NAMES = {"Malayalam": "ലക്ഷ്മി മാതൃക", "Hindi": "लक्ष्मी नमूना", "Tamil": "லட்சுமி மாதிரி"}


def fhirpy(role="registrar"):
    return SyncFHIRClient(FHIR, authorization=f"Bearer {TOKENS[role]}")


def registration(number, family, **more):
    return {
        "identifier": [{"system": "urn:holdfast:peer-test", "value": f"{RUN}-{number}"}],
        "name": [{"family": family, "given": ["Peer"]}],
        "birthDate": "1961-02-03",
    } | more


def http(method, path, role="registrar", **more):
    headers = {"Authorization": f"Bearer {TOKENS[role]}", "Content-Type": "application/fhir+json"}
    headers |= more.pop("headers", {})
    return requests.request(method, f"{FHIR}/{path}", headers=headers, timeout=30, **more)


def outcome(answer, status):
    """The status, and an OperationOutcome that says why."""
    same(answer.status_code, status, f"status of {answer.request.method} {answer.request.path_url}, {answer.text[:200]}")
    body = answer.json()
    same(body.get("resourceType"), "OperationOutcome")
    assert body["issue"][0]["severity"] in ("error", "fatal") and body["issue"][0]["code"], body


@check
def creates_reads_and_keeps_names():
    """fhirpy: create and read; names in Malayalam, Hindi and Tamil come back untouched"""
    client = fhirpy()
    for number, (script, family) in enumerate(NAMES.items()):
        patient = client.resource("Patient", **registration(f"name-{number}", family))
        patient.save()
        read = client.reference("Patient", patient.id).to_resource()
        same(read["name"][0]["family"], family, script)
        same(read["meta"]["versionId"], "1")


@check
def updates_and_history():
    """fhirpy: update, vread and history"""
    client = fhirpy()
    patient = client.resource("Patient", **registration("update", "Before"))
    patient.save()
    patient["name"][0]["family"] = "After"
    patient.save()
    same(client.reference("Patient", patient.id).to_resource()["name"][0]["family"], "After")
    first = http("GET", f"Patient/{patient.id}/_history/1").json()
    same(first["name"][0]["family"], "Before", "version 1")
    history = http("GET", f"Patient/{patient.id}/_history").json()
    same((history["type"], len(history["entry"])), ("history", 2))


@check
def if_match_is_obeyed():
    """a stale If-Match is refused, a current one taken"""
    patient = fhirpy().resource("Patient", **registration("match", "Original"))
    patient.save()
    body = registration("match", "Changed") | {"resourceType": "Patient", "id": patient.id}
    current = http("PUT", f"Patient/{patient.id}", json=body, headers={"If-Match": 'W/"1"'})
    same(current.status_code, 200)
    same(current.headers["ETag"], 'W/"2"')
    outcome(http("PUT", f"Patient/{patient.id}", json=body, headers={"If-Match": 'W/"1"'}), 412)


@check
def deletes():
    """fhirpy: delete leaves a tombstone: 410, and the older version still reads"""
    client = fhirpy()
    patient = client.resource("Patient", **registration("delete", "Gone"))
    patient.save()
    patient.delete()
    outcome(http("GET", f"Patient/{patient.id}"), 410)
    same(http("GET", f"Patient/{patient.id}/_history/1").json()["name"][0]["family"], "Gone")
    try:
        client.reference("Patient", "no-such-patient").to_resource()
    except ResourceNotFound:
        return
    raise AssertionError("a patient who never was is read")


@check
def searches():
    """fhirpy: search by id, identifier, name, birth date and phone"""
    client = fhirpy()
    phone = f"+91 98{int(RUN, 16) % 10**8:08d}"
    patient = client.resource("Patient", **registration("search", f"Kurian{RUN}", telecom=[
        {"system": "phone", "value": phone}]))
    patient.save()
    for how in (
        {"_id": patient.id},
        {"identifier": f"urn:holdfast:peer-test|{RUN}-search"},
        {"identifier": f"{RUN}-search"},
        {"name": f"kurian{RUN[:4]}"},
        {"family": f"Kurian{RUN}"},
        {"birthdate": "1961-02-03", "name": f"Kurian{RUN}"},
        {"phone": phone},
    ):
        found = [entry.id for entry in client.resources("Patient").search(**how).fetch()]
        same(found, [patient.id], str(how))
    same(client.resources("Patient").search(identifier=f"{RUN}-nobody").fetch(), [], "an identifier of nobody")


@check
def pages():
    """fhirpy: pages of two lead to all five, each once"""
    client = fhirpy()
    made = set()
    for number in range(5):
        patient = client.resource("Patient", **registration(f"page-{number}", f"Seite{RUN}"))
        patient.save()
        made.add(patient.id)
    # fetch_all follows the links of relation “next”.
    found = [entry.id for entry in client.resources("Patient").search(name=f"Seite{RUN}").limit(2).fetch_all()]
    same((len(found), set(found)), (5, made))


@check
def clinical_records():
    """fhirpy: conditions, observations and appointments of one patient, found by her reference"""
    patient = fhirpy().resource("Patient", **registration("clinical", "Chart"))
    patient.save()
    client = fhirpy("oncologist")
    subject = {"reference": f"Patient/{patient.id}"}
    client.resource("Condition", subject=subject, code={"text": "Carcinoma of the tongue"}).save()
    client.resource("Observation", status="final", subject=subject, code={"text": "Haemoglobin"}, valueQuantity={
        "value": 11.20, "unit": "g/dL", "system": "http://unitsofmeasure.org", "code": "g/dL"}).save()
    client.resource("AllergyIntolerance", patient=subject, code={"text": "Penicillin"}).save()
    for kind, how in (
        ("Condition", {"subject": f"Patient/{patient.id}"}),
        ("Observation", {"patient": f"Patient/{patient.id}"}),
        ("AllergyIntolerance", {"patient": patient.id}),
    ):
        same(len(client.resources(kind).search(**how).fetch()), 1, f"{kind} {how}")


@check
def transactions_are_all_or_nothing():
    """fhirpy: a transaction with references inside is taken whole, a bad one leaves nothing"""
    client = fhirpy("oncologist")
    whole, half = f"{RUN}-tx-whole", f"{RUN}-tx-half"

    def bundle(number, condition):
        urn = f"urn:uuid:{uuid.uuid4()}"
        patient = {"resourceType": "Patient"} | registration("tx", "Bundle")
        patient["identifier"][0]["value"] = number
        return {"resourceType": "Bundle", "type": "transaction", "entry": [
            {"fullUrl": urn, "resource": patient, "request": {"method": "POST", "url": "Patient"}},
            {"resource": {"resourceType": "Condition", "subject": {"reference": urn}} | condition,
             "request": {"method": "POST", "url": "Condition"}},
        ]}

    answer = client.execute("", method="post", data=bundle(whole, {"code": {"text": "ok"}}))
    same([entry["response"]["status"][:3] for entry in answer["entry"]], ["201", "201"])
    [patient] = client.resources("Patient").search(identifier=whole).fetch()
    [condition] = client.resources("Condition").search(subject=f"Patient/{patient.id}").fetch()
    same(condition["subject"]["reference"], f"Patient/{patient.id}")
    try:
        client.execute("", method="post", data=bundle(half, {"code": 7}))
        raise AssertionError("a Condition whose code is a number is taken")
    except OperationOutcome:
        pass
    same(client.resources("Patient").search(identifier=half).fetch(), [], "half a transaction")


@check
def roles():
    """nobody without a token, and no clinical data for the IT administrator"""
    patient = fhirpy().resource("Patient", **registration("roles", "Private"))
    patient.save()
    outcome(requests.get(f"{FHIR}/Patient/{patient.id}", timeout=30), 401)
    bad = {"Authorization": "Bearer hf_no-such-token"}
    outcome(requests.get(f"{FHIR}/Patient/{patient.id}", headers=bad, timeout=30), 401)
    administrator = next(role for role in TOKENS if role.startswith("it"))
    outcome(http("GET", f"Patient/{patient.id}", administrator), 403)
    outcome(http("POST", "Patient", administrator, json={"resourceType": "Patient"}), 403)


@check
def typed_models():
    """fhirclient: its typed models read what we serve: CapabilityStatement, Patient, search Bundle"""
    created = fhirpy().resource("Patient", **registration("typed", "Modell", gender="female"))
    created.save()
    server = FHIRServer(None, base_uri=f"{FHIR}/")
    server.session.headers["Authorization"] = f"Bearer {TOKENS['registrar']}"
    server.get_capability()
    patient = Patient.read(created.id, server)
    same((patient.name[0].family, patient.birthDate.isostring, patient.gender), ("Modell", "1961-02-03", "female"))
    found = Patient.where({"identifier": f"{RUN}-typed"}).perform(server)
    assert isinstance(found, Bundle), found
    same([entry.resource.id for entry in found.entry], [created.id])


@check
def audit_events():
    """fhirclient: its typed AuditEvent reads the account; an auditor alone gets it, page by page, and nobody writes it"""
    patient = fhirpy().resource("Patient", **registration("account", "Gesehen"))
    patient.save()
    same(http("GET", f"Patient/{patient.id}", "oncologist").status_code, 200)
    server = FHIRServer(None, base_uri=f"{FHIR}/")
    server.session.headers["Authorization"] = f"Bearer {TOKENS['auditor']}"
    found, page = [], f"AuditEvent?patient=Patient/{patient.id}&_count=2"
    while page:
        bundle = Bundle(server.request_json(page))
        found += [entry.resource for entry in bundle.entry or []]
        page = next((link.url for link in bundle.link if link.relation == "next"), None)
    assert all(isinstance(event, AuditEvent) for event in found), found
    same(len({event.id for event in found}), len(found), "events that come once")
    read = next(event for event in found if event.action == "R")
    same(read.meta.profile, ["https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientRead"])
    same(read.agent[0].who.identifier.value, "demo-oncologist")
    same(read.agent[0].purposeOfUse[0].coding[0].code, "TREAT")
    same(read.entity[0].what.reference, f"Patient/{patient.id}")
    same(AuditEvent.read(read.id, server).as_json(), read.as_json(), "the same by its id")
    outcome(http("GET", f"AuditEvent?patient={patient.id}", "oncologist"), 403)
    outcome(http("POST", "AuditEvent", "oncologist", json=read.as_json()), 405)


main()
