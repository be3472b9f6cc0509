//! Today's treatment list as a clinician's browser shows it: Chromium, driven over WebDriver, on a live gateway.
//!
//! A crate and a binary of its own, outside the default members: thirtyfour is heavy, and whoever runs `cargo test`
//! needs neither it nor a browser. It says what it checked in TAP; screenshots and a print-out stay as artefacts.

mod passkeys;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use thirtyfour::extensions::cdp::ChromeDevTools;
use thirtyfour::prelude::*;

/// The smallest screen that still hangs in treatment rooms.
const WIDTH: u32 = 1366;
const HEIGHT: u32 = 768;

struct Setting {
    ready: Value,
    artifacts: PathBuf,
    webdriver: String,
    profile: String,
    /// Downtime packs, opened into a folder.
    packs: PathBuf,
    /// Logins of two administrators, each with the code that lets her in.
    codes: Value,
    /// `holdfast`, and the gateway's data folder: some things are done at the terminal.
    program: PathBuf,
    data: PathBuf,
}

/// axe-core (MPL-2.0, from npm at test time), which judges a page by WCAG 2.1, A and AA, and by good practice.
static AXE: OnceLock<String> = OnceLock::new();

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all checks in one browser, and closes it whatever they find. True where all passed.
async fn run() -> Result<bool> {
    let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let setting = Setting {
        ready: serde_json::from_slice(&std::fs::read(variable("HOLDFAST_READY")?)?)?,
        artifacts: variable("HOLDFAST_ARTIFACTS")?.into(),
        webdriver: variable("HOLDFAST_WEBDRIVER")?,
        profile: variable("HOLDFAST_BROWSER_PROFILE")?,
        packs: variable("HOLDFAST_PACKS")?.into(),
        program: variable("HOLDFAST_PROGRAM")?.into(),
        data: variable("HOLDFAST_DATA")?.into(),
        codes: serde_json::from_slice(&std::fs::read(variable("HOLDFAST_CODES")?)?)?,
    };
    let _ = AXE.set(std::fs::read_to_string(variable("HOLDFAST_AXE")?)?);
    let browser = start(&setting).await?;
    let checked = checks(&browser, &setting).await;
    let closed = browser.quit().await;
    let all_passed = checked?;
    closed?;
    Ok(all_passed)
}

/// A browser that talks to nobody but the gateway.
async fn start(setting: &Setting) -> Result<WebDriver> {
    let mut capabilities = DesiredCapabilities::chrome();
    let profile = format!("--user-data-dir={}", setting.profile);
    let size = format!("--window-size={WIDTH},{HEIGHT}");
    for flag in [
        "--headless",
        "--no-sandbox", // the tests run as root in a container
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        &profile,
        &size,
    ] {
        capabilities.add_arg(flag)?;
    }
    Ok(WebDriver::new(&setting.webdriver, capabilities).await?)
}

async fn checks(browser: &WebDriver, setting: &Setting) -> Result<bool> {
    println!("1..24");
    let tools = ChromeDevTools::new(browser.handle.clone());
    let screen = json!({ "width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": false });
    tools.execute_cdp_with_params("Emulation.setDeviceMetricsOverride", screen).await?;
    let mut tap = Tap::default();
    tap.check("nobody sees the list before signing in", closed_door(browser, setting).await);
    tap.check("the sign-in link and its button lead to the list", sign_in(browser, setting).await);
    tap.check("there is no script on the page, nor can one be put there", no_script(browser).await);
    tap.check("the list says as of when it is", as_of(browser).await);
    tap.check("every row says who, machine, fraction and verdict", rows(browser).await);
    tap.check("each verdict is told by colour, icon and word", verdicts(browser).await);
    tap.check("1366 × 768 without scrolling sideways", fits(browser, &setting.artifacts, "treatment-list.png").await);
    tap.check("on paper: no buttons, no colour needed", print(browser, &tools, &setting.artifacts).await);
    tap.check("a name on the list leads to the course, with its drawing and checks", course(browser, setting).await);
    tap.check("what was signed stands beside what is here, with drawings", approval(browser, setting).await);
    tap.check("an outage is weighed, those first who can wait least", triage(browser, setting).await);
    tap.check("chart checks of everybody, those that fail first", chart_checks(browser, setting).await);
    tap.check("paper is typed in: a slip is named and nothing is lost", enter(browser, setting).await);
    tap.check("paper stands beside what machines say", reconciliation(browser, setting).await);
    tap.check("posture names policy and containment; a therapist closes no doors", posture(browser, setting).await);
    tap.check("signing out shuts the door", sign_out(browser, setting).await);
    passkeys::checks(browser, &tools, setting, &mut tap).await;
    tap.check("a downtime pack opens from the disk, whole on A4", pack(browser, &tools, setting).await);
    Ok(tap.failed == 0)
}

