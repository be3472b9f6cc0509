//! The whole account, entry by entry: who saw, changed or was refused what of anybody, and how people came in.
//!
//! It is read by entry number, so whoever has read up to one goes on from there and misses nothing: the ledger only grows at
//! its end. Nothing of it is opened with a patient's key.

use guard::{Act, Event, Kind, Role, Sensitivity, Target};
use kit::{Fault, PatientId, Timestamp};
use serde::Serialize;
use vault::Entry;

use crate::access::rows_of;
use crate::journal::{access_list, is_event, is_of_access};
use crate::meta::Meta;
use crate::{AccessRow, Chart, Context, Result, patient_of};

/// Entries that are looked at for one page: an import leaves many thousands that are no part of the account.
const LOOKED_AT_MAX: usize = 20_000;

/// Rows of one page; the last line may bring it over that.
const ROWS_MAX: usize = 10_000;

/// One line of the account.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Account {
    /// A decision, or what was opened or written.
    Access(AccessRow),
    /// How somebody came in, what was closed, what decides.
    Event(EventRow),
}

impl Account {
    pub fn entry(&self) -> u64 {
        match self {
            Self::Access(row) => row.entry,
            Self::Event(row) => row.entry,
        }
    }

    pub fn at(&self) -> Timestamp {
        match self {
            Self::Access(row) => row.at,
            Self::Event(row) => row.at,
        }
    }

    pub fn patient(&self) -> Option<PatientId> {
        match self {
            Self::Access(row) => row.patient,
            Self::Event(_) => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A token or a sign-in link was given out.
    Issued,
    SignedIn,
    /// A token was revoked, or somebody signed out.
    Ended,
    /// Something was closed, or opened again.
    Contained,
    Lifted,
    /// Another policy was proposed or approved.
    Policy,
    /// The glass was broken.
    Emergency,
    /// Something stood out, or somebody looked at it.
    Alarm,
}

/// One of guard's events.
#[derive(Clone, Debug, Serialize)]
pub struct EventRow {
    pub entry: u64,
    pub at: Timestamp,
    pub kind: EventKind,
    /// Who did it.
    pub who: String,
    /// For whom a credential is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// What it was about, in words; a credential by its id, which opens nothing.
    pub what: String,
    pub operation: String,
}

/// A page of the account.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AccountPage {
    pub rows: Vec<Account>,
    /// The entry that the next page begins with.
    pub next: u64,
    /// There is nothing behind it now.
    pub is_last: bool,
}

impl Chart {
    /// The account from an entry on, with no more rows than `rows`, and an entry's more, for what the configuration sends it to:
    /// that it is sent stands in the ledger, with the settings. A person asks by [`Chart::read_account`].
    pub fn account(&self, from: u64, rows: usize) -> Result<AccountPage> {
        self.account_until(from, u64::MAX, rows)
    }

    /// The same for somebody who asks for it, which is noted first; `what` is how it was asked for.
    pub fn read_account(
        &self,
        context: &Context,
        from: u64,
        until: Option<u64>,
        rows: usize,
        what: &str,
    ) -> Result<(AccountPage, u64)> {
        let administrative = Sensitivity::Administrative;
        let _permit = self.admit_to_do(context, Act::ReadAccessLog, Target::Centre, administrative, what)?;
        let until = match until {
            Some(until) => until,
            None => {
                self.vault.flush_notes()?;
                self.vault.size()
            }
        };
        Ok((self.account_until(from, until, rows)?, until))
    }

    /// What one entry adds to the account. The asking is noted as about her whom it is about; of what isn't there, as about nobody.
    pub fn read_account_entry(&self, context: &Context, entry: u64, what: &str) -> Result<Vec<Account>> {
        let rows = match entry < self.vault.size() {
            true => {
                let (entry, meta) = self.note_of(entry)?;
                self.account_of(&entry, &meta)?
            }
            false => Vec::new(),
        };
        let patient = rows.first().and_then(Account::patient);
        let administrative = Sensitivity::Administrative;
        let _permit =
            self.admit_to_do(context, Act::ReadAccessLog, crate::what::target(patient), administrative, what)?;
        Ok(rows)
    }

    /// The centre's name, as its log has it.
    pub fn centre(&self) -> String {
        self.vault.vkey().name().to_owned()
    }

    /// Her FHIR id, by her newest Patient resource; none where nobody ever wrote one.
    pub fn fhir_id(&self, patient: PatientId) -> Result<Option<String>> {
        let Some(entry) = self.patient_entry(patient)? else { return Ok(None) };
        Ok(self.note_of(entry)?.1.version.map(|version| version.id))
    }

    fn account_until(&self, from: u64, until: u64, rows_max: usize) -> Result<AccountPage> {
        let rows_max = rows_max.min(ROWS_MAX);
        let (mut rows, mut looked_at) = (Vec::new(), 0);
        let next = self.vault.scan_while(from, &mut |entry| {
            if entry.index >= until || looked_at >= LOOKED_AT_MAX || rows.len() >= rows_max {
                return Ok(false);
            }
            looked_at += 1;
            if !entry.kind.starts_with("vault.") {
                let meta =
                    Meta::from_bytes(entry.index, &entry.meta).map_err(|e| Fault::from(crate::ChartError::from(e)))?;
                rows.extend(self.account_of(&entry, &meta).map_err(|e| e.fault())?);
            }
            Ok(true)
        })?;
        Ok(AccountPage { rows, next, is_last: next >= until.min(self.vault.size()) })
    }

