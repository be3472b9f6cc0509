//! The error envelope at a public boundary: whose fault, a stable code, guidance, and the operation that finds the
//! log line. Inside a room, errors stay small and local.

use std::fmt;

use serde::Serialize;

use crate::id::OperationId;

/// Whose fault it is; then an alarm means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// What came in is wrong: the peer can mend it.
    Peer,
    /// The peer may not do this.
    Forbidden,
    /// It isn't there.
    Absent,
    /// Somebody else was first: read again, then repeat.
    Conflict,
    /// The centre's configuration or its surroundings (a full disk, locations down) must be mended.
    Configuration,
    /// What is stored does not match its signature or digest.
    Integrity,
    /// Our own mistake.
    Ours,
}

/// What a room's error tells the boundary.
pub trait Explain: std::error::Error {
    fn blame(&self) -> Blame;

    /// Stable, lower case, dotted, its room first: `vault.below-floor`.
    fn code(&self) -> &'static str;

    /// What to do about it, where something can be done.
    fn guidance(&self) -> Option<&'static str> {
        None
    }
}

/// An error as it crosses a public boundary. Its message names the place, the number and the bound, and holds no
/// patient identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub blame: Blame,
    pub code: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
}

impl Fault {
    pub fn new(blame: Blame, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { blame, code: code.into(), message: message.into(), guidance: None, operation: None }
    }

    pub fn of(error: &dyn Explain) -> Self {
        Self {
            guidance: error.guidance().map(str::to_owned),
            ..Self::new(error.blame(), error.code(), error.to_string())
        }
    }

    pub fn guidance(mut self, text: impl Into<String>) -> Self {
        self.guidance = Some(text.into());
        self
    }

    pub fn during(mut self, operation: OperationId) -> Self {
        self.operation = Some(operation);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message, self.code)?;
        if let Some(guidance) = &self.guidance {
            write!(f, "\n  what to do: {guidance}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

impl<E: Explain> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::of(&error)
    }
}