#[derive(Default)]
struct Tap {
    number: u32,
    failed: u32,
}

impl Tap {
    fn check(&mut self, name: &str, outcome: Result<()>) {
        self.number += 1;
        match outcome {
            Ok(()) => println!("ok {} - {name}", self.number),
            Err(error) => {
                self.failed += 1;
                println!("not ok {} - {name} # {}", self.number, format!("{error:#}").replace('\n', " "));
            }
        }
    }
}

fn text<'a>(setting: &'a Setting, key: &str) -> Result<&'a str> {
    setting.ready.get(key).and_then(Value::as_str).with_context(|| format!("the ready file has no {key}"))
}

/// What a script run by WebDriver returns: it isn't bound by the page's policy.
async fn ask(browser: &WebDriver, script: &str) -> Result<Value> {
    Ok(browser.execute(script, Vec::new()).await?.json().clone())
}

async fn row_count(browser: &WebDriver) -> Result<u64> {
    ask(browser, "return document.querySelectorAll('tbody tr').length").await?.as_u64().context("no count")
}

async fn closed_door(browser: &WebDriver, setting: &Setting) -> Result<()> {
    browser.goto(text(setting, "pages")?).await?;
    ensure!(row_count(browser).await? == 0, "rows are shown to a stranger");
    Ok(())
}

/// Ten seconds in all: a machine that builds meanwhile is slow.
const ANSWER_TRIES: usize = 50;
const ANSWER_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

async fn sign_in(browser: &WebDriver, setting: &Setting) -> Result<()> {
    browser.goto(text(setting, "sign_in")?).await?;
    browser.find(By::Css("form button[type=submit]")).await?.click().await?;
    led_to(browser, "/").await?;
    let address = browser.current_url().await?;
    ensure!(address.query().is_none(), "the code stays in the address");
    ensure!(row_count(browser).await? > 0, "the list is empty");
    Ok(())
}

/// A click returns before the answer is there: a redirect and a page whose reading is noted take a moment.
async fn led_to(browser: &WebDriver, path: &str) -> Result<()> {
    for _ in 0..ANSWER_TRIES {
        if browser.current_url().await?.path() == path {
            return Ok(());
        }
        tokio::time::sleep(ANSWER_PAUSE).await;
    }
    anyhow::bail!("it led to {}, not to {path}", browser.current_url().await?.path())
}

async fn course(browser: &WebDriver, setting: &Setting) -> Result<()> {
    browser.goto(text(setting, "pages")?).await?;
    browser.find(By::Css("tbody th a")).await?.click().await?;
    led_to(browser, "/course").await?;
    let steps = ask(browser, "return document.querySelectorAll('svg.drawing path').length").await?;
    ensure!(steps.as_u64() >= Some(2), "{steps} paths are drawn");
    let checks = "return [...document.querySelectorAll('.course td.status')].map(cell => cell.innerText.trim())";
    let states = ask(browser, checks).await?;
    let states: Vec<&str> = states.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    ensure!(states.len() > 10 && states.contains(&"Pass"), "the checks say {states:?}");
    no_script(browser).await?;
    fits(browser, &setting.artifacts, "course.png").await
}

