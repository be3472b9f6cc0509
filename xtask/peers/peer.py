"""What every peer script shares: where the gateway listens, and a line of TAP for each check."""

import json
import os
import sys
import traceback
from pathlib import Path

READY = json.loads(Path(os.environ["HOLDFAST_READY"]).read_text())
DATA = Path(os.environ["HOLDFAST_PEER_DATA"])
WORK = Path(os.environ["HOLDFAST_PEER_WORK"])
HTTP = READY["http"].rstrip("/")
FHIR = READY["fhir"].rstrip("/")
TOKENS = READY["tokens"]
DIMSE_HOST, DIMSE_PORT = READY["dimse"].rsplit(":", 1)
DIMSE_PORT = int(DIMSE_PORT)

_checks = []


def check(function):
    """Marks a function as one check; its docstring is its name."""
    _checks.append(function)
    return function


def same(found, expected, what="value"):
    """An assertion whose message says both sides."""
    if found != expected:
        raise AssertionError(f"{what}: {found!r} instead of {expected!r}")


def only_asks(association):
    """
    The association of somebody who asks and is asked nothing. pynetdicom's reactor polls for requests of the peer;
    between its pause's end and its next look it can take the answer that `send_*()` waits for, which then waits for
    its whole timeout and gets an empty data set. A poll finds nothing here; the one who waits finds everything.
    """
    take = association.dimse.get_msg
    association.dimse.get_msg = lambda block=False: take(block=True) if block else (None, None)
    return association


def main():
    """Runs every check, in the order of the file, and goes on after one that fails."""
    print(f"1..{len(_checks)}")
    failed = 0
    for number, function in enumerate(_checks, 1):
        name = (function.__doc__ or function.__name__).strip().splitlines()[0]
        try:
            function()
            print(f"ok {number} - {name}", flush=True)
        except Exception as error:  # a check may fail in any way; that is what is reported
            failed += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            why = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
            print(f"not ok {number} - {name} # {' '.join(why.split())[:600]}", flush=True)
    sys.exit(1 if failed else 0)
