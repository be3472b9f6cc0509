//! What comes first: who is on treatment, how each stands, and what is needed to treat her.
//!
//! A gateway that runs reads it every so often, and the log keeps what it looked up as a roster. A recovery reads the same over no
//! more than that, before anything is copied: in seconds, however large the archive is.
//!
//! ```text
//! serve    sight, traced ──► roster, an entry of the log
//! recover  survivors ──► the newest roster, what it names, what was written since ──► sight: list, sheets ──► all the rest
//! ```

use std::path::Path;
use std::sync::Arc;

use chart::{Chart, Context};
use kit::{Clock, Entropy, Fault, OsEntropy, PatientId, SystemClock};
use treatment::{PACKS_AT_ONCE, Pack, Packed, Treatment, TreatmentList};
use vault::location::Location;
use vault::{RecoveryKey, Vault, Vkey};

use crate::centre::{Centre, INDEX, emergency, name_of};
use crate::config::Config;
use crate::packs::{self, Made};
use crate::settings;

/// Takes a patient's pack, or why there is none.
pub type Each<'a> = &'a mut dyn FnMut(PatientId, Result<Pack, Fault>) -> Result<(), Fault>;

/// What a recovery sees first, read by the custodians' key.
pub struct FirstSight {
    pub list: TreatmentList,
    treatment: Treatment,
}

impl FirstSight {
    /// Of whatever of the log is open in `chart`.
    fn of(chart: Chart) -> Result<Self, Fault> {
        let config = settings::restored(&chart, &Config::new(1))?;
        let chart = chart.with_number_system(config.patients.number_system.clone());
        let (context, name) = (emergency(&chart), name_of(&chart)?);
        let treatment = Treatment::new(Arc::new(chart), name).with_utc_offset(config.utc_offset());
        Ok(Self { list: treatment.list(&context)?, treatment })
    }

    /// Of each who has something left to be given, what is needed to treat her.
    pub fn packs(&self, each: Each<'_>) -> Result<(), Fault> {
        every_pack(&self.treatment, &packs::context(self.chart()), each)
    }

    pub fn chart(&self) -> &Chart {
        self.treatment.chart()
    }
}

fn every_pack(treatment: &Treatment, context: &Context, each: Each<'_>) -> Result<(), Fault> {
    let Packed { mut patients, .. } = treatment.packed_patients(context)?;
    patients.retain(|patient| treatment.chart().is_registered(*patient));
    for some in patients.chunks(PACKS_AT_ONCE) {
        for (patient, pack) in some.iter().zip(treatment.packs(context, some)?) {
            pack.transpose().map_or(Ok(()), |pack| each(*patient, pack))?;
        }
    }
    Ok(())
}

/// Reads what a recovery would read first, makes the downtime packs of it where they are wanted, and has the log keep what was
/// looked up.
pub fn keep(centre: &Centre) -> Result<Option<Made>, Fault> {
    let (chart, treatment) = (centre.chart(), centre.treatment());
    chart.keep_roster(|| {
        settings::restored(chart, &Config::new(1))?;
        name_of(chart)?;
        treatment.list_for_packs(&packs::context(chart))?;
        if packs::are_wanted(centre) {
            return packs::make(centre).map(Some);
        }
        every_pack(treatment, &packs::context(chart), &mut |_, _| Ok(()))?;
        Ok(None)
    })
}

/// From the survivors: by the newest roster, or where there is none by all that can be read. What is noted of it, and the index that
/// it took, are the new gateway's: the one goes into its ledger, the other is gone on from.
pub fn see(
    survivors: &[Arc<dyn Location>],
    key: &Arc<RecoveryKey>,
    vkey: Option<&Vkey>,
    restore_from: Option<u64>,
    gateway: &Path,
) -> Result<FirstSight, Fault> {
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(OsEntropy));
    // Whose erasures are taken back, all of the log tells.
    if restore_from.is_none() {
        let at = gateway.to_owned();
        let looked = vault::first_look(survivors, Arc::clone(key), vkey, at, Arc::clone(&clock), Arc::clone(&entropy));
        let seen = looked.map_err(Fault::from).and_then(|vault| vault.map(by_roster).transpose());
        match seen {
            Ok(Some(sight)) => return Ok(sight),
            Ok(None) => tracing::info!("no roster near the log's end: all of it is read"),
            Err(fault) => tracing::warn!(code = fault.code, "no list by the roster, all is read: {}", fault.message),
        }
    }
    let (survivors, at) = (survivors.to_vec(), gateway.to_owned());
    let (vault, restored) =
        vault::preview(survivors, Arc::clone(key), vkey, restore_from, at, Arc::clone(&clock), Arc::clone(&entropy))?;
    let missing = vault.opened().missing();
    let vault = Arc::new(vault);
    let chart = match missing {
        // What is passed over is not gone on from.
        Some(_) => Chart::open_what_is_left(vault, clock, entropy),
        None => Chart::open(vault, Some(&gateway.join(INDEX)), Vec::new(), clock, entropy),
    };
    let mut sight = FirstSight::of(chart.map_err(|e| e.fault())?)?;
    let restored = restored.into_iter().map(|(patient, _)| patient).collect();
    sight.list = sight.list.taken_back(&restored);
    if let Some(why) = missing {
        sight.list = sight.list.incomplete(why);
    }
    Ok(sight)
}

fn by_roster(vault: Vault) -> Result<FirstSight, Fault> {
    let look = vault.first_look();
    let chart = Chart::open(Arc::new(vault), None, Vec::new(), Arc::new(SystemClock), Arc::new(OsEntropy));
    let mut sight = FirstSight::of(chart.map_err(|e| e.fault())?)?;
    if let Some(look) = look {
        tracing::info!(entries = look.entries, of = look.log, "opened first");
        let changed = sight.chart().changed_since(look.since).map_err(|e| e.fault())?;
        sight.list = sight.list.by_roster(look.at, &changed);
    }
    Ok(sight)
}
