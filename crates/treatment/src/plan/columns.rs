//! Two plans side by side, line by line, in a therapist's words and the standard's: what was signed, and what is here now.
//!
//! Made from the rows that the digest and the diff are made from, so that no line can be as it was signed where the diff has a field.

use std::collections::{BTreeMap, BTreeSet};

use dicom_core::Tag;
use dicom_dictionary_std::tags as t;
use serde::Serialize;

use super::diff::NUMBERS_SHOWN_MAX;
use super::prescription::DoseReference;
use super::sheet::{JAW_ENDS, SPOKEN, STEPS_SHOWN, Track, Tracks, is_key, is_nought, path, steps, words};
use super::{Plan, digest};
use crate::dicom::scan::Attribute;
use crate::plan::delivery::{Class, Row, Units, Value};

/// Lines of one comparison; a plan of twenty beams has some 600.
const LINES_MAX: usize = 1_500;

/// As much of a digest as two people compare by eye.
const DIGITS: usize = 16;

/// Numbers of a position in the room.
const AXES: usize = 3;

/// How what is here stands to what was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineState {
    /// Nobody has signed anything that it could be compared with.
    ToBeSigned,
    AsSigned,
    /// Another value, no further off than a table top or a skin may be.
    WithinTolerance,
    /// It was signed, and is gone.
    NotHere,
    Another,
}

impl LineState {
    fn is_unsettled(self) -> bool {
        matches!(self, Self::NotHere | Self::Another)
    }
}

/// What was signed of a plan beside what is here of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Columns {
    pub sections: Vec<Section>,
    /// Lines that there was no room for, and how many of them are not as they were signed.
    pub left_out: usize,
    pub left_out_unsettled: usize,
}

/// The plan itself, a fraction group, or a beam.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Section {
    pub fraction_group: Option<u32>,
    pub beam: Option<u32>,
    /// The beam's, as it is here; as it was signed, where it isn't.
    pub name: Option<String>,
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// `Gantry`, `wedge 1: Wedge Angle`.
    pub what: String,
    #[serde(flatten)]
    pub attribute: Attribute,
    /// With its unit; none where the plan doesn't have it.
    pub signed: Option<String>,
    pub now: Option<String>,
    pub state: LineState,
}

/// What counts what is listed anyway, or names it: said only where it isn't as it was signed.
const UNSAID: &[Tag] = &[
    t::SOP_CLASS_UID,
    t::BEAM_NUMBER,
    t::REFERENCED_BEAM_NUMBER,
    t::FRACTION_GROUP_NUMBER,
    t::RT_BEAM_LIMITING_DEVICE_TYPE,
];

/// One of the two.
struct Side<'a> {
    plan: &'a Plan,
    /// By fraction group and beam.
    rows: BTreeMap<(Option<u32>, Option<u32>), Vec<&'a Row>>,
    units: BTreeMap<u32, Units<'a>>,
}

impl<'a> Side<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut rows: BTreeMap<_, Vec<&Row>> = BTreeMap::new();
        for row in plan.delivery.rows() {
            rows.entry((row.place.group, row.place.beam)).or_default().push(row);
        }
        Self { plan, rows, units: plan.delivery.units() }
    }

    /// What a place says, and what its values are counted in.
    fn tracks(&self, place: (Option<u32>, Option<u32>)) -> (Tracks<'a>, Units<'a>) {
        let rows = self.rows.get(&place).map_or(&[][..], Vec::as_slice);
        (Tracks::of(rows), place.1.and_then(|beam| self.units.get(&beam)).copied().unwrap_or_default())
    }

    fn name(&self, beam: u32) -> Option<String> {
        self.plan.beams.iter().find(|one| one.number == beam)?.name.clone()
    }
}

impl Columns {
    /// `signed`: none where nothing was.
    pub fn of(signed: Option<&Plan>, now: &Plan) -> Self {
        let (signed, now) = (signed.map(Side::of), Side::of(now));
        let both = || signed.iter().chain([&now]).map(|side| side.plan);
        let groups: BTreeSet<u32> = both().flat_map(|plan| &plan.groups).map(|group| group.number).collect();
        let beams: BTreeSet<u32> = both().flat_map(|plan| &plan.beams).map(|beam| beam.number).collect();
        let of = |place: (Option<u32>, Option<u32>), prefix: &str| {
            lines(signed.as_ref().map(|side| side.tracks(place)), now.tracks(place), prefix)
        };
        let mut lines = prescription(signed.as_ref().map(|side| side.plan), now.plan);
        lines.extend(of((None, None), ""));
        let mut sections = vec![Section { fraction_group: None, beam: None, name: None, lines }];
        for group in groups {
            let mut lines = of((Some(group), None), "");
            for beam in &beams {
                lines.extend(of((Some(group), Some(*beam)), &format!("beam {beam}: ")));
            }
            sections.push(Section { fraction_group: Some(group), beam: None, name: None, lines });
        }
        for beam in beams {
            let name = now.name(beam).or_else(|| signed.as_ref()?.name(beam));
            sections.push(Section { fraction_group: None, beam: Some(beam), name, lines: of((None, Some(beam)), "") });
        }
        Self::bounded(sections)
    }

