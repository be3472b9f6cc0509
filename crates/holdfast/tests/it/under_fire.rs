//! The drill that strikes servers and the gateway while people work, for seconds; and its twin.

use std::fs;

use super::Site;

#[test]
fn servers_fall_under_load_and_nothing_is_lost_and_the_twin_rings() {
    let site = Site::new();
    let root = site.path("fire");
    let drill =
        |minutes| ["drill", "holders-under-fire", "--seed", "5", "--minutes", minutes, "--json", "--root", &root];
    let said = site.run(&drill("0.35"));
    assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
    let told = said.json();
    assert!(told["checks"].as_array().unwrap().len() == 6 && !fs::exists(&root).unwrap());
    let count = |of: &str| told["figures"][of].as_u64().unwrap();
    for (what, least) in [
        ("kills", 6),
        ("pauses", 1),
        ("beyond_the_floor", 1),
        ("refused_beyond_the_floor", 1),
        ("acknowledged", 50),
        ("reads_right", 50),
    ] {
        assert!(count(what) >= least, "{what}: {}", told["figures"]);
    }
    println!("{}", told["figures"]);

    let said = site.run(&[&drill("0.15")[..], &["--must-fail"]].concat());
    assert_eq!(said.exit, 4, "{} {}", said.out, said.err);
    let checks = said.json()["checks"].as_array().unwrap().clone();
    let rang: Vec<_> = checks.iter().filter(|check| check["held"] == false).map(|check| &check["question"]).collect();
    assert_eq!(
        rang,
        ["Is every acknowledged entry still there, byte for byte?", "Was nothing served wrong, at any time?"]
    );
    assert_eq!(site.run(&drill("0.01")).exit, 2);
}
