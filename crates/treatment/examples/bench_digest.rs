//! The plan's side of `cargo xtask bench digest`: how long a file takes from bytes to its delivery digest.
//!
//! `bench_digest FILE…`: a line of JSON for each, the median of many runs.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

const RUNS: usize = 101;

fn main() -> Result<(), Box<dyn Error>> {
    for file in std::env::args_os().skip(1) {
        let bytes = std::fs::read(&file)?;
        let mut seconds = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            let start = Instant::now();
            black_box(treatment::Plan::parse(black_box(&bytes))?.digest());
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        let median = seconds.get(RUNS / 2).copied().unwrap_or(f64::NAN);
        println!("{}", serde_json::json!({ "file": file.to_string_lossy(), "bytes": bytes.len(), "seconds": median }));
    }
    Ok(())
}
