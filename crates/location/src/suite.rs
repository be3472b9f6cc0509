//! What every location must do, as one suite; an implementation runs it over itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a suite stops at the first surprise

use std::sync::Barrier;
use std::thread;

use crate::{BATCH_OBJECTS_MAX, Listed, Location, LocationError, NAME_BYTES_MAX, Name, OBJECT_BYTES_MAX, Object, Put};

/// Opens one location: the first time empty, then as the last drop left it. Nobody else has it open meanwhile.
pub type Open<'a> = Box<dyn Fn() -> Box<dyn Location> + 'a>;

/// Runs the suite; `fresh` makes a new, empty place each time. Panics where the location breaks a promise.
pub fn run(fresh: &dyn Fn() -> Open<'static>) {
    for test in [
        creates_once,
        keeps_the_first_of_a_batch,
        joins_parts_and_keeps_the_empty_object,
        gives_ranges,
        tells_names_apart,
        lists_in_order_by_pages,
        holds_its_limits,
        survives_reopening,
        has_one_winner_per_name,
        reads_while_it_writes,
    ] {
        test(&fresh());
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn put(location: &dyn Location, objects: &[(&str, &[u8])]) -> Result<Vec<Put>, LocationError> {
    let names: Vec<Name> = objects.iter().map(|(text, _)| name(text)).collect();
    let parts: Vec<[&[u8]; 1]> = objects.iter().map(|(_, body)| [*body]).collect();
    let objects: Vec<Object<'_>> =
        names.iter().zip(&parts).map(|(name, parts)| Object { name, parts: parts.as_slice() }).collect();
    location.put_if_absent(&objects)
}

fn get(location: &dyn Location, text: &str) -> Option<Vec<u8>> {
    location.get(&name(text), None).unwrap()
}

fn everything(location: &dyn Location) -> Vec<(Listed, Vec<u8>)> {
    let listed = location.list(None, usize::MAX).unwrap();
    listed.into_iter().map(|one| (one.clone(), get(location, one.name.as_str()).unwrap())).collect()
}

fn creates_once(open: &Open<'_>) {
    let location = open();
    assert_eq!(location.list(None, 10).unwrap(), []);
    assert_eq!((location.stats().unwrap().objects, location.stats().unwrap().bytes), (0, 0));
    assert_eq!(get(&*location, "a"), None);
    assert_eq!(location.get(&name("a"), Some(0..1)).unwrap(), None);
    assert_eq!(put(&*location, &[]).unwrap(), []);
    assert_eq!(put(&*location, &[("a", b"first"), ("b", b"other")]).unwrap(), [Put::Created, Put::Created]);
    assert_eq!(put(&*location, &[("a", b"second!")]).unwrap(), [Put::Exists]);
    assert_eq!(get(&*location, "a").unwrap(), b"first");
    assert_eq!((location.stats().unwrap().objects, location.stats().unwrap().bytes), (2, 10));
}

fn keeps_the_first_of_a_batch(open: &Open<'_>) {
    let location = open();
    put(&*location, &[("there", b"0")]).unwrap();
    let batch: [(&str, &[u8]); 5] = [("new", b"1"), ("there", b"2"), ("new", b"3"), ("newer", b"4"), ("there", b"5")];
    let expected = [Put::Created, Put::Exists, Put::Exists, Put::Created, Put::Exists];
    assert_eq!(put(&*location, &batch).unwrap(), expected);
    for (text, body) in [("there", b"0"), ("new", b"1"), ("newer", b"4")] {
        assert_eq!(get(&*location, text).unwrap(), body);
    }
    assert_eq!(put(&*location, &batch).unwrap(), [Put::Exists; 5]);
    assert_eq!(location.stats().unwrap().objects, 3);
}

fn joins_parts_and_keeps_the_empty_object(open: &Open<'_>) {
    let location = open();
    let (joined, empty, none) = (name("joined"), name("empty"), name("no-parts"));
    let long = vec![7; 200_000];
    let objects = [
        Object { name: &joined, parts: &[b"ab", b"", &long, b"c"] },
        Object { name: &empty, parts: &[b"", b""] },
        Object { name: &none, parts: &[] },
    ];
    assert_eq!(location.put_if_absent(&objects).unwrap(), [Put::Created; 3]);
    let check = |location: &dyn Location| {
        assert_eq!(get(location, "joined").unwrap(), [b"ab".as_slice(), &long, b"c"].concat());
        assert_eq!(get(location, "empty").unwrap(), b"");
        assert_eq!(get(location, "no-parts").unwrap(), b"");
        assert_eq!(location.get(&empty, Some(0..9)).unwrap().unwrap(), b"");
        assert_eq!(location.list(None, 1).unwrap(), [Listed { name: empty.clone(), len: 0 }]);
    };
    check(&*location);
    drop(location);
    check(&*open());
}

fn gives_ranges(open: &Open<'_>) {
    let location = open();
    let body: Vec<u8> = (0..=255).collect();
    put(&*location, &[("before", b"x"), ("r", &body), ("after", b"y")]).unwrap();
    let ranges = [
        (0, 256),
        (0, 0),
        (17, 18),
        (255, 256),
        (256, 256),
        (200, 300),
        (256, 300),
        (300, 400),
        (9, 3),
        (0, u64::MAX),
        (u64::MAX, u64::MAX),
    ];
    for (start, end) in ranges {
        let (from, to) = (start.min(256) as usize, end.min(256) as usize);
        let expected = body.get(from..to).unwrap_or_default();
        assert_eq!(location.get(&name("r"), Some(start..end)).unwrap().unwrap(), expected, "{start}..{end}");
    }
}

/// Names are keys, not paths, even where they look like paths.
fn tells_names_apart(open: &Open<'_>) {
    let location = open();
    let longest = "x".repeat(NAME_BYTES_MAX);
    let names =
        ["a", "a/b", "a/b/c", "a.b", "a-b", "/a", "a/", "a//b", ".", "..", "../a", "-", "0", "lock", longest.as_str()];
    let objects: Vec<(&str, &[u8])> = names.iter().map(|text| (*text, text.as_bytes())).collect();
    assert_eq!(put(&*location, &objects).unwrap(), vec![Put::Created; names.len()]);
    drop(location);
    let location = open();
    for text in names {
        assert_eq!(get(&*location, text).unwrap(), text.as_bytes());
    }
    assert_eq!(get(&*location, "b"), None);
    assert_eq!(location.stats().unwrap().objects, names.len() as u64);
}

fn lists_in_order_by_pages(open: &Open<'_>) {
    let location = open();
    // Put in no order; listed in the order of bytes.
    let mut texts: Vec<String> = (0..57).map(|n| format!("s/{:03}/{}", n * 37 % 57, n % 3)).collect();
    for chunk in texts.chunks(10) {
        let objects: Vec<(&str, &[u8])> = chunk.iter().map(|text| (text.as_str(), text.as_bytes())).collect();
        put(&*location, &objects).unwrap();
    }
    texts.sort();
    for limit in [1, 7, 57, 1_000] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = location.list(after.as_ref(), limit).unwrap();
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            seen.extend(page.into_iter().map(|one| {
                assert_eq!(one.len, one.name.as_str().len() as u64);
                one.name.as_str().to_owned()
            }));
        }
        assert_eq!(seen, texts, "by {limit}");
    }
    assert_eq!(location.list(None, 0).unwrap(), []);
    // A page begins after a name that isn't there, too.
    assert_eq!(location.list(Some(&name("s/010/")), 1).unwrap()[0].name.as_str(), texts[10]);
    assert_eq!(location.list(Some(&name("t")), 1).unwrap(), []);
}

