//! The words that a decision is made of: role, act, target, sensitivity, purpose. Each has one spelling, which stands
//! in the Cedar policy, in stored decisions, on the command line and in answers.

use std::fmt;
use std::str::FromStr;

use kit::PatientId;
use minicbor::{Decode, Encode};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A word that is not in the vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such {what}; there are: {words}")]
pub struct UnknownWord {
    pub what: &'static str,
    pub words: String,
}

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident, $what:literal: $($(#[$about:meta])* $n:literal $variant:ident $text:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(index_only)]
        pub enum $name {
            $($(#[$about])* #[n($n)] $variant),+
        }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                let words = || [$($text),+].join(", ");
                Self::ALL
                    .iter()
                    .copied()
                    .find(|word| word.as_str() == text)
                    .ok_or_else(|| UnknownWord { what: $what, words: words() })
            }
        }

        impl<'d> Deserialize<'d> for $name {
            fn deserialize<D: Deserializer<'d>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(D::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }
    };
}

vocabulary!(
    /// What somebody is at this centre. One credential carries one role.
    Role, "role":
    0 Oncologist "oncologist",
    1 Physicist "physicist",
    2 Therapist "therapist",
    3 Registrar "registrar",
    4 ItAdministrator "it-administrator",
    5 Auditor "auditor",
    /// A machine: planning system, scanner, linac, or a script that stands for one.
    6 Device "device",
    /// Whoever sits at the server's own terminal or control socket. No credential ever carries it.
    7 Console "console",
    8 Surgeon "surgeon",
    /// Writes reports of what was seen under a microscope.
    9 Pathologist "pathologist",
    10 Nurse "nurse",
    /// Answers what patients ask of their own records: a copy, who saw them.
    11 RecordsOfficer "records-officer",
    /// Sees who saw what, and closes doors; opens no record.
    12 SecurityOfficer "security-officer",
    /// Another program of the hospital: an information system, a laboratory's.
    13 Service "service",
);

vocabulary!(
    /// What is to be done.
    Act, "act":
    0 RegisterPatient "register-patient",
    1 ReadRecord "read-record",
    2 SearchRecords "search-records",
    3 WriteRecord "write-record",
    /// Writes a tombstone version; the versions before it stay.
    4 DeleteRecord "delete-record",
    5 StoreObject "store-object",
    6 ReadObject "read-object",
    7 ReadTreatmentList "read-treatment-list",
    /// Hands in one person's signature over a delivery digest.
    8 ApprovePlan "approve-plan",
    9 CheckGate "check-gate",
    10 ReadAccessLog "read-access-log",
    /// Tokens, sign-in links and lockdown. With clinical sensitivity: for roles that reach clinical data.
    11 ManageAccess "manage-access",
    /// Verify and scrub: sees ciphertext only.
    12 VerifyVault "verify-vault",
    13 ErasePatient "erase-patient",
    /// A recovery takes her erasure back: whoever had the gateway may have done it.
    14 RestorePatient "restore-patient",
    /// Opens what the wards need of everybody on treatment, to seal it to their keys.
    15 MakePacks "make-packs",
    /// Types in, from paper, what was given.
    16 EnterRecord "enter-record",
    /// Opens one patient's whole chart and hands it to another centre.
    17 ExportRecord "export-record",
    /// Hands in a policy that an officer proposes, or an officer's signature over one.
    18 ChangePolicy "change-policy",
    /// Closes something while something is wrong.
    19 Contain "contain",
    /// Hands in an officer's signature that opens it again.
    20 LiftContainment "lift-containment",
    /// Opens one patient's chart for some hours, in an emergency, without any other reason that the record knows.
    21 BreakGlass "break-glass",
    /// Says of such an opening that it was justified, or that it wasn't.
    22 ReviewEmergency "review-emergency",
    /// Takes an alarm on, and closes it.
    23 HandleAlarm "handle-alarm",
    /// Lets somebody in, together with somebody else; takes her passkeys away, alone.
    24 EnrolPerson "enrol-person",
);

vocabulary!(
    /// How much what is touched says of a patient.
    Sensitivity, "sensitivity":
    /// Who she is and when she comes: Patient, Appointment, Practitioner, Organization.
    0 Administrative "administrative",
    /// Everything else: what she has and what is done about it.
    1 Clinical "clinical",
);

vocabulary!(
    /// Why.
    Purpose, "purpose":
    0 Treatment "treatment",
    1 Emergency "emergency",
    /// Running the centre: imports, appointments, verification.
    2 Operations "operations",
    3 Audit "audit",
    /// The patient herself asked: a copy, a correction, an erasure, who saw her chart.
    4 PatientRequest "patient-request",
);

vocabulary!(
    /// Why somebody would open this patient's chart, from what others wrote into the record.
    Relation, "relation":
    /// Nothing explains it.
    0 Unexplained "none",
    /// She is on the patient's care team.
    1 CareTeam "care-team",
    2 Appointment "appointment",
    3 Encounter "encounter",
    /// Something was ordered of her, or she reports on it.
    4 Order "order",
    /// The patient is on treatment, and she is one of those who treat.
    5 Treatment "treatment",
    /// She broke the glass, within the last hours.
    6 BreakGlass "break-glass",
);

vocabulary!(
    /// Why an alarm rings.
    Signal, "signal":
    /// More was asked for than a budget allows.
    0 OverBudget "over-budget",
    /// More charts that nothing explains than is usual, for weeks.
    1 SlowTheft "slow-theft",
    /// The chart of a patient who doesn't exist was opened.
    2 Honey "honey",
    /// Many patients' records changed in the same way, or into what can't be read.
    3 MassChange "mass-change",
    /// A passkey's counter went back: there are two of it.
    4 CopiedPasskey "copied-passkey",
);

vocabulary!(
    /// What an alarm was.
    Outcome, "outcome":
    0 Theft "theft",
    1 Mistake "mistake",
    /// Honest work.
    2 Honest "honest",
    3 Drill "drill",
);

impl Relation {
    pub fn explains(self) -> bool {
        self != Self::Unexplained
    }
}

impl Role {
    /// Machines and other programs work by a budget of their own; of them nobody asks why.
    pub fn is_machine(self) -> bool {
        matches!(self, Self::Device | Self::Service)
    }

    /// The most sensitive data that a credential of this role opens the way to: who gives one out needs a
    /// [`crate::Permit`] for [`Act::ManageAccess`] of this sensitivity. So an IT administrator can't make herself an
    /// oncologist's token.
    pub fn reaches(self) -> Sensitivity {
        match self {
            Self::Oncologist
            | Self::Surgeon
            | Self::Pathologist
            | Self::Physicist
            | Self::Therapist
            | Self::Nurse
            | Self::RecordsOfficer
            | Self::Device
            | Self::Service => Sensitivity::Clinical,
            Self::Registrar | Self::ItAdministrator | Self::SecurityOfficer | Self::Auditor | Self::Console => {
                Sensitivity::Administrative
            }
        }
    }
}

impl Act {
    /// Acts under which stored payloads are opened; a permit for any other opens none.
    pub fn opens(self) -> bool {
        match self {
            Self::ReadRecord
            | Self::SearchRecords
            | Self::WriteRecord
            | Self::DeleteRecord
            | Self::StoreObject
            | Self::ReadObject
            | Self::ReadTreatmentList
            | Self::MakePacks
            | Self::EnterRecord
            | Self::ExportRecord
            | Self::ApprovePlan
            | Self::CheckGate => true,
            Self::RegisterPatient
            | Self::ReadAccessLog
            | Self::ManageAccess
            | Self::VerifyVault
            | Self::ErasePatient
            | Self::RestorePatient
            | Self::ChangePolicy
            | Self::Contain
            | Self::LiftContainment
            | Self::BreakGlass
            | Self::ReviewEmergency
            | Self::HandleAlarm
            | Self::EnrolPerson => false,
        }
    }
}

/// What it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Target {
    /// No single patient: a search, a list, the centre itself.
    #[n(0)]
    Centre,
    #[n(1)]
    Patient(#[n(0)] PatientId),
}
