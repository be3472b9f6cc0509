"""Quality Assurance with Plan Veto (IHE-RO): pynetdicom as the Quality Check Requester, the gate as its performer."""

import os
import queue
import time
from copy import deepcopy
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import (
    RTBeamsDeliveryInstructionStorage,
    RTIonPlanStorage,
    RTPlanStorage,
    UnifiedProcedureStepEvent,
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepWatch,
)

from peer import DIMSE_HOST, DIMSE_PORT, only_asks
from tap import check, main, same

EXAMPLE = Path(os.environ["HOLDFAST_EXAMPLE"])
EVENTS_PORT = int(os.environ["HOLDFAST_EVENTS_PORT"])
PATIENT = (EXAMPLE / "patient.txt").read_text().strip()
# As [dimse] peers of the gateway under test has them: who takes event reports, and a machine that no plan names.
REQUESTER, OTHER_MACHINE = "REQUESTER", "OTHERMACHINE"
CLASSES = [UnifiedProcedureStepPush, UnifiedProcedureStepWatch, RTPlanStorage, RTIonPlanStorage,
           RTBeamsDeliveryInstructionStorage]
PLAN_DIFFERENCE = {RTPlanStorage: "121732", RTIonPlanStorage: "121734"}


SIGNED, TAMPERED = pydicom.dcmread(EXAMPLE / "plan.dcm"), pydicom.dcmread(EXAMPLE / "tampered.dcm")


