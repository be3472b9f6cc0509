//! DICOM peers that the configuration names: an AE title and a network.

use std::net::IpAddr;

use crate::GuardError;

/// An AE title is at most 16 characters (PS3.5 2024e, 6.2, VR AE).
const AE_TITLE_CHARS_MAX: usize = 16;

/// Who may open an association, from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// None for `*`: any title from this network.
    title: Option<String>,
    network: IpAddr,
    prefix_bits: u8,
}

impl Peer {
    /// `title` is an AE title or `*`; `network` is an address or `address/prefix`.
    pub fn new(title: &str, network: &str) -> Result<Self, GuardError> {
        let bad = |why| GuardError::BadPeer { title: title.escape_debug().to_string(), why };
        let title = match title {
            "*" => None,
            exact if is_ae_title(exact) => Some(exact.to_owned()),
            _ => return Err(bad("an AE title is 1 to 16 printable ASCII characters without backslash")),
        };
        let (address, prefix) = network.split_once('/').map_or((network, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| bad("the network does not begin with an IP address"))?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            None => bits,
            Some(text) => text
                .parse()
                .ok()
                .filter(|p| *p <= bits && !text.starts_with('+'))
                .ok_or_else(|| bad("the prefix after the slash is longer than the address"))?,
        };
        Ok(Self { title, network: address, prefix_bits })
    }

    pub(crate) fn matches(&self, title: &str, address: IpAddr) -> bool {
        self.title.as_deref().is_none_or(|t| t == title) && self.contains(address)
    }

    fn contains(&self, address: IpAddr) -> bool {
        let shift = |bits: u32| bits - u32::from(self.prefix_bits);
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).checked_shr(shift(32)).unwrap_or(0) == 0,
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).checked_shr(shift(128)).unwrap_or(0) == 0,
            _ => false,
        }
    }
}

pub(crate) fn is_ae_title(text: &str) -> bool {
    (1..=AE_TITLE_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'\\')
        && text.trim() == text
}
