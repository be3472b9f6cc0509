"""Bytes on the DICOM port that no honest modality sends. The association may die; the gateway may not."""

import socket
import struct
import threading
import uuid

from pynetdicom import AE, build_context
from pynetdicom.sop_class import CTImageStorage, RTPlanStorage, Verification

from peer import DATA, DIMSE_HOST, DIMSE_PORT, only_asks
from tap import check, main, same

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"


def alive():
    entity = AE(ae_title="HONEST")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    entity.add_requested_context(Verification)
    association = only_asks(entity.associate(DIMSE_HOST, DIMSE_PORT, ae_title="HOLDFAST"))
    assert association.is_established, "an honest peer is turned away"
    status = association.send_c_echo().Status
    association.release()
    same(status, 0, "C-ECHO")


def pdu(kind, body, length=None):
    return struct.pack(">BBI", kind, 0, len(body) if length is None else length) + body


def item(kind, body, length=None):
    return struct.pack(">BBH", kind, 0, len(body) if length is None else length) + body


def request(abstract=Verification, syntax=IMPLICIT, called=b"HOLDFAST", contexts=1, user=None):
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
    body = struct.pack(">HH", 1, 0) + called.ljust(16) + b"HOSTILE".ljust(16) + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1")
    for number in range(contexts):
        syntaxes = item(0x30, str(abstract).encode()) + item(0x40, syntax.encode())
        body += item(0x20, bytes([(2 * number + 1) % 256, 0, 0, 0]) + syntaxes)
    return pdu(1, body + (user if user is not None else item(0x50, item(0x51, struct.pack(">I", 16384)))))


def command(elements):
    """A command set: implicit VR little endian, its group length first (PS3.7 6.3)."""
    body = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def c_store(instance, sop_class=RTPlanStorage):
    def uid(text):
        return text.encode("latin-1") + b"\0" * (len(text) % 2)

    return command([(0x0002, uid(str(sop_class))), (0x0100, struct.pack("<H", 1)), (0x0110, struct.pack("<H", 1)),
                    (0x0700, struct.pack("<H", 0)), (0x0800, struct.pack("<H", 1)), (0x1000, uid(instance))])


def fragments(data, flags, size=16_000):
    """P-DATA-TF PDUs; the last fragment carries the last bit. Nothing is one empty fragment."""
    for start in range(0, len(data) or 1, size):
        part = data[start:start + size]
        last = 2 if start + size >= len(data) else 0
        yield pdu(4, struct.pack(">IBB", len(part) + 2, 1, flags | last) + part)


def say(*messages, wait=0.5):
    """Sends the messages, then listens until the other side closes or has said nothing for `wait` seconds."""
    with socket.create_connection((DIMSE_HOST, DIMSE_PORT), timeout=wait) as peer:
        try:
            for message in messages:
                peer.sendall(message)
            while peer.recv(65536):
                pass
        except (TimeoutError, ConnectionError):
            pass


def own_uid(dataset):
    """The SOP Instance UID that stands in the data set, in either encoding; a fresh one where there is none."""
    for head in (struct.pack("<HH2s", 0x0008, 0x0018, b"UI"), struct.pack("<HH", 0x0008, 0x0018)):
        at = dataset.find(head)
        if at >= 0:
            (length,) = struct.unpack_from("<H", dataset, at + (6 if len(head) == 6 else 4))
            return dataset[at + 8:at + 8 + length].decode("latin-1").strip("\0 ")[:64]
    return f"2.25.{uuid.uuid4().int}"


def stored(dataset, sop_class=RTPlanStorage, syntax=IMPLICIT, instance=None):
    """Sends one C-STORE whose data set is these bytes; the status, or None where the association ended."""
    with socket.create_connection((DIMSE_HOST, DIMSE_PORT), timeout=60) as peer:
        peer.sendall(request(sop_class, syntax))
        same(read_pdu(peer)[0], 2, "answer to a proper association request")
        try:
            for part in fragments(c_store(instance or own_uid(dataset), sop_class), 1):
                peer.sendall(part)
            for part in fragments(dataset, 0):
                peer.sendall(part)
            kind, body = read_pdu(peer)
        except (ConnectionError, EOFError):
            return None
        if kind != 4:
            return None
        at = body.find(struct.pack("<HHI", 0, 0x0900, 2))
        assert at >= 0, f"a response without a status: {body!r}"
        return struct.unpack_from("<H", body, at + 8)[0]


def read_pdu(peer):
    def exactly(count):
        data = b""
        while len(data) < count:
            chunk = peer.recv(count - len(data))
            if not chunk:
                raise EOFError("closed")
            data += chunk
        return data

    kind, _, length = struct.unpack(">BBI", exactly(6))
    assert length < 1 << 20, f"a PDU of {length} bytes"
    return kind, exactly(length)


def element(group, number, value, length=None):
    return struct.pack("<HHI", group, number, len(value) if length is None else length) + value


def refused(dataset, what, **more):
    status = stored(dataset, **more)
    assert status != 0, f"stored: {what}"
    alive()


def real(name):
    """The data set of a real file: everything behind its file meta group, where it has one."""
    data = (DATA / name).read_bytes()
    if data[128:132] != b"DICM":
        return data
    (length,) = struct.unpack_from("<I", data, 140)
    return data[144 + length:]