class Requester:
    """One association of a requester, released on the way out."""

    def __init__(self, title=REQUESTER, syntax=ExplicitVRLittleEndian):
        entity = AE(ae_title=title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        asked = [build_context(uid, [syntax]) for uid in CLASSES]
        self.association = only_asks(entity.associate(DIMSE_HOST, DIMSE_PORT, contexts=asked, ae_title="GATE"))

    def __enter__(self):
        assert self.association.is_established, "no association"
        same(len(self.association.accepted_contexts), len(CLASSES), "accepted contexts")
        return self.association

    def __exit__(self, *_):
        if self.association.is_established:
            self.association.release()


def code(value, meaning="x", scheme="DCM"):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def reference(sop_class, instance):
    one = Dataset()
    one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = sop_class, instance
    item = Dataset()
    item.TypeOfInstances, item.StudyInstanceUID = "DICOM", generate_uid()
    item.ReferencedSOPSequence = Sequence([one])
    return item


def order(of, *more):
    """What a requester creates: a check of this plan."""
    step = Dataset()
    step.ProcedureStepState, step.TransactionUID = "SCHEDULED", ""
    step.ScheduledProcedureStepPriority = "HIGH"
    step.ProcedureStepLabel, step.WorklistLabel = "Quality check before delivery", "QA"
    step.ScheduledProcedureStepStartDateTime = "20260101120000"
    step.ScheduledWorkitemCodeSequence = Sequence([code(PLAN_DIFFERENCE[of.SOPClassUID])])
    step.InputReadinessState = "READY"
    step.InputInformationSequence = Sequence([reference(of.SOPClassUID, of.SOPInstanceUID), *more])
    step.ScheduledProcessingParametersSequence = Sequence([])
    step.PatientName, step.PatientID = of.PatientName, of.PatientID
    step.PatientBirthDate, step.PatientSex = of.PatientBirthDate, of.PatientSex
    step.UnifiedProcedureStepPerformedProcedureSequence = Sequence([])
    step.ProcedureStepProgressInformationSequence = Sequence([])
    return step


def create(peer, step, uid=None):
    uid = uid or generate_uid()
    status, _ = peer.send_n_create(step, UnifiedProcedureStepPush, uid)
    return uid, f"{status.Status:04X}"


def get(peer, uid, attributes=()):
    status, found = peer.send_n_get(list(attributes), UnifiedProcedureStepPush, uid,
                                    meta_uid=UnifiedProcedureStepWatch)
    return f"{status.Status:04X}", found


def action(peer, uid, kind, **said):
    information = Dataset()
    for keyword, value in said.items():
        setattr(information, keyword, value)
    status, _ = peer.send_n_action(information, kind, UnifiedProcedureStepPush, uid,
                                   meta_uid=UnifiedProcedureStepWatch)
    return f"{status.Status:04X}"


def cancel(peer, uid):
    # Never without a data set: pynetdicom announces one, and sends none.
    return action(peer, uid, 2, ReasonForCancellation="set up anew")


def show(peer, dataset):
    return f"{peer.send_c_store(dataset).Status:04X}"


def reasons(step):
    """The codes of our own for why it was canceled."""
    progress = step.ProcedureStepProgressInformationSequence[0]
    codes = progress.ProcedureStepDiscontinuationReasonCodeSequence
    same((codes[0].CodeValue, codes[0].CodingSchemeDesignator), ("110513", "DCM"), "first reason")
    return [item.get("CodeValue") or item.LongCodeValue for item in codes[1:]]


def checked(shown, step, title=REQUESTER, syntax=ExplicitVRLittleEndian):
    """Shows files, creates a step, and gives how it went."""
    with Requester(title, syntax) as peer:
        for dataset in shown:
            show(peer, dataset)
        uid, status = create(peer, step)
        same(status, "0000", "N-CREATE")
        status, found = get(peer, uid)
        same(status, "0000", "N-GET")
        return found


def instruction(fraction, of=SIGNED, **changed):
    """An RT Beams Delivery Instruction for one fraction of a plan."""
    told = Dataset()
    told.file_meta = FileMetaDataset()
    told.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    told.file_meta.MediaStorageSOPClassUID = told.SOPClassUID = RTBeamsDeliveryInstructionStorage
    told.file_meta.MediaStorageSOPInstanceUID = told.SOPInstanceUID = generate_uid()
    told.StudyInstanceUID, told.SeriesInstanceUID = of.StudyInstanceUID, generate_uid()
    told.Modality, told.Manufacturer, told.SeriesNumber = "PLAN", "Synthetic", 1
    told.PatientName, told.PatientID = of.PatientName, of.PatientID
    told.PatientBirthDate, told.PatientSex = of.PatientBirthDate, of.PatientSex
    told.StudyDate, told.StudyTime, told.StudyID, told.AccessionNumber = "20260101", "120000", "1", ""
    plan_item = Dataset()
    plan_item.ReferencedSOPClassUID, plan_item.ReferencedSOPInstanceUID = of.SOPClassUID, of.SOPInstanceUID
    told.ReferencedRTPlanSequence = Sequence([plan_item])
    tasks = []
    for beam in of.FractionGroupSequence[0].ReferencedBeamSequence:
        if not beam.get("BeamMeterset"):
            continue
        task = Dataset()
        task.BeamTaskType, task.TreatmentDeliveryType = "TREAT", "TREATMENT"
        task.CurrentFractionNumber = fraction
        task.ReferencedBeamNumber = beam.ReferencedBeamNumber
        for keyword, value in changed.items():
            setattr(task, keyword, value)
        tasks.append(task)
    told.BeamTaskSequence = Sequence(tasks)
    return told


def due():
    """The fraction that is due, as the gate says it of the signed plan."""
    found = checked([SIGNED], order(SIGNED))
    same(found.ProcedureStepState, "COMPLETED", "state")
    said = found.ProcedureStepProgressInformationSequence[0].ProcedureStepProgressDescription
    assert said.startswith("RELEASE "), said
    return int(said.split()[1])


@check
def completes_what_was_signed():
    """the signed plan's check is COMPLETED, and says which fraction"""
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        found = checked([SIGNED], order(SIGNED), syntax=syntax)
        same(found.ProcedureStepState, "COMPLETED", syntax.name)
        same(found.PatientID, SIGNED.PatientID, "Patient ID")
        performed = found.UnifiedProcedureStepPerformedProcedureSequence[0]
        same(performed.PerformedWorkitemCodeSequence[0].CodeValue, PLAN_DIFFERENCE[SIGNED.SOPClassUID], "workitem")
        assert "TransactionUID" not in found
    assert due() > 0


@check
def cancels_what_was_not():
    """the tampered plan's check is CANCELED: the veto, with its findings"""
    found = checked([TAMPERED], order(TAMPERED))
    same(found.ProcedureStepState, "CANCELED", "state")
    assert "delivery-differs" in reasons(found), reasons(found)
    said = found.ProcedureStepProgressInformationSequence[0].ReasonForCancellation
    assert "delivery-differs" in said and "(300A," in said, said


@check
def what_was_not_shown_is_canceled():
    """a plan that this requester didn't send is CANCELED, though it is in the archive and another one sent it"""
    step = order(SIGNED)
    with Requester("ANOTHER") as peer:
        show(peer, SIGNED)
    found = checked([], step, title="THIRD")
    same((found.ProcedureStepState, reasons(found)), ("CANCELED", ["plan-not-shown"]), "not shown")


@check
def another_patients_plan():
    """a step for another patient than the plan's is CANCELED"""
    step = order(SIGNED)
    step.PatientID = "NOBODY-1"
    found = checked([SIGNED], step)
    same(found.ProcedureStepState, "CANCELED", "state")
    assert set(reasons(found)) & {"patient-unknown", "another-patient"}, reasons(found)


@check
def events_are_reported():
    """who subscribes hears SCHEDULED, IN PROGRESS, and how it ended; CANCELED with its reason"""
    heard = queue.Queue()

    def take(event):
        request = event.request
        heard.put((str(request.AffectedSOPInstanceUID), request.EventTypeID, event.event_information))
        return 0x0000, None

    entity = AE(ae_title=REQUESTER)
    entity.add_supported_context(UnifiedProcedureStepEvent, scu_role=False, scp_role=True)
    server = entity.start_server(("127.0.0.1", EVENTS_PORT), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    try:
        for dataset, last in ((SIGNED, "COMPLETED"), (TAMPERED, "CANCELED")):
            with Requester() as peer:
                show(peer, dataset)
                uid, status = create(peer, order(dataset))
                same(status, "0000", "N-CREATE")
                same(action(peer, uid, 3, ReceivingAE=REQUESTER, DeletionLock="FALSE"), "0000", "subscribe")
                states = []
                for _ in range(3):
                    step, event, information = heard.get(timeout=30)
                    same((step, event), (uid, 1), "UPS State Report")
                    states.append(information.ProcedureStepState)
                same(states, ["SCHEDULED", "IN PROGRESS", last], "states")
                if last == "CANCELED":
                    assert "delivery-differs" in information.ReasonForCancellation
                    same(information.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue, "110513", "reason")
                same(get(peer, uid, [0x00741000])[1].ProcedureStepState, last, "N-GET")
                # Who comes late hears how it ended, at once.
                same(action(peer, uid, 3, ReceivingAE=REQUESTER, DeletionLock="TRUE"), "B301", "with a lock")
                same(heard.get(timeout=30)[2].ProcedureStepState, last, "late")
                same(action(peer, uid, 4, ReceivingAE=REQUESTER), "0000", "unsubscribe")
    finally:
        server.shutdown()


@check
def nobody_to_tell():
    """a subscriber without an address is refused; one that doesn't answer leaves the check as it is"""
    with Requester() as peer:
        show(peer, SIGNED)
        uid, _ = create(peer, order(SIGNED))
        same(action(peer, uid, 3, ReceivingAE="NOWHERE", DeletionLock="FALSE"), "C308", "unknown receiver")
        same(action(peer, uid, 3, ReceivingAE=REQUESTER, DeletionLock="FALSE"), "0000", "nobody listens there now")
        # Its check is under way, or done.
        for _ in range(100):
            state = get(peer, uid)[1].ProcedureStepState
            if state != "IN PROGRESS":
                break
            time.sleep(0.1)
        same(state, "COMPLETED", "state")


@check
def its_requester_cancels():
    """a request to cancel cancels what wasn't checked yet, and nothing else"""
    with Requester() as peer:
        show(peer, SIGNED)
        uid, _ = create(peer, order(SIGNED))
        same(cancel(peer, uid), "0000", "cancel")
        found = get(peer, uid)[1]
        same((found.ProcedureStepState, reasons(found)), ("CANCELED", ["cancel-requested"]), "state")
        same(cancel(peer, uid), "B304", "again")
        uid, _ = create(peer, order(SIGNED))
        get(peer, uid)
        same(cancel(peer, uid), "C311", "what is done")


@check
def only_its_requester():
    """a step is nobody else's: not to read, not to cancel; an unknown one is no step"""
    with Requester() as peer:
        uid, _ = create(peer, order(SIGNED))
    with Requester("ANOTHER") as peer:
        same(get(peer, uid)[0], "C307", "another's")
        same(cancel(peer, uid), "C307", "another's")
        same(get(peer, generate_uid())[0], "C307", "nobody's")


@check
def attributes_are_chosen():
    """N-GET gives what is asked for, and no more"""
    with Requester() as peer:
        show(peer, SIGNED)
        uid, _ = create(peer, order(SIGNED))
        found = get(peer, uid, [0x00741000, 0x00741204])[1]
        keywords = sorted(element.keyword for element in found)
        same(keywords, ["ProcedureStepLabel", "ProcedureStepState", "SpecificCharacterSet"], "attributes")


@check
def what_is_no_order():
    """a step that isn't SCHEDULED, lacks an attribute, asks for another check, or names no plan is refused"""
    def without(keyword):
        step = order(SIGNED)
        delattr(step, keyword)
        return step

    def with_(**said):
        step = order(SIGNED)
        for keyword, value in said.items():
            setattr(step, keyword, value)
        return step

    other = PLAN_DIFFERENCE[RTIonPlanStorage if SIGNED.SOPClassUID == RTPlanStorage else RTPlanStorage]
    cases = [
        (with_(ProcedureStepState="IN PROGRESS"), "C309"),
        (without("ProcedureStepState"), "0120"),
        (without("InputInformationSequence"), "0120"),
        (with_(ProcedureStepLabel=""), "0121"),
        (with_(InputReadinessState="INCOMPLETE"), "0106"),
        (with_(TransactionUID=generate_uid()), "0106"),
        (with_(ScheduledWorkitemCodeSequence=Sequence([code("121731")])), "0106"),
        (with_(ScheduledWorkitemCodeSequence=Sequence([code(other)])), "0106"),
        (with_(InputInformationSequence=Sequence([reference(RTBeamsDeliveryInstructionStorage, generate_uid())])), "0106"),
        (with_(InputInformationSequence=Sequence([reference(SIGNED.SOPClassUID, generate_uid()) for _ in range(2)])),
         "0106"),
    ]
    with Requester() as peer:
        for number, (step, status) in enumerate(cases):
            same(create(peer, step)[1], status, f"case {number}")
        uid, _ = create(peer, order(SIGNED))
        same(create(peer, order(SIGNED), uid)[1], "0111", "the same UID again")


@check
def input_that_cant_be_read():
    """a reference that can't be read, of another class of instruction, or a Patient ID in no characters is refused"""
    trial = "1.2.840.10008.5.1.4.34.1"
    for number, (sop_class, instance) in enumerate([
        (RTBeamsDeliveryInstructionStorage, ""), (RTBeamsDeliveryInstructionStorage, "1.2.abc"), ("", generate_uid()),
        (trial, generate_uid()), (SIGNED.SOPClassUID, "1.2.abc"),
    ]):
        item = Dataset()
        one = Dataset()
        one.add_new(0x00081150, "UI", sop_class)
        one.add_new(0x00081155, "UI", instance)
        item.ReferencedSOPSequence = Sequence([one])
        with Requester() as peer:
            show(peer, SIGNED)
            same(create(peer, order(SIGNED, item))[1], "0106", f"reference {number}")
    unread = order(SIGNED)
    unread.PatientID = b"M\xdcLLER"
    with Requester() as peer:
        same(create(peer, unread)[1], "0106", "Patient ID")
    # What only accompanies it is no plan: images, structures, the same plan once more.
    with Requester() as peer:
        show(peer, SIGNED)
        more = [reference("1.2.840.10008.5.1.4.1.1.2", generate_uid()), reference(SIGNED.SOPClassUID, SIGNED.SOPInstanceUID)]
        uid, status = create(peer, order(SIGNED, *more))
        same((status, get(peer, uid)[1].ProcedureStepState), ("0000", "COMPLETED"), "what accompanies it")


@check
def who_she_is():
    """a step whose date of birth or sex is another than the plan's is CANCELED"""
    for keyword, value in (("PatientBirthDate", "19010101"), ("PatientSex", "O")):
        step = order(SIGNED)
        setattr(step, keyword, value)
        found = checked([SIGNED], step)
        same((found.ProcedureStepState, reasons(found)), ("CANCELED", ["step-differs"]), keyword)


@check
def what_was_shown_last():
    """a step is of the file that was shown when it was created: another one under its UID since cancels, and so does one that is refused"""
    swapped = deepcopy(TAMPERED)
    swapped.SOPInstanceUID = swapped.file_meta.MediaStorageSOPInstanceUID = SIGNED.SOPInstanceUID
    broken = deepcopy(SIGNED)
    del broken.SeriesInstanceUID
    for first, then in ((swapped, SIGNED), (SIGNED, swapped), (SIGNED, broken)):
        with Requester() as peer:
            show(peer, first)
            uid, _ = create(peer, order(SIGNED))
            show(peer, then)
            found = get(peer, uid)[1]
        same((found.ProcedureStepState, reasons(found)), ("CANCELED", ["plan-not-shown"]), "another file since")


@check
def who_asks_and_subscribes_at_once():
    """who asks while the check is made, and subscribes twice, hears how it ended all the same"""
    heard = queue.Queue()

    def take(event):
        heard.put((str(event.request.AffectedSOPInstanceUID), event.event_information.ProcedureStepState))
        return 0x0000, None

    entity = AE(ae_title=REQUESTER)
    entity.add_supported_context(UnifiedProcedureStepEvent, scu_role=False, scp_role=True)
    server = entity.start_server(("127.0.0.1", EVENTS_PORT), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    try:
        with Requester() as peer:
            show(peer, SIGNED)
            steps = {create(peer, order(SIGNED))[0] for _ in range(6)}
            for uid in steps:
                for _ in range(2):
                    same(action(peer, uid, 3, ReceivingAE=REQUESTER, DeletionLock="FALSE"), "0000", "subscribe")
                get(peer, uid)
        ended, deadline = [], time.monotonic() + 60
        while len(ended) < 2 * len(steps):
            uid, state = heard.get(timeout=max(0.1, deadline - time.monotonic()))
            ended += [uid] if state == "COMPLETED" else []
        same(set(ended), steps, "steps that were heard to end")
        # Nobody is told what somebody else subscribed her to.
        with Requester("ANOTHER") as peer:
            uid, _ = create(peer, order(SIGNED))
            same(action(peer, uid, 3, ReceivingAE=REQUESTER, DeletionLock="FALSE"), "C308", "another's title")
    finally:
        server.shutdown()


@check
def other_services():
    """UPS Pull is declined: nobody works on this performer's steps but itself"""
    entity = AE(ae_title=REQUESTER)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    asked = [build_context(UnifiedProcedureStepPull), build_context(UnifiedProcedureStepPush)]
    association = only_asks(entity.associate(DIMSE_HOST, DIMSE_PORT, contexts=asked, ae_title="GATE"))
    assert association.is_established
    taken = [context.abstract_syntax for context in association.accepted_contexts]
    association.release()
    same(taken, [UnifiedProcedureStepPush], "accepted")


@check
def the_fraction_that_is_due():
    """a delivery instruction for the fraction that is due completes; for another one, a part, or other beams it cancels"""
    number = due()
    for told, expected in (
        (instruction(number), []),
        (instruction(number + 1), ["another-fraction"]),
        (instruction(number, TreatmentDeliveryType="CONTINUATION"), ["instruction-differs"]),
        (instruction(number, ReferencedBeamNumber=77), ["instruction-differs"]),
    ):
        step = order(SIGNED, reference(told.SOPClassUID, told.SOPInstanceUID))
        with Requester() as peer:
            show(peer, SIGNED)
            same(show(peer, told), "0000" if not expected else "C001", f"C-STORE: {expected}")
            uid, _ = create(peer, step)
            found = get(peer, uid)[1]
        same(found.ProcedureStepState, "CANCELED" if expected else "COMPLETED", str(expected))
        if expected:
            same(reasons(found), expected, "reasons")
    unseen = instruction(number)
    found = checked([SIGNED], order(SIGNED, reference(unseen.SOPClassUID, unseen.SOPInstanceUID)))
    same(reasons(found), ["instruction-not-shown"], "reasons")
    with Requester("FOURTH") as peer:
        same(show(peer, instruction(number)), "C001", "an instruction whose plan this AE never showed")


@check
def another_machine():
    """a machine that asks for another machine's plan is vetoed, by C-STORE and by a step"""
    with Requester(OTHER_MACHINE) as peer:
        same(show(peer, SIGNED), "C001", "C-STORE")
    found = checked([SIGNED], order(SIGNED), title=OTHER_MACHINE)
    same((found.ProcedureStepState, reasons(found)), ("CANCELED", ["another-machine"]), "step")


@check
def many_steps():
    """more steps than are remembered: what has ended goes first, and none is mixed up with another"""
    with Requester("MANY") as peer:
        show(peer, SIGNED)
        steps = [create(peer, order(SIGNED)) for _ in range(300)]
        statuses = [status for _, status in steps]
        same((statuses[:256], set(statuses[256:])), (["0000"] * 256, {"0213"}), "N-CREATE")
        same(get(peer, steps[0][0])[1].ProcedureStepState, "COMPLETED", "the first")
        uid, status = create(peer, order(SIGNED))
        same(status, "0000", "once one has ended")
        same(get(peer, steps[0][0])[0], "C307", "the one that went")
        same(get(peer, uid)[1].ProcedureStepState, "COMPLETED", "the new one")


main()
