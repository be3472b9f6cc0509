//! The Test Anything Protocol, version 12, as far as our peers speak it: a plan, `ok`, `not ok`, `#` lines.

use anyhow::{Result, anyhow, bail};

use crate::report::Counted;
use crate::shell::Ended;

/// What a peer that ended said. Silence, a missing check or a bad exit is a failure, never a pass.
pub(crate) fn judge(ended: Ended) -> Result<Counted> {
    let mut counted = Counted::default();
    let mut planned = None;
    let mut seen = 0_u64;
    for line in ended.output.lines() {
        if let Some(name) = line.strip_prefix("ok ") {
            seen += 1;
            counted.check(name, Ok(()));
        } else if let Some(what) = line.strip_prefix("not ok ") {
            seen += 1;
            let (name, why) = what.split_once(" # ").unwrap_or((what, "no reason given"));
            counted.check(name, Err(anyhow!("{why}")));
        } else if let Some(count) = line.strip_prefix("1..") {
            planned = Some(count.parse::<u64>()?);
        } else {
            println!("  {line}");
        }
    }
    if planned != Some(seen) || seen == 0 {
        bail!("{seen} checks of the {planned:?} that were planned; exit code {:?}", ended.code);
    }
    if ended.code != Some(0) && counted.failures.is_empty() {
        bail!("every check passed, and yet the exit code is {:?}", ended.code);
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(code: i32, output: &str) -> Result<Counted> {
        judge(Ended { code: Some(code), output: output.into() })
    }

    #[test]
    fn counts_what_was_said_and_trusts_no_silence() {
        let counted = judged(1, "1..2\nok 1 - a\nnot ok 2 - b # 404 instead of 200\n").unwrap();
        assert_eq!((counted.passed, counted.failures), (1, vec!["2 - b: 404 instead of 200".to_owned()]));
        assert!(judged(0, "").is_err());
        assert!(judged(0, "1..2\nok 1 - a\n").is_err());
        assert!(judged(1, "1..1\nok 1 - a\n").is_err());
    }
}
