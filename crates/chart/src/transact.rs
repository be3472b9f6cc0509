//! Bundles on the vault: a transaction wholly or not at all, a batch entry by entry.

use std::collections::BTreeMap;

use guard::{Act, Permit};
use kit::Explain;

use crate::fhir::{
    Action, Code, Condition, Draft, Issue, Link, Operation, Plan, Query, ResponseEntry, fault_outcome,
    operation_outcome, searchset, status_of_fault, status_of_issues,
};
use crate::meta::Tag;
use crate::sensitivity::sensitivity;
use crate::writes::{Prepared, Write};
use crate::{Chart, ChartError, Context, Kept, Located, Released, Result, what};

/// Plans of one transaction: another one is made where its conditions were met by somebody else meanwhile, which
/// happens once for each that is in its way.
const PLANS_MAX: usize = 32;

/// Bytes of records that are opened for the answers to one Bundle, and the page that goes beyond.
const ANSWERS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Something to be read after the changes, with the right to it from before them.
enum Ready {
    Answer(ResponseEntry),
    Read { permit: Permit, kind: &'static str, id: String, version: Option<u32> },
    Search { permit: Permit, query: Query },
}

impl Chart {
    /// A transaction (all or nothing) or a batch (each entry for itself); one answer an entry, in their order.
    pub fn transact(&self, context: &Context, draft: &Draft) -> Result<Vec<ResponseEntry>> {
        let conditions = draft.conditions();
        for condition in &conditions {
            // Whether somebody is here is itself an answer: only who may search is given it.
            let _permit = self.admit_search(context, &condition.query)?;
        }
        let mut existing = self.existing(&conditions)?;
        for _ in 0..PLANS_MAX {
            let plan = draft.plan(&existing, &mut || self.new_record_id()).map_err(ChartError::Invalid)?;
            let operations = match plan {
                Plan::Batch(operations) => return Ok(self.batch(context, draft.base(), operations)),
                Plan::Transaction(operations) => operations,
            };
            let (mut writes, mut rest) = (Vec::new(), Vec::new());
            for Operation { entry, action } in operations {
                match write_of(entry, action) {
                    Ok(write) => writes.push(write),
                    Err(action) => rest.push((entry, *action)),
                }
            }
            // Every lock at once; what the conditions found may have changed before.
            let mut keys = self.keys_of(&writes);
            keys.alone.extend(conditions.iter().flat_map(|condition| self.condition_tags(&condition.query)));
            let _held = self.hold_keys(&keys);
            let found = self.existing(&conditions)?;
            if found == existing {
                return self.all_or_nothing(context, draft.base(), writes, rest);
            }
            existing = found;
        }
        let text = "others keep changing what ifNoneExist looks for: repeat the transaction";
        Err(ChartError::Invalid(vec![Issue::error(Code::Transient, text).at("Bundle")]))
    }

    /// The locks are held.
    fn all_or_nothing(
        &self,
        context: &Context,
        base: &str,
        writes: Vec<Write>,
        rest: Vec<(usize, Action)>,
    ) -> Result<Vec<ResponseEntry>> {
        let entries: Vec<usize> = writes.iter().filter_map(|write| write.entry).collect();
        let prepared = if writes.is_empty() { None } else { Some(self.prepare(context, writes)?) };
        let ready = rest
            .into_iter()
            .map(|(entry, action)| {
                Ok((entry, self.ready(context, action, prepared.as_ref()).map_err(|error| error.of_entry(entry))?))
            })
            .collect::<Result<Vec<_>>>()?;
        let kept = prepared.map(|prepared| self.commit(prepared)).transpose()?.unwrap_or_default();
        // From here on it has happened: what fails is its own entry's answer.
        let mut answers: BTreeMap<usize, ResponseEntry> =
            entries.into_iter().zip(kept.into_iter().map(answer_of)).collect();
        let mut opened = 0;
        for (entry, ready) in ready {
            let answer = self.answer(context, base, ready, &mut opened);
            answers.insert(entry, answer.unwrap_or_else(|error| refusal_of(&error)));
        }
        Ok(answers.into_values().collect())
    }

