//! One change of the centre record after the other is refused, killed or done, with locations away in between: whatever was
//! acknowledged is there, and the vault opens once all are back.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::thread;

use keys::{CustodianPackage, Custody, Holder, LocalHolder, NoPlugins, RecoveryKey, TurnOrder, new_identity};
use kit::{Entropy, PatientId, SeededEntropy};
use vault::location::Location;
use vault::{Access, Adoption, Mode, Move, Opening, Scope, Shape, Vault, VaultError};

use crate::centre::{Centre, Moody, make_locations, noise, parcel};

/// Draws numbers below a bound.
struct Dice(SeededEntropy);

impl Dice {
    fn below(&self, bound: usize) -> usize {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_be_bytes(bytes) as usize % bound
    }
}

/// Three servers, and five more that it may move to.
struct World {
    centre: Centre,
    dice: Dice,
    locations: Vec<Arc<Moody>>,
    /// All that were ever made: a start picks those that the centre record names.
    holders: Vec<Arc<dyn Holder>>,
    identities: Vec<String>,
    kept: Vec<(PatientId, u64, Vec<u8>)>,
    /// What was done, to be read where the test fails.
    story: Vec<String>,
    count: usize,
}

const SHAPES: [(u8, u8, u8); 3] = [(1, 5, 3), (1, 8, 5), (1, 7, 4)];

impl World {
    fn new(seed: u64) -> (Self, Vault) {
        let centre = Centre::new(1, 3, 2, 2);
        let vault = centre.found();
        let more = make_locations(&centre.dir.path().join("more"), centre.id, 8).split_off(3);
        let world = Self {
            dice: Dice(SeededEntropy::new(seed)),
            locations: centre.locations.iter().chain(&more).cloned().collect(),
            holders: centre.holders.clone(),
            identities: centre.identities.clone(),
            kept: Vec::new(),
            story: Vec::new(),
            count: 0,
            centre,
        };
        (world, vault)
    }

    fn fresh(&mut self, what: &str) -> std::path::PathBuf {
        self.count += 1;
        self.centre.dir.path().join(format!("{what}-{}", self.count))
    }

    /// Keeps something, where enough locations are there for it.
    fn keep(&mut self, vault: &Vault) {
        let centre = &self.centre;
        let (patient, payload) = (PatientId::random(&*centre.entropy), noise(500, self.kept.len() as u64));
        let group = centre.group(vec![patient], vec![]);
        let index = vault.keep(group).and_then(|_| {
            vault.keep(centre.group(vec![], vec![parcel(Scope::Patient(patient), "a", payload.clone())]))
        });
        if let Ok(receipts) = index {
            self.kept.push((patient, receipts[0].index, payload));
        }
    }

    fn open(&mut self, remembers: bool) -> Result<Vault, VaultError> {
        let gateway = if remembers { self.centre.gateway() } else { self.fresh("gateway") };
        let access = Access::Holders { holders: self.holders.clone(), cache_ms: 0, prover: None };
        let locations = self.locations.iter().map(|one| one.clone() as Arc<dyn Location>).collect();
        vault::open(Opening { locations, access, gateway: Some(gateway), ..self.centre.opening(Mode::Write) })
    }

    fn recovery_key(&self, vault: &Vault) -> RecoveryKey {
        Custody::open(vault.custodian_packages(), &self.identities, &NoPlugins).unwrap().newest().unwrap()
    }

    /// A change of the centre record; whether it is done.
    fn change(&mut self, vault: &Vault) -> bool {
        match self.dice.below(4) {
            0 => {
                self.story.push("rotate".to_owned());
                vault.rotate_vault_key().is_ok()
            }
            1 => {
                self.story.push("custodians".to_owned());
                let (identities, recipients): (Vec<String>, Vec<String>) =
                    (0..3).map(|_| new_identity()).map(|(secret, public)| (secret.to_string(), public)).unzip();
                let (package, _) = CustodianPackage::establish(2, &recipients, &*self.centre.entropy).unwrap();
                self.identities.extend(identities);
                let (public, holders) = (vault.holder_keys(), vault.holders());
                vault.adopt(Adoption { public, holders, custodians: Some(package), is_turn: false }).is_ok()
            }
            _ => self.grow(vault),
        }
    }

    fn grow(&mut self, vault: &Vault) -> bool {
        let shape = SHAPES[self.dice.below(SHAPES.len())];
        self.story.push(format!("grow to {shape:?}"));
        let there = vault.quorum_of_holders().1;
        let Ok(own) = vault.turn_keys() else { return false };
        let (epoch, shape) = (own[0].epoch(), Shape::new(shape.0, shape.1, shape.2).unwrap());
        let added: Vec<Arc<dyn Holder>> = (there + 1..=shape.n() as u8)
            .map(|number| {
                let folder = self.fresh("holder");
                Arc::new(LocalHolder::init_in(&folder, number, epoch, &*self.centre.entropy).unwrap()) as _
            })
            .collect();
        self.holders.extend(added.iter().cloned());
        let to = Move {
            shape,
            locations: self.locations[..shape.n()].iter().map(|one| one.clone() as Arc<dyn Location>).collect(),
            public: own.into_iter().chain(added.iter().map(|holder| holder.public_key())).collect(),
            holders: vault.holders().into_iter().chain(added).collect(),
            t: shape.n() as u8 - 1,
        };
        vault.move_to(to, &mut |_, _| {}).is_ok()
    }

