//! A search as FHIR writes it. Whatever this server can't search on sealed fields is refused by name, never ignored.

use std::collections::BTreeSet;

use kit::Timestamp;

use super::instant::{Span, parse_date_time};
use super::issue::{Code, Issue};
use super::reference::{self, Reference};
use super::resource::{Resource, is_id};
use super::search::{Field, PREFIX_CHARS, SYSTEM_END, is_name, normalise, prefix, telecom, token};
use super::table::table;

/// Entries of a page where the client names no number.
pub const COUNT_DEFAULT: usize = 20;

/// Entries of a page at most: each is opened, and counts against the caller's budget.
pub const COUNT_MAX: usize = 100;

/// Parameters and alternatives of one search: each costs a lookup.
const WANTED_MAX: usize = 50;

/// Facts to look up for one search: a year of birth stands for each of its days and months.
const FACTS_MAX: usize = 1_000;

/// Characters of one value: nothing that is searched here is longer.
const VALUE_CHARS_MAX: usize = 1_000;

/// A page token is the index's own; only its form is known here.
const PAGE_CHARS_MAX: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    After,
    From,
    Before,
    Until,
}

#[derive(Clone, PartialEq, Eq)]
struct Wanted {
    param: &'static str,
    value: String,
}

/// A search on one resource type: all groups must be met, each by one of its alternatives.
#[derive(Clone)]
pub struct Query {
    kind: &'static str,
    groups: Vec<Vec<Wanted>>,
    updated: Vec<(Order, Span)>,
    count: usize,
    page: Option<String>,
    /// This server's own address, where it is known: references may begin with it.
    base: String,
    /// What the client asked, for the links of the answer.
    asked: Vec<(String, String)>,
}

/// Holds names and numbers of patients; only its shape is shown.
impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Query({}, {} groups)", self.kind, self.groups.len())
    }
}

fn refused(text: impl Into<String>) -> Issue {
    Issue::error(Code::NotSupported, text)
}

/// What is said of the whole answer, and so but once. What is searched for may come again: it then holds as well (HL7 FHIR
/// R4, search.html#combining).
const ONCE: [&str; 4] = ["_count", "_format", "_page", "_pretty"];

/// Of two values, one would be used and nobody told which: refused, where a parameter that may come but once comes again.
pub fn said_once(encoded: &str) -> Result<(), Issue> {
    once(form_urlencoded::parse(encoded.as_bytes()).map(|(name, _)| name))
}

fn once(names: impl Iterator<Item = impl AsRef<str>>) -> Result<(), Issue> {
    let mut seen = [false; ONCE.len()];
    for name in names {
        for (parameter, seen) in ONCE.iter().zip(&mut seen).filter(|(parameter, _)| **parameter == name.as_ref()) {
            if std::mem::replace(seen, true) {
                return Err(Issue::error(Code::Value, format!("{parameter} comes more than once; it may come once")));
            }
        }
    }
    Ok(())
}

impl Query {
    /// `name=a&birthdate=b`, percent-encoded, as in an address or a form.
    pub fn parse_encoded(resource_type: &str, encoded: &str) -> Result<Self, Issue> {
        Self::parse_at("", resource_type, encoded)
    }

    pub fn parse(resource_type: &str, pairs: &[(String, String)]) -> Result<Self, Issue> {
        Self::of("", resource_type, pairs)
    }

    /// The same, on the server whose address is `base`.
    pub fn parse_at(base: &str, resource_type: &str, encoded: &str) -> Result<Self, Issue> {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(encoded.as_bytes()).into_owned().collect();
        Self::of(base, resource_type, &pairs)
    }