fn holds_its_limits(open: &Open<'_>) {
    let location = open();
    let mut largest = vec![3; OBJECT_BYTES_MAX];
    assert_eq!(put(&*location, &[("largest", &largest)]).unwrap(), [Put::Created]);
    largest.push(3);
    let refused = put(&*location, &[("beside", b"1"), ("too-large", &largest)]);
    assert!(matches!(refused, Err(LocationError::TooLarge { found, .. }) if found == OBJECT_BYTES_MAX as u64 + 1));
    // In parts it is as large.
    let (one, half) = (name("in-parts"), &largest[..OBJECT_BYTES_MAX / 2 + 1]);
    let refused = location.put_if_absent(&[Object { name: &one, parts: &[half, half] }]);
    assert!(matches!(refused, Err(LocationError::TooLarge { .. })));
    assert_eq!(get(&*location, "beside"), None, "nothing of a refused batch is kept");
    let many = vec![Object { name: &one, parts: &[] }; BATCH_OBJECTS_MAX + 1];
    assert!(matches!(location.put_if_absent(&many), Err(LocationError::BatchTooLarge { .. })));
    assert_eq!(location.stats().unwrap().objects, 1);
    largest.pop();
    assert!(get(&*location, "largest").unwrap() == largest);
}

fn survives_reopening(open: &Open<'_>) {
    let location = open();
    let mut objects = Vec::new();
    for round in 0..5u8 {
        for size in [0, 1, 100, 70_000] {
            objects.push((format!("o-{round}-{size}"), vec![round; size]));
        }
    }
    for chunk in objects.chunks(4) {
        let chunk: Vec<(&str, &[u8])> = chunk.iter().map(|(text, body)| (text.as_str(), body.as_slice())).collect();
        put(&*location, &chunk).unwrap();
    }
    let (before, stats, id) = (everything(&*location), location.stats().unwrap(), location.id().to_owned());
    assert_eq!((before.len(), stats.objects, stats.bytes), (20, 20, 5 * 70_101));
    drop(location);
    let location = open();
    assert!(everything(&*location) == before);
    assert_eq!((location.stats().unwrap(), location.id()), (stats, id.as_str()));
    assert_eq!(put(&*location, &[("o-0-1", b"no"), ("later", b"yes")]).unwrap(), [Put::Exists, Put::Created]);
    drop(location);
    assert_eq!(get(&*open(), "o-0-1").unwrap(), [0]);
    assert_eq!(get(&*open(), "later").unwrap(), b"yes");
}