@check
def noise():
    """noise, HTTP and TLS on the DICOM port"""
    for message in (b"\0" * 1000, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\xff" * 100_000, b"\x01"):
        say(message)
    alive()


@check
def lengths():
    """PDUs that announce 4 GiB, or nothing"""
    for message in (pdu(1, b"", 0xFFFFFFFF), pdu(1, b"", 0), pdu(4, b"", 0xFFFFFFFF), pdu(1, bytes(100), 99),
                    pdu(1, bytes(1 << 20))):
        say(message)
    for message in (pdu(4, b"", 0xFFFFFFFF), pdu(4, struct.pack(">I", 0xFFFFFFF0) + b"\1\2"), pdu(4, b"\0\0\0\0"),
                    pdu(4, struct.pack(">IBB", 2, 99, 2)), pdu(0x77, b"abcd")):
        say(request(), message)
    alive()


@check
def order():
    """data before an association, two requests, a release nobody asked for"""
    echo = command([(0x0002, b"1.2.840.10008.1.1\0"), (0x0100, struct.pack("<H", 0x30)),
                    (0x0110, struct.pack("<H", 1)), (0x0800, struct.pack("<H", 0x0101))])
    for messages in ([next(fragments(echo, 1))], [request(), request()], [pdu(5, bytes(4))], [pdu(6, bytes(4))],
                     [request(), pdu(2, bytes(68))], [request(), pdu(7, bytes(4))]):
        say(*messages)
    alive()


@check
def associations():
    """association requests with 200 contexts, no user information, lying items, bad titles"""
    for message in (request(contexts=200), request(user=b""), request(called=b"\0" * 16), request(called=b"\xff" * 16),
                    request(user=item(0x50, item(0x51, b"\0\0\0\1"))), request(user=item(0x50, b"", 0xFFFF)),
                    request(user=item(0x50, item(0x55, b"x" * 60_000))), request(syntax="9" * 64), request(syntax="")):
        say(message)
    alive()


@check
def commands():
    """commands that lie about their length, their class or their type"""
    good = c_store("1.2.3")
    lying = struct.pack("<HHII", 0, 0, 4, 0xFFFFFFF0) + good[12:]
    short = good[:-3]
    unknown = command([(0x0100, struct.pack("<H", 0x7777)), (0x0110, struct.pack("<H", 1)), (0x0800, b"\1\1")])
    for message in (lying, short, unknown, b"", b"\0" * 7, good * 1_000):
        say(request(RTPlanStorage), *fragments(message, 1))
    alive()


@check
def deep_defined():
    """sequences nested 100 to 10,000 deep, of undefined length: refused before any recursive parser"""
    opening = struct.pack("<HHI", 0x300A, 0x00B0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    closing = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    for depth in (100, 1_000, 10_000, 200_000):
        refused(opening * depth + closing * depth, f"depth {depth}")
    refused(opening * 10_000, "never closed")


@check
def deep_explicit():
    """the same in explicit VR, and hidden in an element of unknown VR"""
    opening = struct.pack("<HH2sHI", 0x300A, 0x00B0, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    hidden = struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    for start in (opening, hidden):
        refused(start * 20_000, "explicit", syntax=EXPLICIT)


@check
def values():
    """elements longer than what follows, odd, out of order, twice; a data set that is empty"""
    plan = real("pydicom/rtplan.dcm")
    for dataset, what in (
        (b"", "nothing"),
        (plan[:-100], "cut off"),
        (element(0x0010, 0x0020, b"ID", 0x7FFFFFFF), "two gigabytes announced"),
        (element(0x0010, 0x0020, b"ID", 0xFFFFFFFF), "undefined length on a text"),
        (plan + element(0x0008, 0x0018, b"1.2.3\0"), "an element out of order"),
        (plan + b"\xff" * 7, "garbage behind it"),
        (b"\0" * 100_000, "zeroes"),
    ):
        refused(dataset, what)


@check
def mislabelled():
    """a plan announced as CT, CT announced as a plan, a plan announced under another UID"""
    refused(real("pydicom/rtplan.dcm"), "a plan as CT", sop_class=CTImageStorage)
    refused(real("pydicom/CT_small.dcm"), "CT as a plan", syntax=EXPLICIT)
    refused(real("pydicom/rtplan.dcm"), "a plan under another UID", instance="2.25.7")


@check
def mutations():
    """a real plan with 200 bytes changed at fixed places: stored or refused, never fatal"""
    plan = real("pydicom/rtplan.dcm")
    for at in range(0, len(plan), max(1, len(plan) // 200)):
        changed = bytearray(plan)
        changed[at] ^= 0xFF
        stored(bytes(changed))
    alive()


@check
def a_crowd_that_says_nothing():
    """a hundred silent connections don't keep an honest modality out"""
    crowd = []
    try:
        for _ in range(100):
            crowd.append(socket.create_connection((DIMSE_HOST, DIMSE_PORT), timeout=5))
        alive()
    finally:
        for peer in crowd:
            peer.close()
    alive()


@check
def torn():
    """connections torn in the middle of an object, from eight threads at once"""
    plan = real("pymedphys/06MV_plan.dcm")

    def tear():
        for part in range(1, 6):
            with socket.create_connection((DIMSE_HOST, DIMSE_PORT), timeout=10) as peer:
                peer.sendall(request(RTPlanStorage))
                read_pdu(peer)
                for message in fragments(c_store(f"2.25.{uuid.uuid4().int}"), 1):
                    peer.sendall(message)
                peer.sendall(pdu(4, struct.pack(">IBB", 20_000, 1, 0) + plan[:part * 1_000], 20_004))

    threads = [threading.Thread(target=tear) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    alive()


main()
