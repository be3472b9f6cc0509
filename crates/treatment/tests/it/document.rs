//! The page that defines the digest says all of it: its lists are the reader's, and a second implementation that reads
//! them computes the same text.

use std::collections::BTreeMap;

use dicom_core::Tag;
use treatment::dicom::schema::{self, Count, Kind, Need, Part, Rule};
use treatment::{Attribute, Plan};

use crate::build::{EXPLICIT, IMPLICIT, all, file};

const PAGE: &str = include_str!("../../../../docs/formats/delivery-digest.md");

/// An entry of a list: what it is there for, and what stands behind its name.
type Entries = BTreeMap<String, (String, String)>;

/// The lists of the page, by heading.
fn page() -> Vec<(String, Entries)> {
    let lists = PAGE.split_once("## Lists").unwrap().1.split_once("## A whole canonical text").unwrap().0;
    let section = |section: &str| {
        let (heading, body) = section.split_once('\n').unwrap();
        let mut entries = Entries::new();
        for paragraph in body.split("\n\n") {
            let paragraph = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
            let Some((purpose, list)) = paragraph.trim_end_matches('.').split_once(": ") else { continue };
            // `;` stands between entries, and inside the brackets of one.
            for entry in list.split("; (") {
                let entry = entry.trim_start_matches('(');
                let (number, rest) = entry.split_once(") ").unwrap();
                let (keyword, bracket) = rest.split_once(' ').unwrap_or((rest, ""));
                let number = format!("({number}) {keyword}");
                let known = entries.insert(number.clone(), (purpose.to_owned(), bracket.to_owned()));
                assert_eq!(known, None, "{heading}: {number}");
            }
        }
        (heading.to_owned(), entries)
    };
    lists.split("\n### ").skip(1).map(section).collect()
}

fn bracket(kind: Kind, count: Count, need: Option<Need>) -> String {
    let mut text = match kind {
        Kind::Length => "0.01 mm",
        Kind::Angle => "0.01°",
        Kind::Meterset => "0.001 MU",
        Kind::Weight => "share, 10⁻⁷",
        Kind::Energy => "0.001 MeV",
        Kind::Voltage => "0.001 kV",
        Kind::Rate => "0.001 MU/min",
        Kind::Factor => "10⁻⁶",
        Kind::Clock => "0.001 s",
        Kind::Integer => "integer",
        Kind::Code => "code",
        Kind::Text => "text",
    }
    .to_owned();
    match count {
        Count::One => {}
        Count::Exactly(n) => text += &format!(", {n}"),
        Count::Pairs => text += ", pairs",
        Count::Any => text += ", n",
    }
    text += match need {
        None | Some(Need::Optional) => "",
        Some(Need::First) => "; required",
        Some(Need::Treatment) => "; required to treat",
        Some(Need::Every) => "; required at every point",
    };
    format!("[{text}]")
}

fn entries(rules: &[Rule], is_tolerance_table: bool) -> Entries {
    let entry = |rule: &Rule| {
        let (purpose, rest) = match rule.part {
            Part::Digested(kind, count, need) => ("Digested", bracket(kind, count, Some(need))),
            Part::Toleranced(kind, count, _) => ("Toleranced", bracket(kind, count, None)),
            Part::Items(label, ..) if is_tolerance_table => ("Toleranced, item by item", format!("(`{label}`)")),
            Part::Items(label, ..) => ("Digested, item by item", format!("(`{label}`)")),
            Part::Tied => ("Ties the parts together", String::new()),
            Part::Harmless => ("Harmless", String::new()),
        };
        (Attribute(rule.tag).to_string(), (purpose.to_owned(), rest))
    };
    rules.iter().map(entry).collect()
}

