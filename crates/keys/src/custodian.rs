//! Custodians: people who keep offline shares of the recovery key, m of n, as age files (c2sp.org/age).

use std::fmt;
use std::io::Read;

use age::secrecy::ExposeSecret;
use age::x25519::{Identity, Recipient};
use hpke::{Deserializable, Serializable};
use kit::{Digest, Entropy, Id16};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::error::{CustodianError, KeysError};
use crate::format::{self, FormatError, Version, within};
use crate::plugins::{self, NoPlugins, Own, Plugins, Trouble};
use crate::record::{Batch, KeyRecord, commitment};
use crate::seal::{self, Binding, Contexts, PUBLIC_KEY_BYTES, PrivateKey, RECOVERY, Random, Seat, digest};
use crate::secret::{DataKey, SECRET_BYTES};
use crate::shamir::{self, Secret};

/// Custodians are people in a room; more than these can't be called in.
pub const CUSTODIANS_MAX: usize = 32;
/// Identities tried at once: each custodian may bring an old one beside the right one.
const IDENTITIES_MAX: usize = 2 * CUSTODIANS_MAX;
/// An age file of one X25519 stanza around a sheet of 60 bytes is under 300 bytes; a post-quantum plugin's has 1.6 KiB more.
const FILE_BYTES_MAX: usize = 4 * 1024;
/// `age1…` of an X25519 key is 62 characters, that of a hardware token some 70, of an X-Wing key 1,970.
const RECIPIENT_BYTES_MAX: usize = 2_560;
const SHEET_BYTES_MAX: usize = 128;
const PACKAGE_BYTES_MAX: usize = 4 * 1024 + CUSTODIANS_MAX * (FILE_BYTES_MAX + RECIPIENT_BYTES_MAX + 64);

/// The recovery party's X-Wing public key: every key record is sealed to it too.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecoveryPublicKey {
    #[n(0)]
    version: Version<1>,
    #[n(1)]
    key: ByteArray<PUBLIC_KEY_BYTES>,
}

impl RecoveryPublicKey {
    const PLACE: &'static str = "recovery public key";
    /// 1,216 bytes of key and a few of heads.
    const BYTES_MAX: usize = 1_300;

    fn of(private: &PrivateKey) -> Self {
        let key = <[u8; PUBLIC_KEY_BYTES]>::from(seal::public_key(private).to_bytes());
        Self { version: Version, key: key.into() }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        format::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let key: Self = format::decode(Self::PLACE, bytes, Self::BYTES_MAX)?;
        key.hpke()?;
        Ok(key)
    }

    pub(crate) fn hpke(&self) -> Result<seal::PublicKey, FormatError> {
        seal::PublicKey::from_bytes(self.key.as_slice())
            .map_err(|_| FormatError::Invalid { place: Self::PLACE, what: "the X-Wing key" })
    }
}

impl fmt::Debug for RecoveryPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryPublicKey")
    }
}

/// Opens every key record without any holder. It exists only while custodians are gathered.
pub struct RecoveryKey {
    private: PrivateKey,
    opened_by: Vec<u8>,
    contexts: Contexts,
    /// Of the package before, while not all records are dealt to this one.
    earlier: Option<Box<RecoveryKey>>,
}

impl RecoveryKey {
    /// The custodians, by number in the package, whose shares gave this key.
    pub fn opened_by(&self) -> &[u8] {
        &self.opened_by
    }

    pub fn public_key(&self) -> RecoveryPublicKey {
        RecoveryPublicKey::of(&self.private)
    }

    /// Opens what either of them opens.
    pub fn or(self, earlier: RecoveryKey) -> Self {
        let earlier = match self.earlier {
            Some(own) => own.or(earlier),
            None => earlier,
        };
        Self { earlier: Some(Box::new(earlier)), ..self }
    }

    /// The seed that the key is made from: a drill searches stolen disks for it. Whoever has it opens every record.
    pub fn danger_seed(&self) -> Zeroizing<[u8; SECRET_BYTES]> {
        Zeroizing::new(self.private.to_bytes().into())
    }

