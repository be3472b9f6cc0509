"""The gate's other doors: DICOMweb, by dicomweb-client, and a folder that a console writes its plan into."""

import hashlib
import os
import shutil
import time
from io import BytesIO
from pathlib import Path

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session
from pydicom.uid import generate_uid

from peer import DATA, HTTP, TOKENS
from tap import check, main, same

EXAMPLE = Path(os.environ["HOLDFAST_EXAMPLE"])
FOLDER = Path(os.environ["HOLDFAST_GATE_FOLDER"])
SIGNED, TAMPERED = EXAMPLE / "plan.dcm", EXAMPLE / "tampered.dcm"


def client(path, role="physicist"):
    session = create_session()
    session.headers["Authorization"] = f"Bearer {TOKENS[role]}"
    return DICOMwebClient(HTTP + path, session=session)


def real(name):
    dataset = pydicom.dcmread(DATA / name)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return dataset


def raw(path, files, token=True, kind='multipart/related; type="application/dicom"; boundary=edge', **query):
    """One request by hand: its status, and what it says."""
    body = b"".join(b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files)
    headers = {"Content-Type": kind, **({"Authorization": f"Bearer {TOKENS['physicist']}"} if token else {})}
    answer = requests.post(HTTP + path, data=body + b"--edge--\r\n", headers=headers, params=query, timeout=60)
    return answer.status_code, answer.json() if answer.text else {}


def failures(answer):
    return [(item["00081197"]["Value"][0], item["00741238"]["Value"][0])
            for item in answer.get("00081198", {}).get("Value", [])]


def due():
    """The fraction that is due of the signed plan."""
    for number in range(1, 60):
        if raw("/dicom-web/gate/studies", [SIGNED.read_bytes()], fraction=number)[0] == 200:
            return number
    raise AssertionError("no fraction is due")


@check
def stores():
    """dicomweb-client stores real instances, several in one request, and is told of each"""
    datasets = [real(name) for name in ("pydicom/CT_small.dcm", "pydicom/rtplan.dcm", "pydicom/rtdose.dcm")]
    answer = client("/dicom-web", "physicist").store_instances(datasets)
    same({item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence},
         {dataset.SOPInstanceUID for dataset in datasets}, "stored")
    assert "FailedSOPSequence" not in answer


@check
def says_what_failed():
    """what can't be kept is named, and the rest is kept: 202; nothing kept is 409; of another study than said: A900"""
    good = BytesIO()
    real("pydicom/rtplan.dcm").save_as(good)
    status, answer = raw("/dicom-web/studies", [good.getvalue(), b"no DICOM"])
    same((status, len(answer["00081199"]["Value"]), len(failures(answer))), (202, 1, 1), "one of two")
    same(raw("/dicom-web/studies", [b"no DICOM"])[0], 409, "none")
    status, answer = raw(f"/dicom-web/studies/{generate_uid()}", [good.getvalue()])
    same((status, failures(answer)[0][0]), (409, 0xA900), "another study")
    study = pydicom.dcmread(BytesIO(good.getvalue())).StudyInstanceUID
    same(raw(f"/dicom-web/studies/{study}", [good.getvalue()])[0], 200, "its study")


@check
def refuses():
    """without a token 401, another media type 415, no multipart 400, a parameter that there isn't 400"""
    signed = SIGNED.read_bytes()
    same(raw("/dicom-web/studies", [signed], token=False)[0], 401, "no token")
    same(raw("/dicom-web/studies", [signed], kind="application/dicom")[0], 415, "media type")
    same(raw("/dicom-web/studies", [signed], kind="multipart/related; boundary=other")[0], 400, "boundary")
    same(raw("/dicom-web/gate/studies", [signed], frction=3)[0], 400, "parameter")
    same(requests.get(HTTP + "/dicom-web/studies", timeout=30).status_code, 405, "GET")


