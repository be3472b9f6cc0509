//! Where a bucket is and who asks it: what the configuration says, checked before anything is sent.

use std::net::IpAddr;

use location::{LocationError, Refusal};
use url::{Host, Url};
use zeroize::Zeroizing;

/// Whose request it is. Our copy of the secret is wiped; the signer's copies in memory are not.
#[derive(Clone)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret: Zeroizing<String>,
}

/// One bucket of a centre. The caller has read the secret from wherever it is kept.
#[derive(Clone)]
pub struct BucketConfig {
    /// What people call it: `bucket-13`.
    pub id: String,
    /// `https://s3.example.org`: scheme, host, port if need be. The bucket is named in the path, not in the host.
    pub endpoint: String,
    /// What signatures name: `eu-central-1`; `us-east-1` where a store has no regions.
    pub region: String,
    pub bucket: String,
    /// What all keys begin with: some of `a`–`z`, `0`–`9`, `-`, in parts between single slashes. One vault, one prefix.
    pub prefix: String,
    pub credentials: Credentials,
    /// The store's own certificate authority in PEM; then no other is believed. `None`: those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// Without TLS, for tests: taken on a loopback address only.
    pub allow_http: bool,
    /// The bucket's default retention has to be at least this.
    pub retention_days_min: u32,
}

/// Keys have at most 1024 bytes in S3; what follows the prefix needs 260 of them.
const PREFIX_BYTES_MAX: usize = 200;

/// Words of a configuration that go into headers and addresses.
const WORD_BYTES_MAX: usize = 128;

/// A configuration that holds together.
pub(crate) struct Place {
    /// `https://host:port/bucket`
    pub(crate) bucket_url: String,
    /// The scheme, host and port of it, as the configuration has them.
    pub(crate) endpoint: String,
}

impl BucketConfig {
    /// The endpoint's host, where it has one: a name or an address.
    pub fn host(&self) -> Option<String> {
        Some(Url::parse(&self.endpoint).ok()?.host()?.to_string().trim_matches(['[', ']']).to_owned())
    }

    /// Whether it holds together; nothing is asked.
    pub fn validate(&self) -> Result<(), LocationError> {
        self.check().map(drop)
    }

    pub(crate) fn check(&self) -> Result<Place, LocationError> {
        let wrong = |field, why: &str| LocationError::Refused {
            location: self.id.clone(),
            reason: Refusal::Configuration { field, why: why.to_owned() },
        };
        let word = |text: &str, also: &[u8]| {
            (1..=WORD_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || also.contains(&c))
        };
        if !word(&self.id, b"-") {
            return Err(wrong("id", "is not 1 to 128 of a-z, 0-9, '-'"));
        }
        if !word(&self.region, b"-") {
            return Err(wrong("region", "is not 1 to 128 of a-z, 0-9, '-'"));
        }
        let inner = self.bucket.trim_matches(['-', '.']);
        if !(3..=63).contains(&self.bucket.len()) || inner != self.bucket || !word(&self.bucket, b"-.") {
            return Err(wrong("bucket", "is not 3 to 63 of a-z, 0-9, '-', '.', with a letter or digit at both ends"));
        }
        if self.prefix.len() > PREFIX_BYTES_MAX || !self.prefix.split('/').all(|part| word(part, b"-")) {
            return Err(wrong("prefix", "is not at most 200 of a-z, 0-9, '-' in parts between single slashes"));
        }
        check_credentials(&self.credentials).map_err(|(field, why)| wrong(field, why))?;
        if !(1..=36_500).contains(&self.retention_days_min) {
            return Err(wrong("retention_days_min", "is not 1 to 36500"));
        }
        let url = Url::parse(&self.endpoint).map_err(|_| wrong("endpoint", "is no URL"))?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("endpoint", "has more than a scheme, a host and a port"));
        }
        let is_loopback = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Domain(_)) => false,
            None => return Err(wrong("endpoint", "has no host")),
        };
        match (url.scheme(), self.allow_http, is_loopback) {
            ("https", ..) | ("http", true, true) => {}
            ("http", true, false) => return Err(wrong("endpoint", "has no TLS, and is no loopback address")),
            _ => return Err(wrong("endpoint", "does not begin with https://")),
        }
        let endpoint = url.as_str().trim_end_matches('/').to_owned();
        Ok(Place { bucket_url: format!("{endpoint}/{}", self.bucket), endpoint })
    }
}

