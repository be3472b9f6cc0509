//! A store that lies, stalls, forgets to answer or answers without end: a typed error, in time, within bounds.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use proptest::prelude::*;

use super::fake::{GOOD, Objects, Reply, Request, Server, error, reply, serve, store};
use super::*;
use crate::probe::Probed;

/// A location that takes the store as probed.
fn at(server: &Server) -> BucketLocation {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let config = config(server.endpoint.clone(), "bucket");
    let location =
        BucketLocation::patient(&config, Network::start().unwrap(), clock, Arc::new(OsEntropy), SHORT).unwrap();
    *location.probed.lock().unwrap() = Probed::Passed;
    location
}

/// Everything that can be asked, against one answer to all of it. Returns what `get` said.
fn everything(location: &BucketLocation) -> Result<Option<Vec<u8>>, LocationError> {
    let _ = put(location, "a", b"body");
    let _ = location.get(&name("a"), Some(3..9));
    let _ = location.get(&name("a"), Some(0..0));
    let _ = location.list(None, 10);
    let _ = location.list(None, usize::MAX);
    let _ = location.stats();
    let _ = location.probe();
    let _ = location.renew(&credentials("RENEWER", "secret"), SystemClock.now().plus_ms(86_400_000));
    location.get(&name("a"), None)
}

#[test]
fn garbage_is_an_error_and_no_panic() {
    for bytes in [
        b"garbage\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\nabc".to_vec(),
        b"HTTP/1.1 206 OK\r\nContent-Length: 1\r\nContent-Range: bytes 0-18446744073709551615/1\r\n\r\na".to_vec(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_vec(),
        reply(301, &[("Location", "http://127.0.0.1:1/")], b""),
        reply(307, &[("Location", "/elsewhere")], b""),
        reply(999, &[], b""),
        reply(206, &[], b"abc"),
        reply(206, &[("Content-Range", "bytes 3-8/4")], b"abcdef"),
    ] {
        let said = String::from_utf8_lossy(&bytes).into_owned();
        let answer = bytes.clone();
        let server = serve(move |_, _| answer.clone());
        let began = Instant::now();
        let got = everything(&at(&server));
        // An empty body is an object, too; a reader compares it with the digest.
        let harmless = got.as_ref().is_ok_and(|body| body.as_ref().is_none_or(|body| body.len() < 8));
        assert!(got.is_err() || harmless, "{said}: {got:?}");
        assert!(began.elapsed() < Duration::from_secs(60), "{said}: {:?}", began.elapsed());
    }
}

#[test]
fn a_store_that_is_away_is_gone() {
    let server = serve(|_, _| error(503, "SlowDown"));
    let location = at(&server);
    assert!(matches!(everything(&location), Err(LocationError::Gone { .. })));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let location = at(&Server { endpoint, requests: Arc::default() });
    assert!(matches!(put(&location, "a", b"1"), Err(LocationError::Gone { .. })));
    assert!(matches!(everything(&location), Err(LocationError::Gone { .. })));
}

#[test]
fn what_a_store_says_becomes_the_error_that_it_is() {
    let said =
        |status, code: &'static str| put(&at(&serve(move |_, _| error(status, code))), "a", b"12345").unwrap_err();
    assert!(matches!(said(507, ""), LocationError::Full { bytes: 5, .. }));
    assert!(matches!(said(403, "QuotaExceeded"), LocationError::Full { .. }));
    for code in ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"] {
        let denied = said(403, code);
        assert!(matches!(denied, LocationError::Refused { reason: Refusal::Denied { .. }, .. }));
        assert!(denied.to_string().contains(code), "{denied}");
    }
    assert!(matches!(said(404, "NoSuchBucket"), LocationError::Gone { .. }));
    assert!(matches!(said(400, "BadDigest"), LocationError::Io { .. }));
    // A bucket that is gone has not lost one object: nothing may be healed into the void.
    let gone = serve(|_, _| error(404, "NoSuchBucket"));
    assert!(matches!(at(&gone).get(&name("a"), None), Err(LocationError::Gone { .. })));
    assert!(at(&gone).get(&name("a"), Some(0..0)).is_err());
    let mute = serve(|_, _| reply(404, &[], b""));
    assert!(at(&mute).get(&name("a"), None).is_err(), "a 404 of a proxy says nothing of an object");
    assert_eq!(at(&serve(|_, _| error(404, "NoSuchKey"))).get(&name("a"), None).unwrap(), None);
}