    /// What is as it was signed gives way first.
    fn bounded(mut sections: Vec<Section>) -> Self {
        let count = |sections: &[Section], unsettled: bool| {
            let lines = sections.iter().flat_map(|section| &section.lines);
            lines.filter(|line| line.state.is_unsettled() == unsettled).count()
        };
        let [settled, unsettled] = [false, true].map(|is| count(&sections, is));
        let mut room = [LINES_MAX.saturating_sub(unsettled), LINES_MAX];
        for section in &mut sections {
            section.lines.retain(|line| {
                let [of_settled, of_unsettled] = &mut room;
                let left = if line.state.is_unsettled() { of_unsettled } else { of_settled };
                let has_room = *left > 0;
                *left = left.saturating_sub(1);
                has_room
            });
        }
        sections.retain(|section| !section.lines.is_empty());
        let left_out_unsettled = unsettled - count(&sections, true);
        Self { left_out: settled - count(&sections, false) + left_out_unsettled, left_out_unsettled, sections }
    }
}

/// The lines of one place, those that are set on a machine first.
fn lines(
    signed: Option<(Tracks<'_>, Units<'_>)>,
    (now, units_now): (Tracks<'_>, Units<'_>),
    prefix: &str,
) -> Vec<Line> {
    let mut lines = Vec::new();
    let spoken = SPOKEN.iter().map(|(word, tag, turns)| ((None, *tag), Some((*word, *turns))));
    let listed = now.all.iter().chain(signed.iter().flat_map(|(of, _)| &of.all)).map(|(key, _)| (*key, None));
    // Which way a thing turns stands with its angle.
    let mut said: BTreeSet<(Option<&str>, Tag)> =
        SPOKEN.iter().filter_map(|(.., turns)| *turns).map(|tag| (None, tag)).collect();
    for ((part, tag), word) in spoken.chain(listed) {
        if !said.insert((part, tag)) {
            continue;
        }
        let turning = word.and_then(|(_, turns)| turns);
        fn get<'a>(tracks: &Tracks<'a>, (part, tag): (Option<&str>, Tag)) -> Option<Track<'a>> {
            tracks.of_part(part, tag).cloned()
        }
        let (here, here_turns) = (get(&now, (part, tag)), turning.and_then(|turns| get(&now, (part, turns))));
        let (then, then_turns) = match &signed {
            Some((then, _)) => (get(then, (part, tag)), turning.and_then(|turns| get(then, (part, turns)))),
            None => (None, None),
        };
        let Some(first) = here.as_ref().or(then.as_ref()) else { continue };
        let state = match &signed {
            None => LineState::ToBeSigned,
            Some(_) => state(then.as_ref(), here.as_ref()).max(match (&then_turns, &here_turns) {
                (None, None) => LineState::AsSigned,
                (then, here) => state(then.as_ref(), here.as_ref()),
            }),
        };
        let keyword = Attribute(tag).keyword();
        let is_of_table =
            turning.is_some_and(|_| !["Gantry", "Collimator", "Couch"].contains(&word.unwrap_or_default().0));
        let is_no_setting = is_of_table || keyword.starts_with("NumberOf");
        let says_nothing = UNSAID.contains(&tag)
            || keyword.ends_with("Sequence")
            || is_key(&part, first)
            || (is_no_setting && first.iter().all(|row| is_nought(row)));
        if says_nothing && !state.is_unsettled() {
            continue;
        }
        let name = word.map_or_else(|| words(keyword), |(word, _)| word.to_owned());
        lines.push(Line {
            what: part.map_or_else(|| format!("{prefix}{name}"), |part| format!("{prefix}{part}: {name}")),
            attribute: Attribute(tag),
            signed: then.map(|track| {
                value(&track, then_turns.as_ref(), signed.as_ref().map(|(_, units)| *units).unwrap_or_default())
            }),
            now: here.map(|track| value(&track, here_turns.as_ref(), units_now)),
            state,
        });
    }
    lines
}

