//! The repo's own tools. `cargo xtask` lists them.

mod bench;
mod fhir_bindings;
mod fuzz;
mod layers;
mod peers;
mod report;
mod shell;
mod test;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "cargo xtask TASK

  layers                     compare the crates' dependencies with the table of rooms
  tidy                       what rustfmt and clippy don't look at: first lines, lengths, links, paths
  test                       everything: format, lints, layers, tidy, cargo test, then the real peers
  peers                      fetch real FHIR and DICOM files into target/peers/data, for `holdfast drill … --input`
  peers test                 only the peers: SeaweedFS, dcmtk, pynetdicom, fhirpy, hostile input, kill -9, a browser
  fuzz TARGET [--seconds N]  one target of fuzz/, 60 seconds unless told
  fhir-bindings              make crates/chart/src/fhir/bindings.txt again, from FHIR R4's own definitions
  bench vault [--json] [--rounds N] [--foolscap]
                             the vault beside Tahoe-LAFS and beside the machine's own limits, in one run
  bench digest               from a plan's bytes to its delivery digest, beside pydicom reading the same file
  bench guard                a decision at 2,000 people and 2,000,000 patients; what a chart read costs beside the vault's fetch
  bench keys                 opening keys through fourteen holders over loopback; registering a million patients";

/// What FHIR R4 says about elements, codes and search parameters, as `chart` holds it.
const BINDINGS: &str = "crates/chart/src/fhir/bindings.txt";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["layers"] => layers::run(),
        ["tidy"] => tidy::run(),
        ["test"] => test::run(),
        ["peers"] | ["peers", "fetch"] => peers::fetch(),
        ["peers", "test"] => peers::run(),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["fhir-bindings"] => {
            peers::data().and_then(|data| fhir_bindings::run(&data.join("fhir"), &shell::root().join(BINDINGS)))
        }
        ["bench", "digest"] => bench::digest(),
        ["bench", "guard"] => bench::guard(),
        ["bench", "keys"] => bench::keys(),
        ["bench", "vault", rest @ ..] => bench::run(rest),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => {
            eprintln!("unknown task: {}\n\n{USAGE}", words.join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