#[test]
fn slow_stores_take_no_longer_than_they_may() {
    // Not a byte; then a byte now and again, for ever.
    let silent = serve(|_, _| {
        std::thread::sleep(Duration::from_secs(5));
        Reply::new()
    });
    let dripping = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Reply::new()
    });
    for server in [silent, dripping] {
        let location = at(&server);
        let began = Instant::now();
        assert!(matches!(location.get(&name("a"), None), Err(LocationError::Gone { .. })));
        assert!(began.elapsed() < Duration::from_secs(5));
        let began = Instant::now();
        // The second one has whole headers for a question after headers only: it says that something stands there.
        assert_ne!(put(&location, "a", b"1").ok(), Some(Put::Created));
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_body_without_end_is_not_read_to_the_end() {
    let written = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&written);
    let server = serve(move |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
        while stream.write_all(&chunk).is_ok() {
            counted.fetch_add(chunk.len() as u64, Ordering::SeqCst);
        }
        Reply::new()
    });
    let location = at(&server);
    assert!(location.get(&name("a"), None).unwrap_err().to_string().contains("more than 4194304 bytes"));
    // What lies in the sockets' buffers on top is the system's.
    assert!(written.load(Ordering::SeqCst) < 40 * 1024 * 1024, "{written:?}");
    assert!(location.list(None, 10).is_err());
    assert_ne!(put(&location, "a", b"1").ok(), Some(Put::Created));
}

