//! Treatment records made of one that a machine wrote, by the drill's own walker.

use super::course::{Group, Session};
use crate::tamper::WalkError;
use crate::tamper::walk::{Dataset, File, Tag};

const MEDIA_UID: Tag = 0x0002_0003;
const UID: Tag = 0x0008_0018;
const GROUP: Tag = 0x300C_0022;
const PLANNED: Tag = 0x300A_0078;
const DATE: Tag = 0x3008_0250;
const TIME: Tag = 0x3008_0251;
const BEAMS: [Tag; 2] = [0x3008_0020, 0x3008_0021];
const BEAM: Tag = 0x300C_0006;
const FRACTION: Tag = 0x3008_0022;
const TERMINATION: Tag = 0x3008_002A;
const SPECIFIED: Tag = 0x3008_0032;
const DELIVERED: Tag = 0x3008_0036;
const POINTS: [Tag; 2] = [0x3008_0040, 0x3008_0041];
const SPECIFIED_THERE: Tag = 0x3008_0042;
const DELIVERED_THERE: Tag = 0x3008_0044;

/// A whole record: every beam of the plan stands in it.
pub(super) struct Template(File);

/// One record: which session it tells of, and under which SOP Instance UID.
#[derive(Clone)]
pub(super) struct Said {
    pub(super) session: Session,
    pub(super) uid: String,
    pub(super) clock: Clock,
}

/// What a record says of the time of day.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    Whole,
    /// An archive has dropped the seconds.
    Minutes,
    /// It has said it by another zone, so many minutes ahead.
    Zone(i64),
    /// A day and no time.
    Day,
}

/// Past the minute: every session's.
const SECONDS: u32 = 12;
const DAY_MINUTES: i64 = 24 * 60;

/// Thousandths as a decimal string.
fn decimal(thousandths: i64) -> String {
    format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000)
}

/// `YYYYMMDD`, so many days after 2026-03-02, a Monday.
fn date(day: i64) -> String {
    let (year, month, day) = kit::Timestamp((20_514 + day) * 86_400_000).civil_date();
    format!("{year:04}{month:02}{day:02}")
}

impl Template {
    pub(super) fn read(record: &[u8]) -> Result<Self, WalkError> {
        File::read(record).map(Self)
    }

    pub(super) fn record(&self, group: &Group, said: &Said) -> Vec<u8> {
        let Said { session, uid, clock } = said;
        let mut file = self.0.clone();
        file.meta.set_text(MEDIA_UID, *b"UI", uid);
        let root = &mut file.data;
        root.set_text(UID, *b"UI", uid);
        root.set_text(GROUP, *b"IS", &group.number.to_string());
        root.set_text(PLANNED, *b"IS", &group.planned.to_string());
        let ahead = if let Clock::Zone(minutes) = clock { *minutes } else { 0 };
        let minutes = session.day * DAY_MINUTES + i64::from(session.minute) + ahead;
        let (day, minute) = (minutes.div_euclid(DAY_MINUTES), minutes.rem_euclid(DAY_MINUTES));
        root.set_text(DATE, *b"DA", &date(day));
        let time = format!("{:02}{:02}{SECONDS:02}", minute / 60, minute % 60);
        let time = match clock {
            Clock::Whole | Clock::Zone(_) => &time,
            Clock::Minutes => time.get(..4).unwrap_or_default(),
            Clock::Day => "",
        };
        root.set_text(TIME, *b"TM", time);
        for sequence in BEAMS {
            let Some(beams) = root.items_mut(sequence) else { continue };
            let of = |part: &super::course::Part| {
                let beam = group.beams.get(part.beam)?;
                let number = f64::from(beam.number);
                let item = beams.iter().find(|item| item.number(BEAM) == Some(number))?;
                let (from, to) = (part.from, part.from + part.delivered);
                Some(delivered(item.clone(), session.fraction, beam.meterset, (from, to), part.to < beam.meterset))
            };
            *beams = session.parts.iter().filter_map(of).collect();
        }
        file.write()
    }
}

/// PS3.3 section C.8.8.21: at a control point max(start, min(specified, end)); in all what lies between.
fn delivered(mut item: Dataset, fraction: u32, meterset: i64, (from, to): (i64, i64), stopped: bool) -> Dataset {
    item.set_text(FRACTION, *b"IS", &fraction.to_string());
    item.set_text(TERMINATION, *b"CS", if stopped { "MACHINE" } else { "NORMAL" });
    item.set_text(SPECIFIED, *b"DS", &decimal(meterset));
    item.set_text(DELIVERED, *b"DS", &decimal(to - from));
    for sequence in POINTS {
        let Some(points) = item.items_mut(sequence) else { continue };
        // The machine's own template is of one fraction of the whole plan; a boost's beam may have another meterset.
        let last = points.iter().filter_map(|point| point.number(SPECIFIED_THERE)).fold(0.0, f64::max);
        for point in points {
            let share = point.number(SPECIFIED_THERE).unwrap_or(0.0) / if last > 0.0 { last } else { 1.0 };
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // metersets
            let specified = (share * meterset as f64).round() as i64;
            point.set_text(SPECIFIED_THERE, *b"DS", &decimal(specified));
            // Beyond the last control point there is none to say so.
            let end = if specified == meterset { to } else { to.min(specified) };
            point.set_text(DELIVERED_THERE, *b"DS", &decimal(end.max(from)));
        }
    }
    item
}