    /// All that was begun is ended.
    fn settle(&self, vault: &Vault) {
        vault.settle().unwrap();
        vault.deal_anew(&self.recovery_key(vault), &mut |_, _| {}).unwrap();
        if vault.turning().is_some() {
            let turn = vault.reseal(&mut |_, _| {}).unwrap();
            vault.finish_turn(&TurnOrder { turn, signature: Vec::new() }).unwrap();
        }
    }

    fn all_open(&self, vault: &Vault) {
        for (_, index, payload) in &self.kept {
            let fetched = vault.fetch(*index, "dr-a", "treatment");
            let fetched = fetched.unwrap_or_else(|error| panic!("entry {index}: {error}: {:#?}", self.story));
            assert!(*fetched.1 == *payload, "entry {index}: {:#?}", self.story);
        }
    }

    fn wait_until_writable(&self, vault: &Vault) {
        let begun = std::time::Instant::now();
        while vault.health().up < vault.shape().floor() {
            assert!(begun.elapsed().as_secs() < 60, "{:?} {:#?}", vault.health().locations, self.story);
            thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// Changes that were done, that failed, and starts that were refused while somebody was away.
fn live(seed: u64) -> [usize; 3] {
    let (mut world, vault) = World::new(seed);
    let (mut vault, mut seen) = (Some(vault), [0; 3]);
    for _ in 0..7 {
        let Some(open) = &vault else { break };
        world.keep(open);
        // Its puts fail after so many of them: of all locations, or of one.
        let fuse = Arc::new(AtomicUsize::new(world.dice.below(45)));
        let whose = world.dice.below(2 * world.locations.len());
        let burns = |at: usize| whose >= world.locations.len() || whose == at;
        let burning: Vec<_> = (0..world.locations.len()).filter(|at| burns(*at)).collect();
        world.story.push(format!("{fuse:?} puts at {burning:?}"));
        burning.iter().for_each(|at| world.locations[*at].burn(Some(&fuse)));
        let is_done = world.change(open);
        seen[usize::from(!is_done)] += 1;
        world.story.push(format!("done: {is_done}"));
        let goes_on = world.dice.below(3) == 0;
        if goes_on {
            world.locations.iter().for_each(|one| one.burn(None));
            world.wait_until_writable(open);
            world.keep(open);
            continue;
        }
        drop(vault.take());
        world.locations.iter().for_each(|one| one.burn(None));
        // Starts, each with another one away, that end by themselves or are killed in the middle of what they write.
        for _ in 0..world.dice.below(4) {
            let away = world.dice.below(world.locations.len());
            let fuse = Arc::new(AtomicUsize::new(if world.dice.below(2) == 0 { 1_000 } else { world.dice.below(14) }));
            world.story.push(format!("a start of {fuse:?} puts, {away} away"));
            world.locations[away].set_down(true);
            world.locations.iter().for_each(|one| one.burn(Some(&fuse)));
            let remembers = world.dice.below(2) == 0;
            match world.open(remembers) {
                Ok(open) => (0..world.dice.below(3)).for_each(|_| world.keep(&open)),
                Err(
                    VaultError::MoveUnsettled { .. }
                    | VaultError::NotEnoughLocations { .. }
                    | VaultError::Behind { .. }
                    | VaultError::RolledBack { .. },
                ) => seen[2] += 1,
                Err(error) => panic!("{error}: {:#?}", world.story),
            }
            world.locations.iter().for_each(|one| one.burn(None));
            world.locations[away].set_down(false);
        }
        let remembers = world.dice.below(2) == 0;
        let open = world.open(remembers).unwrap_or_else(|error| panic!("{error}: {:#?}", world.story));
        world.all_open(&open);
        world.wait_until_writable(&open);
        if world.dice.below(2) == 0 {
            world.settle(&open);
        }
        world.keep(&open);
        vault = Some(open);
    }
    drop(vault);
    let vault = world.open(false).unwrap_or_else(|error| panic!("{error}: {:#?}", world.story));
    world.all_open(&vault);
    world.wait_until_writable(&vault);
    world.settle(&vault);
    world.keep(&vault);
    world.all_open(&vault);
    let report = vault.verify().unwrap();
    assert!(report.lost_segments == 0 && report.contradictions_total == 0, "{report:?} {:#?}", world.story);
    seen
}

/// `HOLDFAST_LIVES`, and from which number on: more of them than a test run has time for.
#[test]
fn whatever_becomes_of_changes_nothing_is_lost_and_nobody_is_locked_out() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (first, lives): (u64, u64) =
        (number("HOLDFAST_LIVES_FROM").unwrap_or(1), number("HOLDFAST_LIVES").unwrap_or(16));
    let seeds = Mutex::new(first..first + lives);
    let next = || seeds.lock().unwrap().next();
    let live_on = || {
        let mut seen = [0; 3];
        while let Some(seed) = next() {
            let lived = thread::spawn(move || live(seed)).join().unwrap_or_else(|_| panic!("seed {seed}"));
            seen.iter_mut().zip(lived).for_each(|(all, one)| *all += one);
        }
        seen
    };
    let seen = thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(live_on)).collect();
        let lived = threads.into_iter().map(|one| one.join().unwrap());
        lived.fold([0; 3], |all, one| [all[0] + one[0], all[1] + one[1], all[2] + one[2]])
    });
    println!(
        "{} changes done, {} refused or cut short, {} starts refused while one was away",
        seen[0], seen[1], seen[2]
    );
    assert!(seen[0] > 10 && seen[1] > 10, "{seen:?}");
}
