"""The pages as a careful browser receives them: headers, cookies, the one-time link."""

import re

import requests

from peer import HTTP, READY, TOKENS
from tap import check, main, same


def get(path="/", **more):
    return requests.get(f"{HTTP}{path}", allow_redirects=False, timeout=30, **more)


@check
def policy():
    """every page forbids scripts, frames, plugins and foreign sources by its policy"""
    for answer in (get(), get("/sign-in?code=wrong"), get("/no-such-page")):
        policy = answer.headers.get("Content-Security-Policy", "")
        rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";") if rule.strip())
        same(rules.get("default-src"), "'none'", f"default-src of {answer.url}")
        same(rules.get("frame-ancestors"), "'none'", "frame-ancestors")
        same(rules.get("base-uri"), "'none'", "base-uri")
        assert rules.get("form-action") in ("'self'", "'none'"), policy
        # Only where a passkey is shown, and only our own.
        is_sign_in = answer.status_code == 401
        same(rules.get("script-src"), "'self'" if is_sign_in else None, f"script-src of {answer.url}")
        same(rules.get("connect-src"), "'self'" if is_sign_in else None, f"connect-src of {answer.url}")
        assert "unsafe" not in policy and "*" not in policy and "http" not in policy, policy
        same(answer.headers.get("X-Content-Type-Options"), "nosniff")
        same(answer.headers.get("Referrer-Policy"), "no-referrer")


@check
def private():
    """no page of patients is kept in a cache"""
    answer = get(headers={"Authorization": f"Bearer {TOKENS['oncologist']}"})
    assert "no-store" in answer.headers.get("Cache-Control", ""), answer.headers


@check
def closed():
    """without a sign-in there is no list"""
    answer = get()
    assert answer.status_code in (302, 303, 401, 403) or "<table" not in answer.text, answer.status_code
    assert "<tbody" not in answer.text


@check
def wrong_code():
    """a wrong code opens nothing, and is not echoed"""
    for code in ("wrong", "<script>alert(1)</script>", "a" * 10_000):
        answer = requests.post(f"{HTTP}/sign-in", data={"code": code}, allow_redirects=False, timeout=30)
        assert 400 <= answer.status_code < 500, answer.status_code
        assert "Set-Cookie" not in answer.headers, answer.headers
        assert "<script" not in answer.text
        page = get("/sign-in", params={"code": code})
        assert "<script" not in page.text, "the code is echoed unescaped"


@check
def looking_is_not_using():
    """fetching the link (as mail scanners do) shows a button and doesn't use the code up"""
    code = re.search(r"code=([^&]+)", READY["sign_in"]).group(1)
    for _ in range(2):
        page = get("/sign-in", params={"code": code})
        same(page.status_code, 200)
        assert "Set-Cookie" not in page.headers and "<form" in page.text and "<script" not in page.text


main()
