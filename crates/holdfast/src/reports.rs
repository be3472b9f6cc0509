//! Reports in words and in JSON.

use serde::Serialize;
use serde_json::{Value, json};
use treatment::{
    Approved, Assessment, Outcome, RulesInForce, Standing as Stands, State, TreatmentList, TreatmentRow, Triage,
    TriageRow, Verdict, Worth,
};
use vault::{DamageList, RecoveryReport, ScrubReport, VerifyReport, Weighed};

use crate::acts::Answer;
use crate::left::Witnessed;
use crate::say::plural;
use crate::standing::Standing;
use crate::{DEGRADED, INTEGRITY};

/// Lines of damage that a person reads; JSON has more.
const LINES_MAX: usize = 20;

fn damage_json(damage: &DamageList) -> Value {
    let listed: Vec<Value> = damage
        .listed
        .iter()
        .map(|d| json!({ "location": d.location, "segment": d.segment, "what": d.what.to_string() }))
        .collect();
    json!({ "total": damage.total, "by_location": damage.by_location, "listed": listed })
}

fn damage_lines(damage: &DamageList) -> String {
    let mut text = String::new();
    for (location, count) in &damage.by_location {
        text.push_str(&format!("\n  {location}: {count} objects"));
    }
    for line in damage.listed.iter().take(LINES_MAX) {
        text.push_str(&format!("\n    {line}"));
    }
    let more = damage.total.saturating_sub(LINES_MAX as u64);
    if more > 0 {
        text.push_str(&format!("\n    and {more} more"));
    }
    text
}

/// What is to be done about holders: nothing that a scrub could.
const MEND_HOLDERS: &str = "a scrub can't make a holder again. Bring its disk or its folder back; where that is lost, \
                            `holdfast holder replace` makes a new one with the custodians, while everything goes on; with too few \
                            left to open a key, `holdfast recover` into a new folder";

fn holder_lines(standing: &Standing) -> String {
    let mut text = format!("\n  {}", standing.holders_line());
    if !standing.unusable.is_empty() {
        standing.unusable.iter().for_each(|one| text.push_str(&format!("\n    {one}")));
        text.push_str(&format!("\n  {MEND_HOLDERS}"));
    }
    standing.undealt_line().into_iter().for_each(|line| text.push_str(&format!("\n  {line}")));
    text
}

/// Exit 4 on any damage, a holder's included; 3 where machines (`are_machines`) are off, and all that could be read is good.
pub fn verify(report: &VerifyReport, standing: &Standing, are_machines: bool) -> Answer {
    let clean = report.is_clean() && standing.unusable.is_empty();
    let VerifyReport { damage, lost_segments, contradictions_total, missing, .. } = report;
    let is_all_there = *lost_segments == 0 && *contradictions_total == 0 && missing.is_none();
    let is_away = !clean && are_machines && is_all_there && damage.unreachable == damage.total;
    let mut text = format!(
        "{} of {} shards good; {} segments, {} entries, {} sealed payloads, {} signed checkpoints",
        report.shards_good,
        report.shards_expected,
        report.segments,
        report.entries,
        report.payloads,
        report.checkpoints
    );
    if report.is_clean() {
        text.insert_str(0, if clean { "whole: " } else { "DAMAGED or away: holders. Every shard is good: " });
    } else if is_away {
        let away: Vec<&str> = damage.by_location.keys().map(String::as_str).collect();
        text.insert_str(
            0,
            &format!("AWAY: {}; what they keep was not looked at, and the rest is good: ", away.join(", ")),
        );
    } else {
        text.insert_str(0, "DAMAGED: ");
        text.push_str(&damage_lines(&report.damage));
        if report.lost_segments > 0 {
            text.push_str(&format!("\n  {} segments can't be put together from what is left", report.lost_segments));
        } else if !report.damage.is_empty() {
            text.push_str(
                "\n  nothing is lost: `holdfast scrub` makes it again from the rest; where a server's whole folder is gone, with the gateway \
                 ended",
            );
        }
        if let Some(missing) = &report.missing {
            text.push_str(&format!(
                "\n  what was looked at is not all that there was: {missing}; servers may have been set back"
            ));
        }
        for line in report.contradictions.iter().take(LINES_MAX) {
            text.push_str(&format!("\n  contradiction: {line}"));
        }
        if report.contradictions_total > 0 {
            text.push_str(
                "\n  `holdfast scrub` while the gateway is stopped takes its copy of the ledger's hashes from the log again",
            );
        }
    }
    if report.unsettled_segments > 0 {
        text.push_str(&format!(
            "\n  {} segments at the end were on their way when the gateway ended: nobody was told that they are kept, and the \
             next start settles them",
            report.unsettled_segments
        ));
    }
    text.push_str(&holder_lines(standing));
    let json = json!({
        "clean": clean,
        "segments": report.segments,
        "entries": report.entries,
        "payloads": report.payloads,
        "checkpoints": report.checkpoints,
        "shards_good": report.shards_good,
        "shards_expected": report.shards_expected,
        "lost_segments": report.lost_segments,
        "abandoned_segments": report.abandoned_segments,
        "unsettled_segments": report.unsettled_segments,
        "contradictions": report.contradictions,
        "missing": report.missing,
        "holders": standing.holders_json(),
        "damage": damage_json(&report.damage),
    });
    let exit = match (clean, is_away) {
        (true, _) => 0,
        (_, true) => DEGRADED,
        _ => INTEGRITY,
    };
    Answer { exit, text, json }
}

