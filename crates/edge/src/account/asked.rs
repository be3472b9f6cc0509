//! What a search for AuditEvents asks. What it doesn't know is refused, never ignored.

use chart::fhir::{COUNT_DEFAULT, Code, Issue, Span, is_id, parse_date_time};
use kit::Timestamp;

/// Events of a page: larger than of records, for each is small and none opens anything.
pub const EVENTS_MAX: usize = 1_000;

/// Bounds of a time: more say nothing more.
const DATES_MAX: usize = 8;

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub entry: u64,
    /// Lines of that entry that stood on the page before.
    pub line: usize,
    /// Entries before this one; fixed by the first page, for each page read is an entry itself.
    pub until: u64,
}

impl Place {
    pub fn token(&self) -> String {
        format!("{}-{}-{}", self.entry, self.line, self.until)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let place = Self {
            entry: parts.next()?.parse().ok()?,
            line: parts.next()?.parse().ok()?,
            until: parts.next()?.parse().ok()?,
        };
        (place.token() == text).then_some(place)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Within,
    From,
    After,
    Until,
    Before,
}

/// A search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Her FHIR id.
    pub patient: Option<String>,
    dates: Vec<(Order, Span)>,
    /// From this entry of the ledger on.
    pub entry: u64,
    pub count: usize,
    pub page: Option<Place>,
    /// The parameters beside page and format, for the links.
    asked: Vec<(String, String)>,
}

impl Asked {
    /// `patient=Patient/1&date=ge2026-11-01`, percent-encoded, on the server whose address is `base`.
    pub fn parse(base: &str, encoded: &str) -> Result<Self, Issue> {
        let mut asked =
            Self { patient: None, dates: Vec::new(), entry: 0, count: COUNT_DEFAULT, page: None, asked: Vec::new() };
        let value_of = |what: &str| Issue::error(Code::Value, what.to_owned());
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(encoded.as_bytes()) {
            if name != "date" {
                if seen.contains(&name) {
                    return Err(value_of("a parameter comes more than once; only date may"));
                }
                seen.push(name.clone());
            }
            match name.as_ref() {
                "_format" | "_pretty" => continue,
                "_page" => {
                    asked.page =
                        Some(Place::parse(&value).ok_or_else(|| value_of("_page is no page token of this server"))?);
                    continue;
                }
                "_count" => {
                    let count = value.parse().ok().filter(|count: &usize| *count > 0);
                    asked.count = count.ok_or_else(|| value_of("_count is no number from 1 on"))?.min(EVENTS_MAX);
                }
                "entry" => {
                    let number = value.strip_prefix("ge").unwrap_or(&value);
                    asked.entry = number.parse().map_err(|_| value_of("entry is no number of an entry"))?;
                }
                "patient" => {
                    let own =
                        value.strip_prefix(base).filter(|_| !base.is_empty()).and_then(|rest| rest.strip_prefix('/'));
                    let reference = own.unwrap_or(&value);
                    let id = reference.strip_prefix("Patient/").unwrap_or(reference);
                    if !is_id(id) {
                        return Err(value_of("patient is no id and no reference to a Patient of this server"));
                    }
                    asked.patient = Some(id.to_owned());
                }
                "date" => {
                    let (order, text) = match value.split_at_checked(2) {
                        Some(("ge", rest)) => (Order::From, rest),
                        Some(("gt", rest)) => (Order::After, rest),
                        Some(("le", rest)) => (Order::Until, rest),
                        Some(("lt", rest)) => (Order::Before, rest),
                        Some(("eq", rest)) => (Order::Within, rest),
                        _ => (Order::Within, value.as_ref()),
                    };
                    let span = parse_date_time(text)
                        .ok_or_else(|| value_of("date is no date or time of FHIR; prefixes are eq, ge, gt, le, lt"))?;
                    if asked.dates.len() == DATES_MAX {
                        return Err(Issue::error(Code::TooCostly, format!("more than {DATES_MAX} dates")));
                    }
                    asked.dates.push((order, span));
                }
                _ => {
                    let text =
                        "the address has a parameter that is not supported here; patient, date, entry, _count are";
                    return Err(Issue::error(Code::NotSupported, text));
                }
            }
            asked.asked.push((name.into_owned(), value.into_owned()));
        }
        Ok(asked)
    }

    /// Was it then? HL7 FHIR R4, search.html#date.
    pub fn holds(&self, at: Timestamp) -> bool {
        self.dates.iter().all(|(order, span)| match order {
            Order::Within => span.start <= at && at < span.end,
            Order::From => at >= span.start,
            Order::After => at >= span.end,
            Order::Until => at < span.end,
            Order::Before => at < span.start,
        })
    }

    pub fn has_dates(&self) -> bool {
        !self.dates.is_empty()
    }

    pub fn link(&self, base: &str, page: Option<&str>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        self.asked.iter().for_each(|(name, value)| {
            query.append_pair(name, value);
        });
        page.into_iter().for_each(|page| {
            query.append_pair("_page", page);
        });
        let query = query.finish();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{base}/AuditEvent{mark}{query}")
    }

    /// As the log names it: parameters without their values.
    pub fn what(&self) -> String {
        let names: Vec<&str> = self.asked.iter().map(|(name, _)| name.as_str()).collect();
        let mark = if names.is_empty() { "" } else { "?" };
        format!("AuditEvent{mark}{}", names.join("&"))
    }
}
