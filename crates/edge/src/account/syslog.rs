//! A message as syslog carries it. RFC 5424 (the message), RFC 5425 section 4.3 and RFC 6587 section 3.4.1 (octet counting: the
//! length, a blank, the message), DICOM PS3.15 2025a A.6 (what stands in its fields).

use chart::Account;

use super::said;

/// Facility 10, security and authorization; severities 4, 5 and 6.
const FACILITY: u8 = 10;

/// Characters of HOSTNAME: RFC 5424, section 6.
const HOST_MAX: usize = 255;

/// Warning where something was refused; notice where somebody came in, or rules changed; else informational.
pub fn severity(account: &Account) -> u8 {
    match account {
        _ if said(account).is_refused => 4,
        Account::Event(_) => 5,
        Account::Access(_) => 6,
    }
}

/// Printable ASCII without blanks, or `-`.
fn field(text: &str) -> String {
    let good: String = text.chars().filter(char::is_ascii_graphic).take(HOST_MAX).collect();
    if good.is_empty() { "-".to_owned() } else { good }
}

/// One frame.
pub fn frame(host: &str, at: kit::Timestamp, severity: u8, message: &str) -> Vec<u8> {
    let priority = FACILITY * 8 + severity.min(7);
    // The mark says that what follows is UTF-8: RFC 5424, section 6.4.
    let text = format!("<{priority}>1 {at} {} holdfast - DICOM+RFC3881 - \u{feff}{message}", field(host));
    let mut out = format!("{} ", text.len()).into_bytes();
    out.extend_from_slice(text.as_bytes());
    out
}