impl Answer {
    /// Markers that say no more whose a folder is: the next start would leave their servers out.
    pub fn and_markers(mut self, damaged: &[String]) -> Self {
        for server in damaged {
            self.exit = INTEGRITY;
            self.text.push_str(&format!(
                "\n  {server}: its marker is damaged; `holdfast scrub` with the gateway stopped makes it anew"
            ));
        }
        self.with("damaged_markers", damaged)
    }

    /// The gateway's index beside the ledger.
    pub fn and_index(mut self, is_true: bool) -> Self {
        if !is_true {
            self.exit = INTEGRITY;
            self.text.push_str("\n  the index does not say what the ledger does; `holdfast scrub` makes it anew");
        }
        self.with("index_is_true", is_true)
    }

    /// What a scrub did to the index.
    pub fn and_mended_index(mut self, mended: bool) -> Self {
        if mended {
            self.text.push_str("\n  the index did not say what the ledger does, and was made anew");
        }
        self.with("index_made_anew", mended)
    }

    fn with(mut self, key: &str, value: impl Serialize) -> Self {
        if let Some(fields) = self.json.as_object_mut() {
            fields.insert(key.to_owned(), json!(value));
        }
        self
    }
}

/// Exit 3 where something stays damaged or a holder is missing, 4 where something is lost.
pub fn scrub(report: &ScrubReport, standing: &Standing) -> Answer {
    let is_whole = report.is_whole() && standing.unusable.is_empty();
    let mut text = format!("{} segments looked at, {} objects made again", report.segments, report.healed);
    for (location, count) in &report.healed_by_location {
        text.push_str(&format!("\n  {location}: {count}"));
    }
    if report.healed_since_opening > 0 {
        text.push_str(&format!("\n  before that, brought since the vault was opened: {}", report.healed_since_opening));
    }
    if !report.unhealed.is_empty() {
        text.push_str("\n  still damaged:");
        text.push_str(&damage_lines(&report.unhealed));
        text.push_str(
            "\n  a server whose whole folder is gone, or was laid anew, is filled with the gateway ended: end `holdfast serve`, then \
             `holdfast scrub`",
        );
    }
    if report.lost_segments > 0 {
        text.push_str(&format!("\n  {} segments can't be put together", report.lost_segments));
    }
    text.push_str(&holder_lines(standing));
    let exit = match (report.lost_segments, is_whole) {
        (0, true) => 0,
        (0, false) => DEGRADED,
        _ => INTEGRITY,
    };
    let json = json!({
        "whole": is_whole,
        "holders": standing.holders_json(),
        "segments": report.segments,
        "healed": report.healed,
        "healed_by_location": report.healed_by_location,
        "healed_since_opening": report.healed_since_opening,
        "lost_segments": report.lost_segments,
        "damage": damage_json(&report.damage),
        "unhealed": damage_json(&report.unhealed),
    });
    Answer { exit, text, json }
}

