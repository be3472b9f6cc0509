"""What the peers of a gateway share: where it listens, and how its answers are waited for."""

import json
import os
from pathlib import Path

READY = json.loads(Path(os.environ["HOLDFAST_READY"]).read_text())
DATA = Path(os.environ["HOLDFAST_PEER_DATA"])
WORK = Path(os.environ["HOLDFAST_PEER_WORK"])
HTTP = READY["http"].rstrip("/")
FHIR = READY["fhir"].rstrip("/")
TOKENS = READY["tokens"]
DIMSE_HOST, DIMSE_PORT = READY["dimse"].rsplit(":", 1)
DIMSE_PORT = int(DIMSE_PORT)


def only_asks(association):
    """
    The association of somebody who asks and is asked nothing. pynetdicom's reactor polls for requests of the peer;
    between its pause's end and its next look it can take the answer that `send_*()` waits for, which then waits for
    its whole timeout and gets an empty data set. A poll finds nothing here; the one who waits finds everything.
    """
    take = association.dimse.get_msg
    association.dimse.get_msg = lambda block=False: take(block=True) if block else (None, None)
    return association