/// By the link on a course of somebody whose plan waits for a signature, and of somebody whose plan doesn't.
async fn approval(browser: &WebDriver, setting: &Setting) -> Result<()> {
    browser.goto(text(setting, "pages")?).await?;
    browser.find(By::Css("td.why a[href^='/approval']")).await?.click().await?;
    led_to(browser, "/approval").await?;
    lines_are_told(browser, &["As signed", "To be signed", "Not here", "Pass", "Fail", "Unknown"]).await?;
    browser.goto(text(setting, "pages")?).await?;
    let ready = "return document.querySelector('td.release').closest('tr').querySelector('th a').getAttribute('href')";
    let course = ask(browser, ready).await?;
    browser.goto(format!("{}{}", text(setting, "pages")?, course.as_str().context("nobody is ready")?)).await?;
    browser.find(By::Css("a[href^='/approval']")).await?.click().await?;
    led_to(browser, "/approval").await?;
    lines_are_told(browser, &["As signed", "Counts", "Pass", "Fail", "Unknown"]).await?;
    let drawn = "return [...document.querySelectorAll('figure svg')].map(one => [one.getAttribute('aria-label'), \
                 one.getBoundingClientRect().width, one.querySelectorAll('path').length])";
    let drawn = ask(browser, drawn).await?;
    let drawings = drawn.as_array().context("no drawings")?;
    let is_drawn = |one: &Value| {
        let number = |at: usize| one.get(at).and_then(Value::as_f64).unwrap_or_default();
        one.get(0).and_then(Value::as_str).is_some_and(|label| !label.is_empty())
            && number(1) > 150.0
            && number(2) > 1.0
    };
    ensure!(drawings.len() >= 2 && drawings.iter().all(is_drawn), "{drawn}");
    no_script(browser).await?;
    fits(browser, &setting.artifacts, "approval.png").await
}

/// Each line by one of these words, with an icon.
async fn lines_are_told(browser: &WebDriver, words: &[&str]) -> Result<()> {
    let cells = "return [...document.querySelectorAll('td.status')].map(cell => [cell.innerText.trim(), \
                 cell.querySelectorAll('svg').length])";
    let cells = ask(browser, cells).await?;
    let cells = cells.as_array().context("no lines")?;
    ensure!(cells.len() > 20, "{} lines", cells.len());
    for cell in cells {
        let word = cell.get(0).and_then(Value::as_str).unwrap_or_default();
        ensure!(words.contains(&word) || word == "Counts", "a line says {cell}");
        ensure!(cell.get(1) == Some(&json!(1)), "without icon: {cell}");
    }
    Ok(())
}

async fn triage(browser: &WebDriver, setting: &Setting) -> Result<()> {
    let today = ask(browser, "return new Date().toISOString().slice(0, 10)").await?;
    let today = today.as_str().context("no day")?;
    browser.goto(format!("{}/triage?from={today}&to={today}", text(setting, "pages")?)).await?;
    led_to(browser, "/triage").await?;
    let words = "return [...document.querySelectorAll('.interrupted h2 .status')].map(one => one.innerText.trim())";
    let words = ask(browser, words).await?;
    let ranks: Vec<Option<usize>> = words
        .as_array()
        .into_iter()
        .flatten()
        .map(|word| ["Category 1", "Not known", "Category 2", "Category 3"].iter().position(|known| word == known))
        .collect();
    ensure!(!ranks.is_empty() && ranks.is_sorted() && !ranks.contains(&None), "they stand as {words}");
    no_script(browser).await?;
    fits(browser, &setting.artifacts, "triage.png").await
}

/// Reached from the list; each section has what fails or is stale, the most first, by colour, icon and word.
async fn chart_checks(browser: &WebDriver, setting: &Setting) -> Result<()> {
    browser.goto(text(setting, "pages")?).await?;
    browser.find(By::Css("a[href='/checks']")).await?.click().await?;
    led_to(browser, "/checks").await?;
    let fails = "return [...document.querySelectorAll('section.course')].map(one => [...one.querySelectorAll('td.status')] \
                 .filter(cell => cell.innerText.trim() == 'Fail' && cell.querySelector('svg')).length)";
    let fails = ask(browser, fails).await?;
    let counts: Vec<u64> = fails.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    let falls = counts.windows(2).all(|pair| pair.first() >= pair.last());
    ensure!(!counts.is_empty() && falls, "they stand as {fails}");
    no_script(browser).await?;
    fits(browser, &setting.artifacts, "checks.png").await
}

