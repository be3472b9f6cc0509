//! The folder under the suite, and under what a disk, a crash and an attacker do to it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use kit::Id16;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const VAULT: Id16 = Id16(*b"a vault for test");

fn init(dir: &Path) -> FolderLocation {
    FolderLocation::init(dir, Marker::new("server-05", VAULT, 5)).unwrap()
}

fn open(dir: &Path) -> FolderLocation {
    FolderLocation::open(dir, VAULT).unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn put(location: &FolderLocation, text: &str, body: &[u8]) -> Put {
    location.put_if_absent(&[Object { name: &name(text), parts: &[body] }]).unwrap()[0]
}

fn get(location: &FolderLocation, text: &str) -> Result<Option<Vec<u8>>, LocationError> {
    location.get(&name(text), None)
}

fn volume(dir: &Path, number: u32) -> std::path::PathBuf {
    dir.join("volumes").join(format!("{number:06}.vol"))
}

fn refusal(result: Result<FolderLocation, LocationError>) -> Refusal {
    match result {
        Err(LocationError::Refused { reason, .. }) => reason,
        Err(other) => panic!("refused for another reason: {other}"),
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn a_folder_is_a_location() {
    suite::run(&|| {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("location");
        Box::new(move || {
            let _keep = &dir;
            if path.exists() { Box::new(open(&path)) } else { Box::new(init(&path)) }
        })
    });
}

#[test]
fn names_have_one_alphabet() {
    for good in ["a", "0/-.z", &"n".repeat(120)] {
        assert_eq!(Name::new(good).unwrap().as_str(), good);
    }
    for bad in ["", "A", "a b", "a_b", "é", "a\0", "a\n", "a\\b", &"n".repeat(121)] {
        assert!(Name::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_folder_belongs_to_one_vault_and_one_process() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("new/er");
    assert!(matches!(FolderLocation::open(&path, VAULT), Err(LocationError::Gone { .. })));
    let location = init(&path);
    let marker = Marker::read(&path).unwrap();
    assert_eq!((marker.location(), marker.vault(), marker.number()), ("server-05", VAULT, 5));
    assert_eq!((location.marker(), location.id()), (&marker, "server-05"));
    assert_eq!(refusal(FolderLocation::open(&path, VAULT)), Refusal::InUse);
    drop(location);
    let other = Id16(*b"some other vault");
    let expected = Refusal::OtherVault { expected: other, found: VAULT };
    assert_eq!(refusal(FolderLocation::open(&path, other)), expected);
    let again = FolderLocation::init(&path, Marker::new("server-05", VAULT, 5));
    assert_eq!(refusal(again), Refusal::NotEmpty { entry: "location.cbor".to_owned() });
    assert_eq!(open(&path).opened(), Opened::default());

    // A marker cut short anywhere, with a byte behind it, or overlong, is no marker.
    let marker = fs::read(path.join("location.cbor")).unwrap();
    let mut others: Vec<Vec<u8>> = (0..marker.len()).map(|len| marker[..len].to_vec()).collect();
    others.push([marker.as_slice(), b"\0"].concat());
    others.push(vec![0; 100_000]);
    for other in others {
        fs::write(path.join("location.cbor"), other).unwrap();
        assert_eq!(refusal(FolderLocation::open(&path, VAULT)), Refusal::MarkerDamaged);
    }
    fs::remove_file(path.join("location.cbor")).unwrap();
    assert_eq!(refusal(FolderLocation::open(&path, VAULT)), Refusal::NoMarker);
    for bad in ["", "Server", "a.b", &"x".repeat(64)] {
        let refused = FolderLocation::init(&dir.path().join("bad"), Marker::new(bad, VAULT, 1));
        assert_eq!(refusal(refused), Refusal::MarkerDamaged);
    }
}

#[test]
fn foreign_files_are_never_taken_over() {
    let dir = TempDir::new().unwrap();
    let full = dir.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("thesis.txt"), "mine").unwrap();
    let refused = FolderLocation::init(&full, Marker::new("server-05", VAULT, 5));
    assert_eq!(refusal(refused), Refusal::NotEmpty { entry: "thesis.txt".to_owned() });
    assert_eq!(refusal(FolderLocation::open(&full, VAULT)), Refusal::NoMarker);

    // What stands where an interrupted init left off, or where a new disk begins, is no obstacle.
    let begun = dir.path().join("begun");
    fs::create_dir_all(begun.join("volumes")).unwrap();
    fs::create_dir(begun.join("lost+found")).unwrap();
    fs::write(begun.join("location.cbor.new"), "half").unwrap();
    put(&init(&begun), "a", b"1");

    // A ransom note in a survivor must not stop a recovery from it: it is counted and left alone.
    for note in ["READ-ME.txt", "volumes/READ-ME.txt", "volumes/1.vol", "volumes/000000.vol"] {
        fs::write(begun.join(note), "pay").unwrap();
    }
    let location = open(&begun);
    assert_eq!((location.opened().foreign_files, location.opened().objects), (4, 1));
    assert_eq!(get(&location, "a").unwrap().unwrap(), b"1");
    assert_eq!(fs::read(begun.join("volumes/1.vol")).unwrap(), b"pay");
}

/// The state after a crash in the middle of an append, at each byte of it.
#[test]
fn a_truncated_tail_costs_its_own_record_only() {
    let dir = TempDir::new().unwrap();
    let location = init(dir.path());
    put(&location, "first", b"kept");
    let kept = fs::metadata(volume(dir.path(), 1)).unwrap().len();
    put(&location, "last", &[9; 40]);
    drop(location);
    let whole = fs::read(volume(dir.path(), 1)).unwrap();
    for len in kept as usize..whole.len() {
        let dir = TempDir::new().unwrap();
        drop(init(dir.path()));
        fs::write(volume(dir.path(), 1), &whole[..len]).unwrap();
        let location = open(dir.path());
        let torn = len as u64 - kept;
        let expected = Opened { volumes: 1, objects: 1, torn_bytes: torn, ..Opened::default() };
        assert_eq!(location.opened(), expected, "{len} bytes");
        assert_eq!(get(&location, "first").unwrap().unwrap(), b"kept");
        assert_eq!(get(&location, "last").unwrap(), None);
        assert_eq!(put(&location, "last", b"again"), Put::Created);
        drop(location);
        assert_eq!(&fs::read(volume(dir.path(), 1)).unwrap()[..len], &whole[..len], "never written over");
        // Behind a torn tail a new volume begins; behind a clean end the old one goes on.
        assert_eq!(volume(dir.path(), 2).exists(), torn > 0);
        assert_eq!(get(&open(dir.path()), "last").unwrap().unwrap(), b"again");
    }
}

/// One flipped bit costs at most the record it lies in, is reported, and can be healed by putting it again.
#[test]
fn a_flipped_bit_costs_its_own_record_only() {
    let dir = TempDir::new().unwrap();
    let location = init(dir.path());
    let body = |n: u32| n.to_be_bytes().repeat(30);
    for n in 0..6 {
        put(&location, &format!("o{n}"), &body(n));
    }
    drop(location);
    let path = volume(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    let record = whole.len() / 6;
    for at in (0..whole.len()).step_by(3) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        let dir = TempDir::new().unwrap();
        drop(init(dir.path()));
        fs::write(volume(dir.path(), 1), &flipped).unwrap();
        let location = open(dir.path());
        let hit = (at / record) as u32;
        let in_head = at % record < record::HEAD_BYTES + 2;
        let report = location.opened();
        assert_eq!(report.skipped_bytes + report.torn_bytes, if in_head { record as u64 } else { 0 }, "byte {at}");
        for n in 0..6 {
            let found = get(&location, &format!("o{n}"));
            match found {
                Ok(None) => assert!(n == hit && in_head, "byte {at}"),
                Err(LocationError::Damaged { .. }) => assert!(n == hit && !in_head, "byte {at}"),
                other => assert!(n != hit && other.unwrap().unwrap() == body(n), "byte {at} hid object {n}"),
            }
        }
        assert_eq!(put(&location, "o5", b"x") == Put::Created, hit == 5);
        assert_eq!(put(&location, &format!("o{hit}"), &body(hit)) == Put::Created, hit != 5);
        if hit != 5 {
            assert_eq!(get(&location, &format!("o{hit}")).unwrap().unwrap(), body(hit));
            assert_eq!(location.get(&name(&format!("o{hit}")), Some(1..4)).unwrap().unwrap(), body(hit)[1..4]);
            assert_eq!(location.stats().unwrap(), Stats { objects: 6, bytes: 6 * 120 });
            drop(location);
            assert_eq!(get(&open(dir.path()), &format!("o{hit}")).unwrap().unwrap(), body(hit), "healed for good");
        }
    }
}

#[test]
fn noise_between_records_hides_nothing_behind_it() {
    let dir = TempDir::new().unwrap();
    let location = init(dir.path());
    for n in 0..3 {
        put(&location, &format!("o{n}"), &vec![n; 50_000]);
    }
    drop(location);
    let whole = fs::read(volume(dir.path(), 1)).unwrap();
    let record = whole.len() / 3;
    // Noise full of false heads, longer than any window, of every length around a window's edge.
    for noise in [1, 8, 23, 24, 143, 16_383, 16_384, 16_385, 60_001] {
        let noise: Vec<u8> = b"\x89HFOBJ\r\n\0\x01".iter().copied().cycle().take(noise).collect();
        let mixed = [&whole[..record], &noise, &whole[record..]].concat();
        let dir = TempDir::new().unwrap();
        drop(init(dir.path()));
        fs::write(volume(dir.path(), 1), mixed).unwrap();
        let location = open(dir.path());
        let report = location.opened();
        assert_eq!((report.objects, report.skipped_bytes, report.torn_bytes), (3, noise.len() as u64, 0));
        for n in 0..3 {
            assert_eq!(get(&location, &format!("o{n}")).unwrap().unwrap(), vec![n; 50_000]);
        }
    }
}

/// Fillings are no damage, wherever they stand and however long they are; what only looks like one is.
#[test]
fn fillings_are_passed_over() {
    let dir = TempDir::new().unwrap();
    let location = init(dir.path());
    (0..2).for_each(|n| assert_eq!(put(&location, &format!("o{n}"), &[n; 500]), Put::Created));
    drop(location);
    let records = fs::read(volume(dir.path(), 1)).unwrap();
    let (first, second) = records.split_at(records.len() / 2);
    let opened = |between: &[u8], behind: &[u8]| {
        let dir = TempDir::new().unwrap();
        drop(init(dir.path()));
        fs::write(volume(dir.path(), 1), [first, between, second, behind].concat()).unwrap();
        let location = open(dir.path());
        (0..2).for_each(|n| assert_eq!(get(&location, &format!("o{n}")).unwrap().unwrap(), [n; 500]));
        (location.opened().skipped_bytes, location.opened().torn_bytes)
    };
    for at in [1, 4_000, 4_088, 4_089, 4_095, 4_096] {
        let filling = record::filling(at, 4_096);
        assert!((at + filling.len() as u64).is_multiple_of(4_096));
        let len = filling.len() as u64;
        assert_eq!(opened(&filling, &filling), (0, 0), "{len} bytes");
        if len > 0 {
            assert_eq!(opened(&filling[..5], &filling[..5]), (5, 5));
            assert_eq!(opened(&[&filling, &filling[..]].concat(), &filling[1..]), (2 * len, len - 1));
        }
        if len > 8 {
            let mut spoilt = filling.clone();
            *spoilt.last_mut().unwrap() = 1;
            assert_eq!(opened(&spoilt, &spoilt), (len, len));
            assert_eq!(opened(&vec![0; filling.len()], &[]), (len, 0), "a block that was wiped is damage");
        }
    }
}

/// Large and small ones in turns, with every length around a block's border: all come back, after a restart too.
#[test]
fn large_objects_stand_beside_small_ones() {
    let dir = TempDir::new().unwrap();
    let location = init(dir.path());
    let bodies: Vec<Vec<u8>> =
        (0..24).map(|n| vec![n; [10, 300_000, 4_000, 1_100_000][n as usize % 4] + n as usize]).collect();
    let names: Vec<Name> = (0..24).map(|n| name(&format!("o{n:02}"))).collect();
    for (names, bodies) in names.chunks(7).zip(bodies.chunks(7)) {
        let parts: Vec<[&[u8]; 2]> = bodies.iter().map(|body| body.split_at(9)).map(|(a, b)| [a, b]).collect();
        let objects: Vec<_> = names.iter().zip(&parts).map(|(name, parts)| Object { name, parts }).collect();
        assert_eq!(location.put_if_absent(&objects).unwrap(), vec![Put::Created; names.len()]);
    }
    let all_there = |location: &FolderLocation| {
        names.iter().zip(&bodies).all(|(name, body)| location.get(name, None).unwrap().as_ref() == Some(body))
    };
    assert!(all_there(&location));
    drop(location);
    let location = open(dir.path());
    let report = location.opened();
    assert_eq!((report.objects, report.volumes, report.skipped_bytes, report.torn_bytes), (24, 1, 0, 0));
    assert!(all_there(&location));
}

#[test]
fn a_lost_volume_loses_its_own_objects_only() {
    let dir = TempDir::new().unwrap();
    let location = init(dir.path());
    put(&location, "early", b"1");
    drop(location);
    // A torn tail makes the next append begin a second volume.
    let mut bytes = fs::read(volume(dir.path(), 1)).unwrap();
    bytes.push(0);
    fs::write(volume(dir.path(), 1), bytes).unwrap();
    let location = open(dir.path());
    put(&location, "late", b"2");
    assert_eq!(get(&location, "early").unwrap().unwrap(), b"1");
    drop(location);

    let location = open(dir.path());
    fs::remove_file(volume(dir.path(), 1)).unwrap();
    assert!(matches!(get(&location, "early"), Err(LocationError::Damaged { .. })), "taken away while open");
    assert!(location.get(&name("early"), Some(0..1)).is_err());
    assert_eq!(get(&location, "late").unwrap().unwrap(), b"2");
    drop(location);
    let location = open(dir.path());
    assert_eq!(location.opened().objects, 1);
    assert_eq!(get(&location, "early").unwrap(), None);
    assert_eq!(put(&location, "early", b"healed"), Put::Created);
    drop(location);
    let location = open(dir.path());
    assert_eq!(get(&location, "early").unwrap().unwrap(), b"healed");
    File::options().write(true).open(volume(dir.path(), 2)).unwrap().set_len(0).unwrap();
    assert!(matches!(get(&location, "late"), Err(LocationError::Damaged { .. })), "truncated while open");
}

/// A full disk fails the put, promises nothing, and the next put goes on in a new volume.
#[test]
fn a_full_disk_is_named_and_survived() {
    let dir = TempDir::new().unwrap();
    let location = init(dir.path());
    put(&location, "before", b"1");
    location.fail_next_append(File::options().write(true).open("/dev/full").unwrap());
    let failed = location.put_if_absent(&[Object { name: &name("lost"), parts: &[&[1; 100]] }]);
    assert!(matches!(failed, Err(LocationError::Full { bytes: 100, .. })));
    assert_eq!(get(&location, "lost").unwrap(), None);
    assert_eq!(put(&location, "lost", b"2"), Put::Created);
    assert!(volume(dir.path(), 2).exists());
    drop(location);
    let location = open(dir.path());
    assert_eq!(get(&location, "before").unwrap().unwrap(), b"1");
    assert_eq!(get(&location, "lost").unwrap().unwrap(), b"2");
    drop(location);

    let location = open(dir.path());
    let read_only = File::open(volume(dir.path(), 1)).unwrap();
    location.fail_next_append(read_only);
    let failed = location.put_if_absent(&[Object { name: &name("more"), parts: &[b"3"] }]);
    assert!(matches!(failed, Err(LocationError::Io { operation: "appending", .. })));
    assert_eq!(put(&location, "more", b"4"), Put::Created);
}

#[test]
fn volumes_roll_over() {
    let dir = TempDir::new().unwrap();
    let location = init(dir.path());
    let (body, names) = (vec![5; OBJECT_BYTES_MAX], (0..65).map(|n| name(&format!("big{n:02}"))).collect::<Vec<_>>());
    let parts = [body.as_slice()];
    // One batch past the volume's end: both volumes are synced before it is acknowledged.
    let batch: Vec<Object<'_>> = names.iter().map(|name| Object { name, parts: &parts }).collect();
    assert_eq!(location.put_if_absent(&batch).unwrap(), vec![Put::Created; 65]);
    assert!(fs::metadata(volume(dir.path(), 1)).unwrap().len() <= VOLUME_BYTES_MAX);
    drop(location);
    let location = open(dir.path());
    assert_eq!((location.opened().volumes, location.opened().objects), (2, 65));
    assert_eq!(put(&location, "small", b"s"), Put::Created);
    assert_eq!(location.get(&names[64], Some(0..3)).unwrap().unwrap(), [5; 3]);
    assert!(!volume(dir.path(), 3).exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is put, in whatever batches and reopenings, the location agrees with a map.
    #[test]
    fn a_folder_agrees_with_a_map(steps in prop::collection::vec(
        prop_oneof![
            6 => prop::collection::vec(("[a-c]{1,2}", prop::collection::vec(any::<u8>(), 0..40)), 0..5).prop_map(Some),
            1 => Just(None),
        ],
        1..25,
    )) {
        let dir = TempDir::new().unwrap();
        let mut location = init(dir.path());
        let mut model = BTreeMap::<String, Vec<u8>>::new();
        for step in steps {
            let Some(batch) = step else {
                drop(location);
                location = open(dir.path());
                prop_assert_eq!(location.opened().skipped_bytes + location.opened().torn_bytes, 0);
                continue;
            };
            let names: Vec<Name> = batch.iter().map(|(text, _)| name(text)).collect();
            let parts: Vec<[&[u8]; 2]> = batch.iter().map(|(_, body)| body.split_at(body.len() / 2).into()).collect();
            let objects: Vec<Object<'_>> = names.iter().zip(&parts).map(|(name, parts)| Object { name, parts }).collect();
            let expected: Vec<Put> = batch.iter().map(|(text, body)| {
                let created = !model.contains_key(text);
                model.entry(text.clone()).or_insert_with(|| body.clone());
                if created { Put::Created } else { Put::Exists }
            }).collect();
            prop_assert_eq!(location.put_if_absent(&objects).unwrap(), expected);
        }
        let listed: Vec<(String, u64)> =
            location.list(None, usize::MAX).unwrap().into_iter().map(|one| (one.name.as_str().to_owned(), one.len)).collect();
        let expected: Vec<(String, u64)> = model.iter().map(|(text, body)| (text.clone(), body.len() as u64)).collect();
        prop_assert_eq!(listed, expected);
        let bytes = model.values().map(|body| body.len() as u64).sum();
        prop_assert_eq!(location.stats().unwrap(), Stats { objects: model.len() as u64, bytes });
        for (text, body) in &model {
            prop_assert_eq!(&get(&location, text).unwrap().unwrap(), body);
        }
    }

    /// A volume of an attacker's making: opening it ends, without a panic, and what it gives passed its checksum.
    #[test]
    fn any_bytes_are_a_volume(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12), cut in any::<prop::sample::Index>()) {
        let dir = TempDir::new().unwrap();
        let location = init(dir.path());
        for n in 0..4 {
            put(&location, &format!("o{n}"), &[n; 60]);
        }
        drop(location);
        let mut bytes = fs::read(volume(dir.path(), 1)).unwrap();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        fs::write(volume(dir.path(), 1), &bytes).unwrap();
        let location = open(dir.path());
        for one in location.list(None, 100).unwrap() {
            match get(&location, one.name.as_str()) {
                Ok(Some(body)) => {
                    let n: u8 = one.name.as_str()[1..].parse().unwrap();
                    prop_assert_eq!(body, [n; 60]);
                }
                Err(LocationError::Damaged { .. }) => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}

/// XXH3 of 128 bits with seed 0: of nothing, and of 100,000 bytes, as the reference implementation (xxHash 0.8.4) gives them.
#[test]
fn the_checksum_is_xxh3() {
    let bytes: Vec<u8> = (0..100_000u32).map(|i| (i * 31 % 251) as u8).collect();
    assert_eq!(record::checksum(&[], &[]), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f_u128.to_be_bytes());
    let expected = 0x2868_4b2a_d44c_d4a4_02df_1e98_5a77_6b74_u128.to_be_bytes();
    for cut in [0, 1, 240, 241, 1_024, 99_999] {
        let (head, rest) = bytes.split_at(cut);
        let (first, second) = rest.split_at(rest.len() / 3);
        assert_eq!(record::checksum(head, &[first, second]), expected, "cut at {cut}");
    }
}

/// Somebody cuts the volume that is being written: what comes after stands where it is looked for, now and after a start.
#[test]
fn what_is_written_behind_a_cut_is_not_lost() {
    let dir = TempDir::new().unwrap();
    let location = init(dir.path());
    assert_eq!(put(&location, "a", b"first"), Put::Created);
    let file = File::options().write(true).open(volume(dir.path(), 1)).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    assert_eq!(put(&location, "b", b"second"), Put::Created);
    assert_eq!(get(&location, "b").unwrap().as_deref(), Some(&b"second"[..]));
    drop(location);
    let location = open(dir.path());
    assert_eq!(get(&location, "b").unwrap().as_deref(), Some(&b"second"[..]));
}
