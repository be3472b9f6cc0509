//! Buckets that lack one thing are refused by its name, and take nothing.

use super::fake::{GOOD, Objects, Promises, serve, store};
use super::*;

/// A clock that agrees with the tiny store's.
fn now() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(crate::time::parse(fake::MODIFIED).unwrap().plus_ms(60_000)))
}

fn at(endpoint: &str, clock: &Arc<ManualClock>) -> BucketLocation {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    let config = config(endpoint.into(), "bucket");
    BucketLocation::patient(&config, Network::start().unwrap(), clock, Arc::new(OsEntropy), SHORT).unwrap()
}

fn probed(promises: Promises) -> &'static str {
    let objects = Objects::default();
    let kept = Arc::clone(&objects);
    let server = serve(move |request, _| store(&promises, &objects, request));
    let location = at(&server.endpoint, &now());
    let found = refused_by(location.probe());
    if found != "nothing" {
        assert_eq!(refused_by(put(&location, "shard", b"body")), found, "nothing is put, either");
        assert!(!kept.lock().unwrap().keys().any(|path| path.contains("/o/")));
    }
    found
}

#[test]
fn each_promise_that_is_missing_is_named() {
    assert_eq!(probed(GOOD), "nothing");
    for status in ["<Status>Suspended</Status>", ""] {
        let versioning = format!("<VersioningConfiguration>{status}</VersioningConfiguration>").leak();
        assert_eq!(probed(Promises { versioning, ..GOOD }), "versioning");
    }
    assert_eq!(probed(Promises { versions: false, ..GOOD }), "versioning");
    let lock = |text: &str, other: &str| -> &'static str { GOOD.lock.replace(text, other).leak() };
    for lock in [
        "",
        "<ObjectLockConfiguration/>",
        lock("<ObjectLockEnabled>Enabled</ObjectLockEnabled>", ""),
        lock("COMPLIANCE", "GOVERNANCE"),
        lock("30", "29"),
        lock("30", "0"),
    ] {
        assert_eq!(probed(Promises { lock, ..GOOD }), "object-lock", "{lock}");
    }
    assert_eq!(probed(Promises { conditional: false, ..GOOD }), "conditional-put");
    let retention = |text: &str, other: &str| -> &'static str { GOOD.retention.replace(text, other).leak() };
    for retention in
        ["", retention("COMPLIANCE", "GOVERNANCE"), retention("12-25", "12-24"), retention("2026-12", "2020-12")]
    {
        assert_eq!(probed(Promises { retention, ..GOOD }), "retention", "{retention}");
    }
    for delete in [(204, false), (204, true), (403, true)] {
        assert_eq!(probed(Promises { delete, ..GOOD }), "delete-refused", "{delete:?}");
    }
}

/// A store that looks first and writes then passes every test but one at the same moment.
#[test]
fn a_race_is_noticed() {
    let objects = Objects::default();
    let server = serve(move |request, _| {
        let looked = objects.lock().unwrap().contains_key(&request.path);
        if request.method == "PUT" && !looked {
            std::thread::sleep(Duration::from_millis(50));
            return store(&Promises { conditional: false, ..GOOD }, &objects, request);
        }
        store(&GOOD, &objects, request)
    });
    assert_eq!(refused_by(at(&server.endpoint, &now()).probe()), "conditional-put");
}

/// An object a day, however often it is asked.
#[test]
fn the_objects_of_probes_are_few() {
    let objects = Objects::default();
    let kept = Arc::clone(&objects);
    let server = serve(move |request, _| store(&GOOD, &objects, request));
    let clock = now();
    let location = at(&server.endpoint, &clock);
    let keys: Vec<String> = (0..5).map(|_| location.probe().unwrap().key).collect();
    assert_eq!(keys, vec!["vault/p/probe/2026-11-25"; 5]);
    clock.advance_ms(86_400_000);
    assert_eq!(location.probe().unwrap().key, "vault/p/probe/2026-11-26");
    assert_eq!(kept.lock().unwrap().len(), 2);
}

/// A bucket that loses something later is refused from then on, until it has it again; one that is away is not.
#[test]
fn a_later_probe_closes_and_opens() {
    let (objects, state) = (Objects::default(), Arc::new(std::sync::Mutex::new("good")));
    let told = Arc::clone(&state);
    let server = serve(move |request, _| match *told.lock().unwrap() {
        "good" => store(&GOOD, &objects, request),
        "away" => fake::error(503, "ServiceUnavailable"),
        _ => store(&Promises { lock: "", ..GOOD }, &objects, request),
    });
    let clock = now();
    let location = at(&server.endpoint, &clock);
    assert_eq!(put(&location, "a", b"1").unwrap(), Put::Created, "the first put probes");
    *state.lock().unwrap() = "away";
    assert!(matches!(location.probe(), Err(LocationError::Gone { .. })));
    assert!(matches!(put(&location, "b", b"1"), Err(LocationError::Gone { .. })));
    *state.lock().unwrap() = "good";
    assert_eq!(put(&location, "b", b"1").unwrap(), Put::Created, "nothing was learnt while it was away");
    *state.lock().unwrap() = "no lock";
    assert_eq!(refused_by(location.probe()), "object-lock");
    *state.lock().unwrap() = "good";
    let before = server.requests.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(refused_by(put(&location, "c", b"1")), "object-lock");
    assert_eq!(server.requests.load(std::sync::atomic::Ordering::SeqCst), before, "nobody is asked within a minute");
    clock.advance_ms(61_000);
    assert_eq!(put(&location, "c", b"1").unwrap(), Put::Created);
}

#[test]
fn renewing_is_not_for_the_gateway_nor_for_ever() {
    let server = serve(|_, _| fake::error(500, "InternalError"));
    let clock = now();
    let location = at(&server.endpoint, &clock);
    let day = 86_400_000;
    let field = |who: &str, until: Timestamp| match location.renew(&credentials(who, "secret"), until) {
        Err(LocationError::Refused { reason: Refusal::Configuration { field, .. }, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field("GATEWAY", clock.now().plus_ms(day)), "access_key_id");
    assert_eq!(field("RENEWER", clock.now()), "until");
    assert_eq!(field("RENEWER", clock.now().plus_ms(3_661 * day)), "until");
    assert_eq!(field("", clock.now().plus_ms(day)), "access_key_id");
    let away = location.renew(&credentials("RENEWER", "secret"), clock.now().plus_ms(day));
    assert!(matches!(away, Err(LocationError::Gone { .. })));
}
