//! The drill that strikes servers and the gateway while people work, for seconds; and its twin.

use std::fs;

use super::Site;

/// The questions that are answered by no. In so few seconds, on a busy machine, one may not have been tried: whoever drills for
/// minutes is told so, and that is no answer here.
fn broken(told: &serde_json::Value) -> Vec<String> {
    let untried = |finding: &serde_json::Value| finding.as_str().unwrap().ends_with("it was not tried");
    let checks = told["checks"].as_array().unwrap().iter().filter(|check| check["held"] == false);
    let no = checks.filter(|check| !check["findings"].as_array().unwrap().iter().all(untried));
    no.map(|check| check["question"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn servers_fall_under_load_and_nothing_is_lost_and_the_twin_rings() {
    let site = Site::new();
    let root = site.path("fire");
    let drill =
        |minutes| ["drill", "holders-under-fire", "--seed", "5", "--minutes", minutes, "--json", "--root", &root];
    let said = site.run(&drill("0.35"));
    assert!(matches!(said.exit, 0 | 4), "{} {}", said.out, said.err);
    let told = said.json();
    assert!(told["checks"].as_array().unwrap().len() == 6 && !fs::exists(&root).unwrap());
    assert!(broken(&told).is_empty(), "{} {}", said.out, said.err);
    let count = |of: &str| told["figures"][of].as_u64().unwrap();
    for (what, least) in [("kills", 3), ("pauses", 1), ("acknowledged", 20), ("reads_right", 20)] {
        assert!(count(what) >= least, "{what}: {}", told["figures"]);
    }
    println!("{}", told["figures"]);

    let said = site.run(&[&drill("0.15")[..], &["--must-fail"]].concat());
    assert_eq!(said.exit, 4, "{} {}", said.out, said.err);
    assert_eq!(
        broken(&said.json()),
        ["Is every acknowledged entry still there, byte for byte?", "Was nothing served wrong, at any time?"]
    );
    assert_eq!(site.run(&drill("0.01")).exit, 2);
}
