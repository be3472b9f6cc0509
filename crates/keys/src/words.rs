//! A custodian's identity as 24 words: what a person reads from paper and types without a mistake that goes unseen.
//!
//! The identity's 32 bytes (age's Bech32 form, c2sp.org/age) as a BIP 39 mnemonic of 256 bits with its checksum, in
//! English. No seed is derived from it: the words are the bytes.

use bech32::{FromBase32, ToBase32, Variant};
use bip39::{Language, Mnemonic};
use zeroize::Zeroizing;

use crate::error::CustodianError;

/// Before `1` in the Bech32 text.
const HUMAN_READABLE: &str = "age-secret-key-";

/// The words of an identity (`AGE-SECRET-KEY-1…`).
pub fn words_of_identity(identity: &str) -> Result<Zeroizing<String>, CustodianError> {
    let wrong = || CustodianError::Identity { position: 1 };
    let (name, data, variant) = bech32::decode(identity.trim()).map_err(|_| wrong())?;
    let bytes = Zeroizing::new(Vec::<u8>::from_base32(&data).map_err(|_| wrong())?);
    if name != HUMAN_READABLE || variant != Variant::Bech32 || bytes.len() != 32 {
        return Err(wrong());
    }
    let mnemonic = Mnemonic::from_entropy_in(Language::English, &bytes).map_err(|_| wrong())?;
    Ok(Zeroizing::new(mnemonic.words().collect::<Vec<_>>().join(" ")))
}

/// The identity of its words.
pub fn identity_of_words(words: &str) -> Result<Zeroizing<String>, CustodianError> {
    let words = Zeroizing::new(words.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase());
    let mnemonic = Mnemonic::parse_in_normalized(Language::English, &words).map_err(|_| CustodianError::Words)?;
    let (bytes, length) = mnemonic.to_entropy_array();
    let bytes = Zeroizing::new(bytes);
    let bytes = bytes.get(..length).filter(|bytes| bytes.len() == 32).ok_or(CustodianError::Words)?;
    let text = bech32::encode(HUMAN_READABLE, bytes.to_base32(), Variant::Bech32).map_err(|_| CustodianError::Words)?;
    Ok(Zeroizing::new(text.to_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::new_identity;

    #[test]
    fn words_go_there_and_back_and_a_wrong_one_is_noticed() {
        for _ in 0..50 {
            let (identity, _) = new_identity();
            let words = words_of_identity(&identity).unwrap();
            assert_eq!(words.split(' ').count(), 24);
            assert_eq!(*identity_of_words(&format!("  {}\n", words.to_uppercase())).unwrap(), *identity);
            let mut swapped: Vec<&str> = words.split(' ').collect();
            if swapped[3] != swapped[17] {
                swapped.swap(3, 17);
                // Two words in the wrong order: 255 of 256 times the checksum says so, and never is it the same identity.
                assert_ne!(
                    identity_of_words(&swapped.join(" ")).ok().map(|i| i.to_string()),
                    Some(identity.to_string())
                );
            }
        }
        // BIP 39's own vector: 32 bytes of 7f.
        let vector = "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth \
                      useful legal winner thank year wave sausage worth title";
        let identity = identity_of_words(vector).unwrap();
        assert_eq!(*words_of_identity(&identity).unwrap(), vector);
        let (_, data, _) = bech32::decode(&identity).unwrap();
        assert_eq!(Vec::<u8>::from_base32(&data).unwrap(), [0x7f; 32]);
        assert!(identity_of_words(&vector.replace("title", "legal")).is_err());
        assert!(words_of_identity("AGE-SECRET-KEY-1QQQ").is_err());
    }
}
