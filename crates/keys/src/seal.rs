//! How one secret is sealed to one party: HPKE (RFC 9180) with X-Wing, its exports, and AES-256-GCM under them.
//!
//! A post-quantum encapsulation is large and slow, so one per party serves a whole batch. Every record then takes its
//! own key from the batch's context by secret export (RFC 9180 §5.3), which is what that interface is for: the suite is
//! export-only (§7.3, AEAD 0xFFFF), so that the context has no key and no nonce counter of its own to mishandle.
//!
//! Each exported key seals exactly one message, so that the nonce may be fixed (RFC 5116 §3.1 asks that nonces differ
//! among the invocations *of one key*; the same reasoning as HPKE's single-shot seal, RFC 9180 §6.1, whose sequence
//! number is always 0). "Exactly one" is kept by the exporter context: it holds the subject, the record's random salt and
//! the digest of the message itself, so that another message has another key, whoever made the record up.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use hpke::aead::{AeadCtxR, AeadCtxS, ExportOnlyAead};
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, OpModeR, OpModeS, Serializable, rand_core};
use kit::{Digest, Entropy, Id16};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::record::{Batch, KeyRecord};
use crate::secret::SECRET_BYTES;

/// X-Wing: ML-KEM-768 with X25519 (draft-connolly-cfrg-xwing-kem; HPKE KEM 0x647a in draft-ietf-hpke-pq). Records live
/// for decades: one of the two must still stand when they are read.
pub(crate) type PublicKey = <XWing as hpke::Kem>::PublicKey;
pub(crate) type PrivateKey = <XWing as hpke::Kem>::PrivateKey;

pub(crate) const PUBLIC_KEY_BYTES: usize = 1_216;
pub(crate) const ENCAPSULATION_BYTES: usize = 1_120;
/// A 32-byte secret and its 16-byte tag.
pub(crate) const SEALED_BYTES: usize = 48;
/// The recovery party's number, where holders have 1 to n.
pub(crate) const RECOVERY: u8 = 0;

/// X-Wing's private key is a seed of 32 random bytes (draft-connolly-cfrg-xwing-kem, section 5.2).
pub(crate) fn private_key(seed: &[u8; SECRET_BYTES]) -> Option<PrivateKey> {
    PrivateKey::from_bytes(seed).ok()
}

pub(crate) fn public_key(private: &PrivateKey) -> PublicKey {
    <XWing as hpke::Kem>::sk_to_pk(private)
}

/// SHA-256 over a tag and parts of fixed lengths.
pub(crate) fn digest(tag: &str, parts: &[&[u8]]) -> Digest {
    let start = Sha256::new_with_prefix(tag);
    Digest(parts.iter().fold(start, |hash, part| hash.chain_update(part)).finalize().into())
}

/// One party's place in one batch.
#[derive(Clone, Copy)]
pub(crate) struct Seat {
    pub(crate) batch: Id16,
    pub(crate) epoch: u32,
    pub(crate) number: u8,
}

impl Seat {
    pub(crate) fn of(batch: &Batch, number: u8) -> Self {
        Self { batch: batch.id, epoch: batch.epoch, number }
    }

    fn info(&self) -> Vec<u8> {
        [b"holdfast batch v1".as_slice(), &self.batch.0, &self.epoch.to_be_bytes(), &[self.number]].concat()
    }
}

/// Everything that one sealed secret is bound to.
pub(crate) struct Binding {
    pub(crate) seat: Seat,
    pub(crate) subject: Id16,
    pub(crate) salt: [u8; 16],
    pub(crate) t: u8,
    pub(crate) n: u8,
    /// The digest of what is sealed: a share's, or the commitment to the data key.
    pub(crate) digest: Digest,
}

impl Binding {
    /// `None` where the record has no such party.
    pub(crate) fn of(record: &KeyRecord, seat: Seat) -> Option<Self> {
        let digest = match seat.number.checked_sub(1) {
            None => record.commitment,
            Some(place) => *record.digests.get(usize::from(place))?,
        };
        Some(Self { seat, subject: record.subject, salt: *record.salt, t: record.t, n: record.n, digest })
    }

    /// With the digest in it, two secrets of one subject and salt have two keys: a holder that is shown a made-up record
    /// seals again under another one than for the real record.
    fn exporter_context(&self) -> Vec<u8> {
        [b"holdfast share v1".as_slice(), &self.subject.0, &self.salt, &self.digest.0].concat()
    }

    fn associated_data(&self) -> Vec<u8> {
        let Seat { batch, epoch, number } = &self.seat;
        let counts = [*number, self.t, self.n];
        [b"holdfast share v1".as_slice(), &batch.0, &epoch.to_be_bytes(), &self.subject.0, &counts].concat()
    }
}

/// The dealer's or one party's end of one encapsulation.
pub(crate) enum Context {
    Dealer(AeadCtxS<ExportOnlyAead, HkdfSha256, XWing>),
    Party(AeadCtxR<ExportOnlyAead, HkdfSha256, XWing>),
}

impl Context {
    pub(crate) fn encapsulate(to: &PublicKey, seat: Seat, random: &mut Random<'_>) -> Option<(Vec<u8>, Self)> {
        let mode = OpModeS::<XWing>::Base;
        let (encapsulation, context) = hpke::setup_sender_with_rng(&mode, to, &seat.info(), random).ok()?;
        Some((encapsulation.to_bytes().to_vec(), Self::Dealer(context)))
    }

    /// The encapsulation that a party makes to itself: its randomness follows from the party's own seed, so that it comes
    /// out the same each time, and nobody else can have made it.
    pub(crate) fn encapsulate_to_self(seed: &[u8; SECRET_BYTES], to: &PublicKey, seat: Seat) -> Option<Vec<u8>> {
        let own = Own::new(seed, seat);
        Self::encapsulate(to, seat, &mut Random::new(&own)).map(|(encapsulation, _)| encapsulation)
    }

