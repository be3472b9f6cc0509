//! What a treatment machine writes of what it delivered.

use std::collections::BTreeSet;

use dicom_core::Tag;
use dicom_dictionary_std::tags as t;
use kit::Digest;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::doses::{self, SaidDose};
use crate::dicom::object::{Instance, Kind, ObjectError};
use crate::dicom::read::{integer, number, sequence};
use crate::dicom::scan::{Attribute, Set, Tree};
use crate::dicom::schema;
use crate::dicom::value::{Characters, Number, code, trimmed, uid};
use crate::error::PlanError;
use crate::interruption::calendar::Day;
use crate::plan::delivery::Place;

/// One RT Beams or RT Ion Beams Treatment Record, or RT Treatment Summary Record, as far as it tells what was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreatmentRecord {
    pub instance: Instance,
    /// SOP Instance UID of the plan that was delivered: none where the record doesn't say, several where it contradicts
    /// the standard.
    pub plans: Vec<String>,
    pub fraction_group: Option<u32>,
    /// Treatment Date and Time, to the second; none where one of them is missing.
    pub treated_at: Option<String>,
    /// Treatment Date.
    pub treated_on: Option<String>,
    /// Minutes by which its clock is ahead of UTC: Timezone Offset From UTC (0008,0201), which few machines write.
    pub utc_offset: Option<i32>,
    /// Date and time as they are written, where they were brought to another zone's clock.
    pub(super) written: Option<(Option<String>, Option<String>)>,
    pub beams: Vec<RecordedBeam>,
    /// Of a summary: what it counts in each fraction group.
    pub summaries: Vec<GroupSummary>,
    /// Whether Current Treatment Status (3008,0200) says that the treatment has ended, or rests; none where it isn't said.
    pub ended: Option<bool>,
    /// Of a summary: Most Recent Treatment Date (3008,0056), up to which it counts.
    pub summed_to: Option<String>,
    /// Treatment Machine Name.
    pub machine: Option<String>,
    /// Treatment Record Content Origin (300A,0709).
    pub origin: Option<Origin>,
    /// Doses of the session as a whole that it says itself.
    pub doses: Vec<SaidDose>,
    /// And of all that a summary sums up.
    pub summed_doses: Vec<SaidDose>,
}

/// Where a record's content comes from: PS3.3 section C.8.8.17, edition 2024d.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    Device,
    /// Somebody typed it in, from paper.
    User,
    Simulation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedBeam {
    pub number: Option<u32>,
    pub name: Option<String>,
    pub fraction: Option<u32>,
    /// It says that it set up or took an image.
    pub imaging: bool,
    /// Thousandths of the dosimeter unit, as the beam says, or what its control points went through where that is more;
    /// none where the beam doesn't say.
    pub delivered: Option<i64>,
    /// Primary Dosimeter Unit: none where the beam doesn't say.
    pub unit: Option<Unit>,
    /// It says that nothing was delivered, and that it ended as it should, took its time, or was seen by the second dosimeter.
    pub contradicts_nothing: bool,
    /// Specified Primary Meterset (3008,0032), in thousandths.
    pub specified: Option<i64>,
    /// Treatment Termination Status (3008,002A): NORMAL, OPERATOR, MACHINE, UNKNOWN.
    pub termination: Option<String>,
    /// Treatment Verification Status (3008,002C): VERIFIED, VERIFIED_OVR, NOT_VERIFIED.
    pub verification: Option<String>,
    pub overrides: Vec<Override>,
    /// What its first control point on record had delivered already, in thousandths: where it is more than nothing, the beam is a rest.
    pub began: i64,
    /// Its control points went from one meterset to another: a single one says nothing of where it began.
    pub is_stretch: bool,
    /// It says that the beam had begun before: Treatment Delivery Type (300A,00CE) CONTINUATION.
    pub goes_on: bool,
    /// Its control points go through as much as it says that it delivered: where it began and ended is said.
    pub is_placed: bool,
    /// It says a meterset that no machine delivers: less than nothing, or more than can be written down.
    pub is_absurd: bool,
    /// Doses that it says itself.
    pub doses: Vec<SaidDose>,
}

