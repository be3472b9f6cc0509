//! Who a machine is: a self-signed certificate, made on it once, and known to the others by its SHA-256.
//!
//! There is no authority between them: whoever signs certificates could let anybody in, and would be one more machine to
//! lose. A pin has no date either, so a clock that was set wrong locks nobody out in the worst night of the year.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use kit::id::BadId;
use kit::{Digest, write_private};
use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig, SignatureScheme,
};
use zeroize::Zeroizing;

const CERTIFICATE: &str = "tls.cert";
const KEY: &str = "tls.key";
/// A certificate of ours has some 400 bytes, a key 140.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// The name in every certificate; nobody looks at it.
const NAME: &str = "holdfast";
/// HTTP/2 and nothing else.
const PROTOCOL: &[u8] = b"h2";

/// SHA-256 of a certificate: by it machines know each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Pin(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

impl Pin {
    fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate.as_ref()).into())
    }

    /// The peer's, of a connection whose handshake is over.
    pub(crate) fn of_peer(connection: &rustls::CommonState) -> Option<Self> {
        connection.peer_certificates()?.first().map(Self::of)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Digest(self.0).fmt(f)
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

impl FromStr for Pin {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        text.parse().map(|Digest(bytes)| Self(bytes))
    }
}

/// A machine's certificate and its private key, which never leaves it.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{file}: {source}")]
    Io { file: &'static str, source: io::Error },
    #[error("{file} stands already: an identity is made once")]
    Exists { file: &'static str },
    #[error("{file} has mode {mode:o}: others than its owner may read it")]
    Readable { file: &'static str, mode: u32 },
    #[error("{file} has more than {max} bytes")]
    TooLong { file: &'static str, max: u64 },
    #[error("making a certificate: {0}")]
    Making(#[from] rcgen::Error),
    #[error("the certificate and its key: {0}")]
    Tls(#[from] rustls::Error),
}

fn failed(file: &'static str) -> impl Fn(io::Error) -> IdentityError {
    move |source| IdentityError::Io { file, source }
}

impl Identity {
    /// Makes one in a folder, which may exist. The certificate is written last: without one there was no identity.
    pub fn init(dir: &Path) -> Result<Self, IdentityError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("the identity's folder"))?;
        if dir.join(CERTIFICATE).exists() {
            return Err(IdentityError::Exists { file: CERTIFICATE });
        }
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        let certificate = rcgen::CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&pair)?;
        let key = Zeroizing::new(pair.serialize_der());
        write_private(&dir.join(KEY), &key).map_err(failed(KEY))?;
        write_private(&dir.join(CERTIFICATE), certificate.der()).map_err(failed(CERTIFICATE))?;
        Self::open(dir)
    }

    pub fn open(dir: &Path) -> Result<Self, IdentityError> {
        let mode = fs::metadata(dir.join(KEY)).map_err(failed(KEY))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Readable { file: KEY, mode });
        }
        let key = read(dir, KEY)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
        let identity = Self { certificate: CertificateDer::from(read(dir, CERTIFICATE)?), key };
        // That they fit is found out now, not at the first connection.
        identity.client(None)?;
        Ok(identity)
    }

    pub fn pin(&self) -> Pin {
        Pin::of(&self.certificate)
    }

    /// As the one that is called: whoever shows a certificate and has its key comes in, and is judged by its pin.
    pub(crate) fn server(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(AnyCertificate(provider)))
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // A peer's pin is looked at in every handshake; a resumed one would be judged by an older one.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// As the one that calls: the other has to show this pin. `None` believes whoever answers, and is for reading its card.
    pub(crate) fn client(&self, pin: Option<Pin>) -> Result<Arc<ClientConfig>, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Pinned { pin, provider: Arc::clone(&provider) };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// The name that a client has to give, though nobody looks at it.
    pub(crate) fn server_name() -> Result<ServerName<'static>, io::Error> {
        ServerName::try_from(NAME).map_err(io::Error::other)
    }
}

fn read(dir: &Path, file: &'static str) -> Result<Vec<u8>, IdentityError> {
    let mut bytes = Vec::with_capacity(1_024);
    let opened = File::open(dir.join(file)).map_err(failed(file))?;
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed(file))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(IdentityError::TooLong { file, max: FILE_BYTES_MAX });
    }
    Ok(bytes)
}

fn algorithms(provider: &CryptoProvider) -> &WebPkiSupportedAlgorithms {
    &provider.signature_verification_algorithms
}

/// TLS 1.2 is switched off; rustls asks all the same.
fn not_here() -> rustls::Error {
    rustls::Error::General("TLS 1.2 is not spoken here".to_owned())
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(not_here())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms(&self.0))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms(&self.0).supported_schemes()
    }
}

/// The certificate is not the one that was pinned.
#[derive(Debug, thiserror::Error)]
#[error("the server shows certificate {found}, {expected} is expected")]
struct OtherPin {
    expected: Pin,
    found: Pin,
}

#[derive(Debug)]
struct Pinned {
    pin: Option<Pin>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = Pin::of(certificate);
        match self.pin {
            Some(expected) if expected != found => {
                Err(rustls::Error::Other(OtherError(Arc::new(OtherPin { expected, found }))))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(not_here())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms(&self.provider))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms(&self.provider).supported_schemes()
    }
}
