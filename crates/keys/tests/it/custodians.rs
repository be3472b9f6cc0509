//! Custodians: m of n open everything, fewer nothing; and no secret is ever printed.

use bech32::{ToBase32 as _, Variant};
use keys::{
    Call, CustodianError, CustodianPackage, Custody, KeysError, NoPlugins, Plugins, Share, Trouble, new_identity,
};
use kit::OsEntropy;
use proptest::prelude::*;

use crate::centre::{Centre, Mood, all, same};

fn people(n: usize) -> (Vec<String>, Vec<String>) {
    (0..n).map(|_| new_identity()).map(|(secret, recipient)| (secret.to_string(), recipient)).unzip()
}

#[test]
fn every_choice_of_m_custodians_opens_and_fewer_do_not() {
    let centre = Centre::new(2, 3);
    centre.moods(&all([1, 2, 3], Mood::Silent));
    let (record, key) = centre.register();
    let package = CustodianPackage::from_bytes(&centre.package.to_bytes()).unwrap();
    assert_eq!(package, centre.package);
    assert_eq!((package.m(), package.n()), (2, 3));
    assert_eq!(package.public_key(), centre.recovery);
    for mask in 0_u8..8 {
        let present: Vec<u8> = (1..=3).filter(|number| mask >> (number - 1) & 1 == 1).collect();
        let identities: Vec<_> =
            present.iter().map(|number| centre.identities[usize::from(*number) - 1].clone()).collect();
        match package.open(&identities) {
            Ok(recovery) => {
                assert_eq!(recovery.opened_by(), &present[..2]);
                assert_eq!(recovery.public_key(), centre.recovery);
                assert!(same(&recovery.open(&record, &centre.batch).unwrap(), &key));
            }
            Err(CustodianError::NotEnough { have, need: 2, opened, strangers, altered }) => {
                assert!(have == present.len() && have < 2);
                assert_eq!((opened, strangers.len(), altered.len()), (present, 0, 0));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn strangers_repeats_and_nonsense_are_told_apart() {
    let (identities, recipients) = people(3);
    let (package, _) = CustodianPackage::establish(2, &recipients, &OsEntropy).unwrap();
    let (stranger, _) = new_identity();
    let given = [stranger.to_string(), identities[2].clone(), identities[2].clone()];
    let error = package.open(&given).unwrap_err();
    let CustodianError::NotEnough { have: 1, need: 2, opened, strangers, .. } = &error else { panic!("{error}") };
    assert_eq!((opened.as_slice(), strangers.as_slice()), ([3].as_slice(), [1].as_slice()));
    let with_stranger = [stranger.to_string(), identities[2].clone(), format!(" {}\n", identities[0])];
    assert_eq!(package.open(&with_stranger).unwrap().opened_by(), [3, 1]);
    let nonsense = ["AGE-SECRET-KEY-1QQQ".to_owned()];
    let error = package.open(&nonsense).unwrap_err();
    assert!(matches!(error, CustodianError::Identity { position: 1 }));
    assert!(!format!("{error} {error:?}").contains("QQQ"), "what was typed in may be a misspelt secret");
    let many = vec![stranger.to_string(); 65];
    assert!(matches!(package.open(&many), Err(CustodianError::TooManyIdentities { found: 65, max: 64 })));
}

#[test]
fn a_package_has_a_sound_shape() {
    let (_, recipients) = people(3);
    let establish = |m, recipients: &[String]| CustodianPackage::establish(m, recipients, &OsEntropy).map(|_| ());
    establish(1, &recipients[..1]).unwrap();
    establish(3, &recipients).unwrap();
    assert!(matches!(establish(0, &recipients), Err(CustodianError::Shape { m: 0, n: 3, max: 32 })));
    assert!(matches!(establish(4, &recipients), Err(CustodianError::Shape { m: 4, n: 3, .. })));
    assert!(matches!(establish(1, &[]), Err(CustodianError::Shape { n: 0, .. })));
    assert!(matches!(establish(1, &vec![recipients[0].clone(); 33]), Err(CustodianError::Shape { n: 33, .. })));
    let twice = [recipients[0].clone(), recipients[1].clone(), recipients[0].clone()];
    assert!(matches!(establish(2, &twice), Err(CustodianError::SameRecipient { first: 1, second: 3 })));
    let nonsense = [recipients[0].clone(), "age1nonsense".to_owned()];
    assert!(matches!(establish(2, &nonsense), Err(CustodianError::Recipient { number: 2 })));
    let (identities, recipients) = people(32);
    let (package, _) = CustodianPackage::establish(32, &recipients, &OsEntropy).unwrap();
    let package = CustodianPackage::from_bytes(&package.to_bytes()).unwrap();
    assert_eq!(package.open(&identities).unwrap().opened_by().len(), 32);
}

/// Tokens that answer as they are told, and what they were asked to seal.
struct Tokens(Result<Vec<u8>, Trouble>);

impl Plugins for Tokens {
    fn seal(&self, _: &str, plain: &[u8]) -> Result<Vec<u8>, Trouble> {
        self.0.as_ref().map(|more| [plain, more].concat()).map_err(Clone::clone)
    }

    fn open(&self, identity: &str, file: &[u8]) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, Trouble> {
        let more = self.0.as_ref().map_err(Clone::clone)?;
        let own = identity.to_lowercase().contains("tok-1qqqq");
        Ok(own.then(|| file[..file.len() - more.len()].to_vec().into()))
    }
}

#[test]
fn tokens_are_custodians_like_others() {
    let bech32 = |name: &str, byte: u8| bech32::encode(name, [byte; 16].to_base32(), Variant::Bech32).unwrap();
    let (identities, mut recipients) = people(3);
    recipients[1] = bech32("age1tok", 0);
    recipients[2] = bech32("age1tok", 9).to_uppercase();
    let establish = |tokens: &Tokens| CustodianPackage::establish_with(2, &recipients, tokens, &OsEntropy);
    let good = Tokens(Ok(vec![7; 50]));
    let (package, _) = establish(&good).unwrap();
    let package = CustodianPackage::from_bytes(&package.to_bytes()).unwrap();
    assert_eq!(package.recipients().last(), Some(bech32("age1tok", 9).as_str()), "in the one spelling");
    let given = [bech32("age-plugin-tok-", 0).to_uppercase(), identities[0].clone()];
    let key = Custody::open(vec![package.clone()], &given, &good).unwrap().newest().unwrap();
    assert_eq!((key.opened_by(), key.public_key()), ([2, 1].as_slice(), package.public_key()));
    assert_eq!(package.check_share(&given[0], &good).unwrap(), 2);
    // One of another kind is nobody's, and starts nothing; a stranger's of this kind is asked, and is nobody's either.
    let strangers = [bech32("age-plugin-other-", 0), bech32("age-plugin-tok-", 9)].map(|text| text.to_uppercase());
    for stranger in &strangers {
        assert!(matches!(package.check_share(stranger, &good), Err(CustodianError::NotEnough { have: 0, .. })));
    }
    assert!(matches!(package.check_share(&strangers[0], &NoPlugins), Err(CustodianError::NotEnough { .. })));

    // Where she is needed, it is said why she failed; where she isn't, the others go on.
    let gone = Tokens(Err(Trouble::Missing));
    let needed = package.open(&given).unwrap_err();
    assert!(matches!(needed, CustodianError::Plugin { custodian: 2, trouble: Trouble::Forbidden, .. }), "{needed}");
    let needed = Custody::open(vec![package.clone()], &given, &gone).err().unwrap();
    assert_eq!(needed.to_string(), "custodian 2, age-plugin-tok: no such program is on the PATH");
    let (package, _) = CustodianPackage::establish_with(1, &recipients, &good, &OsEntropy).unwrap();
    assert_eq!(package.open(&given).unwrap().opened_by(), [1]);
    // What a plugin wrote is bounded, and comes back as what was dealt or not at all.
    assert!(matches!(establish(&Tokens(Ok(vec![7; 5_000]))), Err(CustodianError::Format(_))));
    let error = package.check_share(&given[0], &Tokens(Ok(vec![7; 49]))).unwrap_err();
    assert!(matches!(&error, CustodianError::Altered { opened } if *opened == [2]), "{error}");
    let long = bech32::encode("age1tok", vec![7; 2_000].to_base32(), Variant::Bech32).unwrap();
    let error = CustodianPackage::establish_with(1, &[long], &good, &OsEntropy).unwrap_err();
    assert!(matches!(error, CustodianError::Recipient { number: 1 }));
    let twice = [recipients[2].clone(), recipients[2].to_lowercase()];
    let error = CustodianPackage::establish_with(1, &twice, &good, &OsEntropy).unwrap_err();
    assert!(matches!(error, CustodianError::SameRecipient { first: 1, second: 2 }));
}

#[test]
fn a_file_from_another_package_is_noticed() {
    let (identities, recipients) = people(2);
    let (package, _) = CustodianPackage::establish(2, &recipients, &OsEntropy).unwrap();
    let (other, _) = CustodianPackage::establish(2, &recipients, &OsEntropy).unwrap();
    let stored = |file: &[u8]| minicbor::to_vec(<&minicbor::bytes::ByteSlice>::from(file)).unwrap();
    let (bytes, from, to) = (package.to_bytes(), stored(package.file(2).unwrap()), stored(other.file(2).unwrap()));
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    let mixed = [&bytes[..at], &to, &bytes[at + from.len()..]].concat();
    let error = CustodianPackage::from_bytes(&mixed).unwrap().open(&identities).unwrap_err();
    let CustodianError::NotEnough { have: 1, need: 2, opened, altered, .. } = error else { panic!("{error}") };
    assert_eq!((opened, altered), (vec![1], vec![2]));
}

/// Shares are opened in one process and used in another, which gets no identity.
#[test]
fn a_call_is_answered_with_sheets_that_open_for_it_alone() {
    let (identities, recipients) = people(3);
    let establish = || CustodianPackage::establish(2, &recipients, &OsEntropy).unwrap().0;
    let (newest, earlier, other) = (establish(), establish(), establish());
    let packages = || vec![newest.clone(), earlier.clone()];
    let call = Call::new(packages());
    let custody = Custody::open(call.packages().to_vec(), &identities[1..], &NoPlugins).unwrap();
    let sealed = custody.seal(&call.recipient()).unwrap();
    let again = custody.seal(&Call::new(packages()).recipient()).unwrap();
    assert_eq!(sealed.len(), 4);
    let own: age::x25519::Identity = identities[1].parse().unwrap();
    let sheet = age::decrypt(&own, newest.file(2).unwrap()).unwrap();
    let share = &sheet[sheet.len() - 32..];
    assert!(sealed.iter().all(|file| !file.windows(32).any(|window| window == share)));
    let key = call.take(&sealed).newest().unwrap();
    assert_eq!((key.public_key(), key.opened_by()), (newest.public_key(), [2, 3].as_slice()));

    // What is sealed to another call, is of another package, is cut or is no file counts for nothing.
    let call = Call::new(packages());
    let few = custody.seal(&call.recipient()).unwrap();
    let strange = Custody::open(vec![other], &identities, &NoPlugins).unwrap().seal(&call.recipient()).unwrap();
    let given = [&few[..1], &again, &strange, &[few[1][..40].to_vec(), Vec::new()], &few[..1]].concat();
    let error = call.take(&given).any().unwrap_err();
    assert!(matches!(error, CustodianError::NotEnough { have: 1, need: 2, .. }), "{error}");
    assert!(matches!(Call::new(Vec::new()).take(&given).any(), Err(CustodianError::NoPackage)));
    assert!(custody.seal("age1nonsense").is_err());

    // Whose secrets open an earlier package alone may go on with that, and may not shut the newest away.
    let (_, theirs) = people(2);
    let late = CustodianPackage::establish(1, &theirs, &OsEntropy).unwrap().0;
    let packages = || vec![late.clone(), newest.clone()];
    let custody = || Custody::open(packages(), &identities, &NoPlugins).unwrap();
    let called = || {
        let call = Call::new(packages());
        let sealed = custody().seal(&call.recipient()).unwrap();
        call.take(&sealed)
    };
    assert_eq!(called().any().unwrap().public_key(), newest.public_key());
    assert!(matches!(called().newest(), Err(CustodianError::NotEnough { have: 0, need: 1, .. })));
    let error = custody().newest().unwrap_err();
    assert!(matches!(&error, CustodianError::NotEnough { strangers, .. } if *strangers == [1, 2, 3]), "{error}");
    let error = Custody::open(vec![newest.clone(), late.clone()], &identities[..1], &NoPlugins).err().unwrap();
    assert!(matches!(error, CustodianError::NotEnough { have: 1, need: 2, .. }), "the newest one's: {error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A package with one altered bit is refused, or opens to the very key that was established.
    #[test]
    fn an_altered_package_is_refused_or_survived(at: prop::sample::Index, bit in 0..8_u32) {
        static ESTABLISHED: std::sync::OnceLock<(Vec<String>, CustodianPackage)> = std::sync::OnceLock::new();
        let (identities, package) = ESTABLISHED.get_or_init(|| {
            let (identities, recipients) = people(3);
            (identities, CustodianPackage::establish(2, &recipients, &OsEntropy).unwrap().0)
        });
        let mut bytes = package.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let Ok(altered) = CustodianPackage::from_bytes(&bytes) else { return Ok(()) };
        match altered.open(identities) {
            Ok(recovery) => prop_assert_eq!(recovery.public_key(), package.public_key()),
            Err(CustodianError::NotEnough { .. } | CustodianError::Altered { .. }) => (),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}

#[test]
fn custodians_reach_an_erased_key_until_the_epoch_turns() {
    let centre = Centre::new(2, 3);
    let (record, key) = centre.register();
    centre.keyring(0).erase(record.subject).unwrap();
    assert!(matches!(centre.open(&record), Err(KeysError::Refused { .. })));
    let recovery = centre.package.open(&centre.identities).unwrap();
    assert!(same(&recovery.open(&record, &centre.batch).unwrap(), &key));
}

#[test]
fn a_key_sealed_to_other_custodians_is_not_opened() {
    let (centre, other) = (Centre::new(1, 1), Centre::new(1, 2));
    let (record, _) = centre.register();
    let recovery = other.package.open(&other.identities).unwrap();
    assert!(matches!(recovery.open(&record, &centre.batch), Err(KeysError::Recovery)));
    assert!(matches!(recovery.open(&record, &other.batch), Err(KeysError::Format(_))));
}

#[test]
fn nothing_that_prints_prints_a_secret() {
    let centre = Centre::new(1, 1);
    let (record, key) = centre.register();
    let recovery = centre.package.open(&centre.identities).unwrap();
    let keyring = centre.keyring(1_000);
    let opened = keyring.open(&record, &centre.batch, "dr-a", "treatment").unwrap();
    let share = Share::new(1, (*key.bytes()).into());
    let mut printed = format!(
        "{key:?} {key:#?} {opened:?} {share:?} {share:#?} {recovery:?} {recovery:#?} {record:?} {:?} {:?} {:?} {:?} {:?}",
        centre.batch,
        centre.package,
        centre.recovery,
        centre.public_keys(),
        keyring.health(),
    );
    let errors = [
        centre.package.open(&centre.identities[..1]).unwrap_err().to_string(),
        format!("{:?}", centre.package.open(&centre.identities[..1]).unwrap_err()),
        format!("{:?}", recovery.open(&record, &Centre::new(1, 2).batch).unwrap_err()),
    ];
    printed.extend(errors);
    // The recovery seed is not at hand, but it could only be printed as a long run of numbers or hex digits: look for
    // the secrets that are at hand in each way that a derived Debug or a hex print would show them.
    let bytes = key.bytes();
    let decimal: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = [decimal[..4].join(", "), decimal[..4].join(",\n"), hex[..8].to_owned(), hex[..8].to_uppercase()];
    for way in &shown {
        assert!(!printed.contains(way.as_str()));
    }
    for identity in &centre.identities {
        assert!(!printed.to_uppercase().contains(&identity[16..40]));
    }
    assert!(format!("{bytes:?}").contains(&shown[0]), "the search would find what it looks for");
}
