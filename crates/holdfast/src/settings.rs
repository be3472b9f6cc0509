//! The settings that run, in the ledger: a change is an entry, and a recovered centre goes on as the lost one did.
//!
//! Not all of the configuration: where the servers are and who listens where belongs to one machine.

use chart::Chart;
use kit::{Blame, Fault};

use crate::config::{Config, merge};

const LIST: &str = "centre-settings";
const KIND: &str = "centre.settings";

/// What belongs to one machine.
const OF_THE_MACHINE: [(&str, &str); 5] =
    [("http", "listen"), ("http", "public_url"), ("dimse", "listen"), ("operations", "listen"), ("packs", "folders")];

fn invalid(why: impl ToString) -> Fault {
    Fault::new(Blame::Integrity, "config.settings", format!("the ledger's settings: {}", why.to_string()))
}

/// The settings of a configuration.
fn of(config: &Config) -> Result<toml::Table, Fault> {
    let mut table = toml::Table::try_from(config).map_err(invalid)?;
    table.remove("servers");
    table.remove("officer");
    // Of the locations, and those belong to one machine: a recovered centre has others.
    table.remove("administrators");
    table.remove("holders");
    for (section, key) in OF_THE_MACHINE {
        if let Some(section) = table.get_mut(section).and_then(toml::Value::as_table_mut) {
            section.remove(key);
        }
    }
    table.retain(|_, section| section.as_table().is_none_or(|section| !section.is_empty()));
    Ok(table)
}

/// The settings that were noted last.
fn newest(chart: &Chart) -> Result<Option<toml::Table>, Fault> {
    let newest = chart.newest(&chart.list_tag(LIST, &[])).map_err(|e| e.fault())?;
    let Some(newest) = newest else { return Ok(None) };
    let (_, meta) = chart.note_of(newest).map_err(|e| e.fault())?;
    std::str::from_utf8(&meta.note).map_err(invalid)?.parse().map(Some).map_err(invalid)
}

/// `config` with the settings that the ledger holds.
pub fn restored(chart: &Chart, config: &Config) -> Result<Config, Fault> {
    let Some(settings) = newest(chart)? else { return Ok(config.clone()) };
    merge(toml::Table::try_from(config).map_err(invalid)?, settings).try_into().map_err(invalid)
}

/// Notes the settings where they aren't the ones that were noted last; gives what changed, a line each.
pub fn note(chart: &Chart, config: &Config) -> Result<Vec<String>, Fault> {
    let (now, before) = (of(config)?, newest(chart)?);
    if before.as_ref() == Some(&now) {
        return Ok(Vec::new());
    }
    crate::centre::note(chart, KIND, LIST, toml::to_string(&now).map_err(invalid)?.as_bytes())?;
    Ok(before.map_or_else(Vec::new, |before| changes(&before, &now)))
}

fn changes(before: &toml::Table, now: &toml::Table) -> Vec<String> {
    let values = |table: &toml::Table| -> std::collections::BTreeMap<String, String> {
        let sections = table.iter().filter_map(|(name, section)| Some((name, section.as_table()?)));
        sections
            .flat_map(|(name, section)| {
                section.iter().map(move |(key, value)| (format!("{name}.{key}"), value.to_string()))
            })
            .collect()
    };
    let (before, now) = (values(before), values(now));
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let of = |values: &std::collections::BTreeMap<String, String>, key: &String| {
        values.get(key).cloned().unwrap_or_else(|| "none".to_owned())
    };
    let differing = keys.into_iter().filter(|key| before.get(*key) != now.get(*key));
    differing.map(|key| format!("{key}: {}, was {}", of(&now, key), of(&before, key))).collect()
}