/// How one thing stands that was, or is, said; both from control point to control point.
fn state(then: Option<&Track<'_>>, here: Option<&Track<'_>>) -> LineState {
    let (then, here) = match (then, here) {
        (Some(then), Some(here)) => (then, here),
        (Some(_), None) => return LineState::NotHere,
        (None, _) => return LineState::Another,
    };
    if then.len() != here.len() {
        return LineState::Another;
    }
    then.iter().zip(here).map(|(then, here)| of_rows(then, here)).max().unwrap_or(LineState::AsSigned)
}

fn of_rows(then: &Row, here: &Row) -> LineState {
    if then.place.point == here.place.point && then.value == here.value {
        return LineState::AsSigned;
    }
    let is_near = |tolerance: i64| match (&then.value, &here.value) {
        (Value::Numbers(then), Value::Numbers(here)) if then.len() == here.len() => {
            then.iter().zip(here.iter()).all(|(then, here)| then.abs_diff(*here) <= tolerance.unsigned_abs())
        }
        _ => false,
    };
    let is_toleranced =
        then.place.point == here.place.point && [then, here].iter().all(|row| row.class == Class::Toleranced);
    match then.tolerance.filter(|tolerance| is_toleranced && is_near(*tolerance)) {
        Some(_) => LineState::WithinTolerance,
        None => LineState::Another,
    }
}

/// In words. Of what is too long for that, so much of a digest that two people can tell by eye whether it is the same.
fn value(track: &Track<'_>, turns: Option<&Track<'_>>, units: Units<'_>) -> String {
    let numbers: usize = track.iter().map(|row| row.len()).sum();
    let longest = track.iter().map(|row| row.len()).max().unwrap_or(0);
    let is_of_points = track.first().is_some_and(|row| row.place.point.is_some());
    let steps = steps(track).len();
    let content = || {
        let digest = digest::of_text("holdfast values v1", track.iter().copied()).to_string();
        digest.get(..DIGITS).unwrap_or_default().to_owned()
    };
    let are_leaves = track.iter().any(|row| row.tag == t::LEAF_JAW_POSITIONS) && longest > JAW_ENDS;
    if are_leaves || (is_of_points && longest > AXES) {
        let points = track.len();
        return match are_leaves {
            true => format!("{} pairs, {steps} shapes in {points} control points · {}", longest / 2, content()),
            false => format!("{numbers} numbers in {points} control points · {}", content()),
        };
    }
    let said = path(track, turns, units);
    match longest > NUMBERS_SHOWN_MAX || (turns.is_none() && steps > STEPS_SHOWN) {
        true => format!("{said} · {}", content()),
        false => said,
    }
}

/// What each dose reference prescribes: two people have signed it, though it moves no dose. The whole of it, as it is written, is in
/// the plan's context by its content.
fn prescription(signed: Option<&Plan>, now: &Plan) -> Vec<Line> {
    let state = |then: Option<&str>, here: Option<&str>| match (signed, then, here) {
        (None, ..) => LineState::ToBeSigned,
        (_, then, here) if then == here => LineState::AsSigned,
        (_, Some(_), None) => LineState::NotHere,
        _ => LineState::Another,
    };
    let line = |what: String, tag, then: Option<String>, here: Option<String>| {
        let state = state(then.as_deref(), here.as_deref());
        Line { what, attribute: Attribute(tag), signed: then, now: here, state }
    };
    let both = || signed.into_iter().chain([now]);
    let numbers: BTreeSet<u32> =
        both().flat_map(|plan| &plan.prescription.references).map(|reference| reference.number).collect();
    let mut lines = Vec::new();
    for number in numbers {
        let find = |plan: &Plan| plan.prescription.references.iter().find(|one| one.number == number).map(prescribes);
        let is_target =
            both().flat_map(|plan| &plan.prescription.references).any(|one| one.number == number && one.is_target);
        let tag = if is_target { t::TARGET_PRESCRIPTION_DOSE } else { t::ORGAN_AT_RISK_MAXIMUM_DOSE };
        lines.push(line(format!("Dose reference {number}"), tag, signed.and_then(find), find(now)));
    }
    lines
}

fn prescribes(reference: &DoseReference) -> String {
    let name = reference.description.as_deref().unwrap_or("no name");
    match (reference.is_target, reference.prescribed, reference.maximum) {
        (true, Some(dose), _) => format!("{name} (target): {dose}"),
        (false, _, Some(dose)) => format!("{name} (organ at risk): at most {dose}"),
        (true, None, _) => format!("{name} (target): no dose said"),
        (false, _, None) => format!("{name} (organ at risk): no dose said"),
    }
}
