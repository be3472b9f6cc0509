"""The synthetic courses, read back by pydicom: what their objects say of each other, and twins that must fail."""

import os
from array import array
from copy import deepcopy
from pathlib import Path

import pydicom

from tap import check, main

FOLDER = Path(os.environ["HOLDFAST_SYNTHETIC"])
TECHNIQUES = ["arc", "conformal", "electron", "imrt", "ion"]

# Of the prescription: at the isocentre, and as a mean over the target.
POINT_PER_CENT, MEAN_PER_CENT = 1, 5
MM = 0.2
# A record's metersets are written to the thousandth, two halves of a beam each rounded.
MU = 0.002


class Course:
    """All objects of one folder, by kind."""

    def __init__(self, folder):
        files = {path.stem: pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))}
        self.slices = [file for name, file in files.items() if name.startswith("ct-")]
        self.records = [file for name, file in files.items() if name.startswith("record-")]
        self.structures, self.plan, self.dose = files["structures"], files["plan"], files["dose"]

    def beams(self):
        return self.plan.get("BeamSequence") or self.plan.IonBeamSequence

    def isocentre(self):
        beam = self.beams()[0]
        points = beam.get("ControlPointSequence") or beam.IonControlPointSequence
        return [float(value) for value in points[0].IsocenterPosition]

    def contours(self, name):
        """Of what has this name: lists of points."""
        [number] = [roi.ROINumber for roi in self.structures.StructureSetROISequence if roi.ROIName == name]
        [drawn] = [roi for roi in self.structures.ROIContourSequence if roi.ReferencedROINumber == number]
        numbers = [[float(value) for value in one.ContourData] for one in drawn.ContourSequence]
        return [list(zip(each[::3], each[1::3], each[2::3])) for each in numbers]


def ensure(holds, what):
    if not holds:
        raise AssertionError(what)


def one(sequence):
    ensure(len(sequence) == 1, f"{len(sequence)} items instead of one")
    return sequence[0].ReferencedSOPInstanceUID


def linked(course):
    """every object names the one before it, all in one study and one frame of reference, of one patient"""
    plan, structures, dose = course.plan, course.structures, course.dose
    everything = [*course.slices, structures, plan, dose, *course.records]
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID"):
        ensure(len({str(each[keyword].value) for each in everything}) == 1, f"{keyword} differs")
    uids = [each.SOPInstanceUID for each in everything]
    ensure(len(set(uids)) == len(uids), "two objects of one UID")
    for each in everything:
        ensure(each.file_meta.MediaStorageSOPInstanceUID == each.SOPInstanceUID, "another UID in the file's head")
    placed = [*course.slices, structures, plan, dose]
    ensure(len({each.FrameOfReferenceUID for each in placed}) == 1, "several frames of reference")
    for roi in structures.StructureSetROISequence:
        ensure(roi.ReferencedFrameOfReferenceUID == plan.FrameOfReferenceUID, "a structure in another frame")
    for record in course.records:
        ensure(one(record.ReferencedRTPlanSequence) == plan.SOPInstanceUID, "a record of another plan")
    ensure(one(dose.ReferencedRTPlanSequence) == plan.SOPInstanceUID, "the dose of another plan")
    for each in (plan, dose):
        ensure(one(each.ReferencedStructureSetSequence) == structures.SOPInstanceUID, "another structure set")
    [frame] = structures.ReferencedFrameOfReferenceSequence
    [study] = frame.RTReferencedStudySequence
    [series] = study.RTReferencedSeriesSequence
    ensure({each.SeriesInstanceUID for each in course.slices} == {series.SeriesInstanceUID}, "another series")
    named = {each.ReferencedSOPInstanceUID for each in series.ContourImageSequence}
    ensure(named == {each.SOPInstanceUID for each in course.slices}, "other images than there are")


