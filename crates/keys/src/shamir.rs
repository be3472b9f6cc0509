//! Shamir's secret sharing over GF(256) (A. Shamir, "How to share a secret", 1979), by `vsss-rs`: t of n shares give the
//! secret, fewer say nothing about it. It detects no altered share: what uses it authenticates each one.
//!
//! With t = 1 each share *is* the secret: a polynomial of degree 0 is constant. `vsss-rs` leaves that case to its
//! caller; a centre on one folder needs it, and hides nothing by it.

use vsss_rs::Gf256;
use zeroize::{Zeroize, Zeroizing};

use crate::seal::Random;
use crate::secret::SECRET_BYTES;

pub(crate) type Secret = Zeroizing<[u8; SECRET_BYTES]>;

/// Shares 1 to n, in order. Each call draws fresh polynomials.
pub(crate) fn split(secret: &[u8; SECRET_BYTES], t: u8, n: u8, random: &mut Random<'_>) -> Option<Vec<Secret>> {
    if t == 1 {
        return Some((0..n).map(|_| Zeroizing::new(*secret)).collect());
    }
    let mut dealt = Gf256::split_bytes(usize::from(t), usize::from(n), secret, random).ok()?;
    let shares = (1..=n)
        .zip(&dealt)
        .map(|(number, share)| {
            let (&named, bytes) = share.split_first()?;
            let bytes: &[u8; SECRET_BYTES] = bytes.try_into().ok()?;
            (named == number).then(|| Zeroizing::new(*bytes))
        })
        .collect();
    dealt.iter_mut().for_each(Zeroize::zeroize);
    shares
}

/// The secret of t shares under their numbers. Fewer than t, or altered ones, give other bytes and no error.
pub(crate) fn combine(shares: &[(u8, &[u8; SECRET_BYTES])]) -> Option<Secret> {
    if let [(_, only)] = shares {
        return Some(Zeroizing::new(**only));
    }
    let mut numbered: Vec<Vec<u8>> =
        shares.iter().map(|(number, bytes)| std::iter::once(*number).chain(bytes.iter().copied()).collect()).collect();
    let combined = Gf256::combine_bytes(&numbered).map(Zeroizing::new);
    numbered.iter_mut().for_each(Zeroize::zeroize);
    let secret: &[u8; SECRET_BYTES] = combined.as_ref().ok()?.as_slice().try_into().ok()?;
    Some(Zeroizing::new(*secret))
}

#[cfg(test)]
mod tests {
    use kit::SeededEntropy;

    use super::*;

    /// Worked by hand in the field of AES (FIPS 197 §4): f(x) = 0x2a + 0x01·x gives f(1) = 0x2b, f(2) = 0x28,
    /// f(3) = 0x29. Another reader of the format can check its own arithmetic by this.
    #[test]
    fn combines_a_polynomial_worked_by_hand() {
        let (one, two, three) = ([0x2b; 32], [0x28; 32], [0x29; 32]);
        for pair in [[(1, &one), (2, &two)], [(3, &three), (1, &one)], [(2, &two), (3, &three)]] {
            assert_eq!(*combine(&pair).unwrap(), [0x2a; 32]);
        }
        // 0x57·0x83 = 0xc1 (FIPS 197 §4.2): f(x) = 0x57·x at x = 0x83, and f(1) = 0x57, meet at f(0) = 0.
        assert_eq!(*combine(&[(0x83, &[0xc1; 32]), (1, &[0x57; 32])]).unwrap(), [0; 32]);
    }

    #[test]
    fn every_coefficient_is_drawn_over_the_whole_field() {
        // A leading coefficient that is never 0 would rule one secret out for t - 1 holders.
        let entropy = SeededEntropy::new(1);
        let mut random = Random::new(&entropy);
        let secret = [7; 32];
        let zero = (0..200).flat_map(|_| split(&secret, 2, 2, &mut random).unwrap().remove(0).to_vec());
        let zeros = zero.filter(|&byte| byte == 7).count();
        assert!((5..=60).contains(&zeros), "{zeros} of 6400 coefficients are 0; 25 are expected");
    }
}