/// Today's list for a terminal: what a therapist with a sheet of paper needs first.
pub fn treatment_list(list: &TreatmentList, seconds: f64) -> String {
    let known = list.clocks.map_or(list.as_of, |clocks| clocks.newest);
    let mut text = format!(
        "On treatment: {} patients, as known at {known}, when the log's newest entry was made (this machine's clock says {}), \
         {seconds:.1} seconds after the recovery began. The rest follows.",
        list.rows.len(),
        list.as_of
    );
    if let Some(doubt) = list.clocks.and_then(|clocks| clocks.doubt()) {
        text.push_str(&format!("\n  CLOCK: {doubt}."));
    }
    if let Some(at) = list.roster {
        text.push_str(&format!(
            "\n  By the roster that the lost gateway made at {at}, and all that was written since. The whole log is read next, and compared."
        ));
    }
    if let Some(why) = &list.incomplete {
        text.push_str(&format!(
            "\n  INCOMPLETE: {why}. Patients, fractions and erasures may be missing from this list: nobody on it is ready."
        ));
    }
    for row in &list.rows {
        let number = |n: Option<u32>| n.map_or("?".to_owned(), |n| n.to_string());
        let next = match row.standing {
            Stands::Complete => "none".to_owned(),
            _ => number(row.fraction_next),
        };
        text.push_str(&format!(
            "\n  {}  {}  {}  {}  {}  next fraction {} of {}  {:?}: {}",
            row.number,
            row.name,
            row.birth_date,
            row.machine,
            row.plan,
            next,
            number(row.fractions_planned),
            row.standing,
            row.why,
        ));
    }
    text
}

/// What a signer is told of the plan's chart checks: how many pass, and each that doesn't.
pub fn checked(approved: &Approved) -> String {
    if let Some(why) = &approved.unchecked {
        return format!("\n  no chart checks: {why}");
    }
    let all = || approved.checks.iter().flat_map(|group| &group.checks);
    let passed = all().filter(|check| check.state == State::Pass).count();
    let mut text = format!("\n  chart checks: {passed} of {} pass", all().count());
    for check in all().filter(|check| check.state != State::Pass) {
        let word = if check.state == State::Fail { "FAILS" } else { "unknown" };
        text.push_str(&format!("\n    {word}: {}: {}", check.what, check.evidence));
    }
    text
}

/// What all of the log says of a list by the roster.
pub fn compared(list: &TreatmentList, others: &[String], seconds: f64) -> String {
    let as_it_is = match others.len() {
        0 => "as listed".to_owned(),
        count => format!("as listed, but for {}", plural(count, "plan")),
    };
    let mut text =
        format!("By the whole log, after {seconds:.1} seconds: {} on treatment, {as_it_is}.", list.rows.len());
    others.iter().for_each(|line| text.push_str(&format!("\n  {line}")));
    text
}

/// Who stands otherwise, now that the whole log was read, than a list by the roster said; whoever wrote that could leave something out.
pub fn otherwise(first: &TreatmentList, now: &TreatmentList) -> Vec<String> {
    type Key<'a> = (Option<kit::PatientId>, &'a str);
    fn key(row: &TreatmentRow) -> Key<'_> {
        (row.patient, &row.plan)
    }
    let was: std::collections::BTreeMap<Key<'_>, &TreatmentRow> =
        first.rows.iter().map(|row| (key(row), row)).collect();
    let next = |row: &TreatmentRow| match row.standing {
        Stands::Complete => String::new(),
        _ => format!(", next fraction {}", row.fraction_next.map_or("?".to_owned(), |next| next.to_string())),
    };
    let said = |row: &TreatmentRow| format!("{:?}: {}{}", row.standing, row.why, next(row));
    let mut lines = Vec::new();
    for row in &now.rows {
        let line = match was.get(&key(row)) {
            None => format!("{} {} was not listed, is {}", row.number, row.plan, said(row)),
            Some(was) if said(was) == said(row) => continue,
            Some(was) => format!("{} {} was {}, is {}", row.number, row.plan, said(was), said(row)),
        };
        lines.push(line);
    }
    let is_now: std::collections::BTreeSet<Key<'_>> = now.rows.iter().map(key).collect();
    let gone = first.rows.iter().filter(|row| row.patient.is_some() && !is_now.contains(&key(row)));
    lines.extend(gone.map(|row| format!("{} {} was {}, is not on the list", row.number, row.plan, said(row))));
    lines
}

