"""Bytes over HTTP that no honest client sends. Each gets a clear refusal, and the gateway lives on."""

import json
import socket
import time
import uuid
from urllib.parse import urlsplit

import requests

from peer import FHIR, HTTP, TOKENS
from tap import check, main, same

HOST, PORT = urlsplit(HTTP).hostname, urlsplit(HTTP).port
BASE = urlsplit(FHIR).path
TOKEN = TOKENS["registrar"]
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/fhir+json"}


def post(body, kind="Patient", **headers):
    return requests.post(f"{FHIR}/{kind}", data=body, headers=HEADERS | headers, timeout=60)


def refused(answer, *statuses, where=None):
    """One of the statuses (400 or 422 where none is named), and an OperationOutcome; `where` must stand in it."""
    statuses = statuses or (400, 422)
    assert answer.status_code in statuses, f"{answer.status_code} instead of {statuses}: {answer.text[:300]}"
    body = answer.json()
    same(body.get("resourceType"), "OperationOutcome")
    if where:
        assert where in json.dumps(body, ensure_ascii=False), f"{where} is not named in {body}"


def raw(request, wait=10.0):
    """Sends bytes as they are; what comes back, to the end or to `wait` seconds."""
    with socket.create_connection((HOST, PORT), timeout=wait) as peer:
        answer = b""
        try:
            peer.sendall(request)
            while chunk := peer.recv(65536):
                answer += chunk
        except (TimeoutError, ConnectionError):
            pass
        return answer


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else None


def alive():
    answer = requests.get(f"{FHIR}/metadata", headers=HEADERS, timeout=30)
    same((answer.status_code, answer.json()["resourceType"]), (200, "CapabilityStatement"))


@check
def not_json():
    """bodies that are no JSON: empty, cut off, two documents, NaN, a byte order of its own"""
    good = json.dumps({"resourceType": "Patient"})
    for body in ("", good[:-1], good + good, '{"resourceType":"Patient","x":NaN}', good.encode("utf-16"), "null", "[]",
                 b'{"resourceType":"Patient","name":[{"family":"\xff\xfe"}]}', '{"resourceType": 7}', "\0" * 100):
        refused(post(body))
    alive()


@check
def deep_json():
    """nested 100,000 deep: refused, and no stack overflows"""
    for opening, closing in (("[", "]"), ('{"extension":', "}"), ('{"extension":[', "]}")):
        for depth in (200, 5_000, 100_000):
            refused(post('{"resourceType":"Patient","extension":' + opening * depth + "1" + closing * depth + "}"),
                    400, 413, 422)
    alive()


@check
def duplicate_keys():
    """a key twice in one object: which one counts is nobody's guess"""
    refused(post('{"resourceType":"Patient","birthDate":"1970-01-01","birthDate":"1980-01-01"}'))
    refused(post('{"resourceType":"Patient","resourceType":"Condition"}'))


@check
def unknown_and_wrong():
    """unknown elements, wrong types and bad codes are refused with their path"""
    for more, where in (
        ({"dosis": 7}, "dosis"),
        ({"birthDate": 1970}, "birthDate"),
        ({"birthDate": "1970-02-30"}, "birthDate"),
        ({"gender": "femal"}, "gender"),
        ({"name": {"family": "no list"}}, "name"),
        ({"name": [{"family": ["a list"]}]}, "family"),
        ({"name": [{"use": "stage"}]}, "use"),
        ({"telecom": [{"system": "pigeon", "value": "1"}]}, "system"),
        ({"active": "true"}, "active"),
        ({"multipleBirthInteger": 1.5}, "multipleBirth"),
        ({"multipleBirthBoolean": True, "multipleBirthInteger": 2}, "multipleBirth"),
        ({"name": []}, "name"),
        ({"contact": [{"name": {"famly": "x"}}]}, "famly"),
    ):
        refused(post(json.dumps({"resourceType": "Patient"} | more)), where=where)
    refused(post(json.dumps({"resourceType": "Patience"}), kind="Patience"), 400, 404, 422)
    refused(post(json.dumps({"resourceType": "Condition"})), where="resourceType")


@check
def script_in_narrative():
    """a script in the narrative never gets in"""
    for payload in ("<script>alert(1)</script>", '<p onclick="x()">x</p>', '<a href="javascript:x()">x</a>',
                    '<img src="x" onerror="x()"/>', "<iframe></iframe>", "<style>@import 'x'</style>"):
        div = f'<div xmlns="http://www.w3.org/1999/xhtml">{payload}</div>'
        refused(post(json.dumps({"resourceType": "Patient", "text": {"status": "generated", "div": div}})))


