//! What a patient's record says beside her plan: what was ordered, where the tumour is, what is booked. From FHIR R4 resources, as
//! far as they can be read; what can't be is left out, and so unknown.
//!
//! Orders are read as HL7's CodeX Radiation Therapy guide (STU 2) writes them: a ServiceRequest with prescribed or planned fractions
//! and doses to volumes.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::interruption::calendar::Day;
use crate::plan::prescription::Dose;

const CODEX: &str = "http://hl7.org/fhir/us/codex-radiation-therapy/StructureDefinition/codexrt-radiotherapy-";
const SNOMED: &str = "http://snomed.info/sct";
/// SNOMED CT: left, right, right and left; radiation oncology.
const LEFT: &str = "7771000";
const RIGHT: &str = "24028007";
const BOTH: &str = "51440002";
const RADIOTHERAPY: &str = "108290001";
/// Words by which a booking is known to be for radiotherapy.
const BOOKED_FOR: [&str; 6] = ["radiotherap", "radiation", "irradiat", "fraction", "linac", "teletherap"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Left,
    Right,
}

impl Side {
    /// Of words: each on its own, as `Breast_L`, `left lung`, `RIGHT`. `RT` is radiotherapy as often as it is right.
    pub fn of_words(words: &str) -> impl Iterator<Item = Self> {
        let side = |word: &str| match word.to_ascii_uppercase().as_str() {
            "LEFT" | "LT" | "LFT" | "L" | "LHS" => Some(Self::Left),
            "RIGHT" | "RGT" | "R" | "RHS" => Some(Self::Right),
            _ => None,
        };
        words.split(|c: char| !c.is_alphanumeric()).filter_map(side)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }
}

/// One order for radiotherapy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    pub fractions: Option<u32>,
    /// To each volume: in all, and in one fraction.
    pub doses: Vec<(Option<Dose>, Option<Dose>)>,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fractions {
            Some(fractions) => write!(f, "{fractions} fractions")?,
            None => f.write_str("fractions not said")?,
        }
        for (total, each) in &self.doses {
            match (total, each) {
                (Some(total), Some(each)) => write!(f, ", {total} by {each} each")?,
                (Some(total), None) => write!(f, ", {total}")?,
                (None, Some(each)) => write!(f, ", {each} each")?,
                (None, None) => {}
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Those that stand.
    pub orders: Vec<Order>,
    /// Of each diagnosis that stands: its words.
    pub sites: Vec<String>,
    pub sides: BTreeSet<Side>,
    /// Days with a booking for radiotherapy, rising.
    pub booked: Vec<Day>,
}

fn text<'v>(value: &'v Value, path: &str) -> Option<&'v str> {
    value.pointer(path)?.as_str()
}

fn list<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

/// Words of a CodeableConcept, and SNOMED CT's codes in it.
fn words(concept: &Value) -> impl Iterator<Item = &str> {
    let displays = list(concept, "coding").filter_map(|coding| text(coding, "/display"));
    text(concept, "/text").into_iter().chain(displays)
}

fn snomed(concept: &Value) -> impl Iterator<Item = &str> {
    let codings = list(concept, "coding").filter(|coding| text(coding, "/system") == Some(SNOMED));
    codings.filter_map(|coding| text(coding, "/code"))
}

/// A Quantity of dose, in Gy or cGy.
fn dose(quantity: &Value) -> Option<Dose> {
    // As it is written: decimals of FHIR carry their precision.
    let value: f64 = quantity.get("value")?.to_string().parse().ok()?;
    let factor = match text(quantity, "/code").or_else(|| text(quantity, "/unit"))? {
        "Gy" => 1e4,
        "cGy" => 1e2,
        _ => return None,
    };
    #[allow(clippy::cast_possible_truncation)] // within a million gray
    (0.0..1e6).contains(&value).then(|| Dose((value * factor).round() as i64))
}

fn natural(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok().filter(|number| *number > 0)
}

impl Order {
    fn of(request: &Value) -> Option<Self> {
        let mut order = Self::default();
        for extension in list(request, "extension") {
            match text(extension, "/url")?.strip_prefix(CODEX) {
                Some("fractions-prescribed" | "fractions-planned") => {
                    order.fractions = extension.get("valuePositiveInt").and_then(natural);
                }
                Some("dose-prescribed-to-volume" | "dose-planned-to-volume") => {
                    let part = |url: &str| list(extension, "extension").find(|one| text(one, "/url") == Some(url));
                    let quantity = |url: &str| dose(part(url)?.get("valueQuantity")?);
                    let fractions = part("fractions").and_then(|one| natural(one.get("valuePositiveInt")?));
                    order.fractions = order.fractions.or(fractions);
                    order.doses.push((quantity("totalDose"), quantity("fractionDose")));
                }
                _ => {}
            }
        }
        (order != Self::default()).then_some(order)
    }
}

