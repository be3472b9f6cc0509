//! The door at its façade: who may do what, for how long, and what is on record of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests may stop at the first surprise

mod authenticator;
mod budgets;
mod containment;
mod normal;
mod passkeys;
mod policies;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use guard::{
    Act, Ask, Caller, Decision, DecisionLog, Denied, Device, Event, EventLog, Guard, GuardError, Measure, Peer, Permit,
    PermitError, Policy, Purpose, Question, Reason, Relation, Role, Sensitivity, Target, Unauthenticated, Via,
};
use kit::{Blame, Digest, Explain, Fault, Id16, ManualClock, OperationId, PatientId, SeededEntropy, Timestamp};
use proptest::prelude::*;

const CENTRE: &str = "holdfast/00112233";
const START: Timestamp = Timestamp(1_790_000_000_000);
const OPERATION: OperationId = OperationId([7; 16]);
const HER: Target = Target::Patient(PatientId([9; 16]));
const HOUR_MS: i64 = 3_600_000;
/// The computer that everybody sits at.
const HERE: Device = Device(Digest([5; 32]));

/// A question, and whether it was allowed.
type Answered = (Role, Act, Sensitivity, Target, Purpose, bool);

/// Keeps everything in memory, and fails when told.
#[derive(Default)]
struct Log {
    decisions: Mutex<Vec<Decision>>,
    events: Mutex<Vec<Event>>,
    broken: AtomicBool,
}

impl Log {
    fn able(&self) -> Result<(), Fault> {
        match self.broken.load(Ordering::SeqCst) {
            true => Err(Fault::new(Blame::Configuration, "test.disk-full", "the disk is full")),
            false => Ok(()),
        }
    }
}

impl DecisionLog for Log {
    fn note(&self, decision: &Decision) -> Result<(), Fault> {
        self.able()?;
        self.decisions.lock().unwrap().push(decision.clone());
        Ok(())
    }
}

impl EventLog for Log {
    fn keep(&self, event: &Event) -> Result<(), Fault> {
        self.able()?;
        self.events.lock().unwrap().push(event.clone());
        Ok(())
    }
}

fn to(act: Act, target: Target, sensitivity: Sensitivity, purpose: Purpose) -> Ask<'static> {
    Ask { act, target, sensitivity, purpose, relation: None, operation: OPERATION, what: "" }
}

struct Door {
    guard: Guard,
    log: Arc<Log>,
    clock: Arc<ManualClock>,
}

impl Door {
    fn new() -> Self {
        Self::with_log(Arc::default(), Arc::new(ManualClock::new(START)))
    }

    fn with_log(log: Arc<Log>, clock: Arc<ManualClock>) -> Self {
        let peers = vec![Peer::new("LINAC1", "10.1.2.0/24").unwrap(), Peer::new("*", "127.0.0.0/8").unwrap()];
        let entropy = Arc::new(SeededEntropy::new(1));
        let guard = Guard::new(CENTRE.into(), clock.clone(), entropy, log.clone(), log.clone(), peers).unwrap();
        Self { guard, log, clock }
    }

    /// The same centre after a restart.
    fn restarted(&self) -> Self {
        let events = self.log.events.lock().unwrap().clone();
        let again = Self::with_log(Arc::default(), self.clock.clone());
        for event in &events {
            again.guard.replay(&Event::from_bytes(&event.to_bytes()).unwrap()).unwrap();
        }
        again
    }

    fn ask(&self, caller: &Caller, act: Act, target: Target) -> Result<Permit, Denied> {
        self.guard.admit(caller, to(act, target, Sensitivity::Clinical, Purpose::Treatment))
    }

    fn manage(&self) -> Permit {
        let console = self.guard.console();
        let (act, sensitivity) = (Act::ManageAccess, Sensitivity::Clinical);
        self.guard.admit(&console, to(act, Target::Centre, sensitivity, Purpose::Operations)).unwrap()
    }

    fn token(&self, role: Role) -> (Id16, String) {
        let (id, secret) = self.guard.issue_token(&self.manage(), role, "somebody", 24 * HOUR_MS).unwrap();
        (id, secret.to_string())
    }

    fn caller(&self, role: Role) -> Caller {
        match role {
            Role::Console => self.guard.console(),
            role => self.guard.authenticate_bearer(&self.token(role).1).unwrap(),
        }
    }

    fn session(&self, role: Role) -> String {
        let code = self.guard.sign_in_link(&self.manage(), role, "somebody").unwrap();
        self.guard.use_sign_in_link(&code, HERE).unwrap().to_string()
    }
}

// ---- The policy

/// Every question there is, with guard's answer.
fn every_answer() -> Vec<Answered> {
    static ANSWERS: LazyLock<Vec<Answered>> = LazyLock::new(ask_everything);
    ANSWERS.clone()
}