/// A name goes into a header, and neither may be empty: an empty secret signs, too.
pub(crate) fn check_credentials(credentials: &Credentials) -> Result<(), (&'static str, &'static str)> {
    let fits = |text: &str| (1..=WORD_BYTES_MAX).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic());
    if !fits(&credentials.access_key_id) || credentials.access_key_id.contains(['/', ',']) {
        return Err(("access_key_id", "is not 1 to 128 printable characters without ',' and '/'"));
    }
    if !fits(&credentials.secret) {
        return Err(("secret", "is not 1 to 128 printable characters; a line's end may have come in"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> BucketConfig {
        BucketConfig {
            id: "bucket-1".into(),
            endpoint: "https://s3.example.org:9000/".into(),
            region: "eu-central-1".into(),
            bucket: "holdfast.centre".into(),
            prefix: "vault-1/b".into(),
            credentials: Credentials { access_key_id: "KEY".into(), secret: Zeroizing::new("se/cr+et".into()) },
            ca_pem: None,
            allow_http: false,
            retention_days_min: 30,
        }
    }

    fn refused(change: impl FnOnce(&mut BucketConfig)) -> &'static str {
        let mut config = config();
        change(&mut config);
        match config.check() {
            Err(LocationError::Refused { reason: Refusal::Configuration { field, .. }, .. }) => field,
            Err(other) => panic!("{other}"),
            Ok(_) => "nothing",
        }
    }

    #[test]
    fn each_field_is_checked_and_named() {
        assert_eq!(config().check().unwrap().bucket_url, "https://s3.example.org:9000/holdfast.centre");
        for endpoint in
            ["s3.example.org", "http://s3.example.org", "https://u@h", "https://h/p", "https://h/?q", "ftp://h"]
        {
            assert_eq!(refused(|config| config.endpoint = endpoint.into()), "endpoint", "{endpoint}");
        }
        for prefix in ["", "/a", "a/", "a//b", "A", "a.b", "..", &"a".repeat(201)] {
            assert_eq!(refused(|config| config.prefix = prefix.into()), "prefix", "{prefix}");
        }
        for bucket in ["ab", "-abc", "abc.", "a/b", "Abc", &"a".repeat(64)] {
            assert_eq!(refused(|config| config.bucket = bucket.into()), "bucket", "{bucket}");
        }
        assert_eq!(refused(|config| config.id = String::new()), "id");
        assert_eq!(refused(|config| config.region = "eu central".into()), "region");
        assert_eq!(refused(|config| config.retention_days_min = 0), "retention_days_min");
        assert_eq!(refused(|config| config.credentials.access_key_id = "a\r\nb".into()), "access_key_id");
        assert_eq!(refused(|config| config.credentials.secret = Zeroizing::new("secret\n".into())), "secret");
    }

    #[test]
    fn no_tls_on_loopback_only() {
        for (endpoint, allowed, refusal) in [
            ("http://127.0.0.1:8333", true, "nothing"),
            ("http://[::1]:8333", true, "nothing"),
            ("http://127.0.0.1:8333", false, "endpoint"),
            ("http://192.0.2.1:8333", true, "endpoint"),
            ("http://localhost:8333", true, "endpoint"),
        ] {
            let found = refused(|config| (config.endpoint, config.allow_http) = (endpoint.into(), allowed));
            assert_eq!(found, refusal, "{endpoint}");
        }
    }
}
