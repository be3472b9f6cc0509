//! What all that stands around a chart read costs: the whole read beside the vault's own fetch of the same record. For `cargo xtask bench
//! guard`; a line of JSON for each kind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a measurement may stop at the first surprise

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use chart::fhir::Resource;
use chart::{Chart, Context};
use guard::{Act, Purpose, Role, Sensitivity, Target};
use keys::{CustodianPackage, Holder, LocalHolder};
use kit::{Clock as _, Id16, OperationId, OsEntropy, SystemClock};
use vault::location::{FolderLocation, Location, Marker};
use vault::{Founding, Shape};

const SERVERS: u8 = 14;
/// Of each login, fewer than its budget for charts that nothing explains.
const OF_EACH: usize = 10;

fn found(root: &Path) -> Chart {
    let vault = Id16(*b"chart bench 0001");
    let mut locations: Vec<Arc<dyn Location>> = Vec::new();
    let mut holders: Vec<Arc<dyn Holder>> = Vec::new();
    for number in 1..=SERVERS {
        let marker = Marker::new(format!("server-{number}"), vault, number);
        locations.push(Arc::new(FolderLocation::init(&root.join(format!("{number}/shards")), marker).unwrap()));
        holders.push(Arc::new(LocalHolder::init(&root.join(format!("{number}/holder")), number, &OsEntropy).unwrap()));
    }
    let (_, recipient) = keys::new_identity();
    let (custodians, _) = CustodianPackage::establish(1, &[recipient], &OsEntropy).unwrap();
    let founded = vault::found(Founding {
        vault,
        origin: "chart.bench/read".into(),
        shape: Shape::new(3, SERVERS, 8).unwrap(),
        locations,
        holders,
        t: 12,
        cache_ms: 3_600_000,
        custodians,
        gateway: Some(root.join("gateway")),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
    })
    .unwrap();
    let index = root.join("gateway/index.sqlite");
    Chart::open(Arc::new(founded), Some(&index), Vec::new(), Arc::new(SystemClock), Arc::new(OsEntropy)).unwrap()
}

fn login(chart: &Chart, role: Role, subject: &str, purpose: Purpose) -> Context {
    let operation = || OperationId::random(&OsEntropy);
    let console = Context { caller: chart.guard().console(), purpose: Purpose::Operations, operation: operation() };
    let permit = chart.admit(&console, Act::ManageAccess, Target::Centre, Sensitivity::Clinical).unwrap();
    let (_, token) = chart.guard().issue_token(&permit, role, subject, 86_400_000).unwrap();
    Context { caller: chart.guard().authenticate_bearer(&token).unwrap(), purpose, operation: operation() }
}

fn main() {
    let root = PathBuf::from(std::env::args().nth(1).expect("a folder"));
    let logins: usize = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(200);
    let chart = found(&root);
    let his = login(&chart, Role::Service, "his", Purpose::Operations);
    let today = SystemClock.now().to_string();
    let staff: Vec<Context> =
        (0..logins).map(|n| login(&chart, Role::Nurse, &format!("nurse-{n}"), Purpose::Treatment)).collect();
    for n in 0..logins {
        let practitioner = format!(
            r#"{{"resourceType":"Practitioner","id":"pr{n}","identifier":[{{"system":"urn:holdfast:login","value":"nurse-{n}"}}]}}"#
        );
        let mut resources = vec![practitioner];
        for p in n * OF_EACH..(n + 1) * OF_EACH {
            resources.push(format!(r#"{{"resourceType":"Patient","id":"p{p}"}}"#));
            let subject = format!(r#""reference":"Patient/p{p}""#);
            resources.push(format!(r#"{{"resourceType":"Condition","id":"c{p}","subject":{{{subject}}}}}"#));
            // Half of them are explained.
            if p % 2 == 0 {
                resources.push(format!(
                    r#"{{"resourceType":"Appointment","id":"a{p}","status":"booked","start":"{today}","end":"{today}","participant":[{{"actor":{{{subject}}},"status":"accepted"}},{{"actor":{{"reference":"Practitioner/pr{n}"}},"status":"accepted"}}]}}"#
                ));
            }
        }
        let bytes: Vec<&[u8]> = resources.iter().map(String::as_bytes).collect();
        chart.import(&his, &bytes).unwrap();
        drop(Resource::parse(resources[0].as_bytes(), None).unwrap());
    }
    let patients = logins * OF_EACH;
    let mut entries = vec![0; patients];
    let tell = |kind: &str, mut nanos: Vec<u64>| {
        nanos.sort_unstable();
        let at = |part: f64| nanos[((nanos.len() - 1) as f64 * part) as usize] as f64 / 1e3;
        println!(r#"{{"kind":"{kind}","reads":{},"p50_us":{},"p99_us":{}}}"#, nanos.len(), at(0.5), at(0.99));
    };
    for kind in ["read, first of the hour", "read again"] {
        let mut nanos = Vec::new();
        for (p, entry) in entries.iter_mut().enumerate() {
            let who = Context { operation: OperationId::random(&OsEntropy), ..staff[p / OF_EACH].clone() };
            let at = Instant::now();
            let released = chart.read(&who, "Condition", &format!("c{p}"), None).unwrap();
            nanos.push(at.elapsed().as_nanos() as u64);
            *entry = released.entry;
        }
        tell(kind, nanos);
    }
    let mut nanos = Vec::new();
    for entry in &entries {
        let at = Instant::now();
        drop(chart.vault().fetch(*entry, "nurse", "treatment").unwrap());
        nanos.push(at.elapsed().as_nanos() as u64);
    }
    tell("fetch alone", nanos);
}
