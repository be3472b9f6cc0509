//! A centre that never was: patients, their records, plans and fractions given, all from a seed.
//!
//! Streams: a patient is made when she is asked for, and patient *i* doesn't need the ones before her, so that
//! ten thousand of them never sit in memory together.

mod dose;
mod fhir;
mod image;
mod item;
mod person;
mod phantom;
mod plan;
mod record;
mod rng;
mod structures;

use kit::Timestamp;

pub use fhir::NUMBER_SYSTEM;
pub use person::{Diagnosis, Name, Script, Side, Technique};
pub(crate) use rng::Rng;

use person::{DAY_MS, iso_date, working_days_before};

/// The first patients on treatment are one of each technique, none of them at the end of the course; the next one is.
pub const TECHNIQUES: usize = 5;

/// What the others are treated with.
const ANY: [Technique; 6] = {
    use Technique::{Arc, Conformal, Electron, Imrt, Ion};
    [Conformal, Arc, Arc, Electron, Ion, Imrt]
};

/// A centre of so many patients, so many of them on treatment (the first ones), as it stood on a day.
#[derive(Clone, Copy, Debug)]
pub struct Centre {
    pub seed: u64,
    /// Fractions were given up to the working day before; appointments are after it.
    pub today: Timestamp,
    pub patients: usize,
    pub on_treatment: usize,
    pub images: Images,
}

/// How much of a course's images there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    /// The slice through the isocentre; structures and dose on it alone. For drills of many patients.
    Slice,
    /// All that a planner would have.
    Series,
}

/// One patient with everything the centre has about her, and the truth that a checker compares with.
#[derive(Clone, Debug)]
pub struct SyntheticPatient {
    /// Which one of the centre's patients, from 0.
    pub number_in_centre: usize,
    /// Hospital number: FHIR identifier and DICOM Patient ID.
    pub number: String,
    /// Logical id of the Patient resource.
    pub id: String,
    pub name: Name,
    /// YYYY-MM-DD.
    pub birth_date: String,
    pub phone: String,
    pub diagnosis: Diagnosis,
    /// FHIR R4 resources as JSON; the Patient is the first.
    pub fhir: Vec<Vec<u8>>,
    pub course: Option<Course>,
}

/// One more fraction of a course, on a day that the centre was not there to see.
#[derive(Clone, Debug)]
pub struct Further {
    pub number: u32,
    pub day: Timestamp,
    /// By the machine's clock, `HH:MM`.
    pub time: String,
    /// What the machine says of it.
    pub records: Vec<Vec<u8>>,
    /// By number: delivered, in monitor units.
    pub beams: Vec<(u32, f64)>,
}

/// A course of radiotherapy: Part 10 files.
#[derive(Clone, Debug)]
pub struct Course {
    /// SOP Instance UID.
    pub plan_uid: String,
    /// When each of the fractions given was given.
    pub days: Vec<Timestamp>,
    pub technique: Technique,
    /// RT Plan or RT Ion Plan.
    pub plan: Vec<u8>,
    pub plan_label: String,
    pub machine: String,
    pub fractions_planned: u32,
    /// Completely delivered so far.
    pub fractions_given: u32,
    /// CT slices from the feet to the head, RT Structure Set, RT Dose.
    pub others: Vec<Vec<u8>>,
    /// RT (Ion) Beams Treatment Records. A fraction that was interrupted and resumed the same day has two.
    pub records: Vec<Vec<u8>>,
}

impl Course {
    /// The fraction that comes next, or nothing where all are given.
    pub fn fraction_next(&self) -> Option<u32> {
        (self.fractions_given < self.fractions_planned).then_some(self.fractions_given + 1)
    }
}

impl Centre {
    /// All patients, one after the other.
    pub fn generate(self) -> impl Iterator<Item = SyntheticPatient> {
        (0..self.patients).map(move |index| self.patient(index))
    }

    /// Patient `index`, without making the others.
    pub fn patient(&self, index: usize) -> SyntheticPatient {
        self.patient_treated(index, &[]).0
    }

