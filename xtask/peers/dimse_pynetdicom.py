"""DIMSE by pynetdicom: pydicom's real files, and objects made here, stored and refused as they deserve."""

import uuid
from copy import deepcopy

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context
from pynetdicom.sop_class import (
    CTImageStorage,
    ModalityWorklistInformationFind,
    RTBeamsTreatmentRecordStorage,
    RTDoseStorage,
    RTImageStorage,
    RTIonPlanStorage,
    RTPlanStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    Verification,
)

from peer import DATA, DIMSE_HOST, DIMSE_PORT, only_asks
from tap import check, main, same

RUN = uuid.uuid4().hex[:8]
STORED = [CTImageStorage, RTStructureSetStorage, RTPlanStorage, RTIonPlanStorage, RTDoseStorage, RTImageStorage,
          RTBeamsTreatmentRecordStorage]


class Association:
    """One association, released or aborted on the way out."""

    def __init__(self, contexts, called="HOLDFAST", calling="PYNETDICOM", **more):
        entity = AE(ae_title=calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        self.association = only_asks(
            entity.associate(DIMSE_HOST, DIMSE_PORT, contexts=contexts, ae_title=called, **more))

    def __enter__(self):
        assert self.association.is_established, f"no association: {self.association.acceptor.primitive}"
        return self.association

    def __exit__(self, *_):
        if self.association.is_established:
            self.association.release()


def contexts(*classes, syntaxes=(ExplicitVRLittleEndian, ImplicitVRLittleEndian)):
    return [build_context(uid, list(syntaxes)) for uid in classes]


def store(dataset, called="HOLDFAST"):
    """The status of one C-STORE, as four hexadecimal digits."""
    with Association([build_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)], called) as peer:
        return f"{peer.send_c_store(dataset).Status:04X}"


