//! dcmtk's echoscu and storescu, the tools that every radiology department knows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::gateway::Gateway;
use super::{commands, folder, http, synthetic};
use crate::report::Counted;
use crate::shell::{self, Ended};

const LIMIT: Duration = Duration::from_secs(60);

/// Real files that a strict archive must take, from pydicom's and pymedphys' packages.
const STORED: &[&str] = &[
    "pydicom/rtplan.dcm",
    "pydicom/rtdose.dcm",
    "pydicom/rtstruct.dcm",
    "pydicom/CT_small.dcm",
    "pymedphys/06MV_plan.dcm",
    "pymedphys/vmat_example.dcm",
];

pub(crate) fn run(gateway: &Gateway, data: &Path, work: &Path) -> Result<Counted> {
    let mut counted = Counted::default();
    counted.check("echoscu HOLDFAST", succeeds(scu("echoscu", gateway, "HOLDFAST", &[], work)?));
    counted.check("echoscu GATE", succeeds(scu("echoscu", gateway, "GATE", &[], work)?));
    counted.check("an unknown AE title is turned away", fails(scu("echoscu", gateway, "NOBODY", &[], work)?));
    for name in STORED {
        let file = folder().join("data").join(name);
        counted.check(&format!("storescu {name}"), succeeds(scu("storescu", gateway, "HOLDFAST", &[file], work)?));
    }
    let all: Vec<PathBuf> = STORED.iter().map(|name| folder().join("data").join(name)).collect();
    counted
        .check("storescu, all again in one association", succeeds(scu("storescu", gateway, "HOLDFAST", &all, work)?));
    let (signed, tampered) = commands::examples(data);
    // Releases and vetoes of a synthetic plan prove nothing where it is no plan to others.
    let conforms = synthetic::conforms(&signed, work, &mut BTreeMap::new());
    counted.check("dciodvfy finds no error in the demo's plan", conforms);
    let unapproved = folder().join("data/pymedphys/06MV_plan.dcm");
    counted.check("GATE releases the signed plan", succeeds(scu("storescu", gateway, "GATE", &[signed], work)?));
    for (name, plan) in [("the tampered plan", tampered), ("a plan that nobody approved", unapproved)] {
        counted.check(&format!("GATE vetoes {name}"), fails(scu("storescu", gateway, "GATE", &[plan], work)?));
    }
    Ok(counted)
}

/// That the gateway answers on all its doors, whatever was thrown at it.
pub(crate) fn still_well(gateway: &Gateway, work: &Path) -> Result<Counted> {
    let mut counted = Counted::default();
    counted.check("C-ECHO is answered", succeeds(scu("echoscu", gateway, "HOLDFAST", &[], work)?));
    let statement =
        http::send("GET", &format!("{}/metadata", gateway.ready("/fhir")?), gateway.token("oncologist")?, None);
    counted.check(
        "the CapabilityStatement is served",
        statement.and_then(|answer| {
            ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
            Ok(())
        }),
    );
    Ok(counted)
}

fn scu(program: &str, gateway: &Gateway, called: &str, files: &[PathBuf], work: &Path) -> Result<Ended> {
    let (host, port) = gateway.dimse()?;
    let mut command = shell::command(program);
    command.args(["-v", "-aet", "DCMTK", "-aec", called]);
    if program == "storescu" {
        // Propose what the files hold and no more: the association's limit is on both sides.
        command.arg("--required");
    }
    command.args([host, port]).args(files);
    shell::bounded(&mut command, &work.join(program).with_extension("log"), LIMIT)
}

fn succeeds(ended: Ended) -> Result<()> {
    ensure!(ended.code == Some(0), "exit code {:?}\n{}", ended.code, ended.output);
    Ok(())
}

fn fails(ended: Ended) -> Result<()> {
    ensure!(ended.code.is_some_and(|code| code != 0), "exit code {:?}\n{}", ended.code, ended.output);
    Ok(())
}
