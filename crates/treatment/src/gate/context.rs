//! A plan's context as the centre has it now: by what each object said when it came in, without opening any of them.

use std::collections::BTreeSet;

use chart::{Chart, ChartError};
use guard::Permit;
use kit::{Digest, PatientId};
use minicbor::{Decode, Encode};

use super::facts::Facts;
use super::places::Window;
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
/// In place of a plan's SOP Instance UID, of a dose of several plans.
const SEVERAL: &str = "several";
/// Series, or plans, that versions of one object were of.
const VERSIONS_OF_MAX: usize = 32;
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
    /// Of an image or a dose: the series, or the plans, that its versions so far were of.
    #[n(3)]
    of: Option<Vec<String>>,
}

impl Said {
    /// A content, and nothing that it is of.
    fn alone(content: Digest) -> Self {
        Self { version: 1, content, series: Vec::new(), of: None }
    }
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
#[derive(Default)]
pub(crate) struct Noted {
    pub(crate) content: Option<Vec<u8>>,
    pub(crate) lists: Vec<(&'static str, String)>,
}

impl Noted {
    /// `before`: the entry of the object's version before this one.
    pub(crate) fn of(
        chart: &Chart,
        instance: &Instance,
        bytes: &[u8],
        before: Option<u64>,
    ) -> Result<Self, ChartError> {
        let nothing = Self { content: None, lists: Vec::new() };
        let Ok(tree) = Tree::of_file(bytes) else { return Ok(nothing) };
        let (name, is_of) = match instance.kind {
            Kind::CtImage => (IMAGES_OF_SERIES, Some(instance.series.clone())),
            Kind::RtStructureSet => {
                let said = Said { series: content::series_of(&tree), ..Said::alone(content::digest(&tree)) };
                return Ok(Self { content: minicbor::to_vec(said).ok(), lists: Vec::new() });
            }
            Kind::RtDose => (DOSES_OF_PLAN, content::plan_of(&tree)),
            _ => return Ok(nothing),
        };
        // Whoever looked at what it was has to see that it is something else now.
        let before = before.map(|before| said(chart, before)).transpose()?;
        let mut of: Vec<String> = before.and_then(|(_, said)| said.of).unwrap_or_default();
        // The last of them is what it is of now; that may be several plans.
        let is_of = is_of.unwrap_or_else(|| SEVERAL.to_owned());
        of.retain(|one| *one != is_of);
        of.push(is_of);
        of.drain(..of.len().saturating_sub(VERSIONS_OF_MAX));
        let lists = of.iter().map(|of| (name, of.clone())).collect();
        let said = Said { of: Some(of), ..Said::alone(content::digest(&tree)) };
        Ok(Self { content: minicbor::to_vec(said).ok(), lists })
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
    Ok((id, noted.unwrap_or_else(|| Said::alone(bytes.unwrap_or(Digest([0; 32]))))))
}

/// A list of hers, and what it is of.
type Of = (String, chart::Tag);

/// What stands on lists of hers, and was not replaced since.
fn contents(chart: &Chart, patient: PatientId, lists: &[Of]) -> Result<BTreeSet<Digest>, ChartError> {
    let mut contents = BTreeSet::new();
    for (of, list) in lists {
        let newest = Window::of(chart, list, CONTENTS_MAX)?;
        // More than are looked at: whatever comes is another context, and nobody's list fails for it.
        if newest.from > 0 {
            let last = newest.entries.last().copied().unwrap_or(0);
            contents.insert(of_all(&format!("contents up to entry {last}"), []));
        }
        for entry in newest.entries {
            let (id, said) = said(chart, entry)?;
            if chart.object_entry(OBJECTS, &id, patient)? != Some(entry) {
                continue;
            }
            // What was this plan's dose, and says now that it is another one's, isn't what was signed.
            let is_still = said.of.as_ref().and_then(|all| all.last()).is_none_or(|last| last == of);
            contents.insert(if is_still { said.content } else { of_all("content of another", [said.content]) });
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
    let mut structures: Vec<(u64, Said)> = Vec::new();
    for uid in &plan.structure_sets {
        structures.push(match chart.object_entry(OBJECTS, uid, patient)? {
            Some(entry) => (entry, said(chart, entry)?.1),
            None => (0, Said::alone(Digest([0; 32]))),
        });
    }
    let series: BTreeSet<&String> = structures.iter().flat_map(|(_, said)| &said.series).collect();
    let listed = |name, of: String| (of.clone(), list(chart, name, patient, &of));
    let images: Vec<Of> = series.into_iter().map(|series| listed(IMAGES_OF_SERIES, series.clone())).collect();
    // Doses that don't say whose they are may be this plan's.
    let plans = facts.uids_of(plan).into_iter().chain([String::new()]);
    let doses: Vec<Of> = plans.map(|plan| listed(DOSES_OF_PLAN, plan)).collect();

    let mut marks: Vec<u64> = structures.iter().map(|(entry, _)| *entry).collect();
    let own = marks.len();
    for (_, list) in images.iter().chain(&doses) {
        marks.push(chart.newest(list)?.unwrap_or(0));
    }
    let (images, dose) = match assembled(chart, patient, (&marks, own))? {
        Some(Assembled { images, dose, .. }) => (images, dose),
        None => {
            let all = |what, lists: &[Of]| {
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
        structure_set: match structures.as_slice() {
            [] | [(0, _)] => None,
            [(_, only)] => Some(only.content),
            several => Some(of_all("structure sets", several.iter().map(|(_, said)| said.content))),
        },
        images,
        dose,
        prescription: plan.prescribed,
        tolerance_tables: plan.tolerance_tables(),
    })
}

/// What was put together when nothing was newer than now; nothing is where nothing has come.
fn assembled(
    chart: &Chart,
    patient: PatientId,
    (marks, own): (&[u64], usize),
) -> Result<Option<Assembled>, ChartError> {
    if marks.iter().skip(own).all(|mark| *mark == 0) {
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