/// The last one of the list who is ready: others try the first one's plan.
async fn enter(browser: &WebDriver, setting: &Setting) -> Result<()> {
    browser.goto(text(setting, "pages")?).await?;
    let ready = "const rows = [...document.querySelectorAll('tbody tr')].filter(row => row.querySelector('td.release')); \
                 return rows.at(-1).querySelector('th a').getAttribute('href')";
    let course = ask(browser, ready).await?;
    let course = course.as_str().context("nobody is ready")?;
    browser.goto(format!("{}{}", text(setting, "pages")?, course.replace("/course", "/enter"))).await?;
    led_to(browser, "/enter").await?;
    no_script(browser).await?;
    let beams = browser.find_all(By::Css("input[name^='beam-']")).await?;
    let planned = "return [...document.querySelectorAll('td.number')].map(cell => cell.innerText.trim())";
    let planned = ask(browser, planned).await?;
    for (beam, meterset) in beams.iter().zip(planned.as_array().context("no beams")?) {
        beam.send_keys(meterset.as_str().unwrap_or_default()).await?;
    }
    let field = |name: &str| format!("input[name={name}]");
    browser.find(By::Css(field("given_by"))).await?.send_keys("T. One").await?;
    // Midnight has been at any hour that this may run; the slip is the missing colon.
    browser.find(By::Css(field("time"))).await?.send_keys("0000").await?;
    keep(browser, "Nothing was kept").await?;
    let kept = ask(browser, "return document.querySelector('input[name=given_by]').value").await?;
    ensure!(kept == json!("T. One"), "what was typed is gone: {kept}");
    fits(browser, &setting.artifacts, "enter.png").await?;
    let time = browser.find(By::Css(field("time"))).await?;
    time.clear().await?;
    time.send_keys("00:00").await?;
    keep(browser, "is kept").await
}

async fn keep(browser: &WebDriver, said: &str) -> Result<()> {
    browser.find(By::Css("form.paper button[type=submit]")).await?.click().await?;
    let mut shown = String::new();
    for _ in 0..ANSWER_TRIES {
        // The page before has none, or another one.
        let words = "return document.querySelector('.said')?.innerText ?? ''";
        shown = ask(browser, words).await?.as_str().unwrap_or_default().to_owned();
        if shown.contains(said) {
            return Ok(());
        }
        tokio::time::sleep(ANSWER_PAUSE).await;
    }
    anyhow::bail!("the page says {shown:?}, not {said:?}")
}

async fn reconciliation(browser: &WebDriver, setting: &Setting) -> Result<()> {
    browser.goto(format!("{}/reconciliation", text(setting, "pages")?)).await?;
    led_to(browser, "/reconciliation").await?;
    let states = "return [...document.querySelectorAll('tbody td.status')].map(cell => cell.innerText.trim())";
    let states = ask(browser, states).await?;
    let all = states.as_array().context("no states")?;
    ensure!(!all.is_empty() && all.iter().all(|state| state == "Waits"), "the states are {states}");
    no_script(browser).await?;
    fits(browser, &setting.artifacts, "reconciliation.png").await
}

async fn posture(browser: &WebDriver, setting: &Setting) -> Result<()> {
    let http = text(setting, "pages")?;
    browser.goto(format!("{http}/containment")).await?;
    let closed = ask(
        browser,
        "return [document.body.innerText.includes('Nothing is closed'), document.querySelectorAll('input').length]",
    );
    ensure!(closed.await? == json!([true, 0]), "the page to close doors by shows a form, or what isn't closed");
    no_script(browser).await?;
    browser.goto(format!("{http}/posture")).await?;
    let rows =
        "return [...document.querySelectorAll('.posture tbody tr')].map(row => row.innerText.replace(/\\s+/g, ' '))";
    let rows = ask(browser, rows).await?;
    let rows: Vec<&str> = rows.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for begins in
        ["Policy pass version 1, approved by 2 officers", "Budgets pass", "Containment pass nothing is closed"]
    {
        ensure!(rows.iter().any(|row| row.starts_with(begins)), "no row begins {begins}: {rows:?}");
    }
    no_script(browser).await?;
    fits(browser, &setting.artifacts, "posture.png").await
}

