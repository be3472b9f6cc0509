//! How many of a centre's locations fall independently of each other. Two are one domain where any of host, administrator
//! or credentials is the same: whoever has the one has the other.
//!
//! An administrator whom nobody named may be any of the others: those locations add no domain, and the page says of how many
//! nobody has said it. So the count is what there is at the least.

use std::collections::{BTreeMap, BTreeSet};

use crate::say::plural;

/// One location, by what it could share with another.
#[derive(Clone, Debug, Default)]
pub struct Domain {
    pub is_bucket: bool,
    /// A machine's address, a disk, an endpoint's host.
    pub host: Option<String>,
    pub administrator: Option<String>,
    /// An access key id; it is compared and never shown.
    pub credentials: Option<String>,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domains {
    pub locations: usize,
    pub independent: usize,
    /// What is shared, a line each.
    pub why: Vec<String>,
    /// Locations whose administrator nobody named.
    pub unnamed: usize,
}

/// As people write it: blanks around it and capitals make no other one.
fn key(text: &str) -> String {
    text.trim().to_lowercase()
}

impl Domains {
    pub fn of(all: &[Domain]) -> Self {
        type Of = fn(&Domain) -> Option<&String>;
        let kinds: [(&str, bool, Of); 3] = [
            ("a host", true, |one| one.host.as_ref()),
            ("an administrator", true, |one| one.administrator.as_ref()),
            ("credentials", false, |one| one.credentials.as_ref()),
        ];
        // Of each location, the lowest number of those that it falls with, as far as is known.
        let mut domain: Vec<usize> = (0..all.len()).collect();
        let mut why = Vec::new();
        for (what, is_shown, of) in kinds {
            let mut sharing: BTreeMap<String, (&str, Vec<usize>)> = BTreeMap::new();
            for (at, one) in all.iter().enumerate() {
                if let Some(value) = of(one).filter(|value| !value.trim().is_empty()) {
                    sharing.entry(key(value)).or_insert((value.trim(), Vec::new())).1.push(at);
                }
            }
            for (value, together) in sharing.into_values().filter(|(_, together)| together.len() > 1) {
                let merged: BTreeSet<usize> = together.iter().filter_map(|at| domain.get(*at).copied()).collect();
                let lowest = merged.first().copied().unwrap_or_default();
                domain.iter_mut().filter(|one| merged.contains(one)).for_each(|one| *one = lowest);
                let name = if is_shown { format!(" ({value})") } else { String::new() };
                why.push(format!("{} share {what}{name}", counted(all, &together)));
            }
        }
        let is_named = |one: &Domain| one.administrator.as_ref().is_some_and(|name| !name.trim().is_empty());
        let named = domain.iter().zip(all).filter(|(_, one)| is_named(one));
        let independent = named.map(|(domain, _)| domain).collect::<BTreeSet<_>>().len().max(all.len().min(1));
        Self { locations: all.len(), independent, why, unnamed: all.iter().filter(|one| !is_named(one)).count() }
    }

    /// What is shared, and what isn't known, in one line.
    pub fn evidence(&self) -> String {
        let mut text = match self.why.is_empty() {
            true => "no two are known to share a host, an administrator or credentials".to_owned(),
            false => self.why.join("; "),
        };
        if self.unnamed > 0 {
            text.push_str(&format!(
                "; nobody has said who administers {} of them, which add none ([administrators] of holdfast.toml)",
                self.unnamed
            ));
        }
        text
    }
}

/// `2 buckets`, `3 servers and 1 bucket`.
fn counted(all: &[Domain], together: &[usize]) -> String {
    let buckets = together.iter().filter(|at| all.get(**at).is_some_and(|one| one.is_bucket)).count();
    let words = [(together.len() - buckets, "server"), (buckets, "bucket")];
    let words = words.into_iter().filter(|(count, _)| *count > 0).map(|(count, word)| plural(count, word));
    words.collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str, administrator: &str) -> Domain {
        let administrator = Some(administrator.to_owned()).filter(|name| !name.is_empty());
        Domain { host: Some(host.to_owned()), administrator, ..Domain::default() }
    }

    fn bucket(host: &str, administrator: &str, credentials: &str) -> Domain {
        Domain { is_bucket: true, credentials: Some(credentials.to_owned()), ..server(host, administrator) }
    }

    fn independent(all: &[Domain]) -> (usize, Vec<String>) {
        let found = Domains::of(all);
        assert_eq!(found.locations, all.len());
        (found.independent, found.why)
    }

    #[test]
    fn nothing_shared_is_as_many_domains_as_locations() {
        let all = [server("10.0.0.1", "a"), server("10.0.0.2", "b"), bucket("s3.example", "c", "K1")];
        assert_eq!(independent(&all), (3, Vec::new()));
        assert_eq!(independent(&[]), (0, Vec::new()));
        assert!(Domains::of(&all).evidence().starts_with("no two are known to share"));
    }

    #[test]
    fn each_of_the_three_makes_one_of_two() {
        let one = bucket("s3.example", "cloud team", "K1");
        for (other, why) in [
            (bucket("s3.example", "b", "K2"), "2 buckets share a host (s3.example)"),
            (bucket("s4.example", "Cloud Team ", "K2"), "2 buckets share an administrator (cloud team)"),
            (bucket("s4.example", "b", "K1"), "2 buckets share credentials"),
        ] {
            assert_eq!(independent(&[one.clone(), other]), (1, vec![why.to_owned()]));
        }
        let mixed = [server("10.0.0.1", "a"), bucket("10.0.0.1", "b", "K1"), server("10.0.0.2", "c")];
        assert_eq!(independent(&mixed), (2, vec!["1 server and 1 bucket share a host (10.0.0.1)".to_owned()]));
    }

    /// The first and the last share nothing, and fall together all the same.
    #[test]
    fn what_hangs_together_through_others_is_one_domain() {
        let chain =
            [bucket("h1", "a", "K1"), bucket("h2", "a", "K2"), bucket("h3", "b", "K2"), bucket("h3", "c", "K3")];
        let (count, why) = independent(&chain);
        assert_eq!((count, why.len()), (1, 3));
        // In whatever order.
        let turned: Vec<Domain> = [2, 0, 3, 1].iter().map(|at: &usize| chain[*at].clone()).collect();
        assert_eq!(independent(&turned).0, 1);
        // Without the middle there are two.
        assert_eq!(independent(&[chain[0].clone(), chain[1].clone(), chain[3].clone()]).0, 2);
    }

    #[test]
    fn fourteen_buckets_of_one_administrator_are_one_and_what_is_not_known_is_said() {
        let all: Vec<Domain> = (0..14).map(|n| bucket(&format!("s{n}.example"), "one", &format!("K{n}"))).collect();
        assert_eq!(independent(&all), (1, vec!["14 buckets share an administrator (one)".to_owned()]));
        let unknown: Vec<Domain> = (0..14).map(|n| server(&format!("10.0.0.{n}"), "")).collect();
        let found = Domains::of(&unknown);
        assert_eq!((found.independent, found.unnamed), (1, 14), "whom nobody named may be one and the same");
        assert!(found.evidence().contains("nobody has said who administers 14 of them"), "{}", found.evidence());
        let mut some: Vec<Domain> = (0..3).map(|n| server(&format!("10.0.1.{n}"), &format!("a{n}"))).collect();
        some.extend(unknown);
        assert_eq!(Domains::of(&some).independent, 3, "or one of those who are named");
        assert_eq!(Domains::of(&[server("", "a"), server(" ", "b")]).independent, 2, "blanks are no host");
    }
}