@check
def the_gate_by_dicomweb():
    """200 is a release; a veto is 409 with its findings; plans that are released and vetoed together are 202"""
    status, answer = raw("/dicom-web/gate/studies", [SIGNED.read_bytes()])
    same((status, failures(answer)), (200, []), "signed")
    status, answer = raw("/dicom-web/gate/studies", [TAMPERED.read_bytes()])
    same((status, failures(answer)[0][0]), (409, 0xC001), "tampered")
    assert "delivery-differs" in failures(answer)[0][1], answer
    other, file = pydicom.dcmread(TAMPERED), BytesIO()
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    other.save_as(file)
    status, answer = raw("/dicom-web/gate/studies", [SIGNED.read_bytes(), file.getvalue()])
    same((status, len(answer["00081199"]["Value"]), len(failures(answer))), (202, 1, 1), "both")
    answer = client("/dicom-web/gate").store_instances([pydicom.dcmread(SIGNED)])
    same(len(answer.ReferencedSOPSequence), 1, "by dicomweb-client")
    status, answer = raw("/dicom-web/gate/studies", [b"no plan"])
    same((status, failures(answer)[0][0]), (409, 0xC001), "no plan")
    status, answer = raw("/dicom-web/gate/studies", [(DATA / "pydicom/CT_small.dcm").read_bytes()])
    same((status, failures(answer)[0][0]), (409, 0xC001), "an image")


def told(fraction, plan, **changed):
    """An RT Beams Delivery Instruction of one fraction."""
    of, dataset = pydicom.dcmread(plan), pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.34.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = of.StudyInstanceUID, generate_uid(), "PLAN"
    dataset.PatientID = of.PatientID
    one = pydicom.Dataset()
    one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = of.SOPClassUID, of.SOPInstanceUID
    dataset.ReferencedRTPlanSequence = pydicom.Sequence([one])
    tasks = []
    for beam in of.FractionGroupSequence[0].ReferencedBeamSequence:
        if beam.get("BeamMeterset"):
            task = pydicom.Dataset()
            task.BeamTaskType, task.TreatmentDeliveryType = "TREAT", "TREATMENT"
            task.CurrentFractionNumber, task.ReferencedBeamNumber = fraction, beam.ReferencedBeamNumber
            tasks.append(task)
    dataset.BeamTaskSequence = pydicom.Sequence(tasks)
    for keyword, value in changed.items():
        setattr(dataset, keyword, value)
    file = BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


@check
def what_belongs_to_what():
    """a plan goes with its delivery instruction; where that isn't clear, nothing of the request is released"""
    plan, number = SIGNED.read_bytes(), due()
    ask = lambda *files: raw("/dicom-web/gate/studies", list(files))
    same(ask(plan, told(number, SIGNED))[0], 200, "the fraction that is due")
    status, answer = ask(told(number + 1, SIGNED), plan)
    same((status, len(failures(answer))), (409, 2), "another fraction")
    swapped = pydicom.dcmread(TAMPERED)
    swapped.SOPInstanceUID = swapped.file_meta.MediaStorageSOPInstanceUID = pydicom.dcmread(SIGNED).SOPInstanceUID
    file = BytesIO()
    swapped.save_as(file)
    other = pydicom.Dataset()
    other.ReferencedSOPClassUID, other.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.5", generate_uid()
    for what, files in {
        "the plan twice": (plan, plan, told(number + 1, SIGNED)),
        "two instructions": (plan, told(number, SIGNED), told(number + 1, SIGNED)),
        "two plans under one UID": (plan, file.getvalue()),
        "an instruction that can't be read": (plan, told(number, SIGNED, BeamTaskSequence=pydicom.Sequence([]))),
        "an instruction of another plan": (plan, told(number, SIGNED, ReferencedRTPlanSequence=pydicom.Sequence([other]))),
        "a part that is nothing": (plan, b"nothing"),
        "an instruction alone": (told(number, SIGNED),),
    }.items():
        status, answer = ask(*files)
        same((status, "00081199" in answer), (409, False), what)
        assert all("request-unclear" in words for _, words in failures(answer)), (what, answer)