async fn pack(browser: &WebDriver, tools: &ChromeDevTools, setting: &Setting) -> Result<()> {
    browser.goto(format!("file://{}", setting.packs.join("index.html").display())).await?;
    let rows = row_count(browser).await?;
    ensure!(rows > 5, "{rows} packs are listed");
    browser.screenshot(&setting.artifacts.join("packs.png")).await?;
    let ready = "const rows = [...document.querySelectorAll('tbody tr')]; \
                 return rows.find(row => row.innerText.includes('ready')).querySelector('a').href";
    let sheet = ask(browser, ready).await?;
    browser.goto(sheet.as_str().context("no pack is ready")?).await?;
    let seen = "const t = document.body.innerText; const q = document.querySelector('.qr svg'); \
                return [document.scripts.length, q.getBoundingClientRect().width, document.querySelectorAll('.form').length, \
                t.includes('This paper releases nothing'), performance.getEntriesByType('resource').length]";
    let seen = ask(browser, seen).await?;
    let number = |at: usize| seen.get(at).and_then(Value::as_f64).unwrap_or_default();
    ensure!(number(0) == 0.0 && number(1) > 50.0 && number(2) >= 1.0 && seen.get(3) == Some(&json!(true)), "{seen}");
    ensure!(number(4) == 0.0, "it fetched something: {seen}");
    browser.screenshot(&setting.artifacts.join("pack.png")).await?;
    let paper = json!({ "preferCSSPageSize": true, "printBackground": false });
    let printed = tools.execute_cdp_with_params("Page.printToPDF", paper).await?;
    let printed = printed.get("data").and_then(Value::as_str).context("no PDF")?;
    ensure!(printed.starts_with("JVBERi0") && printed.len() > 20_000, "the print-out is no PDF of some pages");
    Ok(())
}

async fn no_script(browser: &WebDriver) -> Result<()> {
    let scripts = ask(browser, "return document.scripts.length").await?;
    ensure!(scripts == 0, "{scripts} scripts on the page");
    let handlers = "return [...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()) \
                    .filter(name => name.startsWith('on') || name === 'style')";
    let handlers = ask(browser, handlers).await?;
    ensure!(handlers == json!([]), "inline handlers or styles: {handlers}");
    // The header says so too; here the browser obeys it.
    let planted = "const s = document.createElement('script'); s.textContent = 'window.planted = true'; \
                   document.body.append(s); const ran = window.planted === true; s.remove(); return ran";
    ensure!(ask(browser, planted).await? == json!(false), "a planted script ran");
    Ok(())
}

async fn as_of(browser: &WebDriver) -> Result<()> {
    let shown = browser.find(By::Tag("body")).await?.text().await?;
    let (_, after) = shown.split_once("as of ").context("no “as of”")?;
    let time: Vec<char> = after.chars().take(5).collect();
    let digits = [0, 1, 3, 4].iter().all(|at| time.get(*at).is_some_and(char::is_ascii_digit));
    ensure!(digits && time.get(2) == Some(&':'), "“as of” is followed by {time:?}");
    Ok(())
}

async fn rows(browser: &WebDriver) -> Result<()> {
    let table = ask(
        browser,
        "return [...document.querySelectorAll('tbody tr')].map(row => [...row.cells].map(cell => cell.innerText.trim()))",
    )
    .await?;
    let headings =
        ask(browser, "return [...document.querySelectorAll('thead th')].map(h => h.innerText.trim())").await?;
    let column = |name: &str| {
        let all = headings.as_array()?;
        all.iter().position(|heading| heading.as_str().is_some_and(|text| text.eq_ignore_ascii_case(name)))
    };
    for row in table.as_array().context("no rows")? {
        for name in ["Patient", "Machine", "Fraction", "Verdict"] {
            let at = column(name).with_context(|| format!("no column {name} in {headings}"))?;
            let cell = row.get(at).and_then(Value::as_str).unwrap_or_default();
            ensure!(!cell.is_empty(), "a row without {name}: {row}");
            if name == "Fraction" {
                let counts = cell.split_once(" of ").map(|(now, all)| (now.parse::<u32>(), all.parse::<u32>()));
                ensure!(matches!(counts, Some((Ok(now), Ok(all))) if now <= all), "fraction is {cell:?}");
            }
        }
    }
    let shown = browser.find(By::Tag("tbody")).await?.text().await?;
    let beyond_ascii = shown.chars().any(|c| ('\u{0900}'..='\u{0dff}').contains(&c));
    ensure!(beyond_ascii, "no name in an Indian script: the demo has some, they must arrive");
    Ok(())
}

