//! Is everything back, byte for byte?
//!
//! Verifies: each payload that the centre acknowledged is read back with the length and the BLAKE3 digest that the
//! drill noted when it handed it in; of DICOM files the data set, since a gateway may write the File Meta Information
//! anew (PS3.10 7.1). Does not verify: that nothing else is there, that search finds it, or that it was understood.

use super::Findings;
use crate::tamper::walk;

/// What was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Fhir,
    Dicom,
    /// A person's signature or a verdict of the gate: what the centre made itself, and acknowledged.
    Fact,
}

impl Form {
    fn what(self) -> &'static str {
        match self {
            Self::Fhir => "FHIR resource",
            Self::Dicom => "DICOM object",
            Self::Fact => "approval or verdict",
        }
    }

    /// The bytes that must come back.
    fn essence(self, payload: &[u8]) -> &[u8] {
        match self {
            Self::Fhir | Self::Fact => payload,
            Self::Dicom => payload.get(walk::data_set_at(payload)..).unwrap_or_default(),
        }
    }
}

#[derive(Clone, Debug)]
struct Line {
    handle: String,
    form: Form,
    length: usize,
    digest: blake3::Hash,
}

/// The drill's own list of what was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Manifest(Vec<Line>);

impl Manifest {
    /// Notes an acknowledgement: `handle` is what the centre calls it from now on.
    pub fn remember(&mut self, form: Form, handle: String, payload: &[u8]) {
        let essence = form.essence(payload);
        self.0.push(Line { handle, form, length: essence.len(), digest: blake3::hash(essence) });
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|line| u64::try_from(line.length).unwrap_or(u64::MAX)).sum()
    }

    pub fn handle(&self, index: usize) -> Option<&str> {
        self.0.get(index).map(|line| line.handle.as_str())
    }

    /// What is wrong with line `index`, given what the centre returned for its handle.
    pub fn judge(&self, index: usize, returned: Result<&[u8], String>) -> Option<String> {
        let line = self.0.get(index)?;
        let what = line.form.what();
        let essence = match returned {
            Err(why) => return Some(format!("{what} {} is lost: {why}", line.handle)),
            Ok(payload) => line.form.essence(payload),
        };
        if essence.len() != line.length {
            let (was, is) = (line.length, essence.len());
            return Some(format!("{what} {} had {was} bytes and came back with {is}", line.handle));
        }
        (blake3::hash(essence) != line.digest).then(|| format!("{what} {} came back altered", line.handle))
    }

    /// Reads lines back on several threads: all of them, or as many as `most`, evenly spread.
    pub fn judge_some(
        &self,
        most: usize,
        threads: usize,
        read: &(dyn Fn(&str) -> Result<Vec<u8>, String> + Sync),
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Findings {
        let (all, count) = (self.0.len(), self.0.len().min(most));
        let judged = crate::work::spread(threads, count, |piece| {
            // Product before quotient: the last one is below `all`.
            let index = piece * all / count.max(1);
            let returned = self.handle(index).map_or(Err(String::new()), read);
            progress(piece + 1, count);
            self.judge(index, returned.as_deref().map_err(Clone::clone))
        });
        let mut findings = Findings::default();
        judged.into_iter().flatten().for_each(|finding| findings.add(finding));
        findings
    }
}
