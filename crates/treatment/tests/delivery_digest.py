"""The delivery digest, written a second time from docs/formats/delivery-digest.md alone, over pydicom.

It shares nothing with the crate but that page: the lists of attributes are read from it. So it checks the digest, and
it checks that the page says enough for somebody else to compute it. It refuses nothing; it only computes.

    python delivery_digest.py [--text] PLAN.dcm...      prints digest and path, or the canonical text
"""

import hashlib
import re
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pydicom

PAGE = Path(__file__).resolve().parents[3] / "docs" / "formats" / "delivery-digest.md"
SCALES = {
    "0.01 mm": 100, "0.01°": 100, "0.001 MU": 1000, "0.001 MeV": 1000, "0.001 kV": 1000, "0.001 MU/min": 1000,
    "0.001 s": 1000, "10⁻⁶": 10**6, "integer": 1,
}
WEIGHT_SCALE = 10**7
FULL_TURN = 36000
COUCH = (0x300A0128, 0x300A0129, 0x300A012A)
COUNTS = ["NumberOfControlPoints", "NumberOfWedges", "NumberOfCompensators", "NumberOfBoli", "NumberOfBlocks"]
ION_COUNTS = COUNTS + ["NumberOfRangeShifters", "NumberOfLateralSpreadingDevices", "NumberOfRangeModulators"]
ALONE = {"fluence", "applicator", "snout", "opening"}


def lists():
    """Each list of the page, by its heading and by the sequence whose items it is of."""
    page = PAGE.read_text(encoding="utf-8")
    tables = {}
    for section in page[page.index("## Lists"):page.index("## A whole canonical text")].split("\n### ")[1:]:
        heading, body = section.split("\n", 1)
        table = {"digested": {}, "items": {}, "ties": []}
        for paragraph in body.split("\n\n"):
            use, _, entries = " ".join(paragraph.split()).partition(": ")
            for group, element, rest in re.findall(r"\(([0-9A-F]{4}),([0-9A-F]{4})\) ([^(]*)", entries):
                tag = int(group + element, 16)
                if use == "Digested":
                    table["digested"][tag] = re.search(r"\[([^];,]*)", rest).group(1)
                elif use == "Ties the parts together":
                    table["ties"].append(tag)
            if use == "Digested, item by item":
                for group, element, label in re.findall(r"\(([0-9A-F]{4}),([0-9A-F]{4})\) \w+ \(`(\w+)`\)", entries):
                    table["items"][int(group + element, 16)] = label
        named = re.match(r"`\w+`, an item of (\w+)(?: or (\w+))?", heading)
        for name in filter(None, named.groups() if named else [heading]):
            if name in tables:
                raise ValueError(f"{name} has two lists")
            tables[name] = table
    return tables


TABLES = lists()


def exactly(value):
    """A DS as the decimal it spells, a binary float as what it holds."""
    return Fraction(Decimal(value.original_string.strip())) if hasattr(value, "original_string") else Fraction(value)


def rounded(value):
    """Half away from zero."""
    whole, rest = divmod(abs(value), 1)
    return (-1 if value < 0 else 1) * (int(whole) + (rest >= Fraction(1, 2)))


def values(element):
    if element.value is None or element.value == "":
        return []
    return list(element.value) if element.VM > 1 else [element.value]


def read(elements, table, part, final_weight, rows):
    for element in elements:
        tag = int(element.tag)
        if element.tag.is_private:
            continue
        if tag in table["digested"] and values(element):
            unit = table["digested"][tag]
            if unit in ("code", "text"):
                if text := str(element.value).strip(" \0"):
                    rows[part, tag] = text
                continue
            exact = [exactly(value) for value in values(element)]
            if unit.startswith("share"):
                numbers = [rounded(value / final_weight * WEIGHT_SCALE) for value in exact]
            else:
                numbers = [rounded(value * SCALES[unit]) for value in exact]
            if unit == "0.01°":
                numbers = [number % FULL_TURN for number in numbers]
            rows[part, tag] = ",".join(map(str, numbers))
        elif tag in table["items"]:
            label = table["items"][tag]
            inner = TABLES[element.keyword]
            for order, item in enumerate(element.value, 1):
                key = next((key for key in inner["ties"] if key in item), None)
                name = label if label in ALONE else f"{label} {item[key].value if key else order}"
                inside = f"{part} {name}".strip()
                rows[inside, key or tag] = str(item[key].value if key else order)
                read(item, inner, inside, final_weight, rows)