fn ask_everything() -> Vec<Answered> {
    let door = Door::new();
    let mut out = Vec::new();
    for &role in Role::ALL {
        let caller = door.caller(role);
        for &act in Act::ALL {
            for &sensitivity in Sensitivity::ALL {
                for target in [Target::Centre, HER] {
                    for &purpose in Purpose::ALL {
                        let answer = door.guard.admit(&caller, to(act, target, sensitivity, purpose));
                        out.push((role, act, sensitivity, target, purpose, answer.is_ok()));
                    }
                }
            }
        }
    }
    out
}

/// The whole table, one line for each role and act: what is allowed, as the purposes' initials.
#[test]
fn the_answer_to_every_question_is_the_one_in_the_table() {
    let answers = every_answer();
    let (questions, columns, purposes) = (answers.len(), 4, Purpose::ALL.len());
    assert_eq!(questions, Role::ALL.len() * Act::ALL.len() * columns * purposes);

    let initial = |purpose: Purpose| match purpose {
        Purpose::Treatment => 'T',
        Purpose::Emergency => 'E',
        Purpose::Operations => 'O',
        Purpose::Audit => 'A',
        Purpose::PatientRequest => 'P',
    };
    let mut table = String::new();
    for line in answers.chunks(columns * purposes) {
        let (role, act, ..) = line[0];
        table.push_str(&format!("{role:<17}{act:<21}"));
        for cell in line.chunks(purposes) {
            let text: String =
                cell.iter().map(|(.., purpose, yes)| if *yes { initial(*purpose) } else { '-' }).collect();
            table.push_str(&format!("  {text}"));
        }
        table.push('\n');
    }

    let expected: String = include_str!("../decisions.txt")
        .lines()
        .filter(|l| !l.starts_with('#'))
        .fold(String::new(), |all, line| all + line + "\n");
    for (have, want) in table.lines().zip(expected.lines()) {
        assert_eq!(have, want);
    }
    assert_eq!(table, expected);
}

/// The same, asked of rules alone.
fn every_answer_of(policy: &Policy) -> Vec<Answered> {
    let mut out = Vec::new();
    for (role, act, sensitivity, target, purpose, _) in every_answer() {
        let relation = Relation::Unexplained;
        let allowed = policy.allows(Question { role, act, target, sensitivity, purpose, relation });
        out.push((role, act, sensitivity, target, purpose, allowed));
    }
    out
}

const EVERYTHING: &str = r#"@id("everything") permit (principal, action, resource);"#;

#[test]
fn the_invariants_hold_over_the_whole_space_whatever_a_centre_allows() {
    let built_in = Policy::built_in().unwrap();
    assert_eq!(every_answer(), every_answer_of(&built_in));
    check_invariants(every_answer());
    check_invariants(every_answer_of(&Policy::of_centre(EVERYTHING).unwrap()));
    // A rule that allows again what is never allowed.
    let again = format!(
        "{}\n{}",
        built_in.text(),
        r#"@id("it-reads") permit (principal == Role::"it-administrator", action == Action::"read-record", resource);"#
    );
    let again = Policy::of_centre(&again).unwrap();
    assert_eq!(built_in.differences(&again), []);
    assert_ne!(built_in.digest(), again.digest());
}

#[test]
fn what_other_rules_change_is_said_of_every_question() {
    let built_in = Policy::built_in().unwrap();
    let rule = |rule: &str| Policy::of_centre(&format!("{}\n{rule}", built_in.text())).unwrap();
    let searches = rule(
        r#"@id("it-verifies-less") forbid (principal == Role::"it-administrator", action == Action::"verify-vault", resource)
           when { context.purpose == Purpose::"audit" };
           @id("therapists-write") permit (principal == Role::"therapist", action == Action::"write-record", resource)
           when { context.sensitivity == Sensitivity::"administrative" };"#,
    );
    let lines: Vec<String> = built_in.differences(&searches).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "therapist may now write-record: administrative data of one patient, for treatment, emergency, operations, patient-request",
            "therapist may now write-record: administrative data of the centre, for treatment, emergency, operations, patient-request",
            "it-administrator may no longer verify-vault: administrative data of the centre, for audit",
        ]
    );
    let back: Vec<bool> = searches.differences(&built_in).iter().map(|differs| differs.may_now).collect();
    assert_eq!(back, [false, false, true]);
    let nothing = Policy::of_centre("").unwrap();
    let allowed = |policy: &Policy| every_answer_of(policy).iter().filter(|(.., yes)| *yes).count();
    assert_eq!(allowed(&nothing), 0);
    let lost: usize = built_in.differences(&nothing).iter().map(|differs| differs.purposes.len()).sum();
    assert_eq!(lost, allowed(&built_in));
}

