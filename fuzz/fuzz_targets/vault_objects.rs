//! A whole vault on five locations, shards 3 of 5, of which two hold whatever libFuzzer likes: centre records, segment
//! headers and shards. It must open all the same, find the same head, and give back what was kept, byte for byte.
#![no_main]

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use keys::{CustodianPackage, Holder, LocalHolder, new_identity};
use kit::{Clock, Entropy, Id16, ManualClock, OperationId, PatientId, SeededEntropy, Timestamp};
use libfuzzer_sys::fuzz_target;
use vault::location::{Listed, Location, LocationError, Name, Object, Put, Stats};
use vault::{Access, Founding, Group, Mode, Opening, Parcel, Scope, Shape, Vault, Vkey, found, open};

const PATIENT: PatientId = PatientId([5; 16]);
const PAYLOAD: &[u8] = b"what was kept";

type Objects = BTreeMap<Name, Vec<u8>>;

/// A location that only remembers.
struct Memory(String, Mutex<Objects>);

impl Memory {
    fn objects(&self) -> std::sync::MutexGuard<'_, Objects> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Location for Memory {
    fn id(&self) -> &str {
        &self.0
    }

    fn put_if_absent(&self, objects: &[Object<'_>]) -> Result<Vec<Put>, LocationError> {
        let mut held = self.objects();
        Ok(objects
            .iter()
            .map(|object| {
                let mut put = Put::Exists;
                held.entry(object.name.clone()).or_insert_with(|| {
                    put = Put::Created;
                    object.parts.concat()
                });
                put
            })
            .collect())
    }

    fn get(&self, name: &Name, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, LocationError> {
        Ok(self.objects().get(name).map(|body| {
            let end = |at: u64| usize::try_from(at).map_or(body.len(), |at| at.min(body.len()));
            let Range { start, end } = range.map_or(0..body.len(), |range| end(range.start)..end(range.end));
            body.get(start..end).unwrap_or_default().to_vec()
        }))
    }

    fn list(&self, after: Option<&Name>, limit: usize) -> Result<Vec<Listed>, LocationError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let held = self.objects();
        let listed = held.range::<Name, _>((from, Bound::Unbounded)).take(limit);
        Ok(listed.map(|(name, body)| Listed { name: name.clone(), len: body.len() as u64 }).collect())
    }

    fn stats(&self) -> Result<Stats, LocationError> {
        let held = self.objects();
        Ok(Stats { objects: held.len() as u64, bytes: held.values().map(|body| body.len() as u64).sum() })
    }
}

struct Standing {
    locations: Vec<Objects>,
    holders: Vec<Arc<dyn Holder>>,
    vkey: Vkey,
    size: u64,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// The holders' own.
    _folder: tempfile::TempDir,
}

/// A vault with three segments, made once.
static STANDING: LazyLock<Standing> = LazyLock::new(|| {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp(1_767_268_800_000)));
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(7));
    let locations: Vec<_> =
        (0..5).map(|number| Arc::new(Memory(format!("server-{number}"), Mutex::default()))).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let holders: Vec<Arc<dyn Holder>> = (1..=3)
        .map(|number| {
            let dir = folder.path().join(number.to_string());
            Arc::new(LocalHolder::init(&dir, number, &*entropy).expect("a holder")) as Arc<dyn Holder>
        })
        .collect();
    let (custodians, _) = CustodianPackage::establish(1, &[new_identity().1], &*entropy).expect("a custodian");
    let vault = found(Founding {
        vault: Id16([9; 16]),
        origin: "fuzz.example/log".into(),
        shape: Shape::new(3, 5, 3).expect("a shape"),
        locations: locations.iter().map(|location| Arc::clone(location) as Arc<dyn Location>).collect(),
        holders: holders.clone(),
        t: 2,
        cache_ms: 60_000,
        custodians,
        gateway: None,
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
    })
    .expect("a vault");
    for number in 0..3 {
        let parcel = Parcel {
            scope: Scope::Patient(PATIENT),
            kind: "fuzz".into(),
            meta: vec![number],
            payload: Some(PAYLOAD.to_vec()),
        };
        let new_patients = if number == 0 { vec![PATIENT] } else { Vec::new() };
        let group = Group { operation: OperationId([number; 16]), permit: None, new_patients, parcels: vec![parcel] };
        vault.keep(group).expect("a receipt");
    }
    let (vkey, size) = (vault.vkey(), vault.size());
    drop(vault);
    let locations = locations.iter().map(|location| location.objects().clone()).collect();
    Standing { locations, holders, vkey, size, clock, entropy, _folder: folder }
});

/// The vault again, over these objects.
fn reopened(locations: Vec<Objects>) -> Vault {
    let standing = &*STANDING;
    let numbered = (0..).zip(locations);
    open(Opening {
        locations: numbered
            .map(|(n, held): (u8, _)| Arc::new(Memory(format!("server-{n}"), Mutex::new(held))) as Arc<dyn Location>)
            .collect(),
        access: Access::Holders { holders: standing.holders.clone(), cache_ms: 60_000, prover: None },
        gateway: None,
        vkey: Some(standing.vkey.clone()),
        mode: Mode::Read,
        clock: Arc::clone(&standing.clock),
        entropy: Arc::clone(&standing.entropy),
    })
    .expect("three good locations open")
}

fuzz_target!(|data: &[u8]| {
    let [how, which, at_low, at_high, bytes @ ..] = data else { return };
    let mut locations = STANDING.locations.clone();
    for location in locations.iter_mut().skip(3) {
        let count = location.len();
        let Some((name, body)) = location.iter_mut().nth(usize::from(*which) % count) else { return };
        let at = usize::from(u16::from_le_bytes([*at_low, *at_high])) % (body.len() + 1);
        match how % 4 {
            0 => *body = bytes.to_vec(),
            1 => body.iter_mut().skip(at).zip(bytes).for_each(|(byte, other)| *byte ^= other),
            2 => body.truncate(at),
            // One more object beside it, as a repair or a later segment would be named.
            _ => {
                let renamed = String::from_utf8_lossy(bytes).into_owned();
                let (name, body) = (Name::new(format!("{name}{renamed}")), body.clone());
                let Ok(name) = name else { return };
                location.insert(name, body);
            }
        }
    }
    let vault = reopened(locations);
    assert_eq!(vault.size(), STANDING.size);
    let mut payloads = 0;
    for index in 0..vault.size() {
        let entry = vault.entry(index).expect("an entry");
        if entry.kind == "fuzz" {
            let (_, payload) = vault.fetch(index, "fuzz", "fuzz").expect("a payload");
            assert_eq!(&payload[..], PAYLOAD);
            payloads += 1;
        }
    }
    assert_eq!(payloads, 3);
});
