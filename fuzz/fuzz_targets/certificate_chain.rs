//! Chains that an officer and a person really signed, with any names, times and purposes: a proof is taken where the rules of
//! docs/formats/keys.md say so, as they are written once more here, and nowhere else; with one byte changed it is none.
#![no_main]

use holdfast_fuzz::{officer, take};
use keys::{
    Authority, Certificate, Known, PROOF_WINDOW_MS, PersonKey, Proof, SESSION_LIFE_MS_MAX, Signer, Speaks, Statement,
};
use kit::{Digest, Id16, SeededEntropy, Timestamp};
use libfuzzer_sys::fuzz_target;
use zeroize::Zeroizing;

const NAMES: [&str; 6] = ["dr.a", "dr.b", "ae:CT1", ":", "a", "dr.a:"];
const NOW: i64 = 1_795_392_000_000;
/// Around every bound: the present, the window of a proof, a shift.
const STEPS: [i64; 12] = [
    0,
    1,
    -1,
    PROOF_WINDOW_MS,
    PROOF_WINDOW_MS + 1,
    -PROOF_WINDOW_MS,
    -PROOF_WINDOW_MS - 1,
    SESSION_LIFE_MS_MAX,
    SESSION_LIFE_MS_MAX + 1,
    -SESSION_LIFE_MS_MAX,
    i64::MAX - NOW,
    i64::MIN,
];

fn time(data: &mut &[u8]) -> Timestamp {
    let (step, more) = (STEPS[usize::from(take(data)) % STEPS.len()], i64::from(take(data)));
    Timestamp(NOW.saturating_add(step).saturating_add(more / 64))
}

fn name<'a>(data: &mut &[u8]) -> &'a str {
    NAMES[usize::from(take(data)) % NAMES.len()]
}

fn key(seed: u8) -> PersonKey {
    PersonKey::from_seed(&Zeroizing::new([seed; 32])).expect("a seed")
}

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let entropy = SeededEntropy::new(1);
    let vaults = [Id16([1; 16]), Id16([2; 16])];
    let vault = |data: &mut &[u8]| vaults[usize::from(take(data) >= 0xf0)];
    let speaks = [Speaks::Person, Speaks::Delegate, Speaks::Session][usize::from(take(&mut data)) % 3];
    let (subject, asks) = (name(&mut data), name(&mut data));
    let (not_before, expires, at, now) = (time(&mut data), time(&mut data), time(&mut data), time(&mut data));
    let (first_vault, of_vault) = (vault(&mut data), vault(&mut data));
    let first = officer().enrol(first_vault, subject, speaks, key(1).public(), (not_before, expires), &entropy);
    let first = first.expect("a certificate");
    assert_eq!(Certificate::from_bytes(&first.to_bytes()).ok().as_ref(), Some(&first));
    let with_session = take(&mut data).is_multiple_of(2);
    let (begun, life) = (time(&mut data), i64::from(take(&mut data)) * SESSION_LIFE_MS_MAX / 128);
    let session = key(1).begin_session(&first, key(2).public(), begun, life, &entropy);
    let (chain, signer) =
        if with_session { (vec![first.clone(), session.clone()], key(2)) } else { (vec![first.clone()], key(1)) };
    let ended: Vec<Id16> = match take(&mut data) % 8 {
        0 => vec![first.serial],
        1 => vec![session.serial],
        _ => vec![Id16([9; 16])],
    };
    let statement =
        Statement { patient: Id16([2; 16]), commitment: Digest([3; 32]), person: asks, purpose: "treatment", at };
    let proof = Signer::new(chain.clone(), signer).sign(of_vault, &statement, &entropy);
    let bytes = proof.to_bytes();
    let read = Proof::from_bytes(&bytes).expect("what was made is read");
    let authority =
        Authority { known: &Known::default(), vault: vaults[0], officer: officer().public(), ended: &ended };
    let taken = read.check(&authority, &statement, now).is_ok();

    let near = |a: Timestamp, b: Timestamp| (i128::from(a.0) - i128::from(b.0)).abs() <= i128::from(PROOF_WINDOW_MS);
    let is_good = |one: &Certificate| {
        let begins = i128::from(one.not_before.0) - i128::from(PROOF_WINDOW_MS);
        i128::from(now.0) >= begins && now < one.expires && !ended.contains(&one.serial)
    };
    let is_delegate = speaks == Speaks::Delegate;
    let shift = i128::from(session.expires.0) - i128::from(session.not_before.0);
    let speaks_for = match (with_session, speaks) {
        (false, Speaks::Person | Speaks::Delegate) => true,
        (true, Speaks::Person) => shift <= i128::from(SESSION_LIFE_MS_MAX) && session.expires <= first.expires,
        _ => false,
    };
    let is_hers = if is_delegate { asks.contains(':') } else { asks == subject && !asks.contains(':') };
    let should = near(now, at)
        && chain.iter().all(is_good)
        && (first_vault, of_vault) == (vaults[0], vaults[0])
        && speaks_for
        && is_hers;
    assert_eq!(taken, should, "{chain:?} {statement:?} {now}");

    // Nobody's proof: a byte of it is another.
    let (place, change) = (u16::from_be_bytes([take(&mut data), take(&mut data)]), take(&mut data).max(1));
    let mut forged = bytes.clone();
    let place = usize::from(place) % forged.len();
    forged[place] ^= change;
    if let Ok(forged) = Proof::from_bytes(&forged) {
        assert!(forged.check(&authority, &statement, now).is_err(), "byte {place} of a proof may be any");
    }
});
