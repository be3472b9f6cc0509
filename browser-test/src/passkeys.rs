//! Passkeys in a real browser, with a virtual authenticator (W3C Web Authentication 3, 11): two administrators let somebody in, she
//! comes by her passkey, and nobody comes without user verification.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use thirtyfour::extensions::cdp::ChromeDevTools;
use thirtyfour::prelude::*;

use super::{ANSWER_PAUSE, ANSWER_TRIES, Setting, Tap, ask, fits, led_to, text};

/// Logins, roles, and the names that they sign under.
const NEW: &str = "dr.new";
const PHYSICIST: &str = "ph.new";
const SIGNERS: [(&str, &str, &str); 2] =
    [(NEW, "oncologist", "Browser Oncologist"), (PHYSICIST, "physicist", "Browser Physicist")];

pub(super) async fn checks(browser: &WebDriver, tools: &ChromeDevTools, setting: &Setting, tap: &mut Tap) {
    let authenticator = authenticator(tools).await;
    let plugged = authenticator.as_ref().map(|_| ()).map_err(|error| anyhow::anyhow!("{error:#}"));
    tap.check("an authenticator is plugged in", plugged);
    let authenticator = authenticator.unwrap_or_default();
    tap.check("administrators make their first passkeys by codes of the terminal", first_ones(browser, setting).await);
    tap.check("two administrators let somebody in, each with half of a code", two(browser, setting).await);
    let verified = unverified(browser, tools, setting, &authenticator).await;
    tap.check("without user verification nobody comes in", verified);
    tap.check("she shows once more that she is there", present(browser, setting).await);
    tap.check("two people sign a plan by their passkeys, and the gate knows", signed(browser, setting).await);
    tap.check("only the pages for passkeys have a script, and it is ours", scripts(browser, setting).await);
}

async fn authenticator(tools: &ChromeDevTools) -> Result<Value> {
    tools.execute_cdp_with_params("WebAuthn.enable", json!({})).await?;
    let options = json!({ "options": {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
        "isUserVerified": true, "automaticPresenceSimulation": true,
    } });
    let made = tools.execute_cdp_with_params("WebAuthn.addVirtualAuthenticator", options).await?;
    made.get("authenticatorId").cloned().context("no authenticator")
}

async fn go(browser: &WebDriver, setting: &Setting, path: &str) -> Result<()> {
    Ok(browser.goto(format!("{}{path}", text(setting, "pages")?)).await?)
}

async fn fill(browser: &WebDriver, name: &str, words: &str) -> Result<()> {
    Ok(browser.find(By::Css(format!("input[name={name}]"))).await?.send_keys(words).await?)
}

async fn press(browser: &WebDriver, form: &str) -> Result<()> {
    Ok(browser.find(By::Css(format!("{form} button"))).await?.click().await?)
}

async fn said(browser: &WebDriver) -> Result<String> {
    let said = ask(browser, "return document.getElementById('said')?.textContent ?? ''").await?;
    Ok(said.as_str().unwrap_or_default().to_owned())
}

async fn enrols(browser: &WebDriver, setting: &Setting, login: &str, code: &str) -> Result<()> {
    go(browser, setting, "/enrol").await?;
    fill(browser, "login", login).await?;
    fill(browser, "code", code).await?;
    press(browser, "form[data-ceremony]").await?;
    led_to(browser, "/sign-in").await.with_context(|| format!("{login} can't enrol"))
}

async fn signs_in(browser: &WebDriver, setting: &Setting, login: &str, then: &str) -> Result<()> {
    go(browser, setting, &format!("/sign-in?then={then}")).await?;
    fill(browser, "login", login).await?;
    press(browser, "form[data-ceremony]").await?;
    if let Err(error) = led_to(browser, then).await {
        anyhow::bail!("{login} can't sign in: {error:#}: {}", said(browser).await?);
    }
    let who = ask(browser, "return document.querySelector('form[action=\"/sign-out\"] a')?.textContent").await?;
    ensure!(who == login, "{who} is signed in, not {login}");
    Ok(())
}

async fn first_ones(browser: &WebDriver, setting: &Setting) -> Result<()> {
    for (login, code) in setting.codes.as_object().context("no codes")? {
        enrols(browser, setting, login, code.as_str().unwrap_or_default()).await?;
    }
    signs_in(browser, setting, "it-one", "/passkeys").await?;
    fits(browser, &setting.artifacts, "passkeys.png").await?;
    // A code is used once.
    go(browser, setting, "/enrol").await?;
    fill(browser, "login", "it-two").await?;
    fill(browser, "code", setting.codes.get("it-two").and_then(Value::as_str).unwrap_or_default()).await?;
    press(browser, "form[data-ceremony]").await?;
    told(browser, "The code is wrong, used up or expired").await?;
    fits(browser, &setting.artifacts, "enrol.png").await
}

async fn told(browser: &WebDriver, words: &str) -> Result<()> {
    for _ in 0..ANSWER_TRIES {
        if said(browser).await?.contains(words) {
            return Ok(());
        }
        tokio::time::sleep(ANSWER_PAUSE).await;
    }
    anyhow::bail!("the page says {:?}, not {words:?}", said(browser).await?)
}

/// The half of a code that stands on the page.
async fn half(browser: &WebDriver) -> Result<String> {
    for _ in 0..ANSWER_TRIES {
        let half = ask(browser, "return document.querySelector('p.said code')?.textContent ?? ''").await?;
        if let Some(half) = half.as_str().filter(|half| half.len() == 19) {
            return Ok(half.to_owned());
        }
        tokio::time::sleep(ANSWER_PAUSE).await;
    }
    anyhow::bail!("no half of a code on the page")
}