    fn account_of(&self, entry: &Entry, meta: &Meta) -> Result<Vec<Account>> {
        if entry.kind.starts_with("vault.") {
            return Ok(Vec::new());
        }
        if is_event(&entry.kind) {
            let event = Event::from_bytes(&meta.note).map_err(Fault::from)?;
            return Ok(event_row(entry, event).map(Account::Event).into_iter().collect());
        }
        // A version of hers says who wrote it where it stands on her list.
        let is_listed = patient_of(entry).is_some_and(|her| meta.lists.contains(&access_list(&self.tagger, her)));
        match is_of_access(&entry.kind) || is_listed {
            true => Ok(rows_of(entry, meta)?.into_iter().map(Account::Access).collect()),
            false => Ok(Vec::new()),
        }
    }
}

/// None of what guard keeps for itself: a shift's counts, and who doesn't exist.
fn event_row(entry: &Entry, event: Event) -> Option<EventRow> {
    let row = |at, kind, who: String, what: String| EventRow {
        entry: entry.index,
        at,
        kind,
        who,
        subject: None,
        role: None,
        what,
        operation: entry.operation.to_string(),
    };
    Some(match event {
        Event::Issued(issue) => {
            let what = match issue.kind {
                Kind::Token => "token",
                Kind::Link => "sign-in link",
                Kind::Session => "session",
            };
            let given = row(issue.issued, EventKind::Issued, issue.by, format!("{what} {}", issue.id));
            EventRow { subject: Some(issue.subject), role: Some(issue.role), ..given }
        }
        Event::LinkUsed { link, session } => {
            let what = format!("session {}, by sign-in link {link}", session.id);
            let come = row(session.issued, EventKind::SignedIn, session.subject, what);
            EventRow { role: Some(session.role), ..come }
        }
        Event::Ended { id, at, by } => row(at, EventKind::Ended, by, format!("credential {id}")),
        Event::Invited(invitation) => {
            let given = row(invitation.at, EventKind::Issued, invitation.by, format!("invitation {}", invitation.id));
            EventRow { subject: Some(invitation.subject), role: Some(invitation.role), ..given }
        }
        Event::InvitationReleased { id, released } => {
            row(released.at, EventKind::Issued, released.by, format!("invitation {id} was released"))
        }
        Event::PasskeyAdded(passkey) => {
            let what = format!("passkey {}, on {}", passkey.id, passkey.on);
            let added = row(passkey.at, EventKind::Issued, passkey.subject.clone(), what);
            EventRow { subject: Some(passkey.subject), role: Some(passkey.role), ..added }
        }
        Event::PasskeyUsed { passkey, session: Some(session), .. } => {
            let what = format!("session {}, by passkey {passkey}", session.id);
            let come = row(session.issued, EventKind::SignedIn, session.subject, what);
            EventRow { role: Some(session.role), ..come }
        }
        Event::Lockdown { epoch, at, by } => row(at, EventKind::Contained, by, format!("lockdown, epoch {epoch}")),
        Event::PolicyProposed { proposed, .. } => policy_row(row, &proposed),
        Event::PolicyApproved { approved } => policy_row(row, &approved),
        Event::Contained(one) => {
            row(one.at, EventKind::Contained, one.by, format!("{}, {}: {}", one.measure, one.id, one.reason))
        }
        Event::LiftSigned(signed) => {
            let said = signed.statement();
            let what = format!("{}, {}: an officer signs that it ends", said.measure, said.containment);
            row(said.at, EventKind::Lifted, said.officer.clone(), what)
        }
        Event::Lifted { id, at, by } => row(at, EventKind::Lifted, by, format!("containment {id}")),
        // Why, in her own words, is for whoever looks at it, and may be about the patient.
        Event::GlassBroken(one) => {
            let what = format!("emergency {}, patient {}, until {}", one.id, one.patient, one.until);
            EventRow { role: Some(one.role), ..row(one.at, EventKind::Emergency, one.subject, what) }
        }
        Event::GlassReviewed { id, review } => {
            let was = if review.justified { "justified" } else { "not justified" };
            row(review.at, EventKind::Alarm, review.by, format!("emergency {id} was {was}"))
        }
        Event::AlarmRaised(alarm) => {
            let what = format!("alarm {}, {}: {}", alarm.id, alarm.signal, alarm.words);
            row(alarm.at, EventKind::Alarm, alarm.subject, what)
        }
        Event::AlarmTaken { id, at, by } => row(at, EventKind::Alarm, by, format!("alarm {id} was taken")),
        Event::AlarmClosed { id, closed } => {
            row(closed.at, EventKind::Alarm, closed.by, format!("alarm {id} was closed: {}", closed.outcome))
        }
        // That she is still there, within a session: what she did then has its own row.
        Event::PasskeyUsed { session: None, .. } => return None,
        Event::ShiftClosed(_) | Event::HoneyPlanted { .. } => return None,
    })
}

fn policy_row(
    row: impl Fn(Timestamp, EventKind, String, String) -> EventRow,
    signed: &guard::SignedPolicy,
) -> EventRow {
    let said = signed.statement();
    let what = format!("{} version {} of the policy, {}", said.says, said.version, said.policy);
    row(said.at, EventKind::Policy, said.officer.clone(), what)
}
