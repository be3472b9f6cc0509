//! What is said where servers are lost: why a centre doesn't open.

use std::fs;
use std::path::{Path, PathBuf};

use super::Site;

fn server(site: &Site, number: u8) -> PathBuf {
    site.data().join(format!("servers/server-{number:02}"))
}

/// Every file in a folder, of the same length and nothing but zeros.
fn fill_with_zeros(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fill_with_zeros(&path);
        } else {
            fs::write(&path, vec![0; usize::try_from(fs::metadata(&path).unwrap().len()).unwrap()]).unwrap();
        }
    }
}

#[test]
fn a_centre_that_cannot_open_says_why_at_each_server() {
    let site = Site::new();
    site.done(&["init", "--servers", "5"]);
    for number in 1..=3 {
        fill_with_zeros(&server(&site, number));
    }
    fs::remove_dir_all(server(&site, 4)).unwrap();
    for command in [["verify", "--json"], ["scrub", "--json"]] {
        let said = site.run(&command);
        assert_eq!(said.exit, 4, "{}", said.err);
        let message = said.json()["error"]["message"].as_str().unwrap().to_owned();
        for number in 1..=4 {
            for part in ["shards", "holder"] {
                let place = server(&site, number).display().to_string();
                assert!(message.contains(&format!("{part} of {place}: ")), "{message}");
            }
        }
        assert!(!message.contains('['), "plain words: {message}");
    }

    let site = Site::new();
    site.done(&["init"]);
    fs::remove_file(server(&site, 1).join("holder/holder.key")).unwrap();
    let said = site.run(&["verify"]);
    assert_eq!(said.exit, 4);
    assert!(said.err.contains("0 of the 1 shares needed to open a key: no answer from holder 1"), "{}", said.err);
    assert!(said.err.contains("holder.key") && said.out.is_empty(), "{}", said.err);

    // A command that reports without a centre answers in JSON as well.
    let text = site.file("text.dcm", b"this is no plan");
    let said = site.run(&["plan", "diff", &text, &text, "--json"]);
    assert_eq!(said.exit, 1);
    assert!(said.json()["error"]["code"].is_string());
}