/// One row for each question, and whether it is allowed.
fn check_invariants(answers: Vec<Answered>) {
    use Purpose::{Audit, Emergency, Operations, PatientRequest, Treatment};
    use Role::{
        Auditor, Console, Device, ItAdministrator, Oncologist, Physicist, RecordsOfficer, Registrar, SecurityOfficer,
        Service,
    };
    let mut allowed = 0;
    for (role, act, sensitivity, target, purpose, yes) in answers {
        if !yes {
            continue;
        }
        allowed += 1;
        let question = format!("{role} {act} {sensitivity} {target:?} {purpose}");
        let clinical = sensitivity == Sensitivity::Clinical;
        if matches!(role, ItAdministrator | SecurityOfficer | Auditor) {
            assert!(!clinical && !act.opens(), "neither IT nor security nor auditors open anything: {question}");
        }
        if role == RecordsOfficer {
            let manages = [Act::ReadAccessLog, Act::VerifyVault].contains(&act);
            assert!(purpose == PatientRequest || manages, "a records officer does what a patient asks: {question}");
        }
        if role == Service {
            let acts = [Act::RegisterPatient, Act::ReadRecord, Act::SearchRecords, Act::WriteRecord];
            assert!(acts.contains(&act), "a service speaks FHIR: {question}");
        }
        if act == Act::CheckGate {
            let treats = matches!(role, Oncologist | Physicist | Role::Therapist | Device | Console);
            assert!(treats, "who asks the gate: {question}");
        }
        if act == Act::LiftContainment {
            assert!(role == Console, "two officers open doors, at the terminal: {question}");
        }
        if act == Act::Contain {
            let answers = matches!(role, Oncologist | Physicist | ItAdministrator | SecurityOfficer | Console);
            assert!(answers, "who closes doors: {question}");
        }
        if act == Act::ChangePolicy {
            assert!(role == Console && matches!(purpose, Operations | Emergency), "a policy is handed in: {question}");
        }
        if role == Registrar {
            assert!(!clinical, "a registrar never touches clinical data: {question}");
        }
        if role == Console {
            let reads = [Act::ReadRecord, Act::SearchRecords, Act::ReadObject];
            assert!(!reads.contains(&act), "the console reads no chart: {question}");
            let recovers = act == Act::ReadTreatmentList && purpose == Emergency;
            assert!(act != Act::ReadTreatmentList || recovers, "the console sees the list in an emergency: {question}");
        }
        if act == Act::EnterRecord {
            let treats = matches!(role, Oncologist | Physicist | Role::Therapist);
            assert!(treats && clinical && target == HER, "who treats types in what was given: {question}");
        }
        if act == Act::ExportRecord {
            assert!(matches!(role, Oncologist | Physicist) && clinical, "who hands a chart on: {question}");
        }
        if act == Act::MakePacks {
            assert!(role == Console && purpose == Treatment && clinical, "packs are sealed by the centre: {question}");
        }
        if role == Device {
            let acts = [Act::StoreObject, Act::ReadObject, Act::CheckGate];
            assert!(acts.contains(&act), "a device stores, reads plans and checks the gate: {question}");
        }
        if act == Act::ApprovePlan {
            assert!(matches!(role, Oncologist | Physicist | Console), "who hands in approvals: {question}");
        }
        if act == Act::ReadAccessLog {
            let hers = role == RecordsOfficer && purpose == PatientRequest;
            assert!(matches!(role, Auditor | SecurityOfficer | Console) || hers, "who sees who saw what: {question}");
        }
        if matches!(act, Act::ExportRecord | Act::DeleteRecord | Act::ErasePatient) {
            assert!(purpose != Emergency, "an emergency neither exports nor deletes: {question}");
        }
        if act == Act::BreakGlass {
            let cares = matches!(
                role,
                Oncologist | Role::Surgeon | Role::Pathologist | Physicist | Role::Therapist | Role::Nurse
            );
            assert!(cares && purpose == Emergency && clinical && target == HER, "who breaks the glass: {question}");
        }
        if act == Act::ReviewEmergency {
            assert!(matches!(role, SecurityOfficer | Oncologist), "who looks at emergencies: {question}");
        }
        if act == Act::HandleAlarm {
            assert!(
                matches!(role, SecurityOfficer | Oncologist | ItAdministrator | Console),
                "whose alarms are: {question}"
            );
        }
        if act == Act::ManageAccess {
            assert!(matches!(role, ItAdministrator | Console), "who gives credentials out: {question}");
            assert!(!clinical || role == Console, "clinical roles are given out at the console only: {question}");
        }
        if act == Act::ErasePatient {
            assert!(role == Console && purpose == PatientRequest && target == HER, "erasure: {question}");
        }
        if act == Act::RestorePatient {
            assert!(role == Console && purpose == Emergency && target == HER, "an erasure taken back: {question}");
        }
        if clinical && matches!(act, Act::ReadRecord | Act::SearchRecords | Act::ReadObject | Act::ReadTreatmentList) {
            assert!(matches!(purpose, Treatment | Emergency | PatientRequest), "clinical data is for care: {question}");
        }
        if purpose == Audit {
            let acts = [Act::ReadAccessLog, Act::VerifyVault];
            assert!(acts.contains(&act), "an audit opens and changes nothing: {question}");
        }
        if matches!(act, Act::ApprovePlan | Act::CheckGate | Act::ReadTreatmentList) {
            assert!(clinical && matches!(purpose, Treatment | Emergency), "a beam is for treatment: {question}");
        }
        if purpose == Operations && clinical {
            let acts = [Act::RegisterPatient, Act::WriteRecord, Act::DeleteRecord, Act::StoreObject];
            let fine = acts.contains(&act) || !act.opens();
            assert!(fine, "operations change clinical data (an import) and never show it: {question}");
        }
    }
    assert!(allowed > 100, "an empty space proves nothing: {allowed} allowed");
}