/// In the log's order; of whom is nobody's business who doesn't open the log.
pub fn erasures(erasures: &[vault::LoggedErasure]) -> Answer {
    let mut text = format!("the log holds {} erasures", erasures.len());
    if !erasures.is_empty() {
        text.push_str("\n       entry  by the gateway's clock    can be taken back");
    }
    for vault::LoggedErasure { entry, time, opens } in erasures {
        let opens = if *opens { "yes" } else { "no: there are other custodians since" };
        text.push_str(&format!("\n  {entry:>10}  {time:<24}  {opens}"));
    }
    if erasures.iter().any(|erasure| erasure.opens) {
        text.push_str(
            "\n  To take back those from an entry on: holdfast recover … --restore-erased-from ENTRY\n  Whoever had the \
             gateway could set its clock.",
        );
    }
    let json = erasures
        .iter()
        .map(|one| json!({ "entry": one.entry, "time": one.time.to_string(), "can_be_taken_back": one.opens }))
        .collect();
    Answer::done(text, Value::Array(json))
}

/// Exit 3 where something may be missing that was acknowledged, 4 where charts stay sealed or a witness has seen another history.
pub fn recovery(report: &RecoveryReport, witnessed: &Witnessed) -> Answer {
    let custodians: Vec<String> = report.custodians.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "recovered {} entries in {} segments from {} survivors with custodians {}; keys of {} patients dealt anew{}{}{}{}",
        report.entries,
        report.segments,
        report.survivors,
        custodians.join(" and "),
        report.patients,
        if !report.restored.is_empty() {
            format!(
                ", the erasures of {} of them are taken back\n  where a number of theirs was given to somebody else meanwhile, \
                 the treatment list and the gate hold both (patient-ambiguous) until one is corrected",
                report.restored.len()
            )
        } else {
            String::new()
        },
        if report.erased_patients > 0 {
            let joint = if report.restored.is_empty() { "," } else { "\n " };
            format!("{joint} {} erased stay erased", report.erased_patients)
        } else {
            String::new()
        },
        report
            .unsettled
            .map(|unsettled| format!("\n  DEGRADED: {unsettled}; their receipts can't be kept"))
            .unwrap_or_default(),
        damage_lines(&report.damage),
    );
    if let Some(newest) = report.newest {
        text.push_str(&format!(
            "\n  the newest entry is of {newest}: whatever was kept later is on none of these survivors"
        ));
    }
    if report.left_erased > 0 {
        text.push_str(&format!(
            "\n  {} more were erased from that entry on, and stay erased: these custodians don't open their keys",
            report.left_erased
        ));
    }
    if report.unopened_patients > 0 {
        text.push_str(&format!(
            "\n  DAMAGED: the keys of {} patients open by no record that the log holds of them: their charts stay sealed here. KEEP \
             the survivors: a recovery from them with other custodians may open these",
            report.unopened_patients
        ));
    }
    let (mut within, mut beyond, mut contradicted) = (0_usize, 0_usize, 0_usize);
    for (folder, weighed) in witnessed {
        let folder = folder.display();
        match weighed {
            Weighed::Within { .. } => within += 1,
            Weighed::Beyond { size } => {
                beyond += 1;
                let missing = size - report.entries;
                text.push_str(&format!(
                    "\n  DEGRADED: the witness in {folder} cosigned a log of {size} entries: {missing} more than these survivors hold; \
                     they were set back, or others hold the rest"
                ));
            }
            Weighed::Contradicts { size } => {
                contradicted += 1;
                text.push_str(&format!(
                    "\n  DAMAGED: the witness in {folder} cosigned another history, of {size} entries: somebody had the log's key, and \
                     what is recovered is not what was acknowledged. KEEP the survivors"
                ));
            }
        }
    }
    if within > 0 {
        text.push_str(&format!("\n  {within} of the survivors' witnesses cosigned a head of what is here"));
    }
    let unsettled = report
        .unsettled
        .map(|unsettled| json!({ "segments": unsettled.segments, "highest_entry": unsettled.highest_entry }));
    let json = json!({
        "vault": report.vault,
        "epoch": report.epoch,
        "survivors": report.survivors,
        "custodians": report.custodians,
        "segments": report.segments,
        "entries": report.entries,
        "patients": report.patients,
        "restored_patients": report.restored.len(),
        "unopened_patients": report.unopened_patients,
        "erased_patients": report.erased_patients,
        "left_erased": report.left_erased,
        "newest": report.newest.map(|at| at.to_string()),
        "abandoned_segments": report.abandoned_segments,
        "unsettled": unsettled,
        "witnesses": { "within": within, "beyond": beyond, "contradicted": contradicted },
        "damage": damage_json(&report.damage),
    });
    let is_damaged = report.unopened_patients > 0 || contradicted > 0;
    let is_degraded = report.unsettled.is_some() || report.left_erased > 0 || beyond > 0;
    let exit = match (is_damaged, is_degraded) {
        (true, _) => INTEGRITY,
        (false, true) => DEGRADED,
        (false, false) => 0,
    };
    Answer { exit, text, json }
}