def couch_motion(points, rows_of):
    """Where the couch moves within a beam, its way from where it stood at control point 0."""
    for tag in COUCH:
        at, here = [], None
        for point in points:
            if tag in point and values(point[tag]):
                here = rounded(exactly(point[tag].value) * 100)
            at.append(here)
        if at[0] is not None and any(position != at[0] for position in at):
            for rows, position in list(zip(rows_of, at))[1:]:
                rows["", tag] = str(position - at[0])


def canonical(path):
    plan = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in plan.file_meta:
        plan.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    is_ion = "IonBeamSequence" in plan
    kind = "RT Ion Plan" if is_ion else "RT Plan"
    lines = []

    def emit(order, place, rows):
        for (part, tag), value in rows.items():
            where = f"{place} {part}".strip() or "plan"
            line = f"{where} ({tag >> 16:04X},{tag & 0xFFFF:04X}) {value}\n"
            lines.append(((order, part.encode(), tag), line))

    rows = {("", 0x00080016): str(plan.SOPClassUID)}
    read((e for e in plan if 0x3002 <= e.tag.group <= 0x3010), TABLES["Plan"], "", None, rows)
    emit((0,), "", rows)

    setups = {int(setup.PatientSetupNumber): setup for setup in plan.get("PatientSetupSequence", [])}
    for beam in plan.IonBeamSequence if is_ion else plan.BeamSequence:
        number = int(beam.BeamNumber)
        final = beam.get("FinalCumulativeMetersetWeight")
        final = exactly(final) if final not in (None, "") else None
        rows = {("", 0x300A00C0): str(number)}
        read(beam, TABLES[f"Beam ({kind})"], "", final, rows)
        for keyword in ION_COUNTS if is_ion else COUNTS:
            rows["", int(beam[keyword].tag)] = str(int(beam[keyword].value))
        setup = beam.get("ReferencedPatientSetupNumber")
        if setup in (None, ""):
            setup = next(iter(setups), None)
        if setup is not None:
            read(setups[int(setup)], TABLES["Patient setup"], "setup", None, rows)
        emit((1, number, 0), f"beam {number}", rows)
        points = beam.IonControlPointSequence if is_ion else beam.ControlPointSequence
        state, rows_of = {}, []
        for point in points:
            read(point, TABLES[f"Control point ({kind})"], "", final, state)
            rows_of.append(dict(state))
        couch_motion(points, rows_of)
        for index, rows in enumerate(rows_of):
            emit((1, number, 1, index), f"beam {number} point {index}", rows)

    for group in plan.FractionGroupSequence:
        number = int(group.FractionGroupNumber)
        rows = {("", 0x300A0071): str(number)}
        read(group, TABLES["Fraction group"], "", None, rows)
        emit((2, number, 0), f"group {number}", rows)
        for reference in group.ReferencedBeamSequence:
            beam = int(reference.ReferencedBeamNumber)
            rows = {("", 0x300C0006): str(beam)}
            read(reference, TABLES["Beam in a fraction group"], "", None, rows)
            emit((2, number, 1, beam), f"group {number} beam {beam}", rows)
    return "holdfast delivery v1\n" + "".join(line for _, line in sorted(lines))


if __name__ == "__main__":
    paths = sys.argv[1:]
    as_text = "--text" in paths
    for path in (path for path in paths if path != "--text"):
        text = canonical(path)
        print(text if as_text else f"{hashlib.sha256(text.encode()).hexdigest()}  {path}", end="" if as_text else "\n")
