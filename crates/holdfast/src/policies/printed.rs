//! The centre's cyber security policy as a document: made from what is enforced, not beside it.

use guard::{
    Act, Alarms, Budget, Budgets, Policy, PolicyStanding, PublicKey, Purpose, Question, Relation, Role, Sensitivity,
    Target,
};
use kit::{Fault, PatientId, UtcOffset};
use serde_json::json;

use crate::DEGRADED;
use crate::acts::{Answer, encode_file};
use crate::centre::Centre;
use crate::paper::{Block, Paper, Section};

pub fn answer(standing: &PolicyStanding, centre: &Centre) -> Result<Answer, Fault> {
    let paper = paper(standing, centre);
    let json = json!({ "html": encode_file(paper.page()?.as_bytes()), "pdf": encode_file(&paper.pdf()) });
    let (exit, text) = match &standing.in_force {
        Some(proposal) => (0, format!("policy {}, {}", proposal.version(), standing.digest)),
        None => (DEGRADED, format!("NO POLICY IS APPROVED: printed are the rules of the program, {}", standing.digest)),
    };
    Ok(Answer { exit, text, json })
}

fn paper(standing: &PolicyStanding, centre: &Centre) -> Paper {
    let offset = centre.config().utc_offset();
    let name = centre.treatment().centre();
    let version =
        standing.in_force.as_ref().map_or("not approved".to_owned(), |one| format!("version {}", one.version()));
    let who = format!("{name} · {version} · in force as of {}", moment(centre.chart().now(), offset));
    let policy = standing.rules.policy();
    let mut sections = vec![about(standing), signatures(standing, offset)];
    sections.extend(Role::ALL.iter().filter_map(|role| of_role(policy, *role)));
    sections.extend([never(), let_in(standing), budgets(standing), alarms(standing), appendix(policy)]);
    Paper {
        title: "Cyber security policy".to_owned(),
        head: who.clone(),
        who,
        notice: None,
        foot: format!("{name} · policy {} · printed from what is enforced", standing.digest),
        sections: sections.into_iter().map(Section::cleaned).collect(),
    }
}

fn moment(at: kit::Timestamp, offset: UtcOffset) -> String {
    let text = offset.local(at).to_string();
    format!("{} UTC{offset}", text.get(..16).unwrap_or_default().replace('T', " "))
}

fn about(standing: &PolicyStanding) -> Section {
    let mut blocks = Vec::new();
    match &standing.in_force {
        None => {
            let text = "No policy of this centre is approved: nobody has signed it. What is printed here are the rules that the program has \
                        built in; they are in force.";
            blocks.push(Block::Alarm(text.to_owned()));
        }
        Some(proposal) => {
            let previous = proposal.proposed.statement().previous;
            blocks.push(Block::Facts(vec![
                ("Version", proposal.version().to_string()),
                ("SHA-256", standing.digest.to_string()),
                ("Follows", previous.map_or("nothing: it is the first".to_owned(), |digest| digest.to_string())),
                ("A change takes", format!("one officer who proposes it, and {} others", proposal.bundle.quorum())),
            ]));
            let officers = proposal.bundle.officers().iter();
            let rows = officers.map(|one| vec![one.name.clone(), one.duty.clone(), one.key.to_string()]).collect();
            blocks.push(Block::Table { head: vec!["Officer", "Duty", "Public key (Ed25519)"], rows });
        }
    }
    if !standing.refused.is_empty() {
        let text =
            format!("{} entries of the log that are not signed as they must be were refused.", standing.refused.len());
        blocks.push(Block::Alarm(text));
    }
    Section::new("What is in force, and who answers for it", blocks)
}

fn signatures(standing: &PolicyStanding, offset: UtcOffset) -> Section {
    let rows =
        standing.in_force.iter().flat_map(|one| [&one.proposed].into_iter().chain(&one.approved)).map(|signed| {
            let said = signed.statement();
            vec![said.officer.clone(), said.says.to_string(), moment(said.at, offset), begin(signed.key())]
        });
    let rows: Vec<Vec<String>> = rows.collect();
    let line = match rows.is_empty() {
        true => "None.",
        false => {
            "Each is over the SHA-256 above, the one before it and the version, and was verified when this program started."
        }
    };
    let table = Block::Table { head: vec!["Officer", "Has", "At", "By the key"], rows };
    Section::new("Signatures", vec![Block::Lines(vec![line.to_owned()]), table])
}

