//! The drill on a centre of servers and buckets: a thief at an object store, whose filer is closed, and then open.
//!
//! S3's Object Lock holds against whoever asks by S3. Behind it stands a filer that knows nothing of locks and asks nobody
//! who he is: with its port open everything in the buckets is gone at once, locked or not. So the port has to stay closed,
//! and the centre has to bear it where it did not.

use std::collections::BTreeMap;
use std::time::Instant;

use kit::Fault;

use crate::attack::DrillRoot;
use crate::check::{Findings, damage};
use crate::eleven_of_fourteen::Progress;
use crate::eleven_of_fourteen::judges::{self, said};
use crate::eleven_of_fourteen::load::Load;
use crate::machines::Options;
use crate::report::{self, Check, Report, Seconds, counted};
use crate::synthetic;
use crate::system::{FoundWithStore, StoreBuilder, System, Tried};

/// Buckets of the store, behind the servers.
const BUCKETS: usize = 2;

type Watch<'a> = &'a (dyn Fn(Progress) + Sync);

/// Runs the drill. An error means that it could not be run; broken promises stand in the report.
pub fn run(options: &Options, builder: &dyn StoreBuilder, watch: Watch<'_>) -> Result<Report, Fault> {
    let root = DrillRoot::create(&options.root)?;
    let report = robbed(&root, options, builder, watch);
    if !options.keep {
        root.destroy()?;
    }
    report
}

fn robbed(root: &DrillRoot, options: &Options, builder: &dyn StoreBuilder, watch: Watch<'_>) -> Result<Report, Fault> {
    let begun = Instant::now();
    let Options { seed, today, patients, servers, .. } = *options;
    let on_treatment = patients.min((patients / 20).clamp(4, 100));
    let centre = synthetic::Centre { seed, today, patients, on_treatment, images: synthetic::Images::Slice };
    let FoundWithStore { founded, machines, store } =
        builder.found_with_store(&root.path().join("centre"), servers, BUCKETS)?;
    let system: &dyn System = &*founded.system;
    let load = Load::new(centre, system, options.writers, watch);
    load.patients(0..patients)?;
    let kept = load.done();
    system.settle()?;
    let loading = begun.elapsed().as_secs_f64();

    // What the twin says is closed stands open.
    store.set_filer_open(options.twin)?;
    let before = store.versions()?;
    let tried = store.rob()?;
    let after = store.versions()?;
    let mut deeds: Vec<String> = tried.iter().map(Tried::told).collect();
    let mut checks = vec![nothing_deleted(before.difference(&after), before.len(), &tried)];

    store.set_filer_open(true)?;
    deeds.push(format!("with the filer open: {}", store.empty_through_filer()?.told()));
    let emptied = store.versions()?;
    let gone = after.difference(&emptied).count();
    let buckets: BTreeMap<usize, String> =
        (servers..servers + BUCKETS).map(|place| (place, "the thief emptied its bucket".to_owned())).collect();
    let mut noticed = damage::judge(&buckets, &system.verify().map_err(said));
    // What the centre has put again since is a version of its own.
    if gone < after.len().max(1) {
        noticed.add(format!("{gone} of {} objects were deleted: the danger was not shown", after.len()));
    }
    checks.push(Check::new(
        "P1",
        "Is it noticed that locked objects are gone?",
        format!(
            "{gone} of {} objects, deleted through the open filer; and what `holdfast verify` says of it.",
            after.len()
        ),
        noticed,
        "how soon: it is noticed when somebody verifies, scrubs, or reads from there.",
    ));
    let reading = Instant::now();
    checks.push(judges::nothing_lost(&kept.manifest, Ok(system), options.writers, watch));
    let reading_back = reading.elapsed().as_secs_f64();

    store.set_filer_open(false)?;
    let healed = usize::try_from(system.scrub()?).unwrap_or(usize::MAX);
    let mut missing = damage::judge(&BTreeMap::new(), &system.verify().map_err(said));
    let stands = store.versions()?.len();
    // Claims of earlier writers are gone for good, and nobody needs them: so it is what was made that has to stand there.
    if healed == 0 || stands < healed {
        missing.add(format!("{stands} objects stand in the buckets, and the scrub says that it made {healed}"));
    }
    checks.push(Check::new(
        "P1",
        "Are the buckets whole again?",
        format!(
            "{}, made again by a scrub with the filer closed; then all locations were verified.",
            counted(healed, "object", "objects")
        ),
        missing,
        "that nobody opens the filer once more.",
    ));
    machines.stop();

    let centre_told = report::Centre {
        servers,
        servers_lost: 0,
        patients,
        on_treatment: kept.truth.len(),
        acknowledged: kept.manifest.len(),
        acknowledged_bytes: kept.manifest.bytes(),
        own_files: 0,
    };
    let whole_drill = begun.elapsed().as_secs_f64();
    Ok(Report {
        drill: "open-filer",
        title: "a thief at the object store, whose filer is closed, and then open".to_owned(),
        story: format!(
            "{} {} of a SeaweedFS kept shards as well. A thief had the gateway's and the renewer's credentials there, and reached \
             the address where S3 listens. Then somebody opened the filer's port.",
            centre_told.sentence(),
            counted(BUCKETS, "bucket", "buckets"),
        ),
        seed,
        held: checks.iter().all(|check| check.held),
        centre: centre_told,
        attacks: Vec::new(),
        deeds,
        figures: BTreeMap::new(),
        checks,
        seconds: Seconds { loading, reading_back, whole_drill, ..Seconds::default() },
        refused: Vec::new(),
    })
}

/// While S3 alone is reached. Judged by what the store's administrator lists before and after, not by what the thief was
/// told: a store may say no and delete, or say yes and not.
fn nothing_deleted<'a>(gone: impl Iterator<Item = &'a String>, of: usize, tried: &[Tried]) -> Check {
    let mut findings = Findings::default();
    gone.for_each(|version| findings.add(format!("{version} is gone")));
    if of == 0 || tried.iter().all(|one| one.times == 0) {
        findings.add("nothing stood there, or nothing was tried");
    }
    let times = tried.iter().map(|one| one.times).sum();
    let looked_at = format!("{} against {of} versions.", counted(times, "attempt", "attempts"));
    let limits = "S3's second port and the machine under the store: a firewall has to close the one, and a machine of its own the \
                  other.";
    Check::new("P1", "Is nothing deleted while only S3 can be reached?", looked_at, findings, limits)
}
