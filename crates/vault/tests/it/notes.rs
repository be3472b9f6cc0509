//! Notes: durable at once, in the ledger soon, once each.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kit::PatientId;
use vault::{Group, NOTE_BYTES_MAX, Parcel, Scope, Vault, VaultError};

use crate::centre::{Centre, parcel};

fn note(centre: &Centre, text: &str) -> Group {
    let parcel = Parcel { scope: Scope::Centre, kind: "note".to_owned(), meta: text.into(), payload: None };
    centre.group(vec![], vec![parcel])
}

fn texts(vault: &Vault) -> Vec<String> {
    let mut texts = Vec::new();
    vault
        .scan(0, &mut |entry| {
            if entry.kind == "note" {
                texts.push(String::from_utf8(entry.meta).unwrap());
            }
            Ok(())
        })
        .unwrap();
    texts
}

fn files(centre: &Centre) -> Vec<PathBuf> {
    let names = fs::read_dir(centre.gateway()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = names.filter(|path| path.extension().is_some_and(|end| end == "wal")).collect();
    files.sort();
    files
}

fn set_down(centre: &Centre, down: bool) {
    centre.locations.iter().take(10).for_each(|location| location.set_down(down));
}

#[test]
fn a_note_is_in_the_ledger_within_a_second() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    vault.note(note(&centre, "one")).unwrap();
    let start = Instant::now();
    while texts(&vault).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(1));
        sleep(Duration::from_millis(10));
    }
    vault.note(note(&centre, "two")).unwrap();
    vault.flush_notes().unwrap();
    assert_eq!(texts(&vault), ["one", "two"]);
    assert_eq!(vault.entry(0).unwrap().time, kit::Timestamp(1_713_900_000_000));
    drop(vault);
    assert_eq!(files(&centre), Vec::<PathBuf>::new(), "nothing is left to replay");
}

#[test]
fn notes_have_limits() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let new = PatientId([1; 16]);
    let group = Group { new_patients: vec![new], ..note(&centre, "x") };
    assert!(matches!(vault.note(group), Err(VaultError::Note { .. })));
    let large = centre.group(vec![], vec![parcel(Scope::Centre, "note", vec![1; NOTE_BYTES_MAX])]);
    assert!(matches!(vault.note(large), Err(VaultError::Note { max: NOTE_BYTES_MAX, .. })));
    let hers = centre.group(vec![], vec![parcel(Scope::Patient(new), "note", vec![1])]);
    assert!(matches!(vault.note(hers), Err(VaultError::UnknownPatient)));
    // A note's payload is sealed like any other.
    vault.note(centre.group(vec![], vec![parcel(Scope::Centre, "note", b"inside".to_vec())])).unwrap();
    vault.flush_notes().unwrap();
    assert_eq!(*vault.fetch(0, "a", "b").unwrap().1, b"inside");
}

#[test]
fn notes_go_on_below_the_floor_and_survive_a_restart() {
    let mut centre = Centre::of_fourteen();
    let vault = centre.found();
    set_down(&centre, true);
    let all: Vec<String> = (0..20).map(|n| format!("note {n}")).collect();
    std::thread::scope(|scope| {
        for half in all.chunks(10) {
            let (centre, vault) = (&centre, &vault);
            scope.spawn(move || half.iter().for_each(|text| vault.note(note(centre, text)).unwrap()));
        }
    });
    assert!(vault.flush_notes().is_err());
    assert_eq!(vault.health().notes_waiting, 20);
    assert_eq!(vault.size(), 0);
    drop(vault);
    let left: Vec<(PathBuf, Vec<u8>)> =
        files(&centre).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    assert_eq!(left.len(), 1);
    for (_, bytes) in &left {
        assert!(!String::from_utf8_lossy(bytes).contains("note"), "sealed");
    }

    centre.restart();
    let vault = centre.open().unwrap();
    assert_eq!(vault.health().opened.replayed_notes, 20);
    vault.flush_notes().unwrap();
    let mut found = texts(&vault);
    found.sort();
    let mut expected = all.clone();
    expected.sort();
    assert_eq!(found, expected);
    drop(vault);
    assert_eq!(files(&centre), Vec::<PathBuf>::new());

    // The crash came after the ledger and before the file was removed: no doubles.
    for (path, bytes) in &left {
        fs::write(path, bytes).unwrap();
    }
    let vault = centre.open().unwrap();
    assert_eq!((vault.health().opened.replayed_notes, vault.size()), (0, 20));
    drop(vault);
    assert_eq!(files(&centre), Vec::<PathBuf>::new());
}