/// One item of Override Sequence (3008,0060): what somebody let pass, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Override {
    /// The DICOM keyword of what Override Parameter Pointer (3008,0062) points to, or its number.
    pub parameter: Option<String>,
    pub reason: Option<String>,
}

/// Overrides of one beam that are kept; a beam has a dozen parameters.
const OVERRIDES_MAX: usize = 100;

/// Primary Dosimeter Unit (300A,00B3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Mu,
    Minute,
    Other,
}

impl Unit {
    pub(super) fn of(text: &str) -> Self {
        match text {
            "MU" => Self::Mu,
            "MINUTE" => Self::Minute,
            _ => Self::Other,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    pub group: Option<u32>,
    /// Number of Fractions Delivered, or the items of its Fraction Status Summary where these are more.
    pub fractions_delivered: Option<u32>,
    /// It counts less than none.
    pub is_unclear: bool,
}

/// What control points go through is what was delivered, to the hundredth, as both are written, or to this share.
const PLACED: i64 = 10;
const PLACED_SHARE: i64 = 200;
/// 20 MU: a portal image takes some.
const IMAGE_MAX: i64 = 20_000;

impl RecordedBeam {
    /// What isn't said to be imaging treated, and what isn't said to be nothing was something. Nobody images with as much
    /// as a small fraction's beam delivers.
    fn gave_dose(&self) -> bool {
        match self.delivered {
            Some(delivered) if self.imaging => delivered >= IMAGE_MAX,
            delivered => !self.imaging && (delivered != Some(0) || self.contradicts_nothing),
        }
    }
}

impl TreatmentRecord {
    /// Of what it says was given, whoever it says it was given to: a record that is corrected and sent again is the same. One
    /// that says no time is told from another only by its SOP Instance UID.
    pub(crate) fn identity(&self) -> Digest {
        let Self {
            plans,
            fraction_group,
            treated_at,
            treated_on,
            beams,
            summaries,
            ended,
            summed_to,
            instance,
            origin,
            written,
            ..
        } = self;
        let (treated_at, treated_on) = match written {
            Some((at, on)) => (at, on),
            None => (treated_at, treated_on),
        };
        let untimed = treated_at.is_none().then_some(&instance.sop_instance);
        let mut said = format!(
            "record 1 {plans:?} {fraction_group:?} {treated_at:?} {treated_on:?} {ended:?} {summed_to:?} {untimed:?}\n"
        );
        // What was typed in is never the machine's own word, whatever it says.
        if *origin == Some(Origin::User) {
            said.push_str("typed in\n");
        }
        // What is no word on her at all is none of the same record corrected, either.
        if *origin == Some(Origin::Simulation) {
            said.push_str("simulated\n");
        }
        // What is read of a beam may become more: what is said here stays, or a record that came again would be another one.
        for RecordedBeam { number, fraction, imaging, delivered, began, goes_on, .. } in beams {
            said.push_str(&format!("beam {number:?} {fraction:?} {imaging} {delivered:?}\n"));
            // Two parts of one beam may be of the same size, and say the session's time both.
            if *began > 0 {
                said.push_str(&format!("from {began}\n"));
            }
            if *goes_on {
                said.push_str("goes on\n");
            }
        }
        for GroupSummary { group, fractions_delivered, .. } in summaries {
            said.push_str(&format!("summary {group:?} {fractions_delivered:?}\n"));
        }
        Digest(Sha256::digest(said).into())
    }

    /// By a clock that is ahead of UTC by so many minutes, where it says by which clock it was written.
    pub(crate) fn by_clock(mut self, minutes: i32) -> Self {
        let ahead = self.utc_offset.map_or(0, |said| minutes - said);
        // Up to which day, there: which sessions here those are, a day doesn't say.
        self.summed_to = self.summed_to.filter(|_| ahead == 0);
        let moved = (self.treated_at.as_deref()).filter(|_| ahead != 0).and_then(|at| moved(at, ahead));
        if let Some(at) = moved {
            let on = at.get(..8).map(str::to_owned);
            self.written = Some((self.treated_at.replace(at), std::mem::replace(&mut self.treated_on, on)));
        }
        self
    }

    /// Whether a beam of it gave dose at a time, or on a day, that isn't surely after this one (`YYYYMMDD HHMMSS`).
    pub(crate) fn gave_dose_before(&self, time: &str) -> bool {
        let is_after = match (&self.treated_at, &self.treated_on) {
            (Some(at), _) => at.as_str() > time,
            (None, Some(on)) => time.get(..8).is_some_and(|day| on.as_str() > day),
            (None, None) => false,
        };
        !is_after && self.beams.iter().any(RecordedBeam::gave_dose)
    }

    /// Whether it says that anything was delivered, be it an image: less than that is no reason to forget a record that is refused.
    pub(crate) fn gave_anything(&self) -> bool {
        self.beams.iter().any(|beam| beam.delivered != Some(0)) || self.gave_dose()
    }

    /// Whether any of its beams gave dose, as far as it tells.
    pub fn gave_dose(&self) -> bool {
        self.beams.iter().any(RecordedBeam::gave_dose)
            || self.summaries.iter().any(|s| s.is_unclear || s.fractions_delivered.is_some_and(|n| n > 0))
            || self.ended == Some(true)
    }

    /// A file, with or without a Part 10 header.
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        Self::of_tree(&Tree::of_file(bytes)?)
    }

    pub(crate) fn of_tree(tree: &Tree<'_>) -> Result<Self, PlanError> {
        let instance = Instance::of_tree(tree)?;
        let (root, place) = (tree.root(), Place::default());
        let (mut beams, mut summaries) = (Vec::new(), Vec::new());
        let characters = Characters::of(root).ok();
        let text = |set: Set<'_>, tag| said(characters.as_ref(), set, tag);
        // Of the session; some machines say it of each beam.
        let unit = root.get(t::PRIMARY_DOSIMETER_UNIT).and_then(|e| code(e.bytes()).ok());
        let unit = unit.filter(|unit| !unit.is_empty()).map(|unit| Unit::of(&unit));
        // The one of its class; what stands in the other one was delivered, too.
        let mut session = |its_own: Tag| {
            let both = [
                (t::TREATMENT_SESSION_BEAM_SEQUENCE, t::CONTROL_POINT_DELIVERY_SEQUENCE),
                (t::TREATMENT_SESSION_ION_BEAM_SEQUENCE, t::ION_CONTROL_POINT_DELIVERY_SEQUENCE),
            ];
            let mut is_empty = true;
            for (beam_sequence, points) in both {
                for beam in sequence(root, beam_sequence, &place)? {
                    is_empty &= beam.elements().next().is_none();
                    beams.push(RecordedBeam {
                        name: text(beam, t::BEAM_NAME),
                        overrides: sequence(beam, t::OVERRIDE_SEQUENCE, &place)?
                            .into_iter()
                            .take(OVERRIDES_MAX)
                            .map(|one| Override {
                                parameter: pointer(one).map(|tag| Attribute(tag).to_string()),
                                reason: text(one, t::OVERRIDE_REASON),
                            })
                            .collect(),
                        ..recorded(beam, points, unit, &place)?
                    });
                }
            }
            // Type 1, one item or more (PS3.3 sections C.8.8.21 and C.8.8.26, edition 2024d).
            if is_empty {
                return Err(PlanError::Object(ObjectError::EmptyRecord { attribute: Attribute(its_own) }));
            }
            Ok(())
        };
        match instance.kind {
            Kind::RtBeamsRecord => session(t::TREATMENT_SESSION_BEAM_SEQUENCE)?,
            Kind::RtIonBeamsRecord => session(t::TREATMENT_SESSION_ION_BEAM_SEQUENCE)?,
            Kind::RtTreatmentSummary => {}
            kind => return Err(ObjectError::Class { uid: kind.sop_class().to_owned() }.into()),
        }
        // A record of beams may summarize, too (PS3.3 section A.29.3, RT Treatment Summary Record: U).
        for group in sequence(root, t::FRACTION_GROUP_SUMMARY_SEQUENCE, &place)? {
            let delivered = integer(group, t::NUMBER_OF_FRACTIONS_DELIVERED, &place)?;
            let (mut numbers, mut unnumbered) = (BTreeSet::new(), 0_usize);
            for fraction in sequence(group, t::FRACTION_STATUS_SUMMARY_SEQUENCE, &place)? {
                // What was begun and its rest are two items of one number.
                match positive(fraction, t::REFERENCED_FRACTION_NUMBER, &place)? {
                    Some(number) => drop(numbers.insert(number)),
                    None => unnumbered += 1,
                }
            }
            let listed = u32::try_from(numbers.len().saturating_add(unnumbered)).unwrap_or(u32::MAX);
            summaries.push(GroupSummary {
                group: positive(group, t::REFERENCED_FRACTION_GROUP_NUMBER, &place)?,
                fractions_delivered: match delivered {
                    // Less than none is no count.
                    Some(n) if n < 0 => None,
                    Some(n) => Some(u32::try_from(n).unwrap_or(u32::MAX).max(listed)),
                    None => Some(listed).filter(|listed| *listed > 0),
                },
                is_unclear: delivered.is_some_and(|n| n < 0),
            });
        }
        let status = root.get(t::CURRENT_TREATMENT_STATUS).and_then(|e| code(e.bytes()).ok());
        let ended = status.filter(|status| !status.is_empty());
        let ended = ended.map(|status| matches!(status.as_str(), "COMPLETED" | "SUSPENDED" | "STOPPED"));
        let mut plans = Vec::new();
        for plan in sequence(root, t::REFERENCED_RT_PLAN_SEQUENCE, &place)? {
            let Some(element) = plan.get(t::REFERENCED_SOP_INSTANCE_UID) else { continue };
            plans.push(uid(element.bytes()).map_err(|fault| PlanError::Value {
                place: place.clone(),
                attribute: Attribute(t::REFERENCED_SOP_INSTANCE_UID),
                fault,
            })?);
        }
        // Hours and minutes, and seconds: an archive may write fractions of a second, or leave them. What is no time of day is none.
        let time = |tag| {
            let text = root.get(tag).map(|e| String::from_utf8_lossy(trimmed(e.bytes())).into_owned())?;
            let digits: String = text.chars().take_while(|c| *c != '.').filter(char::is_ascii_digit).collect();
            let is_time =
                matches!(digits.len(), 4 | 6) && *digits < *"24" && digits.get(2..).is_none_or(|rest| rest < "60");
            // An hour tells two sessions apart as little as a day, and a machine that writes nought for every time says none.
            is_time.then(|| format!("{digits:0<6}")).filter(|time| time != "000000")
        };
        // ACR-NEMA wrote dates with dots.
        let date = |tag| {
            let text = root.get(tag).map(|e| String::from_utf8_lossy(trimmed(e.bytes())).into_owned())?;
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            (digits.len() == 8).then_some(digits)
        };
        // Of several machines none is said.
        let machine = sequence(root, t::TREATMENT_MACHINE_SEQUENCE, &place)?;
        let origin = root.get(t::TREATMENT_RECORD_CONTENT_ORIGIN).and_then(|e| code(e.bytes()).ok());
        // Nobody writes on paper where on a beam it stopped.
        if origin.as_deref() == Some("USER") {
            beams.iter_mut().for_each(|beam| beam.is_placed = false);
        }
        Ok(Self {
            utc_offset: root
                .get(t::TIMEZONE_OFFSET_FROM_UTC)
                .and_then(|e| offset(std::str::from_utf8(trimmed(e.bytes())).ok()?)),
            written: None,
            machine: machine.first().filter(|_| machine.len() == 1).and_then(|m| text(*m, t::TREATMENT_MACHINE_NAME)),
            origin: origin.and_then(|origin| match origin.as_str() {
                "DEVICE" => Some(Origin::Device),
                "USER" => Some(Origin::User),
                "SIMULATION" => Some(Origin::Simulation),
                _ => None,
            }),
            plans,
            fraction_group: positive(root, t::REFERENCED_FRACTION_GROUP_NUMBER, &place)?,
            // What summarizes beside its own beams, does so up to them.
            summed_to: date(t::MOST_RECENT_TREATMENT_DATE)
                .or_else(|| date(t::TREATMENT_DATE).filter(|_| !summaries.is_empty() && !beams.is_empty())),
            treated_on: date(t::TREATMENT_DATE),
            treated_at: date(t::TREATMENT_DATE)
                .zip(time(t::TREATMENT_TIME))
                .map(|(date, time)| format!("{date} {time}")),
            beams,
            summaries,
            ended,
            instance,
            doses: doses::of_session(root),
            summed_doses: doses::summed(root),
        })
    }
}

/// `+HHMM` or `-HHMM`, in minutes.
fn offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let part = |range| digits.get(range).and_then(|digits: &str| digits.parse::<i32>().ok());
    let (hours, minutes) = part(0..2).zip(part(2..4)).filter(|_| digits.len() == 4)?;
    ((0..=14).contains(&hours) && (0..60).contains(&minutes)).then_some(sign * (60 * hours + minutes))
}