async fn verdicts(browser: &WebDriver) -> Result<()> {
    let cells = ask(
        browser,
        "return [...document.querySelectorAll('tbody td.status')].map(cell => ({ word: cell.innerText.trim(), \
         icon: cell.querySelector('svg')?.innerHTML.trim() ?? '', kind: cell.className, \
         colour: getComputedStyle(cell).color, band: getComputedStyle(cell).backgroundColor }))",
    )
    .await?;
    let cells = cells.as_array().context("no verdicts")?;
    ensure!(cells.len() as u64 == row_count(browser).await?, "{} verdicts", cells.len());
    let of = |cell: &Value, key: &str| cell.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    for cell in cells {
        ensure!(!of(cell, "word").is_empty() && of(cell, "icon").contains("path"), "without word or icon: {cell}");
        for other in cells.iter().filter(|other| of(other, "kind") != of(cell, "kind")) {
            for mark in ["word", "icon", "colour"] {
                ensure!(of(cell, mark) != of(other, mark), "two verdicts share their {mark}: {cell} {other}");
            }
        }
    }
    let kinds: std::collections::BTreeSet<String> = cells.iter().map(|cell| of(cell, "kind")).collect();
    ensure!(kinds.len() >= 2, "the demo shows only {kinds:?}: nothing to tell apart");
    Ok(())
}

async fn fits(browser: &WebDriver, artifacts: &Path, name: &str) -> Result<()> {
    browser.screenshot(&artifacts.join(name)).await?;
    let widths = ask(
        browser,
        "const e = document.documentElement; return [window.innerWidth, e.clientWidth, e.scrollWidth, window.innerHeight]",
    )
    .await?;
    let at = |index: usize| widths.get(index).and_then(Value::as_u64).unwrap_or_default();
    ensure!(at(0) == u64::from(WIDTH) && at(3) == u64::from(HEIGHT), "the window measures {widths}");
    ensure!(at(2) <= at(1), "{} pixels wide on a screen of {}", at(2), at(1));
    let size = ask(browser, "return parseFloat(getComputedStyle(document.querySelector('tbody td, main p')).fontSize)")
        .await?;
    ensure!(size.as_f64().is_some_and(|pixels| pixels >= 13.0), "{size} pixels is too small to read at arm's length");
    accessible(browser).await
}

/// No violation that axe-core finds.
async fn accessible(browser: &WebDriver) -> Result<()> {
    ask(browser, AXE.get().context("no axe-core")?).await?;
    let judge = "const done = arguments[arguments.length - 1]; \
                 axe.run(document, { resultTypes: ['violations'] }).then(told => done(told.violations.map(one => \
                 `${one.id} (${one.impact}), ${one.nodes.length} times: ${one.nodes[0].html.slice(0, 200)}`)))";
    let found = browser.execute_async(judge, Vec::new()).await?.json().clone();
    let none = found.as_array().is_some_and(Vec::is_empty);
    ensure!(none, "{}: {found}", browser.current_url().await?.path());
    Ok(())
}

async fn print(browser: &WebDriver, tools: &ChromeDevTools, artifacts: &Path) -> Result<()> {
    tools.execute_cdp_with_params("Emulation.setEmulatedMedia", json!({ "media": "print" })).await?;
    let shown = ask(
        browser,
        "const seen = e => e.getClientRects().length > 0; return [[...document.querySelectorAll('button')].filter(seen).length, \
         [...document.querySelectorAll('tbody td.status')].filter(seen).length]",
    )
    .await;
    browser.screenshot(&artifacts.join("treatment-list-print.png")).await?;
    let paper = json!({ "preferCSSPageSize": true });
    let sheet = tools.execute_cdp_with_params("Page.printToPDF", paper).await?;
    tools.execute_cdp_with_params("Emulation.setEmulatedMedia", json!({ "media": "" })).await?;
    let shown = shown?;
    ensure!(shown.get(0) == Some(&json!(0)), "{shown}: buttons on paper");
    ensure!(shown.get(1).and_then(Value::as_u64) == Some(row_count(browser).await?), "{shown}: verdicts lost on paper");
    let sheet = sheet.get("data").and_then(Value::as_str).context("no PDF")?;
    // “%PDF-” in base64.
    ensure!(sheet.starts_with("JVBERi0"), "the print-out is no PDF");
    Ok(())
}

async fn sign_out(browser: &WebDriver, setting: &Setting) -> Result<()> {
    browser.find(By::Css("form[action='/sign-out'] button")).await?.click().await?;
    // To go elsewhere at once would call the form's request off.
    for _ in 0..ANSWER_TRIES {
        if row_count(browser).await? == 0 {
            break;
        }
        tokio::time::sleep(ANSWER_PAUSE).await;
    }
    browser.goto(text(setting, "pages")?).await?;
    ensure!(row_count(browser).await? == 0, "rows are shown after signing out");
    Ok(())
}
