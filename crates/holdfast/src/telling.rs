//! What a recovery says before it is done: who is on treatment, at once; then what all of the log says otherwise; and the sheets.

use std::time::Instant;

use kit::Fault;
use serde_json::json;
use treatment::TreatmentList;

use crate::DEGRADED;
use crate::acts::Answer;
use crate::first::FirstSight;
use crate::packs::sheets::{Sheets, Written};
use crate::reports;
use crate::say::plural;

/// What was told so far.
pub struct Telling {
    is_json: bool,
    begun: Instant,
    sheets: Option<Sheets>,
    /// Why not all of the sheets are there, as it was last tried.
    without: Option<Fault>,
    is_clock_behind: bool,
    first: Option<TreatmentList>,
    told: Vec<serde_json::Value>,
}

impl Telling {
    pub fn begin(is_json: bool, sheets: Option<Sheets>) -> Self {
        let begun = Instant::now();
        Self { is_json, begun, sheets, without: None, is_clock_behind: false, first: None, told: Vec::new() }
    }

    /// A look at the log, or why there was none.
    pub fn hear(&mut self, sight: Result<FirstSight, Fault>) {
        match sight {
            // At once: somebody waits for it, and the rest may take long.
            Ok(sight) => self.tell(sight),
            Err(fault) if self.first.is_some() => {
                complain!("holdfast: not compared with the whole log: {} [{}]", fault.message, fault.code);
            }
            Err(fault) => {
                complain!("holdfast: no treatment list yet: {} [{}]", fault.message, fault.code);
                if let Some(sheets) = self.sheets.as_ref().filter(|sheets| sheets.are_of_before()) {
                    complain!("holdfast: {} is of an earlier try, as of when it says", sheets.index().display());
                }
            }
        }
    }

    /// The list, at once, or what all of the log says otherwise than it; and the sheets.
    fn tell(&mut self, sight: FirstSight) {
        let (list, first, seconds) = (&sight.list, self.first.as_ref(), self.begun.elapsed().as_secs_f64());
        let otherwise = first.map(|first| reports::otherwise(first, list));
        match &otherwise {
            _ if self.is_json => {}
            Some(others) if list.incomplete.is_none() => say!("{}\n", reports::compared(list, others, seconds)),
            _ => say!("{}\n", reports::treatment_list(list, seconds)),
        }
        let behind = list.clocks.filter(|clocks| clocks.are_behind()).and_then(|clocks| clocks.doubt());
        if let (Some(doubt), false) = (behind, self.is_clock_behind) {
            self.is_clock_behind = true;
            complain!("holdfast: THE CLOCK: {doubt}");
        }
        let mut told = json!({
            "seconds": seconds,
            "as_of": list.clocks.map_or(list.as_of, |clocks| clocks.newest).to_string(),
            "machine_clock": list.as_of.to_string(),
            "roster": list.roster.map(|at| at.to_string()),
            "incomplete": list.incomplete,
            "not_as_listed": otherwise,
            "rows": list.rows,
        });
        if let Some(sheets) = self.write_sheets(&sight) {
            told.as_object_mut().into_iter().for_each(|told| drop(told.insert("sheets".to_owned(), sheets.clone())));
        }
        self.told.push(told);
        self.first.get_or_insert(sight.list);
    }

    /// None where nobody wants them. What fails is said, and doesn't keep the recovery from going on.
    fn write_sheets(&mut self, sight: &FirstSight) -> Option<serde_json::Value> {
        let (is_first, sheets) = (self.first.is_none(), self.sheets.as_mut()?);
        let index = sheets.index();
        let Written { sheets, missing, changed, lacking, failed } = match sheets.write(sight) {
            Ok(written) => written,
            Err(fault) => Written { failed: Some(fault), ..Written::default() },
        };
        let seconds = self.begun.elapsed().as_secs_f64();
        if !self.is_json {
            lacking.iter().for_each(|who| say!("NO SHEET of {who}: it could not be written"));
            changed.iter().for_each(|who| say!("ANOTHER SHEET of {who}, or none any more: print it again"));
            let without = if missing > 0 { format!("; {missing} could not be made") } else { String::new() };
            match &failed {
                Some(_) => {}
                None if is_first || self.without.is_some() => say!(
                    "Sheets of {} in {}, {seconds:.1} seconds after the recovery began{without}. They are readable by \
                     whoever has them.\n",
                    plural(sheets, "patient"),
                    index.display()
                ),
                None => say!(
                    "The sheets in {} are by the whole log now: {} written anew or taken away{without}.\n",
                    index.display(),
                    changed.len()
                ),
            }
        }
        if let Some(fault) = &failed {
            complain!("holdfast: sheets are missing: {} [{}]", fault.message, fault.code);
        }
        let error = failed.as_ref().map(|fault| json!({ "code": fault.code, "message": fault.message }));
        self.without = failed;
        Some(
            json!({ "seconds": seconds, "written": sheets, "missing": missing, "changed": changed, "lacking": lacking, "error": error }),
        )
    }

    /// Beside what the recovery itself answers: exit 3 where sheets are missing, or nobody can be ready.
    pub fn end(mut self, answer: &mut Answer) {
        let lacks_sheets = self.without.is_some() || (self.sheets.is_some() && self.first.is_none());
        if lacks_sheets {
            answer.text.push_str("\n  DEGRADED: not all the sheets that were asked for are there");
        }
        if self.is_clock_behind {
            answer.text.push_str(
                "\n  DEGRADED: this machine's clock is behind the log, and nobody is ready until it is set right",
            );
        }
        if lacks_sheets || self.is_clock_behind {
            answer.exit = answer.exit.max(DEGRADED);
        }
        if let Some(fields) = answer.json.as_object_mut() {
            fields.insert("treatment_list".to_owned(), self.told.pop().unwrap_or_default());
            fields.insert("treatment_list_by_roster".to_owned(), self.told.pop().unwrap_or_default());
        }
    }
}