@check
def what_is_asked_beside():
    """the fraction, the group and the machine that are asked for have to be those that are due"""
    plan, number = pydicom.dcmread(SIGNED), due()
    beams = plan.get("BeamSequence") or plan.IonBeamSequence
    machine = beams[0].TreatmentMachineName
    ask = lambda **said: raw("/dicom-web/gate/studies", [SIGNED.read_bytes()], **said)[0]
    same(ask(fraction=number, machine=machine), 200, "as it is")
    same(ask(fraction=number + 1), 409, "another fraction")
    same(ask(machine="NOWHERE"), 409, "another machine")
    same(ask(**{"fraction-group": 77}), 409, "another group")
    for query in ({"fraction": number, "machine": machine}, {"fraction": number + 1}):
        answer = requests.post(HTTP + "/gate/check", data=SIGNED.read_bytes(), params=query, timeout=60,
                               headers={"Authorization": f"Bearer {TOKENS['physicist']}"})
        same(answer.status_code, 200 if len(query) == 2 else 409, f"/gate/check {query}")


def answered(name, seconds=30):
    """The verdict on a file of the watched folder: its word, and its text."""
    for _ in range(seconds * 10):
        found = [path for path in (FOLDER / "verdicts").glob(f"{name}.*.txt") if path.is_file()]
        if found:
            assert len(found) == 1, found
            digest, word = found[0].name.removeprefix(name + ".").removesuffix(".txt").split(".")
            return word, found[0].read_text(), digest
        time.sleep(0.1)
    raise AssertionError(f"no verdict on {name}")


@check
def the_gate_by_folder():
    """a plan that is written into the folder gets its verdict beside it, once, and is taken away"""
    for source, word in ((SIGNED, "RELEASE"), (TAMPERED, "VETO")):
        shutil.copy(source, FOLDER / "plan.dcm")
        said, text, digest = answered("plan.dcm")
        same(said, word, source.name)
        whole = hashlib.sha256(source.read_bytes()).hexdigest()
        assert text.startswith(word) and whole in text and whole.startswith(digest), text
        assert word == "RELEASE" or "delivery-differs" in text, text
        same((FOLDER / "plan.dcm").exists(), False, "the file is still there")
        same((FOLDER / "asked" / "plan.dcm").read_bytes(), source.read_bytes(), "what was asked about")
        # The next one under this name is not answered by this verdict.
        if word == "RELEASE":
            shutil.copy(TAMPERED, FOLDER / "plan.dcm")
            deadline = time.monotonic() + 20
            while list((FOLDER / "verdicts").glob("plan.dcm.*.RELEASE.txt")):
                assert time.monotonic() < deadline, "an old release stands beside a new plan"
                time.sleep(0.05)
            same(answered("plan.dcm")[0], "VETO", "the next one")
            next((FOLDER / "verdicts").glob("plan.dcm.*")).unlink()


@check
def what_the_folder_leaves():
    """what is being written, hidden, a link or a folder is not asked about; what is no plan is vetoed"""
    for name in ("writing.dcm.part", ".hidden.dcm"):
        shutil.copy(SIGNED, FOLDER / name)
    (FOLDER / "link.dcm").symlink_to(SIGNED)
    (FOLDER / "deeper").mkdir()
    # What stands in the way of verdicts keeps none up.
    (FOLDER / "verdicts" / "deeper").mkdir()
    (FOLDER / "verdicts" / "nothing.dcm.VETO.txt").mkdir()
    (FOLDER / "nothing.dcm").write_bytes(b"no DICOM")
    said, text, _ = answered("nothing.dcm")
    assert said == "VETO" and "not-a-plan" in text, text
    time.sleep(2.5)
    same(sorted(path.name for path in FOLDER.iterdir()),
         [".hidden.dcm", "asked", "deeper", "link.dcm", "verdicts", "writing.dcm.part"], "what is left")
    for path in (FOLDER / "writing.dcm.part", FOLDER / ".hidden.dcm", FOLDER / "link.dcm"):
        path.unlink()
    # A file that stands in two places is judged once.
    os.link(FOLDER / "asked" / "nothing.dcm", FOLDER / "again.dcm")
    same(answered("again.dcm")[0], "VETO", "a hard link")
    same((FOLDER / "again.dcm").exists(), False, "it is asked about again and again")


main()