/// Enough of it to tell it from the officers' others.
fn begin(key: PublicKey) -> String {
    format!("{}…", key.to_string().get(..8).unwrap_or_default())
}

/// What somebody of a role may do: asked of the rules, question by question.
fn of_role(policy: &Policy, role: Role) -> Option<Section> {
    let her = Target::Patient(PatientId([0; 16]));
    let may = |act, sensitivity| {
        let relation = Relation::Unexplained;
        let allows = |purpose, target| policy.allows(Question { role, act, target, sensitivity, purpose, relation });
        let each = Purpose::ALL.iter().filter(|purpose| allows(**purpose, Target::Centre) || allows(**purpose, her));
        let words: Vec<&str> = each.map(|purpose| purpose.as_str()).collect();
        if words.is_empty() { "–".to_owned() } else { words.join(", ") }
    };
    let rows: Vec<Vec<String>> = (Act::ALL.iter())
        .map(|act| [may(*act, Sensitivity::Administrative), may(*act, Sensitivity::Clinical)].map(|cell| (act, cell)))
        .filter(|cells| cells.iter().any(|(_, cell)| cell != "–"))
        .map(|[(act, administrative), (_, clinical)]| vec![act.to_string(), administrative, clinical])
        .collect();
    let head = vec!["May", "administrative data, for", "clinical data, for"];
    (!rows.is_empty()).then(|| Section::new(format!("Role: {role}"), vec![Block::Table { head, rows }]))
}

/// By the rules' own names, which are sentences.
fn never() -> Section {
    let lines = Policy::never().into_iter().map(|name| name.replace('-', " ")).collect();
    Section::new("What no policy of this centre can allow", vec![Block::Lines(lines)])
}

fn let_in(standing: &PolicyStanding) -> Section {
    let sessions = standing.rules.sessions();
    let facts = vec![
        ("A session that nobody uses ends after", format!("{} minutes", sessions.idle_minutes)),
        ("Any session ends after", format!("{} hours", sessions.hours)),
        (
            "Letting people in, and judging emergencies, wants a passkey shown",
            format!("within {} minutes", sessions.presence_minutes),
        ),
        ("A sign-in code ends after", format!("{} minutes, or when it was used", sessions.code_minutes)),
        ("A token ends after", format!("{} days at most", sessions.token_days)),
    ];
    Section::new("How long people and machines are let in for", vec![Block::Facts(facts)])
}

fn budgets(standing: &PolicyStanding) -> Section {
    let Budgets { person, unexplained, emergency, directory, machine, centre, change, machine_change } =
        standing.rules.budgets();
    let row = |who: &str, budget: Budget| vec![who.to_owned(), budget.hour.to_string(), budget.day.to_string()];
    let rows = vec![
        row("Charts that one person opens", person),
        row("Of them, charts that nothing in the record explains", unexplained),
        row("Emergencies (the glass is broken) of one person", emergency),
        row("Names that one person sees", directory),
        row("Charts that one machine or program opens", machine),
        row("Charts that all together open", centre),
        row("Patients whose records one person changes or deletes", change),
        row("Patients whose records one machine or program changes or deletes", machine_change),
    ];
    let head = vec!["Different patients", "within an hour", "within a day"];
    let line = "More is refused, and stands in the log. What the gate and the wards need is not counted.".to_owned();
    Section::new("Budgets", vec![Block::Table { head, rows }, Block::Lines(vec![line])])
}

fn alarms(standing: &PolicyStanding) -> Section {
    let Alarms { minutes, owners, review_hours } = standing.rules.alarms();
    let in_turn = owners.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", then ");
    let facts = vec![
        ("Who takes an alarm", in_turn),
        ("Each has", format!("{minutes} minutes; then it goes up")),
        ("An emergency is reviewed within", format!("{review_hours} hours, by somebody else")),
    ];
    Section::new("Alarms and emergencies", vec![Block::Facts(facts)])
}

fn appendix(policy: &Policy) -> Section {
    let lines = policy.text().lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    Section::new("The rules, as they run (Cedar)", vec![Block::Text(lines)])
}