/// Exit 0 for a release, 4 for a veto.
pub fn verdict(verdict: &Verdict) -> Answer {
    let released = verdict.outcome == Outcome::Release;
    let mut text = String::from(if released { "RELEASE" } else { "VETO" });
    if let (Some(given), Some(planned)) = (verdict.fractions_given, verdict.fractions_planned) {
        text.push_str(&format!(": {given} of {planned} fractions given"));
    }
    if let Some(digest) = &verdict.digest {
        text.push_str(&format!("\n  delivery {digest}"));
    }
    for finding in &verdict.findings {
        text.push_str(&format!("\n  {}: {finding}", finding.code()));
    }
    for note in &verdict.notes {
        text.push_str(&format!("\n  note: {note}"));
    }
    let json = serde_json::to_value(verdict).unwrap_or(Value::Null);
    Answer { exit: if released { 0 } else { INTEGRITY }, text, json }
}

/// A line for each of what can be done, with what it is worth.
pub fn assessment(found: &Assessment) -> String {
    let mut text = format!(
        "{:<36} {:>4}  {:<10} {:>5}  {:>11} {:>7}  {:>10} {:>7}",
        "", "frac", "last", "days", "tumour BED", "EQD2", "late BED", "EQD2"
    );
    let mut row = |what: &str, worth: &Worth| {
        let Worth { fractions, last, days, tumour_bed, tumour_eqd2, late_bed, late_eqd2, .. } = worth;
        text.push_str(&format!(
            "\n{what:<36} {fractions:>4}  {last} {days:>6}  {tumour_bed:>11.2} {tumour_eqd2:>7.2}  {late_bed:>10.2} {late_eqd2:>7.2}"
        ));
    };
    row("as planned", &found.as_planned);
    row("as it stands", &found.as_it_stands);
    for (number, option) in (1..).zip(&found.options) {
        row(&format!("{number}. {}", option.choice), &option.worth);
    }
    text
}

/// By what is weighed.
pub fn rules(in_force: &RulesInForce) -> String {
    match in_force {
        RulesInForce { digest: Some(digest), signer: Some(signer), at: Some(at) } => {
            format!("rules {digest}\n  signed by {signer} at {at}")
        }
        _ => "rules: figures of common use; no physicist of this centre has signed any\n  holdfast rules form > rules.toml \
              prints them, holdfast rules sign makes them the centre's"
            .to_owned(),
    }
}

/// Exit 3 where of somebody too little is known.
pub fn triage(triage: &Triage) -> Answer {
    let of =
        |category: Option<u8>| triage.rows.iter().filter(|row| row.weighing.category.map(u8::from) == category).count();
    let mut text = format!(
        "{} to {}: {} courses are interrupted; category 1: {}, 2: {}, 3: {}, not known: {}\n{}",
        triage.outage.first,
        triage.outage.last,
        triage.rows.len(),
        of(Some(1)),
        of(Some(2)),
        of(Some(3)),
        of(None),
        rules(&triage.rules)
    );
    triage.rows.iter().for_each(|row| text.push_str(&interrupted(row)));
    for why in &triage.unread {
        text.push_str(&format!("\n\nnot read: {why}"));
    }
    text.push_str(
        "\n\n  doses in Gy, by the linear-quadratic model; a physicist checks them, and a physician chooses: holdfast interruption choose",
    );
    let is_whole = triage.unread.is_empty() && triage.rows.iter().all(|row| row.weighing.unknown.is_empty());
    let json = serde_json::to_value(triage).unwrap_or(Value::Null);
    Answer { exit: if is_whole { 0 } else { DEGRADED }, text, json }
}