@check
def ids():
    """ids that are no ids, on the way in and in the address"""
    body = {"resourceType": "Patient"}
    for wrong in ("a" * 65, "a b", "ä", "a_b", "a%2Fb", "..%2F..%2Fetc%2Fpasswd", "%00", "a'--"):
        answer = requests.put(f"{FHIR}/Patient/{wrong}", data=json.dumps(body | {"id": wrong}), headers=HEADERS, timeout=30)
        refused(answer, 400, 404, 422)
        refused(requests.get(f"{FHIR}/Patient/{wrong}", headers=HEADERS, timeout=30), 400, 404)
    answer = requests.put(f"{FHIR}/Patient/one", data=json.dumps(body | {"id": "two"}), headers=HEADERS, timeout=30)
    refused(answer)


@check
def searches():
    """what can't be searched gets an answer that says so, never a silent ignore"""
    for query in ("gender=female", "no-such-parameter=1", "name:contains=x", "_count=-1", "_count=ten", "birthdate=soon",
                  "_sort=name", "_include=*", "address=Kochi", "_page=../../etc", "_lastUpdated=gt"):
        refused(requests.get(f"{FHIR}/Patient?{query}", headers=HEADERS, timeout=30))
    long = requests.get(f"{FHIR}/Patient?name={'x' * 60_000}", headers=HEADERS, timeout=30)
    assert long.status_code in (400, 414, 431), long.status_code
    alive()


@check
def sizes():
    """a body over the limit: 413, whether its length is announced or not"""
    name = "x" * (17 * 1024 * 1024)
    body = json.dumps({"resourceType": "Patient", "name": [{"family": name}]})

    def send(data):
        try:
            return post(data).status_code
        except requests.ConnectionError:
            return 413  # closed while we were still sending: a refusal as well

    same(send(body), 413)
    same(send(iter([body[:1_000_000].encode()] * 20)), 413, "chunked")
    alive()


@check
def bundles():
    """transactions that name nothing, loop, collide, or hold too much"""
    def entry(method, url, resource=None, **more):
        return {"request": {"method": method, "url": url}} | ({"resource": resource} if resource else {}) | more

    patient, same_id = {"resourceType": "Patient"}, uuid.uuid4().hex
    put = entry("PUT", f"Patient/{same_id}", patient | {"id": same_id})
    for entries in (
        [entry("POST", "Condition", patient)],
        [entry("PATCH", "Patient/1", patient)],
        [entry("POST", "http://example.org/Patient", patient)],
        [put, put],
        [{"resource": patient}],
        [entry("POST", "Condition", {"resourceType": "Condition", "subject": {"reference": f"urn:uuid:{uuid.uuid4()}"}})],
        [entry("POST", "Bundle", {"resourceType": "Bundle", "type": "transaction", "entry": []})] * 2 + [put, put],
        [entry("POST", "Patient", patient)] * 5_000,
    ):
        body = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries})
        answer = requests.post(FHIR, data=body, headers=HEADERS, timeout=120)
        refused(answer, 400, 404, 405, 409, 412, 413, 422)
    answer = requests.get(f"{FHIR}/Patient/{same_id}", headers=HEADERS, timeout=30)
    refused(answer, 404)
    alive()


@check
def broken_http():
    """requests that break HTTP itself: closed or 4xx, never a crash, never 2xx"""
    length = f"Host: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/fhir+json\r\n"
    for request in (
        b"\0" * 4096,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET " + b"/a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(2_000)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"c" * 1_000_000 + b"\r\n\r\n",
        f"POST {BASE}/Patient HTTP/1.1\r\n{length}Content-Length: -5\r\n\r\n{{}}".encode(),
        f"POST {BASE}/Patient HTTP/1.1\r\n{length}Content-Length: 5\r\nContent-Length: 6\r\n\r\n{{}}".encode(),
        f"POST {BASE}/Patient HTTP/1.1\r\n{length}Transfer-Encoding: chunked\r\n\r\nZZZ\r\n".encode(),
    ):
        answer = raw(request, wait=5.0)
        code = status(answer)
        assert code is None or 400 <= code < 500, f"{request[:60]!r}: {answer[:200]!r}"
    alive()


@check
def cut_off():
    """a body that ends before its length leaves nothing behind"""
    number = f"cut-{uuid.uuid4().hex}"
    body = json.dumps({"resourceType": "Patient", "identifier": [{"value": number}]}).encode()
    head = (f"POST {BASE}/Patient HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Content-Type: application/fhir+json\r\nContent-Length: {len(body) + 1}\r\n\r\n").encode()
    with socket.create_connection((HOST, PORT), timeout=5) as peer:
        peer.sendall(head + body)
    time.sleep(0.2)
    found = requests.get(f"{FHIR}/Patient?identifier={number}", headers=HEADERS, timeout=30).json()
    same(found.get("entry", []), [])


@check
def a_crowd_that_says_nothing():
    """two hundred silent connections don't keep an honest client out"""
    crowd = []
    try:
        for _ in range(200):
            crowd.append(socket.create_connection((HOST, PORT), timeout=5))
        for peer in crowd[:50]:
            peer.sendall(b"POST / HTTP/1.1\r\nHost: ")
        alive()
    finally:
        for peer in crowd:
            peer.close()
    alive()


main()
