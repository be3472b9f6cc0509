//! Writes one whole course of each technique as DICOM files, for other people's readers: `synthetic FOLDER [SEED]`.
//!
//! Each technique has a folder: `ct-001.dcm` and so on, `structures.dcm`, `dose.dcm`, `plan.dcm`, `record-001.dcm` and so on. The
//! CT slices, the structure set and the dose are of phantoms; nobody was ever treated so.

use std::io::{Error, Result};
use std::path::Path;
use std::{env, fs};

use drill::synthetic::{Centre, Images, TECHNIQUES};
use kit::Timestamp;

/// 2026-11-23, a Monday.
const TODAY: Timestamp = Timestamp(1_795_392_000_000);
/// Forty fractions.
const LONGEST_DAYS: i64 = 56;

fn main() -> Result<()> {
    let mut words = env::args().skip(1);
    let folder = words.next().ok_or_else(|| Error::other("usage: synthetic FOLDER [SEED]"))?;
    let seed = words.next().map_or(Ok(14), |seed| seed.parse()).map_err(Error::other)?;
    let centre = Centre { seed, today: TODAY, patients: TECHNIQUES, on_treatment: TECHNIQUES, images: Images::Series };
    // From Monday to Friday until every fraction is given.
    let days: Vec<Timestamp> =
        (0..LONGEST_DAYS).filter(|day| day % 7 < 5).map(|day| TODAY.plus_ms(day * 86_400_000)).collect();
    for (patient, further) in (0..TECHNIQUES).map(|index| centre.patient_treated(index, &days)) {
        let Some(mut course) = patient.course else { continue };
        course.records.extend(further.into_iter().flat_map(|fraction| fraction.records));
        let place = Path::new(&folder).join(format!("{:?}", course.technique).to_lowercase());
        fs::create_dir_all(&place)?;
        let slices = course.others.len().saturating_sub(2);
        let names = (1..=slices).map(|n| format!("ct-{n:03}")).chain(["structures", "dose"].map(str::to_owned));
        let records = (1..=course.records.len()).map(|n| format!("record-{n:03}"));
        let files = course.others.iter().chain([&course.plan]).chain(&course.records);
        for (name, file) in names.chain(["plan".to_owned()]).chain(records).zip(files) {
            fs::write(place.join(name).with_extension("dcm"), file)?;
        }
    }
    Ok(())
}