/// `YYYYMMDD HHMMSS`, so many minutes later.
fn moved(at: &str, minutes: i32) -> Option<String> {
    let time = at.get(9..).filter(|time| time.len() == 6)?;
    let part = |range| time.get(range).and_then(|digits: &str| digits.parse::<i32>().ok());
    let later = 60 * part(0..2)? + part(2..4)? + minutes;
    let day = Day::of_dicom(at.get(..8)?)?.plus(later.div_euclid(24 * 60)).to_string().replace('-', "");
    let of_day = later.rem_euclid(24 * 60);
    Some(format!("{day} {:02}{:02}{:02}", of_day / 60, of_day % 60, part(4..6)?))
}

/// Text that can be read, and says something.
fn said(characters: Option<&Characters>, set: Set<'_>, tag: Tag) -> Option<String> {
    let text = characters?.text(set.get(tag)?.bytes()).ok()?;
    (!text.is_empty()).then_some(text)
}

/// A tag's two halves, little endian: big endian isn't read at all.
fn pointer(item: Set<'_>) -> Option<Tag> {
    let bytes: [u8; 4] = item.get(t::OVERRIDE_PARAMETER_POINTER)?.bytes().try_into().ok()?;
    let [g0, g1, e0, e1] = bytes;
    Some(Tag(u16::from_le_bytes([g0, g1]), u16::from_le_bytes([e0, e1])))
}