fn interrupted(row: &TriageRow) -> String {
    let weighing = &row.weighing;
    let category = weighing.category.map_or_else(|| "?".to_owned(), |category| u8::from(category).to_string());
    let known = |number: Option<i64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let mut text = format!(
        "\n\n[{category}] {}  {}, born {}, phone {}\n    {} on {}, {}: {} of {} given, {} days longer than planned",
        row.number,
        row.name,
        row.birth_date,
        row.phone.as_deref().unwrap_or("not known"),
        row.plan,
        row.machine,
        weighing.tumour.as_deref().unwrap_or("tumour not in the rules"),
        known(weighing.fractions_given.map(i64::from)),
        weighing.fractions_planned,
        known(weighing.days_lost.map(i64::from)),
    );
    if let Some(found) = &weighing.assessment {
        text.push_str(&format!("\n    {}", assessment(found).replace('\n', "\n    ")));
    }
    for why in &weighing.unknown {
        text.push_str(&format!("\n    not known: {why}"));
    }
    for warning in &weighing.warnings {
        text.push_str(&format!("\n    ! {warning}"));
    }
    if let Some(chosen) = &row.chosen {
        text.push_str(&format!("\n    chosen: {}, by {} at {}", chosen.option, chosen.signer, chosen.at));
    }
    text
}

#[cfg(test)]
mod tests {
    use kit::{PatientId, Timestamp, UtcOffset};

    use super::*;

    fn row(patient: u8, standing: Stands, next: Option<u32>) -> TreatmentRow {
        let text = |what: &str| format!("{what} {patient}");
        TreatmentRow {
            patient: Some(PatientId([patient; 16])),
            name: text("name"),
            number: text("number"),
            birth_date: String::new(),
            plan: "breast".to_owned(),
            machine: String::new(),
            fraction_next: next,
            fractions_planned: Some(20),
            standing,
            why: text("why"),
            awaits_approval: None,
            course: None,
            too_soon: false,
        }
    }

    #[test]
    fn what_the_whole_log_says_otherwise_is_told() {
        let list = |rows| TreatmentList {
            as_of: Timestamp(0),
            utc_offset: UtcOffset::default(),
            incomplete: None,
            roster: Some(Timestamp(0)),
            clocks: None,
            holds: Vec::new(),
            rows,
        };
        let first = list(vec![
            row(1, Stands::Ready, Some(4)),
            row(2, Stands::Ready, Some(5)),
            row(3, Stands::Hold, None),
            row(5, Stands::Ready, Some(1)),
        ]);
        let now = list(vec![
            row(1, Stands::Ready, Some(4)),
            row(2, Stands::Ready, Some(6)),
            row(3, Stands::Ready, Some(9)),
            row(4, Stands::Hold, Some(1)),
        ]);
        assert_eq!(
            otherwise(&first, &now),
            [
                "number 2 breast was Ready: why 2, next fraction 5, is Ready: why 2, next fraction 6",
                "number 3 breast was Hold: why 3, next fraction ?, is Ready: why 3, next fraction 9",
                "number 4 breast was not listed, is Hold: why 4, next fraction 1",
                "number 5 breast was Ready: why 5, next fraction 1, is not on the list",
            ]
        );
        // Held for another reason: that is said as well.
        let mut other = list(vec![row(3, Stands::Hold, None)]);
        if let Some(row) = other.rows.first_mut() {
            row.why = "a veto".to_owned();
        }
        assert_eq!(
            otherwise(&list(vec![row(3, Stands::Hold, None)]), &other),
            ["number 3 breast was Hold: why 3, next fraction ?, is Hold: a veto, next fraction ?"]
        );
        assert!(otherwise(&now, &now).is_empty());
    }
}