    /// The same, and what she is given on these days after, a fraction each, until all are given.
    pub fn patient_treated(&self, index: usize, days: &[Timestamp]) -> (SyntheticPatient, Vec<Further>) {
        let number = u64::try_from(index).unwrap_or(u64::MAX);
        let rng = Rng::new(self.seed, "patient", number);
        // Even a small centre has every technique, and a course that has had its last fraction.
        let treated = index < self.on_treatment;
        let technique = match index {
            0 => Technique::Conformal,
            1 => Technique::Arc,
            2 => Technique::Electron,
            3 => Technique::Ion,
            4 => Technique::Imrt,
            _ => rng.pick(&ANY),
        };
        let diagnosis = if treated { Diagnosis::draw_for(&rng, technique) } else { Diagnosis::draw(&rng) };
        let name = Name::draw(&rng);
        let hospital_number = person::hospital_number(self.seed, number);
        let id = rng.id();
        let age_days = i64::try_from(rng.below(60 * 365)).unwrap_or(0) + 25 * 365;
        let birth_date = iso_date(self.today.plus_ms(-age_days * DAY_MS));
        let phone = person::phone(&rng);
        let female = match diagnosis.icd10 {
            "C61" => false,
            "C53.9" => true,
            _ => rng.chance(60),
        };
        let subject = fhir::Subject {
            id: &id,
            number: &hospital_number,
            name: &name,
            female,
            birth_date: &birth_date,
            phone: &phone,
            diagnosis: &diagnosis,
        };
        let mut fhir = fhir::resources(&rng, &subject, self.today);
        let (course, further) = match treated {
            true => self.course(&rng, &subject, index, days),
            false => (None, Vec::new()),
        };
        if let Some(course) = &course {
            // By numbers of their own: what stands above is the same without them.
            let rng = Rng::new(self.seed, "order", number);
            fhir.push(fhir::order(&rng, &subject));
            if self.images == Images::Series {
                let left = course.fractions_planned - course.fractions_given;
                fhir.extend(fhir::bookings(&rng, &subject, self.today, left));
            }
        }
        let patient = SyntheticPatient {
            number_in_centre: index,
            number: hospital_number,
            id,
            name,
            birth_date,
            phone,
            diagnosis,
            fhir,
            course,
        };
        (patient, further)
    }

    fn course(
        &self,
        rng: &Rng,
        who: &fhir::Subject<'_>,
        index: usize,
        further: &[Timestamp],
    ) -> (Option<Course>, Vec<Further>) {
        let planned = who.diagnosis.fractions;
        let complete = match index {
            0..TECHNIQUES => false,
            TECHNIQUES => true,
            _ => rng.chance(8),
        };
        // Some have not begun.
        let on_the_way = u32::try_from(rng.below(u64::from(planned))).unwrap_or(0);
        let given = if complete { planned } else { on_the_way };
        let days = working_days_before(self.today, given);
        let study = plan::Study::draw(rng, who, days.first().copied().unwrap_or(self.today), self.images);
        let plan = plan::Plan::draw(rng, &study, who.diagnosis);
        let mut others = image::series(&study);
        others.extend([structures::structure_set(&study, &plan), dose::dose(&study, &plan)]);
        let mut records = Vec::new();
        for (fraction, day) in (1..).zip(&days) {
            let interrupted = rng.chance(4);
            records.extend(record::fraction(rng, &study, &plan, fraction, *day, interrupted));
        }
        // Last of all: what stands above is the same without it.
        let further = (given + 1..=planned).zip(further).map(|(number, day)| {
            let records = record::fraction(rng, &study, &plan, number, *day, rng.chance(10));
            let beams = plan.beams.iter().map(|beam| (beam.number, beam.meterset)).collect();
            Further { number, day: *day, time: "10:30".to_owned(), records, beams }
        });
        let further = further.collect();
        let course = Course {
            plan_uid: plan.uid.clone(),
            days,
            technique: plan.technique,
            plan_label: plan.label.clone(),
            machine: plan.machine.clone(),
            fractions_planned: planned,
            fractions_given: given,
            plan: plan.file,
            others,
            records,
        };
        (Some(course), further)
    }
}
