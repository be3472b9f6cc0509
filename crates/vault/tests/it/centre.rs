//! A centre to test with: locations in folders that can be made to fail, holders in folders, custodians.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use keys::{CustodianPackage, Custody, Holder, LocalHolder, NoPlugins, new_identity};
use kit::{Digest, Entropy, Id16, ManualClock, OperationId, PatientId, SeededEntropy, Timestamp};
use tempfile::TempDir;
use vault::location::{FolderLocation, GetAnswer, Listed, Location, LocationError, Marker, Name, Object, Put, Stats};
use vault::{Access, Folder, Founding, Group, Mode, Opening, Parcel, Recovery, Scope, Shape, Vault, VaultError, Vkey};

/// A real location that fails on demand, and that an attacker can rewrite.
pub(crate) struct Moody {
    folder: FolderLocation,
    pub(crate) down: AtomicBool,
    /// Batches that still go through before it is down; counts only while `counting`.
    left: AtomicUsize,
    counting: AtomicBool,
    /// Writes don't come back as long as it is held.
    hanging: Mutex<bool>,
    released: Condvar,
    /// What an attacker shows instead.
    forged: Mutex<std::collections::BTreeMap<Name, Option<Vec<u8>>>>,
    /// Names that begin so are taken by what can't be read.
    blocked: Mutex<Option<String>>,
    unanswered: Mutex<Option<Vec<GetAnswer>>>,
    /// Puts that all who share it still take.
    fuse: Mutex<Option<Arc<AtomicUsize>>>,
    /// Puts after which it hangs.
    hangs_after: Mutex<Option<usize>>,
}

impl Moody {
    fn new(folder: FolderLocation) -> Self {
        Self {
            folder,
            down: AtomicBool::new(false),
            left: AtomicUsize::new(0),
            counting: AtomicBool::new(false),
            hanging: Mutex::new(false),
            released: Condvar::new(),
            forged: Mutex::default(),
            blocked: Mutex::default(),
            unanswered: Mutex::default(),
            fuse: Mutex::default(),
            hangs_after: Mutex::default(),
        }
    }

    pub(crate) fn burn(&self, fuse: Option<&Arc<AtomicUsize>>) {
        *self.fuse.lock().unwrap() = fuse.cloned();
    }

    pub(crate) fn hang_after(&self, puts: usize) {
        *self.hangs_after.lock().unwrap() = Some(puts);
    }

    fn is_burnt(&self) -> bool {
        let fuse = self.fuse.lock().unwrap();
        let one = |left: usize| left.checked_sub(1);
        fuse.as_ref().is_some_and(|fuse| fuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one).is_err())
    }

    pub(crate) fn hang(&self, hang: bool) {
        *self.hanging.lock().unwrap() = hang;
        self.released.notify_all();
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
        self.counting.store(false, Ordering::SeqCst);
    }

    pub(crate) fn down_after(&self, batches: usize) {
        self.left.store(batches, Ordering::SeqCst);
        self.counting.store(true, Ordering::SeqCst);
    }

    /// `None` takes the object away.
    pub(crate) fn forge(&self, name: &Name, body: Option<Vec<u8>>) {
        self.forged.lock().unwrap().insert(name.clone(), body);
    }

    /// From now on readers get no answer.
    pub(crate) fn fall_silent(&self) {
        *self.unanswered.lock().unwrap() = Some(Vec::new());
    }

    /// Readers that got none.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered.lock().unwrap().as_ref().map_or(0, Vec::len)
    }

    pub(crate) fn block(&self, begins: Option<&Name>) {
        *self.blocked.lock().unwrap() = begins.map(|name| name.as_str().to_owned());
    }

    fn is_blocked(&self, name: &Name) -> bool {
        self.blocked.lock().unwrap().as_ref().is_some_and(|begins| name.as_str().starts_with(begins))
    }

    /// Shows everything as it is again.
    pub(crate) fn restore(&self) {
        self.forged.lock().unwrap().clear();
    }

    pub(crate) fn objects(&self, prefix: &str) -> Vec<Name> {
        let listed = self.folder.list(None, usize::MAX).unwrap();
        listed.into_iter().map(|one| one.name).filter(|name| name.as_str().starts_with(prefix)).collect()
    }

    pub(crate) fn raw(&self, name: &Name) -> Vec<u8> {
        self.folder.get(name, None).unwrap().unwrap()
    }

    fn check(&self) -> Result<(), LocationError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(LocationError::Gone { location: self.folder.id().to_owned(), reason: "a test".to_owned() });
        }
        Ok(())
    }
}