    /// Opens a record's data key, erased or not: what erases her from the custodians is that others become custodians.
    pub fn open(&self, record: &KeyRecord, batch: &Batch) -> Result<DataKey, KeysError> {
        record.check_recovery_in(batch)?;
        let binding = Binding::of(record, Seat::of(batch, RECOVERY));
        self.contexts
            .of(&self.private, batch, RECOVERY)
            .zip(binding)
            .and_then(|(context, binding)| context.open(&binding, &record.recovery))
            .filter(|key| commitment(&record.salt, record.subject, key) == record.commitment)
            .map(DataKey::from_secret)
            .ok_or(KeysError::Recovery)
            .or_else(|error| self.earlier.as_ref().map_or(Err(error), |earlier| earlier.open(record, batch)))
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecoveryKey(secret, opened by custodians {:?})", self.opened_by)
    }
}

/// What one custodian's age file holds: enough to say of itself what it is, without the package.
#[derive(Encode, Decode)]
pub(crate) struct Sheet {
    #[n(0)]
    version: Version<1>,
    #[n(1)]
    package: Id16,
    #[n(2)]
    number: u8,
    #[n(3)]
    m: u8,
    #[n(4)]
    n: u8,
    #[cbor(n(5), with = "crate::format::secret")]
    share: Secret,
}

/// What one identity opens of a package.
enum Found {
    Sheet(Sheet),
    /// Her file isn't the one that was written.
    Altered(u8),
    /// What it may open was opened by one before it.
    Repeated,
    Nothing,
}

#[derive(Clone, PartialEq, Eq, Encode, Decode)]
struct Member {
    #[n(0)]
    recipient: String,
    #[n(1)]
    digest: Digest,
    #[n(2)]
    file: ByteVec,
}

/// The recovery key, split m of n, each share in an age file for one custodian. Public bytes: it stands at every
/// location. The public key that it carries is what the shares are checked against after they are combined.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct CustodianPackage {
    #[n(0)]
    version: Version<1>,
    #[n(1)]
    id: Id16,
    #[n(2)]
    m: u8,
    #[n(3)]
    public: RecoveryPublicKey,
    #[n(4)]
    members: Vec<Member>,
}

impl CustodianPackage {
    const PLACE: &'static str = "custodian package";

    /// [`Self::establish_with`], for custodians none of whom has a token.
    pub fn establish(
        m: u8,
        recipients: &[String],
        entropy: &dyn Entropy,
    ) -> Result<(Self, RecoveryPublicKey), CustodianError> {
        Self::establish_with(m, recipients, &NoPlugins, entropy)
    }

    /// `recipients` are age recipients, X25519 (`age1…`) or of plugins (`age1NAME1…`), one per custodian. The age files take
    /// their own randomness from the operating system, since the age library has no other way.
    pub fn establish_with(
        m: u8,
        recipients: &[String],
        plugins: &dyn Plugins,
        entropy: &dyn Entropy,
    ) -> Result<(Self, RecoveryPublicKey), CustodianError> {
        let shape = CustodianError::Shape { m: usize::from(m), n: recipients.len(), max: CUSTODIANS_MAX };
        let n = u8::try_from(recipients.len()).ok();
        let Some(n) = n.filter(|&n| usize::from(n) <= CUSTODIANS_MAX && (1..=n).contains(&m)) else {
            return Err(shape);
        };
        let mut parsed: Vec<String> = Vec::with_capacity(recipients.len());
        for (number, text) in (1..).zip(recipients) {
            // Bech32's one spelling: the same recipient must not pass for another.
            let recipient = text.trim().to_lowercase();
            let is_one = recipient.len() <= RECIPIENT_BYTES_MAX
                && (recipient.parse::<Recipient>().is_ok() || plugins::of_recipient(&recipient).is_some());
            if !is_one {
                return Err(CustodianError::Recipient { number });
            }
            if let Some(first) = parsed.iter().position(|earlier| *earlier == recipient) {
                return Err(CustodianError::SameRecipient { first: first + 1, second: number });
            }
            parsed.push(recipient);
        }

        let id = Id16(entropy.id());
        let mut seed = Zeroizing::new([0; SECRET_BYTES]);
        entropy.fill(seed.as_mut());
        let private = seal::private_key(&seed).ok_or(CustodianError::Crypto { step: "making the recovery key" })?;
        let public = RecoveryPublicKey::of(&private);
        let shares = shamir::split(&seed, m, n, &mut Random::new(entropy))
            .ok_or(CustodianError::Crypto { step: "splitting the recovery key" })?;
        let members = (1..=n)
            .zip(parsed.into_iter().zip(shares))
            .map(|(number, (recipient, share))| {
                let digest = sheet_digest(&id, number, &share);
                let sheet = Sheet { version: Version, package: id, number, m, n, share };
                let file = seal_to(number, &recipient, &Zeroizing::new(format::encode(&sheet)), plugins)?.into();
                Ok(Member { recipient, digest, file })
            })
            .collect::<Result<_, CustodianError>>()?;
        let package = Self { version: Version, id, m, public: public.clone(), members };
        // What a plugin wrote is as long as it likes.
        package.check()?;
        Ok((package, public))
    }

