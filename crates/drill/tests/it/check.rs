//! The checkers, each with its twin: what is wrong rings, what is right doesn't.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;

use base64::Engine;
use drill::check::account::{self, Noted};
use drill::check::bytes::{Form, Manifest};
use drill::check::damage;
use drill::check::gate::{Trial, judge};
use drill::check::list::{self, TrueRow};
use drill::check::plaintext::{Limits, Needles, Planted};
use drill::system::{AccountLine, Blamed, Deed, ListRow, Verdict};
use kit::{Entropy, SeededEntropy};

use crate::centre;

const NAME: &str = "ஞொஙாநூ";
const PHONE: &str = "0982523912";
const DIAGNOSIS: &str = "Malignant neoplasm: Upper-outer quadrant of breast";

fn needles() -> Needles {
    Needles::new([
        Planted::text("a name", NAME),
        Planted::text("a phone", PHONE),
        Planted::text("a diagnosis", DIAGNOSIS),
        Planted::secret("a key", &[0xA5, 0x5A, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]),
    ])
}

/// Noise of `len` bytes with `planted` in the middle.
fn noise(len: usize, planted: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    SeededEntropy::new(11).fill(&mut bytes);
    let middle = len / 2;
    bytes.splice(middle..middle, planted.iter().copied());
    bytes
}

fn found_in(content: &[u8]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("volumes")).unwrap();
    fs::write(dir.path().join("volumes/000001"), content).unwrap();
    let searched = needles().search(&[("server 3".into(), dir.path().into())], 2, &|_, _| {}).unwrap();
    assert_eq!((searched.files, searched.bytes), (1, content.len() as u64));
    searched.findings.spelled_out
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// Deflate with the given framing, without another crate: miniz_oxide is what the checker reads with, so the frames
/// are put round it by hand.
fn deflate(bytes: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec(bytes, 6)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"\x1f\x8b\x08\x08\0\0\0\0\0\x03name.txt\0".to_vec();
    out.extend(deflate(bytes));
    out.extend([0; 8]);
    out
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec_zlib(bytes, 6)
}

fn zip(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0".to_vec();
    out.extend([0; 12]);
    out.extend(b"\x05\0\0\0a.txt");
    out.extend(deflate(bytes));
    out
}

#[test]
fn ciphertext_alone_rings_nowhere() {
    assert_eq!(found_in(&noise(3_000_000, b"")), Vec::<String>::new());
}

#[test]
fn a_planted_value_is_found_in_every_encoding() {
    let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02X}")).collect::<String>().into_bytes();
    let standard = base64::engine::general_purpose::STANDARD;
    let url = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    for value in [NAME, PHONE, DIAGNOSIS] {
        let raw = value.as_bytes();
        let mut forms: Vec<(String, Vec<u8>)> = vec![
            ("in the clear".into(), raw.to_vec()),
            ("in the clear".into(), value.to_uppercase().into_bytes()),
            ("in the clear".into(), value.to_lowercase().into_bytes()),
            ("in UTF-16LE".into(), utf16(value, u16::to_le_bytes)),
            ("in UTF-16BE".into(), utf16(&value.to_uppercase(), u16::to_be_bytes)),
            ("in hexadecimal".into(), hex(raw)),
            ("in hexadecimal".into(), hex(raw).to_ascii_lowercase()),
            ("reversed".into(), raw.iter().rev().copied().collect()),
        ];
        for prefix in ["", "x", "xy", "xyz"] {
            for suffix in ["", "p", "pq"] {
                let text = format!("{prefix}{value}{suffix}");
                forms.push(("in base64".into(), standard.encode(&text).into_bytes()));
                forms.push(("in base64".into(), url.encode(&text).into_bytes()));
            }
        }
        if value == NAME {
            let percent: String = raw.iter().map(|b| format!("%{b:02x}")).collect();
            let json: String = value.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            let xml: String = value.chars().map(|c| format!("&#{};", u32::from(c))).collect();
            let xml_hex: String = value.chars().map(|c| format!("&#x{:X};", u32::from(c))).collect();
            forms.push(("percent-encoded".into(), percent.into_bytes()));
            forms.push(("with JSON escapes".into(), json.into_bytes()));
            forms.push(("with XML escapes".into(), xml.into_bytes()));
            forms.push(("with XML escapes".into(), xml_hex.into_bytes()));
            forms.push(("reversed".into(), value.chars().rev().collect::<String>().into_bytes()));
        }
        if value == DIAGNOSIS {
            forms.push(("percent-encoded".into(), DIAGNOSIS.replace(' ', "%20").replace(':', "%3a").into_bytes()));
            forms.push(("percent-encoded".into(), DIAGNOSIS.replace(' ', "+").replace(':', "%3A").into_bytes()));
        }
        for (encoding, form) in forms {
            let found = found_in(&noise(10_000, &form));
            let named = |finding: &String| finding.contains(&encoding);
            assert!(found.iter().any(named), "{value} {encoding}: {found:?}");
            assert!(found[0].contains("server 3/volumes/000001 at byte"), "{found:?}");
        }
    }
}