    fn batch(
        &self,
        context: &Context,
        base: &str,
        operations: Vec<Operation<std::result::Result<Action, Vec<Issue>>>>,
    ) -> Vec<ResponseEntry> {
        let mut answers: BTreeMap<usize, ResponseEntry> = BTreeMap::new();
        let mut opened = 0;
        for Operation { entry, action } in operations {
            let answer = action
                .map_err(ChartError::Invalid)
                .and_then(|action| self.act(context, base, (entry, action), &mut opened))
                .unwrap_or_else(|error| refusal_of(&error));
            answers.insert(entry, answer);
        }
        answers.into_values().collect()
    }

    /// One action by itself.
    fn act(
        &self,
        context: &Context,
        base: &str,
        (entry, action): (usize, Action),
        opened: &mut usize,
    ) -> Result<ResponseEntry> {
        let condition = match &action {
            Action::Create { condition, .. } => condition.clone(),
            _ => None,
        };
        let write = match write_of(entry, action) {
            Ok(write) => write,
            Err(action) => return self.answer(context, base, self.ready(context, *action, None)?, opened),
        };
        let mut keys = self.keys_of(std::slice::from_ref(&write));
        if let Some(query) = &condition {
            let _permit = self.admit_search(context, query)?;
            keys.alone.extend(self.condition_tags(query));
        }
        let _held = self.hold_keys(&keys);
        let condition = condition.map(|query| Condition { entry, query });
        if let Some(id) = self.existing(condition.as_slice())?.remove(&entry) {
            let ready = self.ready(context, Action::Exists { kind: write.kind, id }, None)?;
            return self.answer(context, base, ready, opened);
        }
        let prepared = self.prepare(context, vec![write])?;
        Ok(answer_of(self.commit(prepared)?.pop().flatten()))
    }

    /// What each condition finds, where it finds one.
    fn existing(&self, conditions: &[Condition]) -> Result<BTreeMap<usize, String>> {
        let mut existing = BTreeMap::new();
        for Condition { entry, query } in conditions {
            let groups: Vec<Vec<Tag>> = query
                .groups()
                .iter()
                .map(|group| group.iter().map(|field| self.field_tag(query.kind(), field)).collect())
                .collect();
            match self.index.search(&groups, 0, 2)?.as_slice() {
                [] => {}
                [one] => {
                    let (_, meta) = self.note_of(one.entry)?;
                    existing.extend(meta.version.map(|version| (*entry, version.id)));
                }
                _ => {
                    let issue = Issue::error(Code::MultipleMatches, "ifNoneExist finds more than one")
                        .at(format!("Bundle.entry[{entry}].request.ifNoneExist"));
                    return Err(ChartError::Invalid(vec![issue]));
                }
            }
        }
        Ok(existing)
    }

    /// Nobody else may take or look for these identifiers meanwhile, with whatever system.
    fn condition_tags(&self, query: &Query) -> Vec<Tag> {
        query.identifiers().iter().map(|field| self.field_tag(query.kind(), field)).collect()
    }

    /// Asks and judges before anything is changed, as far as that can be done.
    fn ready(&self, context: &Context, action: Action, prepared: Option<&Prepared>) -> Result<Ready> {
        match action {
            Action::Search(query) => {
                query.after().map_err(|issue| ChartError::Invalid(vec![issue]))?;
                Ok(Ready::Search { permit: self.admit_search(context, &query)?, query })
            }
            Action::Exists { kind, id } => {
                let (found, _permit) = self.admit_to(context, Act::ReadRecord, kind, &id)?;
                Ok(Ready::Answer(ResponseEntry {
                    status: 200,
                    location: Some(format!("{kind}/{id}/_history/{}", found.version)),
                    version: Some(found.version),
                    updated: Some(found.updated),
                    ..ResponseEntry::default()
                }))
            }
            Action::Read { kind, id, version } => {
                let reference = format!("{kind}/{id}");
                let found = self.locate(kind, &id)?;
                let change = prepared.and_then(|prepared| prepared.of(kind, &id));
                let patient = match change {
                    Some((_, planned)) => planned.owner,
                    None => found.and_then(|found| found.patient),
                };
                let target = what::target(patient);
                let permit = self.admit_to_do(context, Act::ReadRecord, target, sensitivity(kind), &reference)?;
                let version = version.map(|number| number.parse()).transpose();
                let version: Option<u32> =
                    version.map_err(|_| ChartError::NoSuchRecord { reference: reference.clone() })?;
                let (number, deleted) = match (change, found) {
                    (Some((write, planned)), _) if planned.version.is_some_and(|v| version.is_none_or(|n| n == v)) => {
                        (planned.version.unwrap_or_default(), write.resource.is_none())
                    }
                    (_, Some(found)) => self.version_deleted(&reference, &found, version)?,
                    _ => return Err(ChartError::NoSuchRecord { reference }),
                };
                match deleted {
                    true => Err(ChartError::Gone { reference, version: number }),
                    false => Ok(Ready::Read { permit, kind, id, version }),
                }
            }
            // Changes don't come here.
            Action::Create { .. } | Action::Update { .. } | Action::Delete { .. } => {
                Ok(Ready::Answer(ResponseEntry::default()))
            }
        }
    }