def real(name):
    """A real file under a UID of its own: dcmtk may have stored it, byte for byte another encoding of the same."""
    dataset = pydicom.dcmread(DATA / name, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        # pymedphys' plans are bare data sets, as some exports are.
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return dataset


def made(sop_class, modality):
    """What every object of a patient has."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.FrameOfReferenceUID = generate_uid()
    dataset.Modality = modality
    dataset.PatientID, dataset.PatientName = f"PEER-{RUN}", "Peer^Test"
    dataset.PatientBirthDate, dataset.PatientSex = "19610203", "F"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260101", "120000", "1"
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.Manufacturer = "Synthetic"
    return dataset


def image(sop_class, modality):
    dataset = made(sop_class, modality)
    dataset.Rows = dataset.Columns = 16
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = bytes(range(256)) * 2
    return dataset


def record():
    dataset = made(RTBeamsTreatmentRecordStorage, "RTRECORD")
    dataset.TreatmentDate, dataset.TreatmentTime = "20260101", "121500"
    beam = Dataset()
    beam.ReferencedBeamNumber, beam.CurrentFractionNumber = 1, 7
    beam.TreatmentTerminationStatus, beam.TreatmentVerificationStatus = "NORMAL", "VERIFIED"
    beam.SpecifiedPrimaryMeterset = beam.DeliveredPrimaryMeterset = "100.0"
    dataset.TreatmentSessionBeamSequence = Sequence([beam])
    return dataset


@check
def echoes():
    """C-ECHO on HOLDFAST and GATE, many times on one association"""
    for called in ("HOLDFAST", "GATE"):
        with Association(contexts(Verification), called) as peer:
            same([peer.send_c_echo().Status for _ in range(50)], [0] * 50)


@check
def negotiates():
    """every storage class of a radiotherapy department is accepted; what isn't served is declined"""
    with Association(contexts(*STORED, Verification, ModalityWorklistInformationFind)) as peer:
        taken = {context.abstract_syntax for context in peer.accepted_contexts}
        same(taken, {*STORED, Verification})


@check
def real_files():
    """pydicom's and pymedphys' plans, dose, structures and CT are stored"""
    for name in ("pydicom/rtplan.dcm", "pydicom/rtdose.dcm", "pydicom/rtstruct.dcm", "pydicom/CT_small.dcm",
                 "pymedphys/06MV_plan.dcm", "pymedphys/vmat_example.dcm"):
        same(store(real(name)), "0000", name)


@check
def objects_made_here():
    """a CT slice, an RT image and a treatment record of our own are stored"""
    for dataset in (image(CTImageStorage, "CT"), image(RTImageStorage, "RTIMAGE"), record()):
        same(store(dataset), "0000", dataset.SOPClassUID.name)


@check
def both_syntaxes():
    """the same plan in implicit and explicit VR little endian is stored"""
    plan = real("pydicom/rtplan.dcm")
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        copy = deepcopy(plan)
        copy.file_meta.TransferSyntaxUID = syntax
        copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        same(store(copy), "0000", syntax.name)


@check
def stored_twice():
    """the same object again succeeds; so do other bytes under its UID, which become a version beside it"""
    dataset = image(CTImageStorage, "CT")
    same(store(dataset), "0000", "first")
    same(store(dataset), "0000", "again")
    dataset.PixelData = bytes(512)
    same(store(dataset), "0000", "other bytes")


@check
def another_patient():
    """an object never moves to another patient"""
    dataset = image(CTImageStorage, "CT")
    same(store(dataset), "0000", "first")
    dataset.PatientID = f"PEER-{RUN}-OTHER"
    assert store(dataset) != "0000", "the same SOP Instance UID is taken for another patient"


@check
def many_on_one_association():
    """a hundred objects on one association, without Nagle's pauses"""
    import time

    with Association(contexts(CTImageStorage)) as peer:
        start = time.monotonic()
        for _ in range(100):
            same(peer.send_c_store(image(CTImageStorage, "CT")).Status, 0)
        took = time.monotonic() - start
    # Nagle against delayed ACK would take 4 s on its own.
    print(f"# 100 objects in {took:.1f} s", flush=True)
    assert took < 30, f"{took:.1f} s"


@check
def wrong_objects():
    """objects without a patient, of another class than announced, or with a broken plan are refused"""
    nobody = image(CTImageStorage, "CT")
    del nobody.PatientID
    assert store(nobody) != "0000", "an object without Patient ID is taken"

    truncated = real("pydicom/rtplan.dcm")
    del truncated.BeamSequence[0].ControlPointSequence[0].NominalBeamEnergy
    del truncated.BeamSequence[0].ControlPointSequence[0].GantryAngle
    assert store(truncated, "GATE") != "0000", "the gate releases a plan without a gantry angle"


@check
def titles_and_classes():
    """an unknown AE title, and an association of nothing but unserved classes, are turned away"""
    for called, classes in (("NOBODY", [Verification]), ("HOLDFAST", [ModalityWorklistInformationFind])):
        try:
            with Association(contexts(*classes), called):
                raise RuntimeError(f"{called} takes {classes}")
        except AssertionError:
            pass


@check
def gate():
    """GATE vetoes what nobody approved, and whatever is no plan"""
    for name in ("pydicom/rtplan.dcm", "pymedphys/06MV_plan.dcm", "pymedphys/vmat_example.dcm"):
        assert store(real(name), "GATE") != "0000", f"{name} is released"
    try:
        assert store(image(CTImageStorage, "CT"), "GATE") != "0000", "a CT slice is released"
    except AssertionError as declined:
        assert "no association" in str(declined), declined


@check
def pdu_sizes():
    """small and large maximum PDU lengths both work"""
    for length in (1024, 4096, 131072, 0):
        with Association(contexts(CTImageStorage), max_pdu=length) as peer:
            same(peer.send_c_store(image(CTImageStorage, "CT")).Status, 0, f"max_pdu {length}")


main()