#[test]
fn a_torn_tail_costs_the_torn_note_only() {
    let centre = Centre::new(1, 1, 1, 1);
    let vault = centre.found();
    centre.locations[0].set_down(true);
    for text in ["one", "two", "three"] {
        vault.note(note(&centre, text)).unwrap();
    }
    drop(vault);
    centre.locations[0].set_down(false);
    let path = files(&centre).remove(0);
    let whole = fs::read(&path).unwrap();
    // Every length from the whole file down to an empty one; the log is the same as long as its location stays down.
    let head = 8 + 16 + 32;
    let record = (whole.len() - head) / 3;
    for cut in
        [0, 1, 3, 4, 5, record / 2, record - 1, record, record + 1, 2 * record, whole.len() - head, whole.len() - 3]
    {
        let left = whole.len() - cut;
        fs::write(&path, &whole[..left]).unwrap();
        let opening = centre.opening(vault::Mode::Write);
        let vault = vault::open(opening).unwrap();
        let opened = vault.health().opened;
        // The records differ in length by the texts: count what is whole.
        let (mut at, mut notes) = (head, 0);
        while at + 4 <= left {
            let len = u32::from_be_bytes(whole[at..at + 4].try_into().unwrap()) as usize;
            if at + 4 + len > left {
                break;
            }
            (at, notes) = (at + 4 + len, notes + 1);
        }
        assert_eq!(opened.damaged_notes, 0);
        let torn = if left >= head { left - at } else { left };
        assert_eq!(opened.torn_note_bytes, torn as u64, "cut {cut}");
        assert_eq!(opened.replayed_notes + vault.size(), vault.size().max(notes), "cut {cut}");
        vault.flush_notes().unwrap();
        drop(vault);
        assert!(!path.exists());
    }
}

#[test]
fn an_altered_note_is_told_and_the_others_are_kept() {
    let centre = Centre::new(1, 1, 1, 1);
    let vault = centre.found();
    centre.locations[0].set_down(true);
    for text in ["one", "two", "three"] {
        vault.note(note(&centre, text)).unwrap();
    }
    drop(vault);
    centre.locations[0].set_down(false);
    let path = files(&centre).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let middle = 56 + (bytes.len() - 56) / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let vault = centre.open().unwrap();
    let opened = vault.health().opened;
    assert_eq!((opened.replayed_notes, opened.damaged_notes, opened.torn_note_bytes), (2, 1, 0));
    vault.flush_notes().unwrap();
    assert_eq!(texts(&vault), ["one", "three"]);
    assert!(path.with_extension("wal.damaged").exists(), "kept as evidence");
}

#[test]
fn waiting_notes_are_bounded() {
    let centre = Centre::new(1, 1, 1, 1);
    let vault = centre.found();
    centre.locations[0].set_down(true);
    let large = vec![0; 64 * 1024];
    let parcel = Parcel { scope: Scope::Centre, kind: "note".to_owned(), meta: large, payload: None };
    let group = centre.group(vec![], vec![parcel; 3]);
    let refused = (0..1_000).find_map(|_| vault.note(group.clone()).err()).unwrap();
    assert!(matches!(refused, VaultError::NotesFull { .. }), "{refused}");
    centre.locations[0].set_down(false);
    let start = Instant::now();
    while vault.flush_notes().is_err() {
        assert!(start.elapsed() < Duration::from_secs(10));
        sleep(Duration::from_millis(100));
    }
    vault.note(group).unwrap();
}

#[test]
fn a_segment_that_can_not_be_read_keeps_nothing_closed() {
    let centre = Centre::new(1, 1, 1, 1);
    let vault = centre.found();
    centre.locations[0].set_down(true);
    for text in ["one", "two", "three"] {
        vault.note(note(&centre, text)).unwrap();
    }
    drop(vault);
    centre.locations[0].set_down(false);
    let path = files(&centre).remove(0);
    let left = fs::read(&path).unwrap();
    let vault = centre.open().unwrap();
    vault.flush_notes().unwrap();
    drop(vault);
    // All three are in the ledger, in a segment that can't be read; and the file is still there.
    fs::write(&path, &left).unwrap();
    let name = centre.locations[0].objects("s/").remove(0);
    let mut altered = centre.locations[0].raw(&name);
    *altered.last_mut().unwrap() ^= 1;
    centre.locations[0].forge(&name, Some(altered));
    let vault = centre.open().unwrap();
    let opened = vault.health().opened;
    assert_eq!((opened.replayed_notes, opened.unsure_notes, vault.size()), (0, 3, 3));
    vault.note(note(&centre, "four")).unwrap();
    vault.flush_notes().unwrap();
    drop(vault);
    assert!(path.exists(), "nobody knows yet that it isn't needed");
    centre.locations[0].restore();
    let vault = centre.open().unwrap();
    assert_eq!((vault.health().opened.unsure_notes, texts(&vault).len()), (0, 4));
    assert!(!path.exists());
}
