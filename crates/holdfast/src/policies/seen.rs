//! What is said of the centre's policy, and what is handed in.

use guard::{
    Bundle, Difference, Guard, OfficerStatement as _, Permit, PolicyStanding, PolicyStatement, Proposal, SignedPolicy,
    Wants,
};
use kit::{Blame, Fault};
use serde_json::{Value, json};

use crate::acts::{Answer, encode_file};
use crate::say::plural;
use crate::{DEGRADED, INTEGRITY};

/// Of a signature: who, when, by which key.
fn signature(signed: &SignedPolicy) -> Value {
    let PolicyStatement { says, officer, at, .. } = signed.statement();
    json!({ "says": says.to_string(), "officer": officer, "at": at, "key": signed.key().to_string() })
}

fn signatures(proposal: &Proposal) -> Vec<Value> {
    [&proposal.proposed].into_iter().chain(&proposal.approved).map(signature).collect()
}

fn signed_lines(proposal: &Proposal) -> String {
    let all = [&proposal.proposed].into_iter().chain(&proposal.approved);
    let line = |one: &SignedPolicy| {
        let PolicyStatement { says, officer, at, .. } = one.statement();
        format!("\n  {says} by {officer}, {at}")
    };
    all.map(line).collect()
}

fn wanted(wants: Wants) -> String {
    let Wants { of_before, of_its_own } = wants;
    match of_before.max(of_its_own) {
        // Nobody waits for nothing.
        0 => "it waits for nobody".to_owned(),
        more if of_before == 0 => format!("it waits for {more} more of its own officers"),
        more if of_its_own == 0 => format!("it waits for {more} more of the officers in office"),
        _ => format!("it waits for {of_before} more of the officers in office, and {of_its_own} of its own"),
    }
}

pub fn show(standing: &PolicyStanding) -> Answer {
    let PolicyStanding { digest, rules, in_force, open, refused } = standing;
    let mut text = match in_force {
        None => format!("NO POLICY IS APPROVED: the rules of the program are in force, {digest}"),
        Some(proposal) => format!("policy {}, {digest}{}", proposal.version(), signed_lines(proposal)),
    };
    for officer in in_force.iter().flat_map(|proposal| proposal.bundle.officers()) {
        text.push_str(&format!("\n  officer {}, {}, key {}", officer.name, officer.duty, officer.key));
    }
    let mut proposed = Vec::new();
    for (proposal, wants) in open {
        let bundle = &proposal.bundle;
        let before = in_force.as_ref().map(|one| &*one.bundle);
        let changes = guard::changes(before, bundle);
        let differences = bundle.policy().map_or(Vec::new(), |policy| standing.rules.policy().differences(policy));
        text.push_str(&format!(
            "\nproposed: policy {}, {}{}\n  {}\n  {}, {} of who may do what",
            proposal.version(),
            bundle.digest(),
            signed_lines(proposal),
            wanted(*wants),
            plural(changes.len(), "change"),
            plural(differences.len(), "difference")
        ));
        proposed.push(json!({
            "version": proposal.version(), "digest": bundle.digest(), "text": bundle.text(), "wants": wants,
            "signatures": signatures(proposal), "changes": changes, "differences": differences,
        }));
    }
    if let Some(fault) = standing.fault() {
        text.push_str(&format!("\nITS RULES DON'T HOLD by this program, and those before it go on: {fault}"));
    }
    for why in refused {
        text.push_str(&format!("\nREFUSED, an entry of the log that isn't signed as it must be: {why}"));
    }
    let sessions = rules.sessions();
    let json = json!({
        "version": in_force.as_ref().map_or(0, Proposal::version), "digest": digest, "signed": in_force.is_some(),
        "text": in_force.as_ref().map(|proposal| proposal.bundle.text()), "rules": rules.policy().text(), "budgets": rules.budgets(),
        "quorum": in_force.as_ref().map(|proposal| proposal.bundle.quorum()), "sessions": sessions,
        "officers": in_force.as_ref().map(|proposal| proposal.bundle.officers().to_vec()),
        "signatures": in_force.as_ref().map(signatures), "fault": standing.fault().map(|e| e.to_string()), "proposed": proposed, "refused": refused,
    });
    let is_sound = in_force.is_some() && refused.is_empty() && standing.fault().is_none();
    let exit = if is_sound { 0 } else { DEGRADED };
    Answer { exit, text, json }
}

