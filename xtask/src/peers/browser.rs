//! Starts ChromeDriver and the browser test beside it, and sees to it that both end.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};

use super::gateway::Gateway;
use super::{commands, http, install, tap};
use crate::report::Counted;
use crate::shell::{self, Guarded};

/// Chromium's first start on a busy machine takes half a minute.
const LIMIT: Duration = Duration::from_secs(240);

pub(crate) fn run(gateway: &Gateway, work: &Path) -> Result<Counted> {
    let artifacts = shell::root().join("target/artifacts");
    std::fs::create_dir_all(&artifacts)?;
    let mut driver = shell::command("chromedriver");
    driver.args(["--port=0", "--allowed-ips=127.0.0.1"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut driver = Guarded(driver.spawn().context("chromedriver does not start")?);
    let said = driver.0.stdout.take().context("chromedriver has no output")?;
    let port = port(BufReader::new(said))?;
    let address = format!("http://127.0.0.1:{port}");

    let mut test = shell::command(shell::built("browser-test"));
    test.env("HOLDFAST_READY", gateway.ready_file())
        .env("HOLDFAST_ARTIFACTS", &artifacts)
        .env("HOLDFAST_WEBDRIVER", &address)
        .env("HOLDFAST_PACKS", work.join(commands::OPENED))
        .env("HOLDFAST_CODES", work.join(commands::CODES))
        .env("HOLDFAST_AXE", install::axe(&super::folder())?)
        .env("HOLDFAST_PROGRAM", shell::built("holdfast"))
        .env("HOLDFAST_DATA", gateway.data())
        .env("HOLDFAST_BROWSER_PROFILE", work.join("browser-profile"));
    let ended = shell::bounded(&mut test, &work.join("browser.log"), LIMIT);
    // Ends the browser as well, where the test could not: killing the driver would leave it running.
    let _ = http::send("GET", &format!("{address}/shutdown"), "", None);
    tap::judge(ended?)
}

/// The port of ChromeDriver's choice, from the line that says that it started.
fn port(said: impl BufRead) -> Result<u16> {
    for line in said.lines().take(20) {
        let line = line?;
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            return port.trim_end_matches('.').parse().with_context(|| line.clone());
        }
    }
    anyhow::bail!("chromedriver did not say on which port it started")
}
