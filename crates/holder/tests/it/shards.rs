//! A location on another server is a location like any other; and what it bounds.

use std::ops::Range;
use std::sync::Arc;

use holder::{RemoteLocation, Shards};
use location::suite::{self, Open};
use location::{Listed, Location, LocationError, Name, Object, Put, Stats};

use crate::support::{Running, Server};

/// A location, and the daemon behind it.
struct Whole {
    location: RemoteLocation,
    _running: Running,
    _server: Arc<Server>,
}

impl Location for Whole {
    fn id(&self) -> &str {
        self.location.id()
    }
    fn put_if_absent(&self, objects: &[Object<'_>]) -> Result<Vec<Put>, LocationError> {
        self.location.put_if_absent(objects)
    }
    fn get(&self, name: &Name, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, LocationError> {
        self.location.get(name, range)
    }
    fn list(&self, after: Option<&Name>, limit: usize) -> Result<Vec<Listed>, LocationError> {
        self.location.list(after, limit)
    }
    fn stats(&self) -> Result<Stats, LocationError> {
        self.location.stats()
    }
}

fn open(server: &Arc<Server>) -> Whole {
    let running = server.start(3);
    let link = server.link(&running, &server.gateway, Some(running.pin));
    let location = RemoteLocation::new("server-03".into(), server.network.clone(), link);
    Whole { location, _running: running, _server: Arc::clone(server) }
}

#[test]
fn passes_the_suite_that_every_location_passes() {
    suite::run(&|| -> Open<'static> {
        let server = Arc::new(Server::new(3, Shards { reserve_bytes: 0, ..Shards::default() }));
        Box::new(move || Box::new(open(&server)))
    });
}

#[test]
fn a_full_holder_says_so_and_keeps_what_it_has() {
    let server = Arc::new(Server::new(3, Shards { quota_bytes: 1_000, reserve_bytes: 0, ..Shards::default() }));
    let location = open(&server);
    let (name, body) = (Name::new("a").unwrap(), [1; 600]);
    assert_eq!(location.put_if_absent(&[Object { name: &name, parts: &[&body] }]).unwrap(), [Put::Created]);
    let other = Name::new("b").unwrap();
    let refused = location.put_if_absent(&[Object { name: &other, parts: &[&body] }]);
    assert!(matches!(refused, Err(LocationError::Full { .. })), "{refused:?}");
    assert_eq!(location.get(&name, None).unwrap().unwrap(), body);
    assert_eq!(location.stats().unwrap().objects, 1);

    let server = Arc::new(Server::new(3, Shards { reserve_bytes: u64::MAX / 2, ..Shards::default() }));
    let refused = open(&server).put_if_absent(&[Object { name: &name, parts: &[&body] }]);
    assert!(matches!(refused, Err(LocationError::Full { .. })), "{refused:?}");
}

#[test]
fn a_holder_that_is_gone_costs_one_wait_and_comes_back() {
    let server = Arc::new(Server::new(3, Shards { reserve_bytes: 0, ..Shards::default() }));
    let whole = open(&server);
    let (name, address) = (Name::new("a").unwrap(), whole._running.address);
    whole.put_if_absent(&[Object { name: &name, parts: &[b"here"] }]).unwrap();
    let link = server.link(&whole._running, &server.gateway, Some(whole._running.pin));
    let location = RemoteLocation::new("server-03".into(), server.network.clone(), link);
    drop(whole);
    for _ in 0..50 {
        assert!(matches!(location.get(&name, None), Err(LocationError::Gone { .. })));
    }
    // On the same port again.
    let mut config = holder::Config::load(&server.folder(3)).unwrap();
    config.listen = address;
    config.save(&server.folder(3)).unwrap();
    let _running = server.start(3);
    let found = (0..100).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        location.get(&name, None).ok()
    });
    assert_eq!(found.unwrap().unwrap(), b"here");
}