/// The plans that a treatment record names, as far as it can be read.
pub(crate) fn plans_named(root: Set<'_>) -> BTreeSet<String> {
    let items = root.get(t::REFERENCED_RT_PLAN_SEQUENCE).into_iter().flat_map(|sequence| sequence.items());
    items.filter_map(|item| uid(item.get(t::REFERENCED_SOP_INSTANCE_UID)?.bytes()).ok()).collect()
}

fn recorded(beam: Set<'_>, points: Tag, unit: Option<Unit>, place: &Place) -> Result<RecordedBeam, PlanError> {
    let kind = beam.get(t::TREATMENT_DELIVERY_TYPE).and_then(|e| code(e.bytes()).ok()).unwrap_or_default();
    let number_said = number(beam, t::DELIVERED_PRIMARY_METERSET, place)?;
    let said = thousandths(number_said);
    let is_absurd = number_said.is_some() && said.is_none_or(|said| said < 0);
    // From the meterset where it began (a resumed beam's isn't zero) to the one where it ended.
    let mut reached = BTreeSet::new();
    for point in sequence(beam, points, place)? {
        reached.extend(thousandths(number(point, t::DELIVERED_METERSET, place)?));
    }
    let (began, goes_on) = (reached.first().copied().unwrap_or(0).max(0), kind == "CONTINUATION");
    let moved = reached.first().zip(reached.last()).map(|(first, last)| last.saturating_sub(*first));
    let imaging = matches!(kind.as_str(), "SETUP" | "OPEN_PORTFILM" | "TRMT_PORTFILM");
    // Less than nothing is as good as unsaid.
    let said = said.filter(|said| *said >= 0);
    let text = |tag| beam.get(tag).and_then(|e| code(e.bytes()).ok()).filter(|text| !text.is_empty());
    // What can't be read there is no evidence.
    let is_more = |tag| number(beam, tag, place).ok().flatten().is_some_and(|n| !n.is_zero() && !n.is_negative());
    let ending = text(t::TREATMENT_TERMINATION_STATUS);
    let ended_well = ending.as_deref() == Some("NORMAL");
    // An interlock takes time, too.
    let took_time = ending.is_none() && is_more(t::DELIVERED_TREATMENT_TIME);
    let was_seen = is_more(t::DELIVERED_SECONDARY_METERSET) || took_time;
    Ok(RecordedBeam {
        name: None,
        overrides: Vec::new(),
        specified: thousandths(number(beam, t::SPECIFIED_PRIMARY_METERSET, place).ok().flatten())
            .filter(|said| *said >= 0),
        termination: ending,
        verification: text(t::TREATMENT_VERIFICATION_STATUS),
        number: positive(beam, t::REFERENCED_BEAM_NUMBER, place)?,
        fraction: positive(beam, t::CURRENT_FRACTION_NUMBER, place)?,
        imaging,
        // A beam that says nothing counts whole, whatever its control points say; an image counts by them.
        delivered: said.map(|said| said.max(moved.unwrap_or(0))).or(moved.filter(|_| imaging)),
        unit: text(t::PRIMARY_DOSIMETER_UNIT).map(|unit| Unit::of(&unit)).or(unit),
        contradicts_nothing: ended_well || was_seen,
        began,
        is_stretch: moved.is_some_and(|moved| moved > 0),
        goes_on,
        // What goes on and counts from nought doesn't say from where.
        is_placed: !(goes_on && began == 0)
            && moved
                .zip(said)
                .is_some_and(|(moved, said)| said > 0 && (said - moved).abs() <= PLACED.max(said / PLACED_SHARE)),
        is_absurd,
        doses: doses::of_beam(beam),
    })
}

/// What is more than nothing is a thousandth at least.
fn thousandths(meterset: Option<Number>) -> Option<i64> {
    let meterset = meterset?;
    let fixed = meterset.fixed(schema::Kind::Meterset.places())?;
    Some(if fixed == 0 && !meterset.is_zero() && !meterset.is_negative() { 1 } else { fixed })
}

fn positive(set: Set<'_>, tag: dicom_core::Tag, place: &Place) -> Result<Option<u32>, PlanError> {
    Ok(integer(set, tag, place)?.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_with_its_zone_is_brought_to_the_centres_clock() {
        for (text, minutes) in [("+0530", Some(330)), ("-0800", Some(-480)), ("+1400", Some(840)), ("+0000", Some(0))] {
            assert_eq!(offset(text), minutes, "{text}");
        }
        for none in ["0530", "+5:30", "+05", "+1500", "+0560", "", "+05300", "+-530"] {
            assert_eq!(offset(none), None, "{none}");
        }
        assert_eq!(moved("20261130 233007", 330).as_deref(), Some("20261201 050007"));
        assert_eq!(moved("20260301 001500", -30).as_deref(), Some("20260228 234500"));
        assert_eq!(moved("20261130", 330), None);
    }
}