/// One invites, another releases, she enrols.
async fn let_in(browser: &WebDriver, setting: &Setting, (login, role): (&str, &str)) -> Result<()> {
    signs_in(browser, setting, "it-one", "/people").await?;
    fill(browser, "login", login).await?;
    ask(browser, &format!("document.querySelector('select[name=role]').value = '{role}'")).await?;
    press(browser, "form[action='/people/invite']").await?;
    let first = half(browser).await?;
    let releases = "return document.querySelectorAll('form[action=\"/people/release\"]').length";
    ensure!(ask(browser, releases).await? == 0, "one administrator could release her own invitation");
    signs_in(browser, setting, "it-two", "/people").await?;
    press(browser, "form[action='/people/release']").await?;
    let second = half(browser).await?;
    fits(browser, &setting.artifacts, "people.png").await?;
    enrols(browser, setting, login, &format!("{first} {}", second.to_lowercase())).await
}

async fn two(browser: &WebDriver, setting: &Setting) -> Result<()> {
    for (login, role, _) in SIGNERS {
        let_in(browser, setting, (login, role)).await?;
    }
    signs_in(browser, setting, NEW, "/passkeys").await
}

/// At the terminal they are enrolled as who signs; on the page each signs, and both are seen.
async fn signed(browser: &WebDriver, setting: &Setting) -> Result<()> {
    for (login, role, name) in SIGNERS {
        let words = ["person", "new", "--name", name, "--role", role, "--login", login, "--data"];
        let said = std::process::Command::new(&setting.program).args(words).arg(&setting.data).output()?;
        ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
    let mut approval = String::new();
    for (login, _, name) in SIGNERS {
        signs_in(browser, setting, login, "/passkeys").await?;
        if approval.is_empty() {
            go(browser, setting, "/").await?;
            let href = "return document.querySelector(\"td.why a[href^='/approval']\").getAttribute('href')";
            approval = ask(browser, href).await?.as_str().context("nobody's plan waits to be signed")?.to_owned();
        }
        go(browser, setting, &approval).await?;
        browser.find(By::Css("main a[href^='/approval/sign']")).await?.click().await?;
        led_to(browser, "/approval/sign").await?;
        fits(browser, &setting.artifacts, "sign.png").await?;
        press(browser, "form[data-ceremony]").await?;
        if let Err(error) = led_to(browser, "/approval").await {
            anyhow::bail!("{login} can't sign: {error:#}: {}", said(browser).await?);
        }
        let page = ask(browser, "return document.querySelector('main').innerText").await?;
        let page = page.as_str().unwrap_or_default();
        ensure!(page.contains(name) && page.contains("Counts"), "{name}'s signature isn't seen: {page}");
    }
    let first = ask(browser, "return document.querySelector('.totals li').innerText").await?;
    ensure!(first.as_str().is_some_and(|text| text.contains("Two people have signed")), "{first}");
    fits(browser, &setting.artifacts, "signed.png").await
}

async fn unverified(browser: &WebDriver, tools: &ChromeDevTools, setting: &Setting, id: &Value) -> Result<()> {
    let verifies = async |verifies: bool| {
        let who = json!({ "authenticatorId": id, "isUserVerified": verifies });
        tools.execute_cdp_with_params("WebAuthn.setUserVerified", who).await
    };
    press(browser, "form[action='/sign-out']").await?;
    verifies(false).await?;
    go(browser, setting, "/sign-in?then=/passkeys").await?;
    fill(browser, "login", NEW).await?;
    press(browser, "form[data-ceremony]").await?;
    let said = told(browser, "No passkey was shown").await;
    let shot = fits(browser, &setting.artifacts, "sign-in.png").await;
    verifies(true).await?;
    said.and(shot)?;
    press(browser, "form[data-ceremony]").await?;
    led_to(browser, "/passkeys").await
}

async fn present(browser: &WebDriver, setting: &Setting) -> Result<()> {
    go(browser, setting, "/presence?then=//evil.example").await?;
    fits(browser, &setting.artifacts, "presence.png").await?;
    press(browser, "form[data-ceremony]").await?;
    // To our own first page, whatever the link said.
    led_to(browser, "/").await?;
    ensure!(browser.current_url().await?.as_str().starts_with(text(setting, "pages")?), "another site");
    Ok(())
}

async fn scripts(browser: &WebDriver, setting: &Setting) -> Result<()> {
    signs_in(browser, setting, "it-one", "/people").await?;
    for (path, count) in [("/posture", 0), ("/people", 0), ("/sign-in", 1), ("/enrol", 1), ("/passkeys", 1)] {
        go(browser, setting, path).await?;
        let scripts = ask(browser, "return [...document.scripts].map(one => one.getAttribute('src'))").await?;
        let found = scripts.as_array().context("no list")?;
        ensure!(found.len() == count && found.iter().all(|one| one == "/passkeys.js"), "{path}: {scripts}");
        // One that somebody puts there isn't run.
        let put = "const one = document.createElement('script'); one.textContent = 'window.put = 1'; \
                   document.body.append(one); return window.put ?? 0";
        ensure!(ask(browser, put).await? == 0, "a script that somebody puts on {path} runs");
    }
    Ok(())
}