    /// `identities` are age X25519 secret keys (`AGE-SECRET-KEY-1…`), at least m of this package's custodians. Others
    /// among them, and altered files, are survived as long as m shares are good.
    pub fn open(&self, identities: &[impl AsRef<str>]) -> Result<RecoveryKey, CustodianError> {
        self.combine(&self.open_sheets(identities, &NoPlugins)?)
    }

    /// The sheets of m custodians whose identities, of plugins too (`AGE-PLUGIN-NAME-1…`), are among these.
    pub(crate) fn open_sheets(
        &self,
        identities: &[impl AsRef<str>],
        plugins: &dyn Plugins,
    ) -> Result<Vec<Sheet>, CustodianError> {
        self.check()?;
        if identities.len() > IDENTITIES_MAX {
            return Err(CustodianError::TooManyIdentities { found: identities.len(), max: IDENTITIES_MAX });
        }
        let mut sheets: Vec<Sheet> = Vec::new();
        let (mut strangers, mut altered, mut trouble) = (Vec::new(), Vec::new(), None);
        for (position, text) in (1..).zip(identities) {
            let own = Own::parse(text.as_ref()).ok_or(CustodianError::Identity { position })?;
            match self.sheet_of(&own, &sheets, plugins) {
                Ok(Found::Sheet(sheet)) => sheets.push(sheet),
                Ok(Found::Altered(number)) => altered.push(number),
                Ok(Found::Repeated) => {}
                Ok(Found::Nothing) => strangers.push(position),
                // The others may be enough without her.
                Err(error) => trouble = trouble.or(Some(error)),
            }
            if sheets.len() == usize::from(self.m) {
                return Ok(sheets);
            }
        }
        let opened: Vec<u8> = sheets.iter().map(|sheet| sheet.number).collect();
        let (have, need) = (opened.len(), usize::from(self.m));
        Err(trouble.unwrap_or(CustodianError::NotEnough { have, need, opened, strangers, altered }))
    }

    /// The sheet that an identity opens, but for those that are open already.
    fn sheet_of(&self, own: &Own<'_>, have: &[Sheet], plugins: &dyn Plugins) -> Result<Found, CustodianError> {
        let mut found = Found::Nothing;
        let mut refused = None;
        for (number, member) in (1..).zip(&self.members).filter(|(_, member)| own.may_open(&member.recipient)) {
            if have.iter().any(|sheet| sheet.number == number) {
                found = Found::Repeated;
                continue;
            }
            let plain = match own {
                Own::X25519(identity) => read_file(&member.file, identity),
                Own::Plugin { name, text } => match plugins.open(text, &member.file) {
                    Ok(Some(plain)) => Some(plain),
                    Ok(None) => continue,
                    Err(Trouble::Altered) => None,
                    Err(trouble) => {
                        // Some refuse what is another custodian's. Whatever else goes wrong does so with the next file too.
                        let may_go_on = matches!(trouble, Trouble::Refused { .. });
                        let error = CustodianError::Plugin { custodian: number, plugin: name.clone(), trouble };
                        if !may_go_on {
                            return Err(error);
                        }
                        refused = refused.or(Some(error));
                        continue;
                    }
                },
            };
            let sheet = plain.and_then(|plain| sheet_in(&plain)).filter(|sheet| sheet.number == number);
            return Ok(sheet.filter(|sheet| self.dealt(sheet)).map_or(Found::Altered(number), Found::Sheet));
        }
        match (found, refused) {
            (Found::Nothing, Some(refused)) => Err(refused),
            (found, _) => Ok(found),
        }
    }