#[test]
fn listings_that_lie_end() {
    let page = |keys: &[&str], more: bool| -> Reply {
        let lines: String =
            keys.iter().map(|key| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>")).collect();
        reply(
            200,
            &[],
            format!("<ListBucketResult>{lines}<IsTruncated>{more}</IsTruncated></ListBucketResult>").as_bytes(),
        )
    };
    let listed = |answer: Reply| at(&serve(move |_, _| answer.clone())).list(None, usize::MAX);
    // The same page over and over; no page, and more to come; another order; another prefix.
    assert!(listed(page(&["vault/p/o/a-"], true)).is_err());
    assert!(listed(page(&[], true)).is_err());
    assert!(listed(page(&["vault/p/o/b-", "vault/p/o/a-"], false)).is_err());
    assert!(listed(page(&["vault/p/o/a-", "vault/p/o/a-"], false)).is_err());
    assert!(listed(page(&["vault/q/o/a-"], false)).is_err());
    // Other people's objects are passed over; an endless row of them isn't.
    let found = listed(page(&["vault/p/o/.x", "vault/p/o/a-", "vault/p/o/a-%C3%A4", "vault/p/o/a/b-"], false)).unwrap();
    assert_eq!(found.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["a"]);
    let number = AtomicU32::new(0);
    let endless = serve(move |_, _| {
        let first = number.fetch_add(1_000, Ordering::SeqCst);
        let keys: Vec<String> = (first..first + 1_000).map(|n| format!("vault/p/o/{n:010}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        page(&keys, true)
    });
    assert!(at(&endless).list(None, 1).unwrap_err().to_string().contains("10000"));
    // Versions in circles.
    let versions = "<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>vault/p/o/a-</NextKeyMarker></ListVersionsResult>";
    let server = serve(move |_, _| reply(200, &[], versions.as_bytes()));
    assert!(at(&server).renew(&credentials("RENEWER", "s"), SystemClock.now().plus_ms(86_400_000)).is_err());
}

/// The store does the first of these with each put, and then goes on as it should.
fn first_put(trouble: impl Fn(&Objects, &Request) -> Reply + Send + Sync + 'static) -> (BucketLocation, Objects) {
    let (objects, times) = (Objects::default(), AtomicU32::new(0));
    let kept = Arc::clone(&objects);
    let server = serve(move |request, _| {
        if request.method == "PUT" && times.fetch_add(1, Ordering::SeqCst) == 0 {
            return trouble(&objects, request);
        }
        store(&GOOD, &objects, request)
    });
    (at(&server), kept)
}

#[test]
fn an_answer_that_is_lost_is_not_guessed() {
    // Done, and the answer is lost: it is ours.
    for lost in [Reply::new(), error(500, "InternalError"), reply(200, &[], b""), b"HTTP/1.1 200 OK\r\nCont".to_vec()] {
        let (location, objects) = first_put(move |objects, request| {
            store(&GOOD, objects, request);
            lost.clone()
        });
        assert_eq!(put(&location, "a", b"ours").unwrap(), Put::Created);
        assert_eq!(objects.lock().unwrap()["/bucket/vault/p/o/a-"].0, b"ours");
    }
    // Not done.
    for lost in [Reply::new(), error(503, "SlowDown"), error(409, "ConditionalRequestConflict")] {
        let (location, objects) = first_put(move |_, _| lost.clone());
        assert_eq!(put(&location, "a", b"ours").unwrap(), Put::Created);
        assert_eq!(objects.lock().unwrap()["/bucket/vault/p/o/a-"].0, b"ours");
    }
    // Somebody else was first, with the same bytes even.
    for lost in [Reply::new(), error(500, ""), error(409, "ConditionalRequestConflict")] {
        let (location, objects) = first_put(move |objects, request| {
            let other = (b"ours".to_vec(), "another mark".to_owned());
            objects.lock().unwrap().insert(request.path.clone(), other);
            lost.clone()
        });
        assert_eq!(put(&location, "a", b"ours").unwrap(), Put::Exists);
        assert_eq!(objects.lock().unwrap()["/bucket/vault/p/o/a-"].1, "another mark");
    }
    // 409 for ever: somebody is writing it, and it is never seen. That is no "exists".
    let busy =
        serve(
            |request, _| {
                if request.method == "PUT" { error(409, "ConditionalRequestConflict") } else { error(404, "NoSuchKey") }
            },
        );
    assert!(put(&at(&busy), "a", b"ours").is_err());
}

#[test]
fn old_bytes_and_whole_bodies_for_ranges() {
    // A store may pass over a range, and then the part is taken from the whole; what it gives is for the reader to judge.
    let server = serve(|_, _| reply(200, &[], b"0123456789"));
    let location = at(&server);
    assert_eq!(location.get(&name("a"), Some(2..5)).unwrap().unwrap(), b"234");
    assert_eq!(location.get(&name("a"), Some(8..99)).unwrap().unwrap(), b"89");
    assert_eq!(location.get(&name("a"), Some(20..99)).unwrap().unwrap(), b"");
    assert_eq!(location.get(&name("a"), Some(u64::MAX..u64::MAX)).unwrap().unwrap(), b"");
    // Another part than the one asked for is none.
    for said in ["bytes 0-2/10", "bytes 2-4/4", "bytes 2-3/10", "bytes 2-5/10", "bytes 2-4/100"] {
        let server = serve(move |_, _| reply(206, &[("Content-Range", said)], b"234"));
        let part = at(&server).get(&name("a"), Some(2..5));
        assert_eq!(part.is_ok(), said == "bytes 2-4/100", "{said}: {part:?}");
    }
}

/// What the store answers with, to anything: some of it sense, most of it not.
fn answers() -> impl Strategy<Value = Reply> {
    let status = prop_oneof![Just(200), Just(206), Just(204), Just(304), Just(404), Just(412), Just(416), 100u16..600];
    let text = "(<[/!?]?(ListBucketResult|Contents|Key|Size|Error|Code|ListVersionsResult|Version)>|vault/p/o/a-|[0-9]{1,3}|&#x?[0-9]{1,4};|.){0,20}";
    let range = "(bytes )?[0-9*]{1,20}-?[0-9]{0,20}/?[0-9*]{0,20}";
    (status, text, range).prop_map(|(status, body, range)| {
        reply(status, &[("Content-Range", &range), ("ETag", "x"), ("Connection", "close")], body.as_bytes())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn no_answer_panics(answer in answers()) {
        // Interim answers never end; the store's own limits are tested above.
        prop_assume!(!answer.starts_with(b"HTTP/1.1 1"));
        let server = serve(move |_, _| answer.clone());
        let _ = everything(&at(&server));
    }
}