#[test]
fn a_planted_value_is_found_inside_compressed_streams() {
    let text = noise(100_000, format!("{{\"telecom\":\"{PHONE}\"}}").as_bytes());
    for (name, compress) in
        [("zstd", zstd as fn(&[u8]) -> Vec<u8>), ("gzip", gzip), ("zlib", zlib), ("zip member", zip)]
    {
        let found = found_in(&noise(50_000, &compress(&text)));
        assert!(found.iter().any(|f| f.contains("a phone") && f.contains(name)), "{name}: {found:?}");
        // A stream that was cut still gives its beginning; a stream in a stream is unfolded too.
        let cut = compress(&text);
        let found = found_in(&noise(50_000, &cut[..cut.len() * 9 / 10]));
        assert!(!found.is_empty(), "{name}, cut");
        let found = found_in(&noise(50_000, &zstd(&noise(1_000, &compress(&text)))));
        assert!(found.iter().any(|f| f.contains("a phone")), "zstd of {name}: {found:?}");
    }
}

/// Noise unfolds to repetitions by itself, so such a value is looked for in the clear only.
#[test]
fn a_value_that_repeats_itself_is_found_in_the_clear() {
    let needles = || Needles::new([Planted::text("a name", "Kaikaikai"), Planted::text("another", "Kaithinge")]);
    let found = |content: &[u8]| {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("1"), content).unwrap();
        let searched = needles().search(&[("server 3".into(), dir.path().into())], 1, &|_, _| {}).unwrap();
        searched.findings.spelled_out.len()
    };
    assert_eq!(found(&noise(500, b"kaikaikai kaithinge")), 2);
    assert_eq!(found(&noise(500, &zlib(b"kaikaikai kaithinge, and a little more text"))), 1);
}

