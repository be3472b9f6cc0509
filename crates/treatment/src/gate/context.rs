//! A plan's context as the centre has it now: by what each object said when it came in, without opening any of them.

use std::collections::BTreeSet;

use chart::{Chart, ChartError};
use guard::Permit;
use kit::{Digest, PatientId};
use minicbor::{Decode, Encode};

use super::facts::Facts;
use crate::dicom::content::{self, of_all};
use crate::dicom::object::{Instance, Kind};
use crate::dicom::scan::Tree;
use crate::plan::Plan;
use crate::service::OBJECTS;
use crate::signing::context::PlanContext;

/// Of one patient and one series: its images.
const IMAGES_OF_SERIES: &str = "images-of-series";
/// Of one patient and one plan's SOP Instance UID: its doses.
const DOSES_OF_PLAN: &str = "doses-of-plan";
/// Of one patient: contexts that were put together.
const CONTEXTS: &str = "contexts";

/// Images of one series, or doses of one plan, with those that were replaced.
const CONTENTS_MAX: usize = 10_000;
/// A plan that is looked at has one of the newest few.
const CONTEXTS_LOOKED_AT: usize = 8;

/// What is noted of an image, a structure set or a dose when it comes in.
#[derive(Encode, Decode)]
struct Said {
    #[n(0)]
    version: u8,
    #[n(1)]
    content: Digest,
    /// Of a structure set: the series that it was drawn on.
    #[n(2)]
    series: Vec<String>,
}

/// A context that was put together from many entries, for as long as nothing newer came.
#[derive(Encode, Decode)]
struct Assembled {
    #[n(0)]
    version: u8,
    /// The newest entries of all that it was made of.
    #[n(1)]
    marks: Vec<u64>,
    #[n(2)]
    images: Option<Digest>,
    #[n(3)]
    dose: Option<Digest>,
}

/// What is noted of an object that may be a plan's context, and the list that it stands on besides.
pub(crate) struct Noted {
    pub(crate) content: Option<Vec<u8>>,
    pub(crate) list: Option<(&'static str, String)>,
}

impl Noted {
    pub(crate) fn of(instance: &Instance, bytes: &[u8]) -> Self {
        let nothing = Self { content: None, list: None };
        let Ok(tree) = Tree::of_file(bytes) else { return nothing };
        let (series, list) = match instance.kind {
            Kind::CtImage => (Vec::new(), Some((IMAGES_OF_SERIES, instance.series.clone()))),
            Kind::RtStructureSet => (content::series_of(&tree), None),
            Kind::RtDose => (Vec::new(), content::plan_of(&tree).map(|plan| (DOSES_OF_PLAN, plan))),
            _ => return nothing,
        };
        let said = Said { version: 1, content: content::digest(&tree), series };
        Self { content: minicbor::to_vec(said).ok(), list }
    }
}

fn list(chart: &Chart, name: &str, patient: PatientId, of: &str) -> chart::Tag {
    chart.list_tag(name, &[&patient.0, of.as_bytes()].concat())
}

/// What an object said when it came in. One that came before such notes were made is told by its bytes.
fn said(chart: &Chart, entry: u64) -> Result<(String, Said), ChartError> {
    let (_, meta) = chart.note_of(entry)?;
    let (id, bytes) = meta.version.map(|version| (version.id, version.content)).unwrap_or_default();
    let noted = meta.content.and_then(|noted| minicbor::decode::<Said>(&noted).ok()).filter(|said| said.version == 1);
    let alone = || Said { version: 1, content: bytes.unwrap_or(Digest([0; 32])), series: Vec::new() };
    Ok((id, noted.unwrap_or_else(alone)))
}

/// What stands on lists of hers, and was not replaced since.
fn contents(chart: &Chart, patient: PatientId, lists: &[chart::Tag]) -> Result<BTreeSet<Digest>, ChartError> {
    let mut contents = BTreeSet::new();
    for list in lists {
        for entry in chart.listed(list, CONTENTS_MAX)? {
            let (id, said) = said(chart, entry)?;
            if chart.object_entry(OBJECTS, &id, patient)? == Some(entry) {
                contents.insert(said.content);
            }
        }
    }
    Ok(contents)
}

/// What this plan would be signed with now. `noted`: what took many entries is noted for the next time.
pub(crate) fn of_plan(
    chart: &Chart,
    facts: &Facts,
    plan: &Plan,
    noted: Option<&Permit>,
) -> Result<PlanContext, ChartError> {
    let patient = facts.patient;
    let structures = plan.structure_set.as_deref().map(|uid| chart.object_entry(OBJECTS, uid, patient)).transpose()?;
    let structures = match structures.flatten() {
        Some(entry) => Some((entry, said(chart, entry)?.1)),
        None => None,
    };
    let series = structures.iter().flat_map(|(_, said)| &said.series);
    let images: Vec<chart::Tag> = series.map(|series| list(chart, IMAGES_OF_SERIES, patient, series)).collect();
    let plans = facts.uids_of(plan);
    let doses: Vec<chart::Tag> = plans.iter().map(|plan| list(chart, DOSES_OF_PLAN, patient, plan)).collect();

    let mut marks = vec![structures.as_ref().map_or(0, |(entry, _)| *entry)];
    for list in images.iter().chain(&doses) {
        marks.push(chart.newest(list)?.unwrap_or(0));
    }
    let (images, dose) = match assembled(chart, patient, &marks)? {
        Some(Assembled { images, dose, .. }) => (images, dose),
        None => {
            let all = |what, lists: &[chart::Tag]| {
                let contents = contents(chart, patient, lists)?;
                Ok::<_, ChartError>((!contents.is_empty()).then(|| of_all(what, contents)))
            };
            let (images, dose) = (all("images", &images)?, all("doses", &doses)?);
            if let Some(permit) = noted.filter(|_| images.is_some() || dose.is_some()) {
                let note = minicbor::to_vec(Assembled { version: 1, marks, images, dose }).unwrap_or_default();
                let list = chart.list_tag(CONTEXTS, &patient.0);
                chart.append_note(permit, "treatment.context", vec![list], note)?;
            }
            (images, dose)
        }
    };
    Ok(PlanContext {
        structure_set: structures.map(|(_, said)| said.content),
        images,
        dose,
        prescription: plan.prescription.digest(),
        tolerance_tables: plan.tolerance_tables(),
    })
}

/// What was put together when nothing was newer than now; nothing is where nothing has come.
fn assembled(chart: &Chart, patient: PatientId, marks: &[u64]) -> Result<Option<Assembled>, ChartError> {
    if marks.iter().skip(1).all(|mark| *mark == 0) {
        return Ok(Some(Assembled { version: 1, marks: Vec::new(), images: None, dose: None }));
    }
    for entry in chart.listed_back(&chart.list_tag(CONTEXTS, &patient.0), u64::MAX, CONTEXTS_LOOKED_AT)? {
        let known = minicbor::decode::<Assembled>(&chart.note_of(entry)?.1.note).ok();
        if let Some(known) = known.filter(|known| known.version == 1 && known.marks == marks) {
            return Ok(Some(known));
        }
    }
    Ok(None)
}