    fn decapsulate(private: &PrivateKey, encapsulation: &[u8], seat: Seat) -> Option<Self> {
        let encapsulation = Deserializable::from_bytes(encapsulation).ok()?;
        hpke::setup_receiver(&OpModeR::Base, private, &encapsulation, &seat.info()).ok().map(Self::Party)
    }

    fn key(&self, binding: &Binding) -> Option<LessSafeKey> {
        let mut key = Zeroizing::new([0; 32]);
        let context = binding.exporter_context();
        match self {
            Self::Dealer(dealer) => dealer.export(&context, key.as_mut()),
            Self::Party(party) => party.export(&context, key.as_mut()),
        }
        .ok()?;
        UnboundKey::new(&AES_256_GCM, key.as_slice()).ok().map(LessSafeKey::new)
    }

    /// `binding` must hold the digest of `secret`, so that its key seals nothing else.
    pub(crate) fn seal(&self, binding: &Binding, secret: &[u8; SECRET_BYTES]) -> Option<[u8; SEALED_BYTES]> {
        let mut sealed = [0; SEALED_BYTES];
        let (body, tag) = sealed.split_first_chunk_mut::<SECRET_BYTES>()?;
        body.copy_from_slice(secret);
        let aad = Aad::from(binding.associated_data());
        let made = self.key(binding)?.seal_in_place_separate_tag(nonce(), aad, body).ok()?;
        tag.copy_from_slice(made.as_ref());
        Some(sealed)
    }

    pub(crate) fn open(&self, binding: &Binding, sealed: &[u8; SEALED_BYTES]) -> Option<Zeroizing<[u8; SECRET_BYTES]>> {
        let mut buffer = Zeroizing::new(*sealed);
        let aad = Aad::from(binding.associated_data());
        let opened = self.key(binding)?.open_in_place(nonce(), aad, buffer.as_mut()).ok()?;
        let secret: &[u8; SECRET_BYTES] = (&*opened).try_into().ok()?;
        Some(Zeroizing::new(*secret))
    }
}

/// Fixed, since each key seals one message (above).
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Batches whose context one party keeps ready. Decapsulation costs some hundred times what an export does, and one
/// batch serves many records; a context is under 200 bytes.
const CONTEXTS_MAX: usize = 1_024;

/// A party's decapsulated batches, oldest out first.
#[derive(Default)]
pub(crate) struct Contexts(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    contexts: HashMap<Digest, Arc<Context>>,
    order: VecDeque<Digest>,
}

impl Contexts {
    /// The context of the party with `number` in `batch`. It is kept under everything that it depends on: X-Wing opens
    /// an altered encapsulation to another secret in silence, which must not stand in the honest batch's place.
    pub(crate) fn of(&self, private: &PrivateKey, batch: &Batch, number: u8) -> Option<Arc<Context>> {
        let place = if number == RECOVERY { batch.n() } else { usize::from(number) - 1 };
        let encapsulation = batch.encapsulations.get(place)?;
        let seat = Seat::of(batch, number);
        let name = digest("holdfast context v1", &[&seat.info(), encapsulation]);
        if let Some(known) = self.kept().contexts.get(&name) {
            return Some(known.clone());
        }
        let context = Arc::new(Context::decapsulate(private, encapsulation, seat)?);
        let mut kept = self.kept();
        if kept.contexts.insert(name, context.clone()).is_none() {
            kept.order.push_back(name);
        }
        if kept.order.len() > CONTEXTS_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.contexts.remove(&oldest);
        }
        Some(context)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that follow from a party's seed and its seat in a batch: HKDF-SHA256 (RFC 5869), one expansion for each call.
struct Own {
    pseudorandom: hkdf::Prk,
    seat: Vec<u8>,
    calls: AtomicU32,
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Own {
    fn new(seed: &[u8; SECRET_BYTES], seat: Seat) -> Self {
        let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, b"holdfast own encapsulation v1").extract(seed);
        Self { pseudorandom, seat: seat.info(), calls: AtomicU32::new(0) }
    }
}

impl Entropy for Own {
    fn fill(&self, out: &mut [u8]) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let info = [self.seat.as_slice(), &call];
        let filled = self.pseudorandom.expand(&info, Length(out.len())).and_then(|okm| okm.fill(out));
        // More than 255 blocks at once (RFC 5869, section 2.3), which no caller asks for: never go on without randomness.
        if filled.is_err() {
            std::process::abort();
        }
    }
}

/// [`Entropy`] as the generator that HPKE and Shamir take. Shamir asks for one small word per coefficient, so that bytes
/// are fetched a kilobyte at a time; none is given twice.
pub(crate) struct Random<'a> {
    entropy: &'a dyn Entropy,
    pool: Zeroizing<[u8; 1_024]>,
    left: usize,
}

impl<'a> Random<'a> {
    pub(crate) fn new(entropy: &'a dyn Entropy) -> Self {
        Self { entropy, pool: Zeroizing::new([0; 1_024]), left: 0 }
    }

    fn word<const N: usize>(&mut self) -> [u8; N] {
        if self.left < N {
            self.entropy.fill(self.pool.as_mut());
            self.left = self.pool.len();
        }
        let mut word = [0; N];
        let unused = self.pool.get(..self.left).unwrap_or_default();
        if let Some(last) = unused.last_chunk::<N>() {
            word = *last;
        }
        self.left -= N;
        word
    }
}

impl rand_core::TryRng for Random<'_> {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(u32::from_le_bytes(self.word()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(u64::from_le_bytes(self.word()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        self.entropy.fill(out);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Random<'_> {}