#[test]
fn keys_and_file_names_are_found() {
    let key = [0xA5, 0x5A, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
    let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
    let base64 = base64::engine::general_purpose::STANDARD.encode(key);
    for form in [key.to_vec(), hex.into_bytes(), base64.into_bytes()] {
        assert_eq!(found_in(&noise(5_000, &form)).len(), 1);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut file = fs::File::create(dir.path().join(format!("{PHONE}.bin"))).unwrap();
    file.write_all(b"nothing").unwrap();
    let searched = needles().search(&[("gateway".into(), dir.path().into())], 1, &|_, _| {}).unwrap();
    assert!(searched.findings.spelled_out[0].contains("file name"), "{searched:?}");
}

#[test]
fn what_is_too_large_to_be_searched_is_a_finding() {
    let bomb = zstd(&vec![0; 100_000]);
    let many = [bomb.clone(), bomb.clone(), bomb.clone()].concat();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bombs"), many).unwrap();
    let found = |stream_bytes, streams_bytes| {
        let needles = needles().within(Limits { stream_bytes, streams_bytes });
        needles.search(&[("server 1".into(), dir.path().into())], 1, &|_, _| {}).unwrap().findings
    };
    assert!(found(100_000, 300_000).none(), "all of it is searched");
    let cut = found(90_000, 300_000);
    assert_eq!(cut.total, 3, "{cut:?}");
    assert!(cut.spelled_out[0].contains("not searched beyond its first 90000 bytes: a zstd stream at byte 0"));
    let used_up = found(100_000, 200_000);
    assert_eq!(used_up.total, 1, "{used_up:?}");
    assert!(used_up.spelled_out[0].starts_with("not searched, since 200000 bytes were unfolded before"));
}

#[test]
fn short_values_are_named_not_skipped_in_silence() {
    let needles = Needles::new([Planted::text("a code", "C61"), Planted::text("a name", NAME)]);
    assert_eq!(needles.too_short(), ["a code"]);
    assert_eq!(needles.values(), 1);
    assert!(needles.forms() > 8);
}

#[test]
fn one_altered_byte_rings() {
    let course = centre(1, 1).patient(0).course.unwrap();
    let mut manifest = Manifest::default();
    manifest.remember(Form::Fhir, "a".into(), b"{\"resourceType\":\"Patient\"}");
    manifest.remember(Form::Dicom, "b".into(), &course.plan);
    let read = |handle: &str| match handle {
        "a" => Ok(b"{\"resourceType\":\"Patient\"}".to_vec()),
        _ => Ok(course.plan.clone()),
    };
    assert!(manifest.judge_some(9, 2, &read, &|_, _| {}).none());
    // The File Meta Information may be written anew; one bit of the data set may not.
    let mut renamed = drill::tamper::walk::File::read(&course.plan).unwrap();
    renamed.meta.set_text(0x0002_0016, *b"AE", "GATEWAY");
    let mut meta_only = course.plan[..132].to_vec();
    meta_only.extend(&renamed.write()[132..]);
    let data_set = drill::tamper::walk::data_set_at(&course.plan);
    let again = drill::tamper::walk::data_set_at(&meta_only);
    meta_only.truncate(again);
    meta_only.extend(&course.plan[data_set..]);
    assert_eq!(manifest.judge(1, Ok(&meta_only)), None);
    let mut altered = course.plan.clone();
    *altered.last_mut().unwrap() ^= 1;
    assert!(manifest.judge(1, Ok(&altered)).unwrap().contains("altered"));
    assert!(manifest.judge(1, Ok(&course.plan[..course.plan.len() - 1])).unwrap().contains("bytes"));
    assert!(manifest.judge(0, Ok(b"{\"resourceType\":\"Patiens\"}")).unwrap().contains("altered"));
    assert!(manifest.judge(0, Err("gone".into())).unwrap().contains("lost: gone"));
    let broken = |handle: &str| if handle == "a" { read(handle) } else { Err("no shard".into()) };
    assert_eq!(manifest.judge_some(9, 2, &broken, &|_, _| {}).total, 1);
}

#[test]
fn a_released_danger_and_a_vetoed_re_export_ring() {
    let trial = |must_release| Trial { plan: "P".into(), what: "one leaf 1 mm".into(), must_release };
    let released = Ok(Verdict { released: true, reasons: vec![] });
    let vetoed = Ok(Verdict { released: false, reasons: vec!["leaf".into()] });
    assert_eq!(judge(&trial(true), &released), None);
    assert_eq!(judge(&trial(false), &vetoed), None);
    assert_eq!(judge(&trial(false), &Err("not a plan".into())), None);
    assert!(judge(&trial(false), &released).unwrap().contains("RELEASED"));
    assert!(judge(&trial(true), &vetoed).unwrap().contains("although harmless"));
    assert!(judge(&trial(true), &Err("timeout".into())).is_some());
    assert!(judge(&trial(false), &Ok(Verdict { released: false, reasons: vec![] })).is_some());
}

#[test]
fn every_wrong_field_of_the_list_rings() {
    let truth: Vec<TrueRow> = centre(40, 30).generate().filter_map(|patient| TrueRow::of(&patient)).collect();
    assert_eq!(truth.len(), 30);
    let complete = truth.iter().position(|row| row.fraction_next.is_none()).unwrap();
    let row = |t: &TrueRow| ListRow {
        number: t.number.clone(),
        name: t.names[0].clone(),
        birth_date: t.birth_date.clone(),
        plan: t.plan.clone(),
        machine: t.machine.clone(),
        fraction_next: t.fraction_next,
        fractions_planned: Some(t.fractions_planned),
    };
    let rows: Vec<ListRow> = truth.iter().map(row).collect();
    let none = BTreeSet::new();
    assert!(list::judge(&truth, &rows, &none).none());
    let without_complete: Vec<_> = rows.iter().filter(|row| row.fraction_next.is_some()).cloned().collect();
    assert!(list::judge(&truth, &without_complete, &none).none(), "a complete course may be left out");
    let wrong: [fn(&mut ListRow); 7] = [
        |row| row.name.push('x'),
        |row| row.birth_date = "1950-01-01".into(),
        |row| row.plan.push('x'),
        |row| row.machine = "LINAC-9".into(),
        |row| row.fraction_next = row.fraction_next.map(|n| n + 1),
        |row| row.fraction_next = None,
        |row| row.fractions_planned = Some(99),
    ];
    for change in wrong {
        let mut rows = rows.clone();
        change(&mut rows[0]);
        assert_eq!(list::judge(&truth, &rows, &none).total, 1);
    }
    let mut again = rows.clone();
    again[complete].fraction_next = Some(1);
    assert_eq!(list::judge(&truth, &again, &none).total, 1, "a complete course with a next fraction");
    assert_eq!(list::judge(&truth, &rows[1..], &none).total, 1, "a patient left out");
    let mut twice = rows.clone();
    twice.push(rows[0].clone());
    assert_eq!(list::judge(&truth, &twice, &none).total, 1, "a patient twice");
    let mut stranger = rows.clone();
    stranger.push(ListRow { number: "MRN-1".into(), ..rows[0].clone() });
    assert_eq!(list::judge(&truth, &stranger, &none).total, 1, "a stranger");
    assert!(list::judge(&truth, &stranger, &BTreeSet::from(["MRN-1".to_owned()])).none());
}

#[test]
fn every_gap_in_an_account_rings() {
    let line = |deed, text: &str| AccountLine { deed, text: text.into() };
    let before = vec![
        line(Some(Deed::Stored), "1: stored"),
        line(Some(Deed::Stored), "2: stored"),
        line(Some(Deed::Refused), "3: refused"),
    ];
    let deeds = BTreeMap::from([(Deed::Stored, 2), (Deed::Refused, 1)]);
    let noted = Noted { number: "SYN-1".into(), deeds, before: before.clone(), wrong: vec![] };
    let judge = |after: &[AccountLine]| account::judge(&noted, Ok(after.to_vec()));
    assert!(judge(&before).none());
    let mut more = before.clone();
    more.push(line(None, "4: after the recovery"));
    assert!(judge(&more).none());
    assert!(judge(&before[..2]).spelled_out.concat().contains("refused"), "a refusal forgotten");
    assert_eq!(judge(&[before[1].clone(), before[0].clone(), before[2].clone()]).total, 2, "two lines changed places");
    let mut rewritten = before.clone();
    rewritten[1].text = "2: stored by somebody else".into();
    assert_eq!(judge(&rewritten).total, 1);
    assert!(account::judge(&noted, Err("no index".into())).spelled_out[0].contains("lost: no index"));
    // What the centre never put on the account was missing before the attack already.
    let silent = Noted { before: vec![], ..noted.clone() };
    assert_eq!(account::judge(&silent, Ok(vec![])).total, 2);
    assert_eq!(account::judge(&Noted { wrong: vec!["an auditor got in"], ..noted }, Ok(before)).total, 1);
}

#[test]
fn a_damaged_server_that_passes_for_sound_rings() {
    let attacked = BTreeMap::from([(0, "wiped".to_owned()), (4, "every file cut short".to_owned())]);
    let blamed = |servers: &[usize]| {
        Ok(servers.iter().map(|&server| Blamed { server, what: "unreachable".into() }).collect::<Vec<_>>())
    };
    assert!(damage::judge(&attacked, &blamed(&[0, 4])).none());
    let missed = damage::judge(&attacked, &blamed(&[0]));
    assert_eq!(missed.spelled_out, ["server 05 passes for sound: every file cut short"]);
    let innocent = damage::judge(&attacked, &blamed(&[0, 4, 9]));
    assert_eq!(innocent.spelled_out.len(), 1);
    assert!(innocent.spelled_out[0].contains("server 10"), "{innocent:?}");
    assert!(!damage::judge(&attacked, &Err("no quorum".into())).none());
}