/// Nobody who can't open clinical data can give herself a credential that can.
#[test]
fn roles_reach_what_the_policy_lets_them_open() {
    for &role in Role::ALL {
        let opens = every_answer().into_iter().any(|(r, act, sensitivity, .., yes)| {
            r == role && yes && sensitivity == Sensitivity::Clinical && act.opens()
        });
        // The console's acts on plans are clinical, but it is no credential that could be given out.
        assert!(role == Role::Console || opens == (role.reaches() == Sensitivity::Clinical), "{role}");
    }

    let door = Door::new();
    let it = door.caller(Role::ItAdministrator);
    let ask =
        |sensitivity| door.guard.admit(&it, to(Act::ManageAccess, Target::Centre, sensitivity, Purpose::Operations));
    assert!(ask(Sensitivity::Clinical).is_err());
    let permit = ask(Sensitivity::Administrative).unwrap();
    for &role in Role::ALL {
        let issued = door.guard.issue_token(&permit, role, "me", HOUR_MS);
        let linked = door.guard.sign_in_link(&permit, role, "me");
        match role {
            Role::Console => assert!(matches!(issued, Err(GuardError::RoleNotGiven { .. }))),
            role if role.reaches() == Sensitivity::Clinical => {
                assert!(matches!(issued, Err(GuardError::Permit(PermitError::NotClinical { .. }))));
                assert!(matches!(linked, Err(GuardError::Permit(PermitError::NotClinical { .. }))));
            }
            _ => assert!(issued.is_ok() && linked.is_ok()),
        }
    }
}

// ---- Decisions

#[test]
fn every_decision_is_on_record_before_it_is_given() {
    let door = Door::new();
    let therapist = door.caller(Role::Therapist);
    door.log.decisions.lock().unwrap().clear();

    let permit = door.ask(&therapist, Act::ReadRecord, HER).unwrap();
    let denied = door.ask(&therapist, Act::ApprovePlan, HER).unwrap_err();
    assert_eq!((denied.blame(), denied.code()), (Blame::Forbidden, "guard.denied"));
    assert!(denied.to_string().contains("only-clinicians-and-the-console-hand-in-approvals"), "{denied}");
    let senseless = door.ask(&therapist, Act::ReadRecord, Target::Centre).map(|_| ());
    assert_eq!(senseless, Ok(()));
    assert_eq!(door.ask(&therapist, Act::ReadTreatmentList, HER).unwrap_err().reason, Reason::NotApplicable);

    let decisions = door.log.decisions.lock().unwrap();
    assert_eq!(decisions.iter().map(|d| d.allowed).collect::<Vec<_>>(), [true, false, true, false]);
    let first = &decisions[0];
    assert_eq!((first.subject.as_str(), first.role, first.at), ("somebody", Role::Therapist, START));
    assert_eq!((first.act, first.target, first.reason.as_str()), (Act::ReadRecord, HER, "therapist"));
    use sha2::Digest as _;
    assert_eq!(permit.digest(), Digest(sha2::Sha256::digest(first.to_bytes()).into()));
}

#[test]
fn what_cannot_be_recorded_is_denied() {
    let door = Door::new();
    let oncologist = door.caller(Role::Oncologist);
    door.log.broken.store(true, Ordering::SeqCst);
    let denied = door.ask(&oncologist, Act::ReadRecord, HER).unwrap_err();
    assert!(matches!(&denied.reason, Reason::NotRecorded(fault) if fault.code == "test.disk-full"));
    assert_eq!((denied.blame(), denied.code()), (Blame::Configuration, "guard.not-recorded"));
    // Also where the answer would have been no.
    assert!(matches!(door.ask(&oncologist, Act::VerifyVault, HER).unwrap_err().reason, Reason::NotRecorded(_)));
}

// ---- Permits

#[test]
fn a_permit_lasts_a_minute_and_no_lockdown() {
    let door = Door::new();
    let oncologist = door.caller(Role::Oncologist);
    let permit = door.ask(&oncologist, Act::ReadRecord, HER).unwrap();
    assert_eq!(door.guard.check_opens(&permit), Ok(()));
    door.clock.advance_ms(guard::PERMIT_LIFE_MS - 1);
    assert_eq!(door.guard.check(&permit), Ok(()));
    door.clock.advance_ms(1);
    assert!(matches!(door.guard.check(&permit), Err(PermitError::Expired { .. })));

    let permit = door.ask(&oncologist, Act::ReadRecord, HER).unwrap();
    door.contain(Measure::Freeze("somebody-else".into())).unwrap();
    assert_eq!(door.guard.check(&permit), Err(PermitError::LockedDown { permit: 0, current: 1 }));
    assert_eq!(door.guard.check(&door.ask(&oncologist, Act::ReadRecord, HER).unwrap()), Ok(()));

    // The epoch outlives a restart, and no measure waits for the log.
    let again = door.restarted();
    assert_eq!(again.manage().epoch(), 1);
    let permit = again.manage();
    again.log.broken.store(true, Ordering::SeqCst);
    assert_eq!(again.guard.check(&permit), Ok(()));
}