impl Location for Moody {
    fn id(&self) -> &str {
        self.folder.id()
    }

    fn put_if_absent(&self, objects: &[Object<'_>]) -> Result<Vec<Put>, LocationError> {
        if self.counting.load(Ordering::SeqCst)
            && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err()
        {
            self.set_down(true);
        }
        self.check()?;
        if self.is_burnt() {
            return Err(LocationError::Gone { location: self.folder.id().to_owned(), reason: "a test".to_owned() });
        }
        let hangs_after = self.hangs_after.lock().unwrap().take();
        match hangs_after {
            Some(0) => self.hang(true),
            Some(puts) => self.hang_after(puts - 1),
            None => {}
        }
        drop(self.released.wait_while(self.hanging.lock().unwrap(), |hanging| *hanging).unwrap());
        if objects.iter().any(|object| self.is_blocked(object.name)) {
            let one = |object: &Object<'_>| match self.is_blocked(object.name) {
                true => Ok(vec![Put::Exists]),
                false => self.folder.put_if_absent(&[*object]),
            };
            return Ok(objects.iter().map(one).collect::<Result<Vec<_>, _>>()?.concat());
        }
        let mut forged = self.forged.lock().unwrap();
        if forged.is_empty() {
            drop(forged);
            return self.folder.put_if_absent(objects);
        }
        let put = |object: &Object<'_>| match forged.get_mut(object.name) {
            Some(gone @ None) => {
                *gone = Some(object.parts.concat());
                Ok(vec![Put::Created])
            }
            Some(_) => Ok(vec![Put::Exists]),
            None => self.folder.put_if_absent(&[*object]),
        };
        Ok(objects.iter().map(put).collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn get(&self, name: &Name, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, LocationError> {
        self.check()?;
        match self.forged.lock().unwrap().get(name) {
            Some(body) => Ok(body.clone().map(|body| match range {
                Some(range) => {
                    let end = (range.end as usize).min(body.len());
                    body[(range.start as usize).min(end)..end].to_vec()
                }
                None => body,
            })),
            None => self.folder.get(name, range),
        }
    }

    fn ask(&self, name: &Name, answer: GetAnswer) {
        match &mut *self.unanswered.lock().unwrap() {
            Some(unanswered) => unanswered.push(answer),
            None => answer(self.get(name, None)),
        }
    }

    fn list(&self, after: Option<&Name>, limit: usize) -> Result<Vec<Listed>, LocationError> {
        self.check()?;
        let forged = self.forged.lock().unwrap();
        let gone = |one: &Listed| matches!(forged.get(&one.name), Some(None));
        let mut listed = self.folder.list(after, usize::MAX)?;
        listed.retain(|one| !gone(one));
        listed.truncate(limit);
        Ok(listed)
    }

    fn stats(&self) -> Result<Stats, LocationError> {
        self.check()?;
        self.folder.stats()
    }
}

pub(crate) struct Centre {
    pub(crate) dir: TempDir,
    pub(crate) id: Id16,
    pub(crate) shape: Shape,
    pub(crate) t: u8,
    pub(crate) entropy: Arc<SeededEntropy>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) locations: Vec<Arc<Moody>>,
    pub(crate) holders: Vec<Arc<dyn Holder>>,
    pub(crate) identities: Vec<String>,
    pub(crate) package: CustodianPackage,
}

impl Centre {
    /// k of n locations, floor; t of n holders.
    pub(crate) fn new(k: u8, n: u8, floor: u8, t: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let entropy = Arc::new(SeededEntropy::new(u64::from(n)));
        let id = Id16(entropy.id());
        let locations = make_locations(&dir.path().join("servers"), id, n);
        let holders = make_holders(&dir.path().join("holders"), n, &*entropy);
        let (identities, recipients): (Vec<String>, Vec<String>) =
            (0..3).map(|_| new_identity()).map(|(secret, recipient)| (secret.to_string(), recipient)).unzip();
        let (package, _) = CustodianPackage::establish(2, &recipients, &*entropy).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_713_900_000_000)));
        let shape = Shape::new(k, n, floor).unwrap();
        Self { dir, id, shape, t, entropy, clock, locations, holders, identities, package }
    }

    /// 3 of 14, floor 11, 12 of 14 holders.
    pub(crate) fn of_fourteen() -> Self {
        Self::new(3, 14, 11, 12)
    }

    pub(crate) fn gateway(&self) -> PathBuf {
        self.dir.path().join("gateway")
    }

    pub(crate) fn found(&self) -> Vault {
        vault::found(Founding {
            vault: self.id,
            origin: "centre.example/log".to_owned(),
            shape: self.shape,
            locations: self.given(),
            holders: self.holders.clone(),
            t: self.t,
            cache_ms: 60_000,
            custodians: self.package.clone(),
            gateway: Some(self.gateway()),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        })
        .unwrap()
    }

    pub(crate) fn given(&self) -> Vec<Arc<dyn Location>> {
        self.locations.iter().map(|location| location.clone() as Arc<dyn Location>).collect()
    }

    pub(crate) fn opening(&self, mode: Mode) -> Opening {
        Opening {
            locations: self.given(),
            access: Access::Holders { holders: self.holders.clone(), cache_ms: 60_000, prover: None },
            gateway: Some(self.gateway()),
            vkey: None,
            mode,
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        }
    }

    pub(crate) fn open(&self) -> Result<Vault, VaultError> {
        vault::open(self.opening(Mode::Write))
    }

    /// For reading, from some locations, by the custodians: no holder is asked.
    pub(crate) fn read_by_custodians(
        &self,
        locations: impl IntoIterator<Item = usize>,
        key: &Arc<keys::RecoveryKey>,
    ) -> Result<Vault, VaultError> {
        vault::open(Opening {
            locations: locations.into_iter().map(|at| self.locations[at].clone() as Arc<dyn Location>).collect(),
            access: Access::Custodians(key.clone()),
            gateway: None,
            mode: Mode::Read,
            ..self.opening(Mode::Read)
        })
    }

    /// What these identities open of the packages that the survivors show.
    pub(crate) fn key_from(survivors: &[Arc<dyn Location>], identities: &[String]) -> Arc<keys::RecoveryKey> {
        let opens = |packages| Custody::open(packages, identities, &NoPlugins).and_then(Custody::newest).ok();
        Arc::new(vault::packages(survivors, None).unwrap().into_iter().find_map(opens).unwrap())
    }

    pub(crate) fn recovery_key(&self) -> Arc<keys::RecoveryKey> {
        Arc::new(self.package.open(&self.identities[..2]).unwrap())
    }

    /// Fresh locations and holders, in a folder of their own.
    pub(crate) fn recovery(&self, survivors: &[usize], name: &str) -> (Recovery, Vec<Arc<Moody>>) {
        let dir = self.dir.path().join(name);
        let n = self.shape.n() as u8;
        let fresh = make_locations(&dir.join("servers"), self.id, n);
        let recovery = Recovery {
            survivors: survivors.iter().map(|&at| self.locations[at].clone() as Arc<dyn Location>).collect(),
            key: Arc::new(self.package.open(&self.identities[1..]).unwrap()),
            vkey: None,
            fresh: fresh.iter().map(|location| location.clone() as Arc<dyn Location>).collect(),
            holders: make_holders(&dir.join("holders"), n, &*self.entropy),
            t: self.t,
            cache_ms: 0,
            custodians: None,
            restore_from: None,
            leave_sealed: false,
            gateway: Some(dir.join("gateway")),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        };
        (recovery, fresh)
    }

    /// Until every location is up and lacks nothing.
    pub(crate) fn wait_until_whole(&self, vault: &Vault) {
        let start = Instant::now();
        while vault.health().up < self.shape.n() {
            assert!(start.elapsed() < Duration::from_secs(120), "{:?}", vault.health().locations);
            sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn wait_until_writable(&self, vault: &Vault) {
        let start = Instant::now();
        while vault.health().up < vault.shape().floor() {
            assert!(start.elapsed() < Duration::from_secs(120), "{:?}", vault.health().locations);
            sleep(Duration::from_millis(10));
        }
    }

    /// As it is now, in a folder of its own. Nobody has it open.
    pub(crate) fn copied(&self, name: &str) -> Self {
        let (from, dir) = (self.dir.path(), tempfile::Builder::new().prefix(name).tempdir().unwrap());
        for one in ["servers", "holders", "gateway"] {
            copy_tree(&from.join(one), &dir.path().join(one));
        }
        let n = self.shape.n() as u8;
        let holder = |number: u8| {
            let folder = dir.path().join("holders").join(number.to_string());
            Arc::new(LocalHolder::open(&folder).unwrap()) as Arc<dyn Holder>
        };
        Self {
            id: self.id,
            shape: self.shape,
            t: self.t,
            entropy: self.entropy.clone(),
            clock: self.clock.clone(),
            locations: open_locations(&dir.path().join("servers"), self.id, n),
            holders: (1..=n).map(holder).collect(),
            identities: self.identities.clone(),
            package: self.package.clone(),
            dir,
        }
    }

    pub(crate) fn operation(&self) -> OperationId {
        OperationId::random(&*self.entropy)
    }

    pub(crate) fn patient(&self, vault: &Vault) -> PatientId {
        let patient = PatientId::random(&*self.entropy);
        vault.keep(self.group(vec![patient], vec![])).unwrap();
        patient
    }

    pub(crate) fn group(&self, new_patients: Vec<PatientId>, parcels: Vec<Parcel>) -> Group {
        Group { operation: self.operation(), permit: Some(Digest([7; 32])), new_patients, parcels }
    }

    /// Takes all that is open away and opens the folders anew, as after a restart of the machine.
    pub(crate) fn restart(&mut self) {
        self.locations.clear();
        self.locations = open_locations(&self.dir.path().join("servers"), self.id, self.shape.n() as u8);
    }
}

pub(crate) fn server(dir: &Path, number: u8) -> PathBuf {
    dir.join(format!("server-{number:02}"))
}

pub(crate) fn make_locations(dir: &Path, vault: Id16, n: u8) -> Vec<Arc<Moody>> {
    (1..=n)
        .map(|number| {
            let marker = Marker::new(format!("server-{number:02}"), vault, number);
            Arc::new(Moody::new(FolderLocation::init(&server(dir, number), marker).unwrap()))
        })
        .collect()
}

fn open_locations(dir: &Path, vault: Id16, n: u8) -> Vec<Arc<Moody>> {
    (1..=n).map(|number| Arc::new(Moody::new(FolderLocation::open(&server(dir, number), vault).unwrap()))).collect()
}

/// The folders opened as a gateway opens them that doesn't know whose they are; those that hold shards of ours, and the
/// places of those whose marker says so.
pub(crate) fn open_unknown(dirs: &[PathBuf], vkey: Option<&Vkey>) -> (Vec<Arc<Moody>>, Vec<usize>) {
    let (mut locations, mut ours) = (Vec::new(), Vec::new());
    for (at, folder) in vault::open_folders(dirs, vkey).unwrap().folders.into_iter().enumerate() {
        match folder {
            Folder::Ours(location) => {
                ours.push(at);
                locations.push(Arc::new(Moody::new(location)));
            }
            Folder::Unmarked(location, _) => locations.push(Arc::new(Moody::new(location))),
            Folder::Other(_) => {}
        }
    }
    (locations, ours)
}

pub(crate) fn make_holders(dir: &Path, n: u8, entropy: &dyn Entropy) -> Vec<Arc<dyn Holder>> {
    (1..=n)
        .map(|number| {
            let holder = LocalHolder::init(&dir.join(number.to_string()), number, entropy).unwrap();
            Arc::new(holder) as Arc<dyn Holder>
        })
        .collect()
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn parcel(scope: Scope, kind: &str, payload: Vec<u8>) -> Parcel {
    Parcel { scope, kind: kind.to_owned(), meta: format!("meta of {kind}").into_bytes(), payload: Some(payload) }
}

/// Bytes that don't compress.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    SeededEntropy::new(seed).fill(&mut bytes);
    bytes
}