    /// The recovery key of this package's sheets among these.
    pub(crate) fn combine(&self, sheets: &[Sheet]) -> Result<RecoveryKey, CustodianError> {
        let mut parts: Vec<(u8, &[u8; SECRET_BYTES])> = Vec::new();
        for sheet in sheets.iter().filter(|sheet| self.dealt(sheet)) {
            if parts.len() < usize::from(self.m) && parts.iter().all(|(have, _)| *have != sheet.number) {
                parts.push((sheet.number, &sheet.share));
            }
        }
        let opened: Vec<u8> = parts.iter().map(|(number, _)| *number).collect();
        if opened.len() < usize::from(self.m) {
            let (have, need) = (opened.len(), usize::from(self.m));
            return Err(CustodianError::NotEnough { have, need, opened, strangers: Vec::new(), altered: Vec::new() });
        }
        shamir::combine(&parts)
            .and_then(|seed| seal::private_key(&seed))
            .filter(|private| RecoveryPublicKey::of(private) == self.public)
            .map(|private| RecoveryKey {
                private,
                opened_by: opened.clone(),
                contexts: Contexts::default(),
                earlier: None,
            })
            .ok_or(CustodianError::Altered { opened })
    }

    /// The number of the custodian with this identity, where her share is there, opens, and is the one that was dealt.
    pub fn check_share(&self, identity: &str, plugins: &dyn Plugins) -> Result<u8, CustodianError> {
        self.check()?;
        let own = Own::parse(identity).ok_or(CustodianError::Identity { position: 1 })?;
        let (need, opened, altered) = (usize::from(self.m), Vec::new(), Vec::new());
        match self.sheet_of(&own, &[], plugins)? {
            Found::Sheet(sheet) => Ok(sheet.number),
            Found::Altered(number) => Err(CustodianError::Altered { opened: vec![number] }),
            Found::Nothing | Found::Repeated => {
                Err(CustodianError::NotEnough { have: 0, need, opened, strangers: vec![1], altered })
            }
        }
    }

    /// A secret that only the custodian with this number can read: by giving it back she shows that her identity works.
    pub fn challenge(&self, number: u8, secret: &[u8; 32], plugins: &dyn Plugins) -> Result<Vec<u8>, CustodianError> {
        let member = usize::from(number).checked_sub(1).and_then(|at| self.members.get(at));
        let member = member.ok_or(CustodianError::Recipient { number: usize::from(number) })?;
        seal_to(number, &member.recipient, secret, plugins)
    }

    /// Whether a sheet is one that was written for this package.
    fn dealt(&self, sheet: &Sheet) -> bool {
        let member = usize::from(sheet.number).checked_sub(1).and_then(|at| self.members.get(at));
        (sheet.package, sheet.m, sheet.n) == (self.id, self.m, self.n())
            && member.is_some_and(|member| sheet_digest(&self.id, sheet.number, &sheet.share) == member.digest)
    }

    /// Custodians needed.
    pub fn m(&self) -> u8 {
        self.m
    }

    /// Custodians that there are.
    pub fn n(&self) -> u8 {
        u8::try_from(self.members.len()).unwrap_or(u8::MAX)
    }