def spaced(course):
    """the slices are one stack: same size and orientation, evenly spaced, numbered from the feet to the head"""
    for keyword in ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient"):
        ensure(len({str(each[keyword].value) for each in course.slices}) == 1, f"{keyword} differs")
    stack = sorted(course.slices, key=lambda each: float(each.ImagePositionPatient[2]))
    places = [[float(value) for value in each.ImagePositionPatient] for each in stack]
    ensure(len({(x, y) for x, y, _ in places}) == 1, "a slice is shifted")
    steps = [after[2] - before[2] for before, after in zip(places, places[1:])]
    ensure(all(abs(step - float(stack[0].SliceThickness)) < 1e-6 for step in steps), f"steps {steps}")
    ensure([each.InstanceNumber for each in stack] == list(range(1, len(stack) + 1)), "numbered otherwise")
    for each in stack:
        ensure(len(each.PixelData) == each.Rows * each.Columns * 2, "pixels are missing")


def drawn_on_slices(course):
    """each contour lies on the slice that it names"""
    slices = {each.SOPInstanceUID: float(each.ImagePositionPatient[2]) for each in course.slices}
    for roi in course.structures.ROIContourSequence:
        for contour in roi.ContourSequence:
            z = slices.get(one(contour.ContourImageSequence))
            ensure(z is not None, "a contour on a slice that isn't there")
            ensure(all(abs(float(value) - z) < 1e-3 for value in contour.ContourData[2::3]), "beside its slice")
            ensure(len(contour.ContourData) == 3 * contour.NumberOfContourPoints, "points are missing")


def hounsfield(course, x, y, z):
    """The CT number of the pixel nearest to a point."""
    image = min(course.slices, key=lambda each: abs(float(each.ImagePositionPatient[2]) - z))
    left, top, _ = (float(value) for value in image.ImagePositionPatient)
    row_mm, column_mm = (float(value) for value in image.PixelSpacing)
    index = round((y - top) / row_mm) * image.Columns + round((x - left) / column_mm)
    return array("H", image.PixelData)[index] * float(image.RescaleSlope) + float(image.RescaleIntercept)