    /// A version that is here, and whether it is a tombstone.
    fn version_deleted(&self, reference: &str, found: &Located, version: Option<u32>) -> Result<(u32, bool)> {
        match version {
            Some(version) if version != found.version => {
                let absent = || ChartError::NoSuchRecord { reference: reference.to_owned() };
                let entry = self.index.entry_of_version(found.row, version)?.ok_or_else(absent)?;
                let (_, meta) = self.note_of(entry)?;
                Ok((version, meta.version.is_some_and(|version| version.deleted)))
            }
            _ => Ok((found.version, found.deleted)),
        }
    }

    /// `opened`: bytes of records for the answers of the same Bundle before.
    fn answer(&self, context: &Context, base: &str, ready: Ready, opened: &mut usize) -> Result<ResponseEntry> {
        if *opened > ANSWERS_BYTES_MAX && !matches!(ready, Ready::Answer(_)) {
            let text = format!(
                "the answers to the entries before this one are {opened} bytes, and {ANSWERS_BYTES_MAX} are enough for one \
                 Bundle: ask for this one in another"
            );
            return Err(ChartError::Invalid(vec![Issue::error(Code::TooCostly, text)]));
        }
        match ready {
            Ready::Answer(answer) => Ok(answer),
            Ready::Read { permit, kind, id, version } => {
                let released = self.read_under(&permit, kind, &id, version)?;
                *opened += released.bytes.len();
                Ok(ResponseEntry {
                    status: 200,
                    version: Some(released.version.version),
                    updated: Some(released.updated),
                    resource: Some(released.bytes.to_vec()),
                    ..ResponseEntry::default()
                })
            }
            Ready::Search { permit, query } => {
                let page = self.search_under(context, permit, &query)?;
                *opened += page.bytes;
                let versions: Vec<_> = page.found.iter().map(Released::as_version).collect();
                let this = query.link(base, query.page());
                let next = page.next.as_deref().map(|token| query.link(base, Some(token)));
                let mut links = vec![Link { relation: "self", url: &this }];
                links.extend(next.iter().map(|url| Link { relation: "next", url }));
                let bundle = searchset(base, &links, &versions);
                Ok(ResponseEntry { status: 200, resource: Some(bundle), ..ResponseEntry::default() })
            }
        }
    }
}

fn write_of(entry: usize, action: Action) -> std::result::Result<Write, Box<Action>> {
    match action {
        Action::Create { resource, id, .. } => Ok(Write::put(resource, id, None).of_entry(entry)),
        Action::Update { resource, id, if_match } => Ok(Write::put(resource, id, if_match).of_entry(entry)),
        Action::Delete { kind, id, if_match } => Ok(Write::delete(kind, id, if_match).of_entry(entry)),
        other => Err(Box::new(other)),
    }
}

/// None: what was to be deleted isn't there, which is as good.
fn answer_of(kept: Option<Kept>) -> ResponseEntry {
    let Some(kept) = kept else { return ResponseEntry { status: 204, ..ResponseEntry::default() } };
    ResponseEntry {
        status: match (&kept.bytes, kept.created) {
            (None, _) => 204,
            (Some(_), true) => 201,
            (Some(_), false) => 200,
        },
        location: Some(format!("{}/{}/_history/{}", kept.kind, kept.id, kept.version)),
        version: Some(kept.version),
        updated: Some(kept.updated),
        ..ResponseEntry::default()
    }
}

fn refusal_of(error: &ChartError) -> ResponseEntry {
    let (status, outcome) = match error.issues() {
        Some(issues) => (status_of_issues(&issues), operation_outcome(&issues)),
        None => {
            let fault = error.fault();
            tracing::info!(code = error.code(), "a Bundle's entry was refused");
            (status_of_fault(&fault), fault_outcome(&fault))
        }
    };
    ResponseEntry { status, outcome: Some(outcome), ..ResponseEntry::default() }
}
