//! Without a gateway and a browser there is one thing to find out: that it says what it lacks.
#![allow(clippy::unwrap_used)] // tests may stop at the first surprise

use std::process::Command;

#[test]
fn it_says_which_setting_is_missing() {
    let said = Command::new(env!("CARGO_BIN_EXE_browser-test")).env_clear().output().unwrap();
    assert!(!said.status.success());
    let text = String::from_utf8(said.stderr).unwrap();
    assert!(text.contains("HOLDFAST_") && text.contains("is not set"), "{text}");
}
