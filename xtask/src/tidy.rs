//! What rustfmt and clippy don't look at: first lines, lengths, stubs, lints, links, paths of somebody's machine.
//!
//! Looks at what git tracks or would track. Doesn't judge whether a comment is true, or a link's anchor exists.

use std::path::Path;

use anyhow::{Result, bail};

use crate::shell;

/// Longer files have more than one subject.
const LINES_MAX: usize = 900;

/// Marks of unfinished work. Split, so that this file doesn't hold them.
const STUBS: &[(&str, &str)] = &[
    (concat!("to", "do!("), "unfinished work"),
    (concat!("un", "implemented!("), "unfinished work"),
    (concat!("#[ig", "nore]"), "an ignored test without its reason"),
];

/// Places that exist on one machine only.
const MACHINE_PATHS: &[&str] =
    &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/Us", "ers/"), concat!("C:", "\\")];

pub(crate) fn run() -> Result<()> {
    let root = shell::root();
    let listed =
        shell::capture(shell::command("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    // A file that is tracked but deleted in the work tree has nothing to say.
    let files: Vec<&str> = listed.lines().filter(|file| root.join(file).is_file()).collect();
    let mut wrong = Vec::new();
    for file in &files {
        // Binary files (a picture) have no lines.
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        wrong.extend(judge(file, &text).into_iter().map(|what| format!("{file}{what}")));
        if file.ends_with(".md") {
            wrong.extend(
                links(&text)
                    .filter(|link| !resolves(&root, file, link))
                    .map(|link| format!("{file}: {link} leads nowhere")),
            );
        }
    }
    if !wrong.is_empty() {
        bail!("{} untidy places:\n  {}", wrong.len(), wrong.join("\n  "));
    }
    println!("  {} files, all tidy", files.len());
    Ok(())
}

/// What is untidy about one file; each begins with `:`, to stand behind its name.
fn judge(file: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if file.ends_with(".rs") {
        if !text.starts_with("//!") {
            wrong.push(": opens without a //! line that says what it is for".into());
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!(": {lines} lines, maximum is {LINES_MAX}"));
        }
    }
    if file.ends_with("Cargo.toml") && text.contains("[package]") && file != "fuzz/Cargo.toml" {
        if !text.contains("[lints]\nworkspace = true") {
            wrong.push(": without the workspace's lints".into());
        }
        if !text.contains("license.workspace = true") {
            wrong.push(": without the workspace's licence".into());
        }
    }
    for (number, line) in (1..).zip(text.lines()) {
        if file.ends_with(".rs") {
            let found = STUBS.iter().filter(|(mark, _)| line.contains(mark));
            wrong.extend(found.map(|(mark, what)| format!(":{number}: {mark}: {what}")));
        }
        let found = MACHINE_PATHS.iter().filter(|path| line.contains(**path));
        wrong.extend(found.map(|path| format!(":{number}: {path}… exists on one machine only")));
    }
    wrong
}

/// Relative link targets of a Markdown text, and paths into docs/ and crates/ that stand between backticks.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ', '#']).next());
    let relative = targets.filter(|target| !target.is_empty() && !target.contains(':'));
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).filter(|quote| {
        (quote.starts_with("docs/") || quote.starts_with("crates/"))
            && quote.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
    });
    relative.chain(quoted)
}

/// From the file's own folder, or from the root: prose names files from there.
fn resolves(root: &Path, file: &str, link: &str) -> bool {
    let beside = root.join(file);
    beside.parent().is_some_and(|folder| folder.join(link).exists()) || root.join(link).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untidy_places_are_named_with_their_line() {
        assert!(judge("a.rs", "//! For a test.\nfn main() {}\n").is_empty());
        assert_eq!(judge("a.rs", "fn main() {}\n").len(), 1);
        assert!(judge("a.rs", &"//! Long.\n".repeat(LINES_MAX + 1)).concat().contains("901 lines"));
        let stub = format!("//! A.\nfn f() {{ {}) }}\n", concat!("to", "do!("));
        assert!(judge("a.rs", &stub).concat().starts_with(":2: "));
        let path = format!("see {}me/notes\n", concat!("/ho", "me/"));
        assert!(judge("a.md", &path).concat().starts_with(":1: "));
        assert_eq!(judge("x/Cargo.toml", "[package]\nname = \"x\"\n").len(), 2);
    }

    #[test]
    fn links_are_found_and_followed() {
        let text = "[a](docs/x.md#y) [b](https://example.org) [c](#here) `docs/formats/z.md` `docs/{a,b}` `cargo`";
        assert_eq!(links(text).collect::<Vec<_>>(), ["docs/x.md", "docs/formats/z.md"]);
        assert!(resolves(&shell::root(), "xtask/src/x.md", "tidy.rs"));
        assert!(resolves(&shell::root(), "README.md", "xtask/src/tidy.rs"));
        assert!(!resolves(&shell::root(), "README.md", "docs/no-such-page.md"));
    }
}