fn has_one_winner_per_name(open: &Open<'_>) {
    const WRITERS: usize = 8;
    const NAMES: usize = 12;
    let location = open();
    let barrier = Barrier::new(WRITERS);
    let won: Vec<Vec<Put>> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (location, barrier) = (&location, &barrier);
                scope.spawn(move || {
                    let body = [u8::try_from(writer).unwrap(); 33];
                    barrier.wait();
                    (0..NAMES).map(|n| put(&**location, &[(&format!("n{n}"), &body)]).unwrap()[0]).collect()
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let check = |location: &dyn Location| {
        for n in 0..NAMES {
            let winners: Vec<usize> =
                (0..).zip(&won).filter(|(_, puts)| puts[n] == Put::Created).map(|(writer, _)| writer).collect();
            assert_eq!(winners.len(), 1, "name {n} has one winner");
            let body = get(location, &format!("n{n}")).unwrap();
            assert_eq!(body, [u8::try_from(winners[0]).unwrap(); 33], "what stands there is the winner's");
        }
    };
    check(&*location);
    drop(location);
    check(&*open());
}

fn reads_while_it_writes(open: &Open<'_>) {
    const OBJECTS: u32 = 60;
    let location = open();
    let text = |n: u32| format!("w/{n:04}");
    let body = |n: u32| n.to_be_bytes().repeat(2_000);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                // Whatever a listing shows can be read whole, at once.
                loop {
                    let listed = location.list(None, usize::MAX).unwrap();
                    for (n, one) in (0..).zip(&listed) {
                        assert_eq!(one.name.as_str(), text(n));
                        assert_eq!(location.get(&one.name, None).unwrap().unwrap(), body(n));
                    }
                    if listed.len() == OBJECTS as usize {
                        break;
                    }
                }
            });
        }
        for n in 0..OBJECTS {
            put(&*location, &[(&text(n), &body(n))]).unwrap();
        }
    });
}