#[test]
fn a_permit_is_for_its_act_only() {
    let door = Door::new();
    let console = door.guard.console();
    let verify = door
        .guard
        .admit(&console, to(Act::VerifyVault, Target::Centre, Sensitivity::Administrative, Purpose::Operations))
        .unwrap();
    assert_eq!(door.guard.check_opens(&verify), Err(PermitError::OpensNothing { have: Act::VerifyVault }));
    let wrong = |result: Result<(), GuardError>| {
        assert!(matches!(result, Err(GuardError::Permit(PermitError::WrongAct { .. }))));
    };
    wrong(door.guard.issue_token(&verify, Role::Auditor, "a", HOUR_MS).map(|_| ()));
    wrong(door.guard.sign_in_link(&verify, Role::Auditor, "a").map(|_| ()));
    wrong(door.guard.revoke_token(&verify, Id16([0; 16])));
    wrong(door.guard.tokens(&verify).map(|_| ()));
    wrong(door.guard.contain(&verify, Measure::Lockdown, "x").map(|_| ()));
}

// ---- Credentials

#[test]
fn a_token_works_until_it_expires_or_is_revoked() {
    let door = Door::new();
    let (id, secret) = door.token(Role::Device);
    assert!(secret.starts_with("hf_") && secret.len() == 46, "{}", secret.len());
    let caller = door.guard.authenticate_bearer(&secret).unwrap();
    assert_eq!((caller.subject(), caller.role(), caller.via()), ("somebody", Role::Device, Via::Token(id)));

    let listed = door.guard.tokens(&door.manage()).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].id, listed[0].by.as_str(), listed[0].revoked), (id, "local:operator", None));

    // The same after a restart; the log holds neither the secret nor anything to make it from.
    let again = door.restarted();
    assert_eq!(again.guard.authenticate_bearer(&secret), Ok(caller.clone()));
    let stored: Vec<u8> = door.log.events.lock().unwrap().iter().flat_map(Event::to_bytes).collect();
    assert!(!stored.windows(8).any(|w| w == &secret.as_bytes()[3..11]));

    assert!(door.ask(&caller, Act::CheckGate, HER).is_ok());
    door.guard.revoke_token(&door.manage(), id).unwrap();
    assert_eq!(door.guard.authenticate_bearer(&secret), Err(Unauthenticated::Ended));
    assert_eq!(door.restarted().guard.authenticate_bearer(&secret), Err(Unauthenticated::Ended));
    // Whoever was authenticated before gets no further either.
    assert_eq!(door.ask(&caller, Act::CheckGate, HER).unwrap_err().reason, Reason::CredentialEnded);
    assert!(matches!(door.guard.revoke_token(&door.manage(), id), Err(GuardError::NoCredential { .. })));
    assert_eq!(door.guard.tokens(&door.manage()).unwrap()[0].revoked, Some(START));

    let (_, other) = door.token(Role::Device);
    door.clock.advance_ms(24 * HOUR_MS);
    assert_eq!(door.guard.authenticate_bearer(&other), Err(Unauthenticated::Expired));
}

#[test]
fn what_was_not_given_out_is_unknown() {
    let door = Door::new();
    let (_, secret) = door.token(Role::Oncologist);
    let cookie = door.session(Role::Oncologist);
    let bearer = |text: &str| door.guard.authenticate_bearer(text).unwrap_err();
    for text in [
        "",
        "hf_",
        "Bearer",
        &secret[3..],
        &secret[..45],
        &format!("{secret}A"),
        &secret.replace("hf_", "hfs_"),
        &cookie,
        "hf_é",
    ] {
        assert_eq!(bearer(text), Unauthenticated::Malformed, "{text}");
    }
    assert_eq!(bearer(&"A".repeat(1 << 20)), Unauthenticated::Malformed);
    let mut wrong = secret.clone().into_bytes();
    wrong[20] = if wrong[20] == b'A' { b'B' } else { b'A' };
    assert_eq!(bearer(&String::from_utf8(wrong).unwrap()), Unauthenticated::Unknown);
    assert_eq!(door.guard.authenticate_session(&secret, HERE), Err(Unauthenticated::Malformed));
    // Another centre, or the same one without its ledger.
    assert_eq!(Door::new().guard.authenticate_bearer(&secret), Err(Unauthenticated::Unknown));
}

