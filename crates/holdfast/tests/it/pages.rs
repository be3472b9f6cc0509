//! The pages at their door, as somebody who means harm finds them: OWASP ASVS 4.0.3, level 2; `docs/asvs.md` says which line stands where.

use serde_json::{Value, json};

use super::{Server, Site, exchange, get};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const JSON: &str = "Content-Type: application/json\r\n";

fn cookie_of(head: &str) -> Option<&str> {
    head.lines().find_map(|line| line.strip_prefix("set-cookie: "))
}

struct Pages<'a> {
    site: &'a Site,
    server: &'a Server,
}

impl Pages<'_> {
    fn http(&self) -> &str {
        self.server.ready["http"].as_str().unwrap()
    }

    fn code(&self) -> String {
        let link = self.site.done(&["sign-in", "--role", "auditor", "--subject", "asvs", "--json"]).json();
        link["code"].as_str().unwrap().to_owned()
    }

    fn post(&self, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        exchange("POST", self.http(), path, headers, body)
    }
}

#[test]
fn a_session_is_new_bound_and_over_when_it_ends() {
    let site = Site::new();
    site.done(&["init", "--servers", "1"]);
    let server = site.serve(&[]);
    let pages = Pages { site: &site, server: &server };

    // 3.2.1, fixation: what a browser brings along is never what it gets.
    let brought = format!("hfs_{}", "A".repeat(43));
    let fixed = format!("{FORM}Cookie: holdfast_session={brought}\r\n");
    let (status, head, _) = pages.post("/sign-in", &fixed, &format!("code={}", pages.code()));
    let cookie = cookie_of(&head).unwrap().to_owned();
    assert!(status == 303 && !cookie.contains(&brought), "{head}");
    assert_eq!(get(pages.http(), "/posture", &format!("Cookie: holdfast_session={brought}\r\n")).0, 401);
    // 3.4: no script reads it, no other site sends it.
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.split("; ").any(|one| one == attribute), "{cookie}");
    }
    let session = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(get(pages.http(), "/posture", &session).0, 200);
    // On another computer it is over, for good.
    assert_eq!(get(pages.http(), "/posture", &format!("{session}User-Agent: another\r\n")).0, 401);
    assert_eq!(get(pages.http(), "/posture", &session).0, 401);

    // 3.3.1: signed out it is nobody's; the page that follows is the next one's sign-in.
    let (_, head, _) = pages.post("/sign-in", FORM, &format!("code={}", pages.code()));
    let session = format!("Cookie: {}\r\n", cookie_of(&head).unwrap().split(';').next().unwrap());
    // 4.2.2: another page's form does nothing.
    for foreign in
        ["Sec-Fetch-Site: cross-site\r\n", "Sec-Fetch-Site: same-site\r\n", "Origin: https://evil.example\r\n"]
    {
        assert_eq!(pages.post("/sign-out", &format!("{FORM}{session}{foreign}"), "").0, 403, "{foreign}");
    }
    assert_eq!(get(pages.http(), "/posture", &session).0, 200);
    let (status, head, page) = pages.post("/sign-out", &format!("{FORM}{session}Sec-Fetch-Site: same-origin\r\n"), "");
    assert!(
        status == 200 && cookie_of(&head).unwrap().contains("Max-Age=0") && page.contains("Who are you?"),
        "{head}"
    );
    assert_eq!(get(pages.http(), "/posture", &session).0, 401);
}

#[test]
fn the_door_tells_nobody_who_is_here_and_takes_no_more_than_it_needs() {
    let site = Site::new();
    site.done(&["init", "--servers", "1"]);
    let server = site.serve(&[]);
    let pages = Pages { site: &site, server: &server };
    // 2.2, 2.5: what asks for a code or a login is answered alike.
    let begin = |path: &str, body: &Value| pages.post(path, JSON, &body.to_string());
    let keys = |text: &str| {
        let options: Value = serde_json::from_str(text).unwrap();
        options["options"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    let (status, _, one) = begin("/sign-in/begin", &json!({ "login": "nobody", "then": "/" }));
    let (_, _, other) = begin("/sign-in/begin", &json!({ "login": "nobody.else", "then": "//evil.example" }));
    assert_eq!((status, keys(&one)), (200, keys(&other)));
    // 5.1.5: where it leads afterwards is a page of ours.
    let then: Value = serde_json::from_str(&other).unwrap();
    assert_eq!(then["then"], "/");
    let invited = site.done(&["invite", "--role", "nurse", "--subject", "her", "--json"]).json();
    let code = invited["code"].as_str().unwrap();
    let refused = |login: &str, code: &str| {
        let (status, _, body) = begin("/enrol/begin", &json!({ "login": login, "code": code }));
        (status, body)
    };
    assert_eq!(refused("her", "0000-0000-0000-0000-0000-0000-0000-0000"), refused("nobody", code));
    assert_eq!(refused("her", code).0, 200);
    // An answer to nothing that was asked, and a body that nobody needs.
    let long = "a".repeat(200_000);
    let answer = json!({ "ceremony": "00000000000000000000000000000000", "answer": {} });
    assert_eq!(begin("/sign-in/finish", &answer).0, 403);
    for body in [json!({ "login": long }), json!([]), json!({ "ceremony": 7, "answer": {} })] {
        let (status, head, _) = begin("/sign-in/finish", &body);
        assert!((400..500).contains(&status) && cookie_of(&head).is_none(), "{status}");
    }
    // 12.3: no path leads out of the program; 14.5.1: no other method does anything.
    for path in [
        "/../gateway/holdfast.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/style.css/../../Cargo.toml",
        "//etc/passwd",
        "/..%5c..%5cx",
    ] {
        let (status, _, body) = get(pages.http(), path, "");
        assert!(matches!(status, 400..=404) && !body.contains("root:"), "{path}: {status}");
    }
    for method in ["TRACE", "PUT", "DELETE", "CONNECT", "PATCH"] {
        let (status, ..) = exchange(method, pages.http(), "/sign-in", "", "");
        assert!(matches!(status, 400..=405), "{method}: {status}");
    }
    // 14.4: what every page says to the browser; a script only where passkeys are shown.
    for (path, script) in [("/sign-in?code=x", false), ("/no-such-page", false), ("/sign-in", true), ("/enrol", true)] {
        let (_, head, _) = get(pages.http(), path, "");
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        let policy = header("content-security-policy: ");
        assert!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert_eq!(policy.contains("script-src 'self'"), script, "{path}: {policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{path}: {policy}");
        assert_eq!(header("x-content-type-options: "), "nosniff");
        assert_eq!(header("referrer-policy: "), "no-referrer");
        assert_eq!(header("cache-control: "), "no-store", "{path}");
    }
}