/// Every list, with the attributes, units, numbers and needs that the reader has; and for every sequence, its own.
#[test]
fn the_document_has_the_readers_lists() {
    let page = page();
    let mut used = std::collections::BTreeSet::new();
    let mut inner: Vec<(String, Tag, &[Rule])> = Vec::new();
    fn sequences(rules: &'static [Rule], found: &mut Vec<(String, Tag, &'static [Rule])>) {
        for rule in rules {
            if let Part::Items(label, _, rules) = rule.part {
                found.push((label.to_owned(), rule.tag, rules));
                sequences(rules, found);
            }
        }
    }
    let names = [
        "Plan",
        "Fraction group",
        "Beam in a fraction group",
        "Beam (RT Plan)",
        "Control point (RT Plan)",
        "Beam (RT Ion Plan)",
        "Control point (RT Ion Plan)",
        "Patient setup",
        "Tolerance table",
    ];
    for (name, rules) in names.into_iter().zip(schema::ALL) {
        assert!(rules.len() <= 128, "what was seen is kept in 128 bits");
        assert!(rules.windows(2).all(|pair| pair[0].tag < pair[1].tag), "the list is searched by bisection");
        let (_, list) = page.iter().find(|(heading, _)| heading == name).unwrap();
        assert_eq!(list, &entries(rules, name == "Tolerance table"), "{name}");
        used.insert(name.to_owned());
        sequences(rules, &mut inner);
    }
    for (label, tag, rules) in inner {
        let keyword = Attribute(tag).keyword();
        let named = |heading: &str| {
            let sequences = heading.strip_prefix(&format!("`{label}`, an item of "));
            sequences.is_some_and(|sequences| sequences.split(" or ").any(|sequence| sequence == keyword))
        };
        let found: Vec<_> = page.iter().filter(|(heading, _)| named(heading)).collect();
        let [(heading, list)] = found.as_slice() else { panic!("{label}, {keyword}: {} lists", found.len()) };
        assert_eq!(list, &entries(rules, false), "{heading}");
        used.insert(heading.clone());
    }
    assert_eq!(used.len(), page.len(), "the page has a list that the reader doesn't");
}

/// Numbers that a beam announces are rows, taken from what there is; the first row names the class.
#[test]
fn the_document_has_the_rows_that_come_of_themselves() {
    let listed =
        PAGE.split_once("**Rows that come of themselves**").unwrap().1.split_once("**Order of rows**").unwrap().0;
    for (name, plan) in all() {
        let plan = Plan::parse(&file(&plan, IMPLICIT)).unwrap();
        let digested: Vec<Tag> = page()
            .iter()
            .flat_map(|(_, entries)| entries.clone())
            .filter(|(_, (purpose, _))| purpose == "Digested")
            .map(|(number, _)| {
                let hexadecimal = |at: usize| u16::from_str_radix(&number[at..at + 4], 16).unwrap();
                Tag(hexadecimal(1), hexadecimal(6))
            })
            .collect();
        for row in plan.delivery.rows().iter().filter(|row| row.place.part.is_none() && row.place.point.is_none()) {
            let number = Attribute(row.tag).number();
            assert!(digested.contains(&row.tag) || listed.contains(&number), "{name}: {} {number}", row.place);
        }
        assert!(plan.delivery.canonical().starts_with("holdfast delivery v1\nplan (0008,0016) 1.2.840"));
    }
}

/// `tests/delivery_digest.py` needs a Python with pydicom: HOLDFAST_PYTHON names one, or `cargo xtask peers` has made
/// one. Without either there is nothing to compare with, and this test says so.
#[test]
fn the_second_implementation_agrees() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let made = std::path::Path::new(root).join("target/peers/venv/bin/python");
    let named = std::env::var_os("HOLDFAST_PYTHON").map(std::path::PathBuf::from);
    let Some(python) = named.or_else(|| made.is_file().then_some(made)) else {
        println!("no Python with pydicom: not compared");
        return;
    };
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("delivery-digest.dcm");
    for (name, plan) in all() {
        for layout in [IMPLICIT, EXPLICIT] {
            let bytes = file(&plan, layout);
            std::fs::write(&path, &bytes).unwrap();
            let said = std::process::Command::new(&python)
                .args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/delivery_digest.py"), "--text"])
                .arg(&path)
                .env("PYTHONIOENCODING", "utf-8")
                .output()
                .unwrap();
            assert!(said.status.success(), "{name}: {}", String::from_utf8_lossy(&said.stderr));
            let ours = Plan::parse(&bytes).unwrap().delivery.canonical();
            assert_eq!(String::from_utf8(said.stdout).unwrap(), ours, "{name}");
        }
    }
}