#[test]
fn a_link_signs_in_once_and_within_a_quarter_of_an_hour() {
    let door = Door::new();
    let code = door.guard.sign_in_link(&door.manage(), Role::Therapist, "ward.desk-2").unwrap();
    let cookie = door.guard.use_sign_in_link(&code, HERE).unwrap();
    let caller = door.guard.authenticate_session(&cookie, HERE).unwrap();
    assert_eq!((caller.subject(), caller.role()), ("ward.desk-2", Role::Therapist));
    let again = |door: &Door| match door.guard.use_sign_in_link(&code, HERE) {
        Err(GuardError::Unauthenticated(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(again(&door), Unauthenticated::Ended);
    assert_eq!(again(&door.restarted()), Unauthenticated::Ended);
    assert_eq!(door.restarted().guard.authenticate_session(&cookie, HERE), Ok(caller));

    let late = door.guard.sign_in_link(&door.manage(), Role::Therapist, "ward.desk-2").unwrap();
    door.clock.advance_ms(15 * 60_000);
    let expired = door.guard.use_sign_in_link(&late, HERE).unwrap_err();
    assert!(matches!(expired, GuardError::Unauthenticated(Unauthenticated::Expired)));
}

#[test]
fn a_link_used_by_many_at_once_signs_one_in() {
    let door = Door::new();
    let code = door.guard.sign_in_link(&door.manage(), Role::Therapist, "desk").unwrap();
    let signed_in = std::thread::scope(|scope| {
        let attempts: Vec<_> =
            (0..8).map(|_| scope.spawn(|| door.guard.use_sign_in_link(&code, HERE).is_ok())).collect();
        attempts.into_iter().map(|a| a.join().unwrap()).filter(|yes| *yes).count()
    });
    assert_eq!(signed_in, 1);
}

#[test]
fn a_session_ends_when_idle_after_a_shift_and_when_signed_out() {
    let door = Door::new();
    let cookie = door.session(Role::Therapist);
    // Used every ten minutes, it lasts twelve hours and no longer.
    for _ in 0..71 {
        door.clock.advance_ms(10 * 60_000);
        assert!(door.guard.authenticate_session(&cookie, HERE).is_ok());
    }
    door.clock.advance_ms(10 * 60_000);
    assert_eq!(door.guard.authenticate_session(&cookie, HERE), Err(Unauthenticated::Expired));

    let idle = door.session(Role::Therapist);
    door.clock.advance_ms(15 * 60_000);
    assert_eq!(door.guard.authenticate_session(&idle, HERE), Err(Unauthenticated::Idle));

    let closed = door.session(Role::Therapist);
    door.guard.close_session(&closed).unwrap();
    assert_eq!(door.guard.authenticate_session(&closed, HERE), Err(Unauthenticated::Ended));
    assert_eq!(door.restarted().guard.authenticate_session(&closed, HERE), Err(Unauthenticated::Ended));
    door.guard.close_session(&closed).unwrap();
    door.guard.close_session("nonsense").unwrap();
}

#[test]
fn what_the_log_does_not_keep_does_not_happen() {
    let door = Door::new();
    let code = door.guard.sign_in_link(&door.manage(), Role::Therapist, "desk").unwrap();
    let cookie = door.session(Role::Therapist);
    let (id, secret) = door.token(Role::Device);
    let permit = door.manage();
    door.log.broken.store(true, Ordering::SeqCst);
    assert!(matches!(door.guard.issue_token(&permit, Role::Device, "x", HOUR_MS), Err(GuardError::NotKept(_))));
    assert!(matches!(door.guard.revoke_token(&permit, id), Err(GuardError::NotKept(_))));
    assert!(matches!(door.guard.use_sign_in_link(&code, HERE), Err(GuardError::NotKept(_))));
    assert!(matches!(door.guard.close_session(&cookie), Err(GuardError::NotKept(_))));
    door.log.broken.store(false, Ordering::SeqCst);
    assert_eq!(door.guard.tokens(&permit).unwrap().len(), 1);
    assert!(door.guard.authenticate_bearer(&secret).is_ok());
    assert!(door.guard.authenticate_session(&cookie, HERE).is_ok());
    assert!(door.guard.use_sign_in_link(&code, HERE).is_ok());
}

#[test]
fn a_decision_says_what_it_was_about_and_no_more_than_fits() {
    let door = Door::new();
    let doctor = door.caller(Role::Oncologist);
    let ask = to(Act::ReadRecord, HER, Sensitivity::Clinical, Purpose::Treatment);
    let long = "ക".repeat(guard::WHAT_BYTES_MAX);
    for what in ["", "Observation/o1", &long] {
        drop(door.guard.admit(&doctor, Ask { what, ..ask }).unwrap());
    }
    let noted: Vec<Option<String>> =
        door.log.decisions.lock().unwrap().iter().rev().take(3).map(|decision| decision.what.clone()).collect();
    assert_eq!((&noted[2], noted[1].as_deref()), (&None, Some("Observation/o1")));
    let cut = noted[0].as_deref().unwrap();
    assert!(long.starts_with(cut) && (guard::WHAT_BYTES_MAX - 2..=guard::WHAT_BYTES_MAX).contains(&cut.len()));
    // Without it, and without the policy's name, a decision is the same bytes as ever.
    let first = door.log.decisions.lock().unwrap().iter().rev().nth(2).unwrap().clone();
    assert_eq!(first.to_bytes()[..3], [0x82, 1, 0x8e]);
    let as_ever = Decision { policy: None, relation: None, ..first };
    assert_eq!(as_ever.to_bytes()[..3], [0x82, 1, 0x8c]);
    assert_eq!(Decision::from_bytes(&as_ever.to_bytes()), Ok(as_ever));
}

#[test]
fn subjects_and_lives_are_bounded() {
    let door = Door::new();
    let permit = door.manage();
    let issue = |subject: &str, life_ms| door.guard.issue_token(&permit, Role::Auditor, subject, life_ms);
    for good in ["a", "ward.desk-2", "anita_k@centre.example", &"x".repeat(64)] {
        assert!(issue(good, HOUR_MS).is_ok(), "{good}");
    }
    for bad in ["", " a", "a b", "-a", "ae:LINAC1", "local:operator", "a\nb", "a\u{202e}b", "é", &"x".repeat(65)] {
        assert!(matches!(issue(bad, HOUR_MS), Err(GuardError::BadSubject { .. })), "{bad:?}");
    }
    for life_ms in [i64::MIN, -1, 0, 400 * 24 * HOUR_MS + 1, i64::MAX] {
        assert!(matches!(issue("a", life_ms), Err(GuardError::BadLife { .. })), "{life_ms}");
    }
}

#[test]
fn the_number_of_credentials_is_bounded_and_dead_ones_do_not_count() {
    let door = Door::new();
    let mut hash = [0; 32];
    for n in 0..u32::try_from(guard::CREDENTIALS_MAX).unwrap() {
        hash[..4].copy_from_slice(&n.to_be_bytes());
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        door.guard
            .replay(&Event::Issued(guard::Issue {
                kind: guard::Kind::Token,
                id: Id16(id),
                hash: Digest(hash),
                role: Role::Auditor,
                subject: "s".into(),
                issued: START,
                expires: START.plus_ms(HOUR_MS),
                by: "local:operator".into(),
                device: None,
            }))
            .unwrap();
    }
    let issue = || door.guard.issue_token(&door.manage(), Role::Auditor, "one-more", HOUR_MS);
    assert!(matches!(issue(), Err(GuardError::TooMany { .. })));
    door.clock.advance_ms(HOUR_MS);
    assert!(issue().is_ok());
    assert_eq!(door.guard.tokens(&door.manage()).unwrap().len(), 1, "expired ones are forgotten");
}

// ---- DICOM peers

#[test]
fn a_dicom_peer_is_known_by_title_and_network() {
    let door = Door::new();
    let ask = |title: &str, address: &str| door.guard.device(title, address.parse::<IpAddr>().unwrap());
    let linac = ask("LINAC1", "10.1.2.200").unwrap();
    assert_eq!((linac.subject(), linac.role()), ("ae:LINAC1", Role::Device));
    assert!(linac.via().is_weak());
    assert!(ask("LINAC1", "::ffff:10.1.2.3").is_ok(), "an IPv4 address that came in over an IPv6 socket");
    assert!(ask("ANYBODY", "127.0.0.1").is_ok());
    for (title, address) in [("LINAC1", "10.1.3.1"), ("LINAC2", "10.1.2.1"), ("LINAC1", "::1"), ("linac1", "10.1.2.1")]
    {
        assert_eq!(ask(title, address), Err(Unauthenticated::UnknownPeer), "{title} {address}");
    }
    for title in ["", " ", "A\\B", "A\nB", "SEVENTEEN-LETTERS", "é"] {
        assert_eq!(ask(title, "127.0.0.1"), Err(Unauthenticated::UnknownPeer), "{title:?}");
    }
}

#[test]
fn a_peer_is_configured_strictly() {
    for (title, network) in [("*", "0.0.0.0/0"), ("A", "::/0"), ("A", "10.0.0.1"), ("MY AE", "fd00::/8")] {
        assert!(Peer::new(title, network).is_ok(), "{title} {network}");
    }
    for (title, network) in [
        ("", "10.0.0.1"),
        ("A*", "10.0.0.1/x"),
        ("A", "10.0.0.1/33"),
        ("A", "::/129"),
        ("A", "10.0.0"),
        ("A", "10.0.0.0/"),
        ("A", "10.0.0.0/+8"),
        ("A", "host.example"),
        ("SEVENTEEN-LETTERS", "10.0.0.1"),
    ] {
        assert!(matches!(Peer::new(title, network), Err(GuardError::BadPeer { .. })), "{title} {network}");
    }
    assert!(door_with(Peer::new("*", "0.0.0.0/0").unwrap(), "203.0.113.9"));
    assert!(!door_with(Peer::new("*", "0.0.0.0/0").unwrap(), "2001:db8::1"));
    assert!(door_with(Peer::new("*", "::/0").unwrap(), "2001:db8::1"));
}

fn door_with(peer: Peer, address: &str) -> bool {
    let log = Arc::new(Log::default());
    let clock = Arc::new(ManualClock::new(START));
    let guard =
        Guard::new(CENTRE.into(), clock, Arc::new(SeededEntropy::new(1)), log.clone(), log, vec![peer]).unwrap();
    guard.device("X", address.parse().unwrap()).is_ok()
}

// ---- Stored bytes

fn any_decision() -> impl Strategy<Value = Decision> {
    let words = (0..Role::ALL.len(), 0..Act::ALL.len(), 0..Purpose::ALL.len(), any::<[bool; 3]>());
    (any::<i64>(), any::<[u8; 16]>(), "[a-z.]{1,64}", words, any::<u64>(), any::<[u8; 4]>()).prop_map(
        |(at, id, subject, (role, act, purpose, [clinical, her, allowed]), epoch, address)| Decision {
            at: Timestamp(at),
            operation: OperationId(id),
            subject,
            role: Role::ALL[role],
            via: [Via::Token(Id16(id)), Via::Session(Id16(id)), Via::Terminal, Via::AeTitle(IpAddr::from(address))]
                [usize::from(id[0] % 4)],
            act: Act::ALL[act],
            target: if her { Target::Patient(PatientId(id)) } else { Target::Centre },
            sensitivity: Sensitivity::ALL[usize::from(clinical)],
            purpose: Purpose::ALL[purpose],
            allowed,
            reason: "rule".into(),
            epoch,
            what: allowed.then(|| "Observation/1".into()),
            policy: clinical.then_some(Digest([id[1]; 32])),
            relation: her.then_some(Relation::ALL[usize::from(id[2]) % Relation::ALL.len()]),
        },
    )
}

proptest! {
    #[test]
    fn decisions_go_there_and_back(decision in any_decision()) {
        prop_assert_eq!(Decision::from_bytes(&decision.to_bytes()), Ok(decision));
    }

    #[test]
    fn a_stored_value_has_one_form(decision in any_decision(), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let bytes = decision.to_bytes();
        let mut longer = bytes.clone();
        longer.push(0);
        prop_assert!(Decision::from_bytes(&longer).is_err());
        prop_assert!(Decision::from_bytes(&bytes[..at.index(bytes.len())]).is_err());
        let mut other = bytes.clone();
        *at.get_mut(&mut other) ^= flip;
        // Another value perhaps, but never another way to write this one.
        prop_assert_ne!(Decision::from_bytes(&other), Ok(decision));
        if let Ok(decoded) = Decision::from_bytes(&other) {
            prop_assert_eq!(decoded.to_bytes(), other);
        }
    }

    #[test]
    fn any_bytes_are_an_event_or_a_typed_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(event) = Event::from_bytes(&bytes) {
            prop_assert_eq!(event.to_bytes(), bytes);
        }
    }
}

/// The bytes in docs/formats/guard-events.md.
#[test]
fn the_format_is_the_published_one() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let lockdown = Event::Lockdown { epoch: 3, at: Timestamp(1), by: "it".into() };
    assert_eq!(hex(lockdown.to_bytes()), "82018203830301626974");
    assert_eq!(minicbor::to_vec(Target::Centre).unwrap(), [0x82, 0, 0x80]);
    assert_eq!(minicbor::to_vec(Via::Terminal).unwrap(), [0x82, 2, 0x80]);
    assert_eq!(minicbor::to_vec(Via::AeTitle([1, 2, 3, 4].into())).unwrap()[..4], [0x82, 3, 0x81, 0x82]);
    let ended = Event::Ended { id: Id16([0xaa; 16]), at: Timestamp(1), by: "it".into() };
    assert_eq!(hex(ended.to_bytes()), format!("820182028350{}01626974", "aa".repeat(16)));
    let mut newer = lockdown.to_bytes();
    newer[1] = 2;
    assert!(matches!(Event::from_bytes(&newer), Err(guard::FormatError::Version { found: 2, .. })));
    assert!(matches!(Decision::from_bytes(&[0; 5_000]), Err(guard::FormatError::TooLong { found: 5_000, .. })));
}

/// A decision stands before every read and write: it must cost little beside a disk.
#[test]
fn a_decision_takes_well_under_a_millisecond() {
    let door = Door::new();
    let oncologist = door.caller(Role::Oncologist);
    let (started, rounds) = (std::time::Instant::now(), 500);
    for _ in 0..rounds {
        drop(door.ask(&oncologist, Act::ReadRecord, HER).unwrap());
    }
    let each_us = started.elapsed().as_micros() / rounds;
    println!("{each_us} µs a decision");
    assert!(each_us < 1_000, "{each_us} µs a decision");
}