pub fn review(standing: &PolicyStanding, text: &str) -> Result<Answer, Fault> {
    let bundle = Bundle::parse(text).map_err(|e| Fault::of(&e))?;
    let before = standing.in_force.as_ref().map(|proposal| &*proposal.bundle);
    let changes = guard::changes(before, &bundle);
    let differences = bundle.policy().map_or(Vec::new(), |policy| standing.rules.policy().differences(policy));
    let spare = bundle.officers().len() - usize::from(bundle.quorum()) - 1;
    let json = json!({
        "digest": bundle.digest(), "changes": changes, "differences": differences, "keys_to_lose": spare,
    });
    let exit = if differences.is_empty() && changes.is_empty() { 0 } else { INTEGRITY };
    let mut text = format!("{}\n{}", bundle.digest(), in_words(&changes, &differences));
    let lost = match spare {
        0 => "If one officer loses her key, nobody can change the policy any more: name one more than a change takes."
            .to_owned(),
        spare => format!("{} may be lost, and the policy can still be changed.", plural(spare, "officer's key")),
    };
    text.push_str(&format!("\n{lost}"));
    Ok(Answer { exit, text, json })
}

fn in_words(changes: &[String], differences: &[Difference]) -> String {
    if differences.is_empty() && changes.is_empty() {
        return "It changes nothing.".to_owned();
    }
    let (may, may_not): (Vec<&Difference>, Vec<&Difference>) = differences.iter().partition(|differs| differs.may_now);
    let mut lines: Vec<String> = changes.to_vec();
    for (heading, these) in [("These could do what they can't now:", may), ("These could no longer:", may_not)] {
        if !these.is_empty() {
            lines.push(heading.to_owned());
            lines.extend(these.iter().map(|differs| format!("  {differs}")));
        }
    }
    if differences.is_empty() {
        lines.push("Nobody could do anything else.".to_owned());
    }
    lines.join("\n")
}

pub fn statement(statement: &PolicyStatement) -> Answer {
    let bytes = minicbor::to_vec(statement).unwrap_or_default();
    Answer::done(statement.text(), json!({ "statement": encode_file(&bytes) }))
}

fn signed(bytes: &[u8]) -> Result<SignedPolicy, Fault> {
    SignedPolicy::from_bytes(bytes).map_err(|e| Fault { blame: Blame::Peer, ..Fault::of(&e) })
}

pub fn propose(guard: &Guard, permit: &Permit, text: &str, bytes: &[u8]) -> Result<Answer, Fault> {
    let proposal = guard.propose_policy(permit, text, signed(bytes)?).map_err(|e| Fault::of(&e))?;
    let (version, digest) = (proposal.version(), proposal.bundle.digest());
    let text = format!("policy {version}, {digest}\n  proposed; other officers approve it: holdfast policy approve");
    Ok(Answer::done(text, json!({ "version": version, "digest": digest })))
}

pub fn approve(guard: &Guard, permit: &Permit, bytes: &[u8]) -> Result<Answer, Fault> {
    let signed = signed(bytes)?;
    let (version, digest) = (signed.statement().version, signed.statement().policy);
    let in_force = guard.approve_policy(permit, signed).map_err(|e| Fault::of(&e))?;
    let state = match in_force {
        true => "approved, and in force from now on".to_owned(),
        false => {
            let standing = guard.policy();
            let waits = standing.open.iter().find(|(one, _)| one.bundle.digest() == digest);
            format!("approved; {}", waits.map_or("it waits".to_owned(), |(_, wants)| wanted(*wants)))
        }
    };
    let json = json!({ "version": version, "digest": digest, "in_force": in_force });
    Ok(Answer::done(format!("policy {version}, {digest}\n  {state}"), json))
}