def seen_on_images(course):
    """what is drawn is what the images show: a tumour of soft tissue, air round the body"""
    x, y, z = course.isocentre()
    ensure(abs(hounsfield(course, x, y, z) - 40) < 30, f"{hounsfield(course, x, y, z)} HU in the target")
    for contour in course.contours("BODY"):
        for x, y, z in contour[:: max(1, len(contour) // 4)]:
            middle = [sum(point[axis] for point in contour) / len(contour) for axis in (0, 1)]
            out = [place + (place - mid) * 0.08 for place, mid in zip((x, y), middle)]
            within = [place - (place - mid) * 0.08 for place, mid in zip((x, y), middle)]
            ensure(hounsfield(course, *out, z) < -900, f"no air outside the body at {out}")
            ensure(hounsfield(course, *within, z) > -900, f"air inside the body at {within}")


def target_at_isocentre(course):
    """all beams have one isocentre, and the target's middle is there"""
    for beam in course.beams():
        points = beam.get("ControlPointSequence") or beam.IonControlPointSequence
        for point in points:
            if "IsocenterPosition" in point:
                place = [float(value) for value in point.IsocenterPosition]
                ensure(place == course.isocentre(), f"an isocentre at {place}")
    points = [point for contour in course.contours("PTV") for point in contour]
    for axis, middle in enumerate(course.isocentre()):
        values = [point[axis] for point in points]
        ensure(abs((min(values) + max(values)) / 2 - middle) < MM, f"axis {axis} is {min(values)} to {max(values)}")


def inside(contour, x, y):
    """By the number of edges that a line to the right crosses."""
    crossed = False
    for (ax, ay, _), (bx, by, _) in zip(contour, contour[1:] + contour[:1]):
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            crossed = not crossed
    return crossed


def doses(course):
    """Of every point of the grid: x, y, z, Gy."""
    dose = course.dose
    x0, y0, z0 = (float(value) for value in dose.ImagePositionPatient)
    row_mm, column_mm = (float(value) for value in dose.PixelSpacing)
    samples, index = array("H", dose.PixelData), 0
    ensure(len(samples) == dose.NumberOfFrames * dose.Rows * dose.Columns, "points are missing")
    for offset in dose.GridFrameOffsetVector:
        for row in range(dose.Rows):
            for column in range(dose.Columns):
                gy = samples[index] * float(dose.DoseGridScaling)
                yield x0 + column * column_mm, y0 + row * row_mm, z0 + float(offset), gy
                index += 1


def dose_as_prescribed(course):
    """what is prescribed is what the isocentre gets, the target on average, and all beams together; nothing outside the body"""
    [reference] = course.plan.DoseReferenceSequence
    prescribed = float(reference.TargetPrescriptionDose)
    [group] = course.plan.FractionGroupSequence
    beams = sum(float(beam.BeamDose) for beam in group.ReferencedBeamSequence) * group.NumberOfFractionsPlanned
    ensure(abs(beams / prescribed - 1) < 1e-3, f"{beams} Gy by beams, {prescribed} prescribed")
    x, y, z = course.isocentre()
    target = {round(contour[0][2], 3): contour for contour in course.contours("PTV")}
    body = {round(contour[0][2], 3): contour for contour in course.contours("BODY")}
    nearest, in_target = None, []
    for px, py, pz, gy in doses(course):
        away = (px - x) ** 2 + (py - y) ** 2 + (pz - z) ** 2
        if nearest is None or away < nearest[0]:
            nearest = (away, gy)
        plane = round(pz, 3)
        if plane in target and inside(target[plane], px, py):
            in_target.append(gy)
        # A drawn outline has corners, so a point next to it may be on either side.
        if gy > 0:
            middle = [sum(point[axis] for point in body[plane]) / len(body[plane]) for axis in (0, 1)]
            nearer = [place - (place - mid) * 0.03 for place, mid in zip((px, py), middle)]
            ensure(inside(body[plane], *nearer), f"{gy} Gy in the air at {px}, {py}")
    ensure(nearest[0] < 1, "no point of the grid at the isocentre")
    ensure(abs(nearest[1] / prescribed - 1) < POINT_PER_CENT / 100, f"{nearest[1]} Gy at the isocentre")
    mean = sum(in_target) / len(in_target)
    ensure(abs(mean / prescribed - 1) < MEAN_PER_CENT / 100, f"{mean} Gy in the target, {prescribed} prescribed")
    [histogram] = course.dose.DVHSequence
    ensure(abs(float(histogram.DVHMeanDose) / mean - 1) < 0.02, f"the histogram says {histogram.DVHMeanDose} Gy, not {mean}")


def metersets(record):
    """Of each beam: what this session was to deliver and did."""
    sessions = record.get("TreatmentSessionBeamSequence") or record.TreatmentSessionIonBeamSequence
    for beam in sessions:
        yield beam.ReferencedBeamNumber, beam


def delivered_as_planned(course):
    """every fraction is given, and in each every beam delivers the plan's meterset, in one session or two"""
    [group] = course.plan.FractionGroupSequence
    planned = {beam.ReferencedBeamNumber: float(beam.BeamMeterset) for beam in group.ReferencedBeamSequence}
    ensure(set(planned) == {beam.BeamNumber for beam in course.beams()}, "beams that the group doesn't have")
    fractions = {}
    for record in course.records:
        for number, beam in metersets(record):
            ensure(abs(float(beam.SpecifiedPrimaryMeterset) - planned[number]) < MU, f"beam {number}: specified otherwise")
            given = fractions.setdefault(int(beam.CurrentFractionNumber), dict.fromkeys(planned, 0.0))
            given[number] += float(beam.DeliveredPrimaryMeterset)
    ensure(sorted(fractions) == list(range(1, len(fractions) + 1)), f"fractions {sorted(fractions)}")
    ensure(len(fractions) == group.NumberOfFractionsPlanned, f"{len(fractions)} fractions of a whole course")
    for number, given in fractions.items():
        for beam, meterset in given.items():
            ensure(abs(meterset - planned[beam]) < MU, f"fraction {number}, beam {beam}: {meterset} of {planned[beam]}")


def machine_can(course):
    """control points go from 0 to the final weight; leaves stay within jaws, and no pair collides"""
    for beam in course.beams():
        points = beam.get("ControlPointSequence") or beam.IonControlPointSequence
        weights = [float(point.CumulativeMetersetWeight) for point in points]
        ensure(weights[0] == 0 and weights == sorted(weights), f"weights {weights}")
        ensure(weights[-1] == float(beam.FinalCumulativeMetersetWeight), "the last weight isn't the final one")
        ensure(len(points) == beam.NumberOfControlPoints, "control points are missing")
        jaws = None
        for point in points:
            devices = {one.RTBeamLimitingDeviceType: [float(value) for value in one.LeafJawPositions]
                       for one in point.get("BeamLimitingDevicePositionSequence", [])}
            jaws = devices.get("ASYMX", jaws)
            leaves = devices.get("MLCX")
            if leaves:
                half = len(leaves) // 2
                ensure(all(low <= high for low, high in zip(leaves, leaves[half:])), "leaves collide")
                ensure(jaws[0] <= min(leaves) and max(leaves) <= jaws[1], f"leaves beyond the jaws {jaws}")


JUDGES = [linked, spaced, drawn_on_slices, seen_on_images, target_at_isocentre, dose_as_prescribed,
          delivered_as_planned, machine_can]


def another_plan(course):
    course.records[-1].ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID = "2.25.1"


def another_frame(course):
    course.dose.FrameOfReferenceUID = "2.25.2"


def slice_left_out(course):
    del course.slices[7]


def slice_moved(course):
    course.slices[7].ImagePositionPatient[2] += 1


def contour_moved(course):
    contour = course.structures.ROIContourSequence[1].ContourSequence[0]
    contour.ContourData = [float(value) + (index % 3 == 2) for index, value in enumerate(contour.ContourData)]


def target_moved(course):
    [number] = [roi.ROINumber for roi in course.structures.StructureSetROISequence if roi.ROIName == "PTV"]
    [target] = [roi for roi in course.structures.ROIContourSequence if roi.ReferencedROINumber == number]
    for contour in target.ContourSequence:
        contour.ContourData = [float(value) + (index % 3 == 0) for index, value in enumerate(contour.ContourData)]


def image_blank(course):
    middle = course.slices[len(course.slices) // 2]
    middle.PixelData = bytes(len(middle.PixelData))


def dose_scaled(course):
    course.dose.DoseGridScaling = float(course.dose.DoseGridScaling) * 1.03


def dose_shifted(course):
    course.dose.ImagePositionPatient[0] += 2 * float(course.dose.PixelSpacing[1])


def meterset_less(course):
    _, beam = next(metersets(course.records[-1]))
    beam.DeliveredPrimaryMeterset = float(beam.DeliveredPrimaryMeterset) - 1


def leaf_beyond(course):
    point = course.beams()[0].ControlPointSequence[0]
    [leaves] = [one for one in point.BeamLimitingDevicePositionSequence if one.RTBeamLimitingDeviceType == "MLCX"]
    leaves.LeafJawPositions[30] = -190


# One altered object, and who has to notice it.
TWINS = [(another_plan, linked), (another_frame, linked), (slice_left_out, spaced), (slice_moved, spaced),
         (contour_moved, drawn_on_slices), (target_moved, target_at_isocentre), (image_blank, seen_on_images),
         (dose_scaled, dose_as_prescribed), (dose_shifted, dose_as_prescribed), (meterset_less, delivered_as_planned),
         (leaf_beyond, machine_can)]

courses = {name: Course(FOLDER / name) for name in TECHNIQUES}


def judged(judge, name):
    def run():
        judge(courses[name])
    run.__doc__ = f"{name}: {judge.__doc__}"
    return run


def noticed(alter, judge):
    def run():
        course = deepcopy(courses["arc"])
        judge(course)
        alter(course)
        try:
            judge(course)
        except AssertionError:
            return
        raise AssertionError(f"{alter.__name__} goes unnoticed")
    run.__doc__ = f"the twin that must fail: {alter.__name__.replace('_', ' ')}"
    return run


for name in TECHNIQUES:
    for judge in JUDGES:
        check(judged(judge, name))
for alter, judge in TWINS:
    check(noticed(alter, judge))

main()
