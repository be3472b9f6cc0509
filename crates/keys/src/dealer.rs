//! The dealer: splits and seals with public keys only, and asks nobody.

use kit::limits::SERVERS_MAX;
use kit::{Digest, Entropy, Id16};

use crate::custodian::RecoveryPublicKey;
use crate::error::KeysError;
use crate::format::Version;
use crate::holder::HolderPublicKey;
use crate::record::{Batch, KeyRecord, commitment, share_digest};
use crate::seal::{Binding, Context, RECOVERY, Random, Seat};
use crate::secret::DataKey;
use crate::shamir;

/// Deals the keys of one [`Batch`].
///
/// A dealer knows the secrets that it shares with each holder, and so could open every record of its own batch, and of
/// no other. It keeps no data key, but whoever steals a live one can read what it dealt: make a new one for each import,
/// and one now and then in a process that lives long. A batch costs milliseconds and some kilobytes.
pub struct Dealer {
    batch: Id16,
    epoch: u32,
    t: u8,
    n: u8,
    holders: Vec<Context>,
    recovery: Context,
}

impl Dealer {
    /// `holders` in the order of their numbers, all in key epoch `epoch`.
    pub fn new(
        holders: &[HolderPublicKey],
        recovery: &RecoveryPublicKey,
        t: u8,
        epoch: u32,
        entropy: &dyn Entropy,
    ) -> Result<(Self, Batch), KeysError> {
        let shape = KeysError::Shape { t: usize::from(t), n: holders.len(), max: SERVERS_MAX };
        let n = u8::try_from(holders.len()).ok().filter(|&n| usize::from(n) <= SERVERS_MAX && (1..=n).contains(&t));
        let Some(n) = n else { return Err(shape) };
        for (number, holder) in (1..=n).zip(holders) {
            if holder.number() != number {
                return Err(KeysError::Numbering { place: usize::from(number), found: holder.number() });
            }
            if holder.epoch() != epoch {
                return Err(KeysError::Epoch { number, found: holder.epoch(), wanted: epoch });
            }
        }
        let batch = Id16(entropy.id());
        let random = &mut Random::new(entropy);
        let mut encapsulations = Vec::with_capacity(holders.len() + 1);
        let mut encapsulate = |key: &_, number| {
            let (encapsulation, context) = Context::encapsulate(key, Seat { batch, epoch, number }, random)
                .ok_or(KeysError::Crypto { step: "an encapsulation" })?;
            encapsulations.push(encapsulation.into());
            Ok::<_, KeysError>(context)
        };
        let contexts =
            holders.iter().map(|holder| encapsulate(&holder.hpke()?, holder.number())).collect::<Result<_, _>>()?;
        let recovery = encapsulate(&recovery.hpke()?, RECOVERY)?;
        let dealer = Self { batch, epoch, t, n, holders: contexts, recovery };
        Ok((dealer, Batch { version: Version, id: batch, epoch, encapsulations }))
    }

    pub fn deal(&self, subject: Id16, key: &DataKey, entropy: &dyn Entropy) -> Result<KeyRecord, KeysError> {
        let salt = entropy.id();
        let shares = shamir::split(key.bytes(), self.t, self.n, &mut Random::new(entropy))
            .ok_or(KeysError::Crypto { step: "splitting" })?;
        let seal = |context: &Context, number, secret: &[u8; 32], digest| {
            let seat = Seat { batch: self.batch, epoch: self.epoch, number };
            let binding = Binding { seat, subject, salt, t: self.t, n: self.n, digest };
            context.seal(&binding, secret).map(Into::into).ok_or(KeysError::Crypto { step: "sealing" })
        };
        let digests: Vec<Digest> =
            (1..).zip(&shares).map(|(number, share)| share_digest(&salt, number, share)).collect();
        let commitment = commitment(&salt, subject, key.bytes());
        Ok(KeyRecord {
            version: Version,
            subject,
            batch: self.batch,
            t: self.t,
            n: self.n,
            salt: salt.into(),
            shares: (1..)
                .zip(self.holders.iter().zip(shares.iter().zip(&digests)))
                .map(|(number, (context, (share, digest)))| seal(context, number, share, *digest))
                .collect::<Result<_, _>>()?,
            digests,
            commitment,
            recovery: seal(&self.recovery, RECOVERY, key.bytes(), commitment)?,
            recovery_batch: None,
        })
    }
}
