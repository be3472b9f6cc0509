//! Custodians whose secrets lie in hardware tokens: how this room has age plugins (c2sp.org/age-plugin) wrap and open.
//!
//! This room starts no process. A command that may do so gives its [`Plugins`]; what runs on behalf of others, a server first
//! of all, has [`NoPlugins`].

use std::fmt;

use age::x25519;
use zeroize::Zeroizing;

/// Runs age plugins.
pub trait Plugins {
    /// An age file around `plain` to a plugin's recipient, `age1NAME1…`.
    fn seal(&self, recipient: &str, plain: &[u8]) -> Result<Vec<u8>, Trouble>;

    /// What an age file holds; `None` where it isn't for this identity, `AGE-PLUGIN-NAME-1…`.
    fn open(&self, identity: &str, file: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Trouble>;
}

/// Why a plugin did not do what it was started for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    Missing,
    /// It, or its token, or who should have typed something, says no.
    Refused {
        why: String,
    },
    Silent {
        seconds: u64,
    },
    Broken {
        why: String,
    },
    /// The plugin opened the file's header; what follows was altered.
    Altered,
    Forbidden,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no such program is on the PATH"),
            Self::Refused { why } => write!(f, "it refused: {why}"),
            Self::Silent { seconds } => write!(f, "it took longer than {seconds} s, and was ended"),
            Self::Broken { why } => write!(f, "it broke off: {why}"),
            Self::Altered => f.write_str("the file is altered"),
            Self::Forbidden => f.write_str("no plugin is started by this process"),
        }
    }
}

/// For a process that starts no plugin.
pub struct NoPlugins;

impl Plugins for NoPlugins {
    fn seal(&self, _: &str, _: &[u8]) -> Result<Vec<u8>, Trouble> {
        Err(Trouble::Forbidden)
    }

    fn open(&self, _: &str, _: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Trouble> {
        Err(Trouble::Forbidden)
    }
}

/// The plugin of a recipient `age1NAME1…`.
pub(crate) fn of_recipient(text: &str) -> Option<String> {
    named(text)?.strip_prefix("age1").and_then(plain_name)
}

/// The plugin of an identity `AGE-PLUGIN-NAME-1…`.
fn of_identity(text: &str) -> Option<String> {
    named(text)?.strip_prefix("age-plugin-")?.strip_suffix('-').and_then(plain_name)
}

/// What stands before a Bech32 text's data.
fn named(text: &str) -> Option<String> {
    let (name, _, variant) = bech32::decode(text).ok()?;
    (variant == bech32::Variant::Bech32).then(|| name.to_lowercase())
}

/// A part of a program's name, and no path.
fn plain_name(name: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
    (!name.is_empty() && name.chars().all(is_plain)).then(|| name.to_owned())
}

/// A custodian's identity, as she gives it.
pub(crate) enum Own<'a> {
    X25519(Box<x25519::Identity>),
    Plugin { name: String, text: &'a str },
}

impl<'a> Own<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        match text.parse() {
            Ok(identity) => Some(Self::X25519(Box::new(identity))),
            Err(_) => of_identity(text).map(|name| Self::Plugin { name, text }),
        }
    }

    /// Whether a file to this recipient may be for this identity: a plugin alone knows which of its own are.
    pub(crate) fn may_open(&self, recipient: &str) -> bool {
        match self {
            Self::X25519(identity) => identity.to_public().to_string() == recipient,
            Self::Plugin { name, .. } => of_recipient(recipient).as_deref() == Some(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_plugins_are_names_and_no_paths() {
        // Of age-plugin-yubikey's README.
        let recipient = "age1yubikey1q2w7u3vpya839jxxuq8g0sedh3d740d4xvn639sqhr95ejj8vu3hyfumptt";
        assert_eq!(of_recipient(recipient).as_deref(), Some("yubikey"));
        let bech32 = |name: &str| bech32::encode(name, bech32::ToBase32::to_base32(&[7; 32]), bech32::Variant::Bech32);
        let (x25519, empty) = (crate::new_identity().1, bech32("age1").unwrap());
        assert!(
            [&x25519, &empty, &bech32("age1a/../b").unwrap(), &bech32("se").unwrap()]
                .map(|text| of_recipient(text))
                .iter()
                .all(Option::is_none)
        );
        let identity = bech32("age-plugin-tpm-x-").unwrap();
        assert_eq!(of_identity(&identity.to_uppercase()).as_deref(), Some("tpm-x"));
        assert!(of_identity(&bech32("age-plugin-tpm").unwrap()).is_none());
        assert!(of_identity(&bech32("age-plugin--").unwrap()).is_none());
        assert!(of_identity(&bech32("age-plugin-a/b-").unwrap()).is_none());
    }
}