impl Beside {
    /// Of her ServiceRequests, Conditions and Appointments, as they are now.
    pub fn of(requests: &[Value], conditions: &[Value], appointments: &[Value]) -> Self {
        let stands = |request: &&Value| {
            matches!(text(request, "/status"), Some("active" | "completed" | "on-hold"))
                && matches!(
                    text(request, "/intent"),
                    Some("order" | "original-order" | "filler-order" | "instance-order")
                )
        };
        let mut beside =
            Self { orders: requests.iter().filter(stands).filter_map(Order::of).collect(), ..Self::default() };
        let is_so = |condition: &&Value| {
            !matches!(text(condition, "/verificationStatus/coding/0/code"), Some("refuted" | "entered-in-error"))
        };
        for condition in conditions.iter().filter(is_so) {
            let concepts = condition.get("code").into_iter().chain(list(condition, "bodySite"));
            for concept in concepts {
                for words in words(concept) {
                    beside.sides.extend(Side::of_words(words));
                    if beside.sites.iter().all(|known| known != words) {
                        beside.sites.push(words.to_owned());
                    }
                }
                for code in snomed(concept) {
                    let sides: &[Side] = match code {
                        LEFT => &[Side::Left],
                        RIGHT => &[Side::Right],
                        BOTH => &[Side::Left, Side::Right],
                        _ => &[],
                    };
                    beside.sides.extend(sides);
                }
            }
        }
        let comes = |one: &&Value| {
            matches!(text(one, "/status"), Some("booked" | "pending" | "arrived" | "checked-in" | "proposed"))
        };
        let is_for_it = |one: &&Value| {
            let concepts = ["serviceCategory", "serviceType", "specialty", "reasonCode"];
            let concepts = || concepts.iter().flat_map(|field| list(one, field)).chain(one.get("appointmentType"));
            let said = concepts().flat_map(words).chain(text(one, "/description"));
            let mut said = said.map(str::to_lowercase);
            said.any(|said| BOOKED_FOR.iter().any(|word| said.contains(word)))
                || concepts().flat_map(snomed).any(|code| code == RADIOTHERAPY)
        };
        let day = |one: &Value| text(one, "/start")?.get(..10)?.parse::<Day>().ok();
        beside.booked = appointments.iter().filter(comes).filter(is_for_it).filter_map(day).collect();
        beside.booked.sort();
        beside
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sides_are_words_of_their_own() {
        let sides = |words: &str| Side::of_words(words).collect::<Vec<_>>();
        for left in ["Breast_L", "left breast", "LT LUNG", "Lung, L.", "Tongue (left)"] {
            assert_eq!(sides(left), [Side::Left], "{left}");
        }
        for right in ["Femur_Head_R", "RIGHT", "r breast"] {
            assert_eq!(sides(right), [Side::Right], "{right}");
        }
        for none in ["PELVIS", "RT plan", "Larynx", "Cleft lip", "Upright", "PLAN R1", ""] {
            assert_eq!(sides(none), [], "{none}");
        }
    }

    #[test]
    fn a_record_is_read_as_far_as_it_can_be() {
        let dose =
            |value: Value, code: &str| json!({ "value": value, "code": code, "system": "http://unitsofmeasure.org" });
        let order = json!({
            "resourceType": "ServiceRequest", "status": "active", "intent": "order",
            "extension": [
                { "url": format!("{CODEX}fractions-prescribed"), "valuePositiveInt": 25 },
                { "url": format!("{CODEX}dose-prescribed-to-volume"), "extension": [
                    { "url": "totalDose", "valueQuantity": dose(json!(5000), "cGy") },
                    { "url": "fractionDose", "valueQuantity": dose(json!(2.0), "Gy") }
                ] }
            ]
        });
        let mut revoked = order.clone();
        revoked["status"] = json!("revoked");
        let mut other = order.clone();
        other["extension"] = json!([{ "url": "http://example.org/other", "valuePositiveInt": 7 }]);
        let conditions = [
            json!({ "code": { "text": "Carcinoma of breast" }, "bodySite": [{ "coding": [{ "system": SNOMED, "code": LEFT }] }] }),
            json!({ "code": { "text": "Right lung" }, "verificationStatus": { "coding": [{ "code": "refuted" }] } }),
        ];
        let booked = |day: &str, what: &str, status: &str| json!({ "status": status, "start": format!("{day}T09:00:00+05:30"), "description": what });
        let appointments = [
            booked("2026-12-02", "Radiotherapy, fraction 8", "booked"),
            booked("2026-12-01", "RADIATION", "booked"),
            booked("2026-12-03", "Review", "booked"),
            booked("2026-12-04", "Radiotherapy", "cancelled"),
            json!({ "status": "booked", "start": "2026-12-07", "serviceType": [{ "coding": [{ "system": SNOMED, "code": RADIOTHERAPY }] }] }),
            json!({ "status": "booked", "description": "fraction" }),
        ];
        let beside = Beside::of(&[order, revoked, other, json!({}), json!([])], &conditions, &appointments);
        let doses = vec![(Some(Dose(500_000)), Some(Dose(20_000)))];
        assert_eq!(beside.orders, [Order { fractions: Some(25), doses }]);
        assert_eq!(beside.orders[0].to_string(), "25 fractions, 50.00 Gy by 2.00 Gy each");
        assert_eq!(beside.sides, BTreeSet::from([Side::Left]));
        assert_eq!(beside.sites, ["Carcinoma of breast"]);
        let days: Vec<String> = beside.booked.iter().map(Day::to_string).collect();
        assert_eq!(days, ["2026-12-01", "2026-12-02", "2026-12-07"]);
    }
}
