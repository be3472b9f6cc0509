//! Who asks. Only guard's authentication makes a [`Caller`].

use std::net::IpAddr;

use kit::{Digest, Id16};
use minicbor::{Decode, Encode};

use crate::{GuardError, Role};

/// Characters of a subject: login names and machine names are shorter.
pub const SUBJECT_CHARS_MAX: usize = 64;

/// Somebody, or some machine, whose credential was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub(crate) subject: String,
    pub(crate) role: Role,
    pub(crate) via: Via,
}

/// How guard knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Via {
    /// A bearer token, by its id.
    #[n(0)]
    Token(#[n(0)] Id16),
    /// A browser's session, by its id.
    #[n(1)]
    Session(#[n(0)] Id16),
    /// The server's own terminal or control socket.
    #[n(2)]
    Terminal,
    /// An AE title and a network address that stand in the configuration.
    #[n(3)]
    AeTitle(#[n(0)] IpAddr),
    /// A folder that the configuration names: whoever may write there.
    #[n(4)]
    Folder,
}

/// The computer that a session was opened on, as far as a server can tell: a hash of what tells it from others. A session's cookie is of no
/// use on another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Device(#[n(0)] pub Digest);

impl Via {
    /// DICOM's AE titles are no secret, addresses can be forged on a flat network, and a share is written by whoever reaches it:
    /// where nothing better was shown, say so.
    pub fn is_weak(self) -> bool {
        matches!(self, Self::AeTitle(_) | Self::Folder)
    }
}

impl Caller {
    /// A login or machine name; `ae:TITLE` for a DICOM peer and `local:operator` at the terminal. No credential can
    /// carry a name with a colon, so neither can be imitated.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    pub fn role(&self) -> Role {
        self.role
    }

    pub fn via(&self) -> Via {
        self.via
    }
}

/// One that the log can hold: a person's or a machine's, or `ae:TITLE`, `folder:TITLE`.
pub(crate) fn is_subject(text: &str) -> bool {
    match text.split_once(':') {
        Some(("ae" | "folder", title)) => crate::peer::is_ae_title(title),
        Some(_) => false,
        None => checked_subject(text).is_ok(),
    }
}

/// A subject is 1 to 64 ASCII letters, digits and `. _ @ -`, the first a letter or digit: nothing that could forge a
/// log line, a cookie or a header, or look like another name.
pub(crate) fn checked_subject(text: &str) -> Result<String, GuardError> {
    let length = text.chars().count();
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '@' | '-'));
    if !first || !rest || length > SUBJECT_CHARS_MAX {
        return Err(GuardError::BadSubject { length });
    }
    Ok(text.to_owned())
}
