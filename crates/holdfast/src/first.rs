//! What comes first: who is on treatment, how each stands, and what is needed to treat her.
//!
//! A gateway that runs reads it every so often, and the log keeps what it looked up as a roster. A recovery reads the same over no
//! more than that, before anything is copied: in seconds, however large the archive is.
//!
//! ```text
//! serve    sight, traced ──► roster, an entry of the log
//! recover  survivors ──► the newest roster, what it names, what was written since ──► sight: list, sheets
//!              └───────► all of it ──► sight, compared with the first ──► new servers
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use chart::{Chart, Context};
use kit::{Clock, Entropy, Fault, OsEntropy, PatientId, SystemClock};
use treatment::{PACKS_AT_ONCE, Pack, Packed, Treatment, TreatmentList};
use vault::location::Location;
use vault::{RecoveryKey, Vkey};

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
        // The packs first: nothing else that fails keeps them from being made.
        let made = match packs::are_wanted(centre) {
            true => Some(packs::make(centre)?),
            false => every_pack(treatment, &packs::context(chart), &mut |_, _| Ok(())).map(|()| None)?,
        };
        settings::restored(chart, &Config::new(1))?;
        name_of(chart)?;
        treatment.list_for_packs(&packs::context(chart))?;
        Ok(made)
    })
}

/// What there is to look at: survivors, the custodians' key, and the folder of the gateway to be. What is noted of a look goes into
/// its ledger.
pub struct Looker {
    pub survivors: Vec<Arc<dyn Location>>,
    pub key: Arc<RecoveryKey>,
    pub vkey: Option<Vkey>,
    pub gateway: PathBuf,
}

impl Looker {
    /// By the newest roster; none where there is none near the log's end, or where something behind that can't be read.
    pub fn by_roster(&self) -> Result<Option<FirstSight>, Fault> {
        let (clock, entropy) = outside();
        let vault = vault::first_look(
            &self.survivors,
            Arc::clone(&self.key),
            self.vkey.as_ref(),
            self.gateway.clone(),
            Arc::clone(&clock),
            Arc::clone(&entropy),
        )?;
        let Some(vault) = vault else { return Ok(None) };
        let look = vault.first_look();
        let chart = Chart::open(Arc::new(vault), None, Vec::new(), clock, entropy).map_err(|e| e.fault())?;
        let mut sight = FirstSight::of(chart)?;
        if let Some(look) = look {
            tracing::info!(entries = look.entries, of = look.log, "opened first");
            let changed = sight.chart().changed_since(look.since).map_err(|e| e.fault())?;
            sight.list = sight.list.by_roster(look.at, &changed);
        }
        Ok(Some(sight))
    }

    /// By all that can be read. The index that it takes is the new gateway's.
    pub fn by_all(&self, restore_from: Option<u64>) -> Result<FirstSight, Fault> {
        let (clock, entropy) = outside();
        let (vault, restored) = vault::preview(
            self.survivors.clone(),
            Arc::clone(&self.key),
            self.vkey.as_ref(),
            restore_from,
            self.gateway.clone(),
            Arc::clone(&clock),
            Arc::clone(&entropy),
        )?;
        let missing = vault.opened().missing();
        let vault = Arc::new(vault);
        let chart = match missing {
            // What is passed over is not gone on from.
            Some(_) => Chart::open_what_is_left(vault, clock, entropy),
            None => Chart::open(vault, Some(&self.gateway.join(INDEX)), Vec::new(), clock, entropy),
        };
        let mut sight = FirstSight::of(chart.map_err(|e| e.fault())?)?;
        let restored = restored.into_iter().map(|(patient, _)| patient).collect();
        sight.list = sight.list.taken_back(&restored);
        if let Some(why) = missing {
            sight.list = sight.list.incomplete(why);
        }
        Ok(sight)
    }
}

fn outside() -> (Arc<dyn Clock>, Arc<dyn Entropy>) {
    (Arc::new(SystemClock), Arc::new(OsEntropy))
}