    fn of(base: &str, resource_type: &str, pairs: &[(String, String)]) -> Result<Self, Issue> {
        let Some(kind) = table().resource_type(resource_type) else {
            return Err(Issue::error(Code::NotFound, "no resource type of FHIR R4"));
        };
        let mut query = Self {
            kind,
            groups: Vec::new(),
            updated: Vec::new(),
            count: COUNT_DEFAULT,
            page: None,
            base: base.to_owned(),
            asked: Vec::new(),
        };
        once(pairs.iter().map(|(name, _)| name))?;
        for (name, value) in pairs {
            query.take(name, value)?;
        }
        let wanted: usize = query.groups.iter().map(Vec::len).sum();
        if wanted > WANTED_MAX {
            return Err(refused(format!("{wanted} values to search for, the maximum is {WANTED_MAX}")));
        }
        let facts: usize = query.groups().iter().map(Vec::len).sum();
        if facts > FACTS_MAX {
            return Err(refused(format!("{facts} days and values to look up, the maximum is {FACTS_MAX}")));
        }
        Ok(query)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), Issue> {
        let (base, modifier) = match name.split_once(':') {
            Some((base, modifier)) => (base, Some(modifier)),
            None => (name, None),
        };
        if let (Some(modifier), true) = (modifier, ONCE.contains(&base)) {
            return Err(refused(format!("{base}:{} is not supported: {base} takes no modifier", shown(modifier))));
        }
        if base == "_format" || base == "_pretty" {
            // The edge has chosen the format before the query is read; this server writes JSON as it is stored.
            return Ok(());
        }
        if value.is_empty() {
            return Err(Issue::error(Code::Value, format!("{} has no value", shown(base))));
        }
        if value.len() > VALUE_CHARS_MAX && value.chars().count() > VALUE_CHARS_MAX {
            let text = format!("{} has more than {VALUE_CHARS_MAX} characters", shown(base));
            return Err(Issue::error(Code::Value, text));
        }
        match base {
            "_count" => {
                let count: usize = value.parse().map_err(|_| Issue::error(Code::Value, "_count is no whole number"))?;
                if count == 0 {
                    return Err(refused("_count=0 asks how many there are; a search on sealed fields does not count"));
                }
                self.count = count.min(COUNT_MAX);
            }
            "_page" => {
                let good = value.len() <= PAGE_CHARS_MAX
                    && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
                if !good {
                    return Err(Issue::error(
                        Code::Value,
                        "_page is no page token of this server; follow the link `next`",
                    ));
                }
                self.page = Some(value.to_owned());
                return Ok(());
            }
            "_lastUpdated" if modifier.is_none() => self.updated.push(bound(value)?),
            _ => {
                let group = self.group(base, modifier, value)?;
                self.groups.push(group);
            }
        }
        self.asked.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    fn group(&self, base: &str, modifier: Option<&str>, value: &str) -> Result<Vec<Wanted>, Issue> {
        let offered = table().search(self.kind);
        let found = offered.iter().map(|(name, _)| *name).chain(["_id"]).find(|name| *name == base);
        let Some(param) = found else {
            let mut names: Vec<&str> = offered.iter().map(|(name, _)| *name).collect();
            names.extend(["_id", "_lastUpdated", "_count"]);
            return Err(refused(format!(
                "{} can't be searched on a {}: records are sealed; searchable are {}",
                shown(base),
                self.kind,
                names.join(", ")
            )));
        };
        let reference = matches!(param, "patient" | "subject");
        let target = match modifier {
            None => None,
            Some(kind) if reference && table().resource_type(kind).is_some() => Some(kind),
            Some(other) => {
                return Err(refused(format!(
                    "{param}:{} is not supported: sealed fields are found by equality, names by how they begin",
                    shown(other)
                )));
            }
        };
        alternatives(value)
            .map(|value| query_value(&self.base, param, target, &value).map(|value| Wanted { param, value }))
            .collect()
    }

    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Entries of a page, 1 to `COUNT_MAX`.
    pub fn count(&self) -> usize {
        self.count
    }

    pub fn page(&self) -> Option<&str> {
        self.page.as_deref()
    }

    /// What to look up: a candidate stands under one fact of every group. No group at all means every resource of the
    /// type. The index may give too many, never too few; `matches` judges them.
    pub fn groups(&self) -> Vec<Vec<Field>> {
        let tagged = |wanted: &Wanted| match wanted.param {
            name if is_name(name) => {
                vec![Field::new(name, prefix(&wanted.value, PREFIX_CHARS).unwrap_or(&wanted.value))]
            }
            // A whole year or month has no tag of its own, which so many would share that it would give ages away.
            "birthdate" => dates_within(&wanted.value).into_iter().map(|date| Field::new("birthdate", date)).collect(),
            param => vec![Field::new(param, wanted.value.clone())],
        };
        self.groups.iter().map(|group| group.iter().flat_map(tagged).collect()).collect()
    }

    /// Names of the parameters, as decisions are noted: no values.
    pub fn parameters(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = self.groups.iter().flatten().map(|wanted| wanted.param).collect();
        names.extend((!self.updated.is_empty()).then_some("_lastUpdated"));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Ids of the Patients whose records are asked for.
    pub fn patients(&self) -> Vec<&str> {
        let of_patient = self.groups.iter().flatten().filter(|w| matches!(w.param, "patient" | "subject"));
        let mut ids: Vec<&str> = of_patient.filter_map(|w| w.value.strip_prefix("Patient/")).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The identifiers that are asked for, each also as if no system had been named: whoever takes one takes the other.
    pub(crate) fn identifiers(&self) -> Vec<Field> {
        let wanted = self.groups.iter().flatten().filter(|w| w.param == "identifier");
        wanted
            .flat_map(|w| [w.value.as_str(), w.value.split_once(SYSTEM_END).map_or(w.value.as_str(), |(_, bare)| bare)])
            .map(|value| Field::new("identifier", value))
            .collect()
    }

    /// The index's row after which the page begins.
    pub(crate) fn after(&self) -> Result<i64, Issue> {
        let wrong = |_| Issue::error(Code::Value, "_page is no page token of this server; follow the link `next`");
        self.page().map_or(Ok(0), |token| token.parse().map_err(wrong))
    }

    /// Does the time of the current version meet `_lastUpdated`? The index knows that time without opening anything.
    pub fn allows_time(&self, updated: Timestamp) -> bool {
        self.updated.iter().all(|(order, span)| match order {
            Order::Equal => (span.start..span.end).contains(&updated),
            Order::After => updated >= span.end,
            Order::From => updated >= span.start,
            Order::Before => updated < span.start,
            Order::Until => updated < span.end,
        })
    }

    /// Judges an opened candidate in full.
    pub fn matches(&self, resource: &Resource) -> bool {
        resource.kind() == self.kind
            && (self.updated.is_empty() || resource.last_updated().is_some_and(|at| self.allows_time(at)))
            && self.met_by(|wanted| resource.holds(wanted.param, &wanted.value))
    }

    fn met_by(&self, holds: impl Fn(&Wanted) -> bool) -> bool {
        self.groups.iter().all(|group| group.iter().any(&holds))
    }

    /// Would a record with these identifiers be found? Of a query by identifier.
    pub(crate) fn finds_identifiers(&self, identifiers: &BTreeSet<String>) -> bool {
        self.met_by(|wanted| identifiers.contains(&wanted.value))
    }

    /// Do two searches ask the same?
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.kind == other.kind && self.groups == other.groups && self.updated == other.updated
    }

    /// Only identifiers are asked for: what `ifNoneExist` may ask.
    pub(crate) fn is_by_identifier(&self) -> bool {
        !self.groups.is_empty()
            && self.updated.is_empty()
            && self.groups.iter().flatten().all(|w| w.param == "identifier")
    }

    /// The address of this search below `base`, at the page that `token` names.
    pub fn link(&self, base: &str, token: Option<&str>) -> String {
        let mut encoded = form_urlencoded::Serializer::new(String::new());
        encoded.extend_pairs(&self.asked);
        if let Some(token) = token {
            encoded.append_pair("_page", token);
        }
        let encoded = encoded.finish();
        let mark = if encoded.is_empty() { "" } else { "?" };
        format!("{base}/{}{mark}{encoded}", self.kind)
    }
}

/// A parameter's or modifier's name in an answer: it came from the client, so only what FHIR itself calls so is repeated.
fn shown(name: &str) -> &str {
    const RESULTS: [&str; 20] = [
        "_content",
        "_contained",
        "_containedType",
        "_elements",
        "_filter",
        "_has",
        "_include",
        "_list",
        "_profile",
        "_query",
        "_revinclude",
        "_score",
        "_security",
        "_sort",
        "_source",
        "_summary",
        "_tag",
        "_text",
        "_total",
        "_type",
    ];
    const MODIFIERS: [&str; 12] = [
        "above",
        "below",
        "code-text",
        "contains",
        "exact",
        "identifier",
        "in",
        "iterate",
        "missing",
        "not",
        "of-type",
        "text",
    ];
    let known = |name: &str| {
        RESULTS.contains(&name) || MODIFIERS.contains(&name) || name.starts_with('_') && OWN.contains(&name)
    };
    match known(name) || table().names_parameter(name) || table().resource_type(name).is_some() {
        true => name,
        false => "this parameter",
    }
}

/// Parameters of every type.
const OWN: [&str; 4] = ["_id", "_lastUpdated", "_count", "_page"];

/// Values between commas; `\,` is a comma that belongs to a value. HL7 FHIR R4, search.html#escaping.
fn alternatives(value: &str) -> impl Iterator<Item = String> {
    let (mut found, mut escaped) = (vec![String::new()], false);
    for c in value.chars() {
        if c == ',' && !escaped {
            found.push(String::new());
        } else if let Some(last) = found.last_mut() {
            last.push(c);
        }
        escaped = c == '\\' && !escaped;
    }
    found.into_iter()
}

/// Without the backslashes of escaping.
fn unescaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

/// Where a bar stands that no backslash escapes.
fn bar(value: &str) -> Option<usize> {
    let mut escaped = false;
    value.char_indices().find_map(|(at, c)| {
        let here = c == '|' && !escaped;
        escaped = c == '\\' && !escaped;
        here.then_some(at)
    })
}

fn query_value(base: &str, param: &'static str, target: Option<&str>, value: &str) -> Result<String, Issue> {
    let wrong = |text: &str| Err(Issue::error(Code::Value, format!("{param}: {text}")));
    match param {
        "_id" if is_id(value) => Ok(value.to_owned()),
        "_id" => wrong("no id: 1 to 64 of A-Z a-z 0-9 - ."),
        "identifier" => match bar(value).and_then(|at| Some((value.get(..at)?, value.get(at + 1..)?))) {
            Some((_, "")) => Err(refused("identifier: a system without a value can't be searched on sealed fields")),
            Some((system, value)) => Ok(token(Some(&unescaped(system)), &unescaped(value))),
            None if value.trim().is_empty() => wrong("no value"),
            None => Ok(unescaped(value).trim().to_owned()),
        },
        "birthdate" => {
            let date = value.strip_prefix("eq").unwrap_or(value);
            match parse_date_time(date) {
                Some(_) if date.len() <= 10 => Ok(date.to_owned()),
                Some(_) => Err(refused("birthdate: a date of birth has no time of day")),
                None if value.starts_with(|c: char| c.is_ascii_lowercase())
                    && value.get(2..).and_then(parse_date_time).is_some() =>
                {
                    Err(refused(
                        "birthdate: sealed dates are found by equality; prefixes other than eq are not supported",
                    ))
                }
                None => wrong("no date: YYYY, YYYY-MM or YYYY-MM-DD"),
            }
        }
        "phone" | "email" | "telecom" => {
            let (system, value) = match bar(value).and_then(|at| Some((value.get(..at)?, value.get(at + 1..)?))) {
                Some((system, value)) => (Some(system), value),
                None => (None, value),
            };
            match (system, telecom(&unescaped(value))) {
                (Some(system), _) if !system.is_empty() && system != param => Err(refused(format!(
                    "{param}: no other system goes with it; search by phone=, email= or telecom= and the value alone"
                ))),
                (_, none) if none.is_empty() => wrong("neither a number nor an address"),
                (_, found) => Ok(found),
            }
        }
        "patient" | "subject" => {
            let target = target.or((param == "patient").then_some("Patient"));
            let value = reference::local(base, value);
            match (reference::parse(value), target) {
                (Some(Reference::Local { kind, id }), _) if target.is_none_or(|t| t == kind) => {
                    Ok(format!("{kind}/{id}"))
                }
                (_, Some(kind)) if is_id(value) => Ok(format!("{kind}/{value}")),
                // A bare id of a subject means a patient, as most clients do.
                (_, None) if is_id(value) => Ok(format!("Patient/{value}")),
                _ => wrong("no reference of this server: Type/id"),
            }
        }
        _ => match normalise(&unescaped(value)) {
            none if none.is_empty() => wrong("no letter or digit to search for"),
            found => Ok(found),
        },
    }
}

/// The dates that a date holds: its days, and its months where they are whole. A stored date is found where it lies
/// within what is asked. HL7 FHIR R4, search.html#prefix, eq.
fn dates_within(date: &str) -> Vec<String> {
    let parts = |of: &str, numbers: std::ops::RangeInclusive<u8>| -> Vec<String> {
        let all = numbers.map(|number| format!("{of}-{number:02}"));
        all.filter(|date| parse_date_time(date).is_some()).collect()
    };
    let days = |month: &str| parts(month, 1..=31);
    let mut dates = vec![date.to_owned()];
    match date.len() {
        4 => {
            let months = parts(date, 1..=12);
            dates.extend(months.iter().flat_map(|month| days(month)));
            dates.extend(months);
        }
        7 => dates.extend(days(date)),
        _ => {}
    }
    dates
}

fn bound(value: &str) -> Result<(Order, Span), Issue> {
    let (order, rest) = match value.get(..2) {
        Some("eq") => (Order::Equal, value.get(2..)),
        Some("gt") => (Order::After, value.get(2..)),
        Some("ge") => (Order::From, value.get(2..)),
        Some("lt") => (Order::Before, value.get(2..)),
        Some("le") => (Order::Until, value.get(2..)),
        Some("ne" | "sa" | "eb" | "ap") => return Err(refused("_lastUpdated: prefixes are eq, gt, ge, lt, le")),
        _ => (Order::Equal, Some(value)),
    };
    // In an address, the plus of a time zone is often left unescaped and arrives as a blank.
    match parse_date_time(&rest.unwrap_or_default().replace(' ', "+")) {
        Some(span) => Ok((order, span)),
        None => Err(Issue::error(Code::Value, "_lastUpdated: no date or time")),
    }
}