    /// Each custodian's age recipient, by number from 1.
    pub fn recipients(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.recipient.as_str())
    }

    /// One custodian's age file (number from 1), as `age --decrypt` takes it.
    pub fn file(&self, number: u8) -> Option<&[u8]> {
        self.members.get(usize::from(number).checked_sub(1)?).map(|member| member.file.as_slice())
    }

    pub fn public_key(&self) -> RecoveryPublicKey {
        self.public.clone()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        format::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let package: Self = format::decode(Self::PLACE, bytes, PACKAGE_BYTES_MAX)?;
        package.check()?;
        Ok(package)
    }

    fn check(&self) -> Result<(), FormatError> {
        let n = self.members.len();
        within(Self::PLACE, "n", n, 1, CUSTODIANS_MAX)?;
        within(Self::PLACE, "m", usize::from(self.m), 1, n)?;
        for member in &self.members {
            within(Self::PLACE, "a recipient's length", member.recipient.len(), 1, RECIPIENT_BYTES_MAX)?;
            within(Self::PLACE, "an age file's length", member.file.len(), 1, FILE_BYTES_MAX)?;
        }
        self.public.hpke().map(drop)
    }
}

impl fmt::Debug for CustodianPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustodianPackage({}, {} of {} custodians)", self.id, self.m, self.members.len())
    }
}

/// As a record's share digests: the share is uniformly random, so that its digest gives nothing away.
fn sheet_digest(package: &Id16, number: u8, share: &[u8; SECRET_BYTES]) -> Digest {
    digest("holdfast custodian share v1", &[&package.0, &[number], share])
}

/// What a challenge holds, read with the identity that it was made for; `custodian` is hers whose identity it is.
pub fn answer_challenge(
    custodian: u8,
    identity: &str,
    challenge: &[u8],
    plugins: &dyn Plugins,
) -> Result<Zeroizing<[u8; 32]>, CustodianError> {
    let plain = match Own::parse(identity).ok_or(CustodianError::Identity { position: 1 })? {
        Own::X25519(identity) => read_file(challenge, &identity),
        Own::Plugin { name, text } => plugins.open(text, challenge).map_err(|trouble| CustodianError::Plugin {
            custodian,
            plugin: name,
            trouble,
        })?,
    };
    let plain = plain.ok_or(CustodianError::Challenge)?;
    plain.as_slice().try_into().map(Zeroizing::new).map_err(|_| CustodianError::Challenge)
}

/// What an age file to this identity holds: a sheet, or something smaller.
fn read_file(file: &[u8], identity: &Identity) -> Option<Zeroizing<Vec<u8>>> {
    let decryptor = age::Decryptor::new_buffered(file).ok()?;
    let file = decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).ok()?;
    let mut plain = Zeroizing::new(Vec::with_capacity(SHEET_BYTES_MAX + 1));
    file.take(SHEET_BYTES_MAX as u64 + 1).read_to_end(&mut plain).ok()?;
    Some(plain)
}

fn sheet_in(plain: &[u8]) -> Option<Sheet> {
    format::decode("custodian sheet", plain, SHEET_BYTES_MAX).ok()
}

pub(crate) fn read_sheet(file: &[u8], identity: &Identity) -> Option<Sheet> {
    sheet_in(&read_file(file, identity)?)
}

pub(crate) fn write_sheet(sheet: &Sheet, recipient: &Recipient) -> Result<Vec<u8>, CustodianError> {
    write_file(&Zeroizing::new(format::encode(sheet)), recipient)
}

fn write_file(plain: &[u8], recipient: &Recipient) -> Result<Vec<u8>, CustodianError> {
    age::encrypt(recipient, plain).map_err(|_| CustodianError::Crypto { step: "writing an age file" })
}

/// An age file to a custodian's recipient, whatever kind that is.
fn seal_to(custodian: u8, recipient: &str, plain: &[u8], plugins: &dyn Plugins) -> Result<Vec<u8>, CustodianError> {
    match (recipient.parse(), plugins::of_recipient(recipient)) {
        (Ok(recipient), _) => write_file(plain, &recipient),
        (Err(_), Some(plugin)) => {
            plugins.seal(recipient, plain).map_err(|trouble| CustodianError::Plugin { custodian, plugin, trouble })
        }
        (Err(_), None) => Err(CustodianError::Recipient { number: usize::from(custodian) }),
    }
}

/// A fresh age X25519 identity: the secret for one custodian alone, and the recipient to establish a package with.
pub fn new_identity() -> (Zeroizing<String>, String) {
    let identity = Identity::generate();
    (Zeroizing::new(identity.to_string().expose_secret().to_owned()), identity.to_public().to_string())
}
