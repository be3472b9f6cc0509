//! What FHIR R4 itself says, read once from `bindings.txt`: elements and their types, closed codes, reference targets,
//! the patient compartment, and where search parameters look.

use std::collections::HashMap;
use std::sync::LazyLock;

use fhirkit::Kind as Primitive;

const TEXT: &str = include_str!("bindings.txt");

/// What stands in an element.
#[derive(Debug)]
pub(crate) enum Kind {
    Primitive(Primitive),
    /// A code from a closed set.
    Code(usize),
    /// A CodeableConcept or Coding whose codes are closed: value set and code systems.
    Concept(&'static str, usize, Vec<&'static str>),
    /// With the number of its targets; none means any resource.
    Reference(Option<usize>),
    Resource,
    Complex(&'static str),
}

impl Kind {
    /// Primitives carry their extensions beside them, under their name with an underscore.
    pub(crate) fn is_primitive(&self) -> bool {
        matches!(self, Self::Primitive(_) | Self::Code(_))
    }
}

#[derive(Debug)]
pub(crate) struct Element {
    pub(crate) kind: Kind,
    pub(crate) repeats: bool,
    /// The choice that it is one form of: `value[x]`.
    pub(crate) choice: Option<&'static str>,
}

#[derive(Debug, Default)]
pub(crate) struct Type {
    base: &'static str,
    elements: HashMap<&'static str, Element>,
    /// Elements, or choices, that must be there, and how often.
    pub(crate) required: Vec<(&'static str, usize)>,
}

#[derive(Default)]
pub(crate) struct Table {
    codes: Vec<Vec<&'static str>>,
    targets: Vec<Vec<&'static str>>,
    types: HashMap<&'static str, Type>,
    compartments: HashMap<&'static str, Vec<&'static str>>,
    search: HashMap<&'static str, Vec<(&'static str, Vec<&'static str>)>>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(TEXT));

pub(crate) fn table() -> &'static Table {
    &TABLE
}

impl Table {
    /// Lines that it can't read are left out; a test compares what came in with what is there.
    fn read(text: &'static str) -> Self {
        let mut table = Self::default();
        let mut open = "";
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&'static str> = line.split_ascii_whitespace().collect();
            match (line.starts_with(' '), words.as_slice()) {
                (true, [name, many, kind, rest @ ..]) => {
                    if let (Some((element, least)), Some(of)) = (element(many, kind, rest), table.types.get_mut(open)) {
                        let required = (element.choice.unwrap_or(name), least);
                        if least > 0 && !of.required.contains(&required) {
                            of.required.push(required);
                        }
                        of.elements.insert(name, element);
                    }
                }
                (false, ["codes", _, codes @ ..]) => table.codes.push(codes.to_vec()),
                (false, ["targets", _, targets @ ..]) => table.targets.push(targets.to_vec()),
                (false, ["type", name, base @ ..]) => {
                    open = name;
                    let base = base.first().copied().unwrap_or_default();
                    table.types.insert(name, Type { base, ..Type::default() });
                }
                (false, ["compartment", kind, paths @ ..]) => {
                    table.compartments.insert(kind, paths.to_vec());
                }
                (false, ["search", kind, parameter, paths @ ..]) => {
                    table.search.entry(kind).or_default().push((parameter, paths.to_vec()));
                }
                _ => {}
            }
        }
        table
    }

    /// The name of a resource type, where `name` is one.
    pub(crate) fn resource_type(&self, name: &str) -> Option<&'static str> {
        let (known, found) = self.types.get_key_value(name)?;
        (matches!(found.base, "Resource" | "DomainResource") && *known != "DomainResource").then_some(*known)
    }

    pub(crate) fn resource_types(&self) -> Vec<&'static str> {
        let mut all: Vec<&'static str> = self.types.keys().filter_map(|name| self.resource_type(name)).collect();
        all.sort_unstable();
        all
    }

    /// A type and those that it inherits from, the nearest first.
    pub(crate) fn lineage(&'static self, of: &str) -> impl Iterator<Item = &'static Type> + use<> {
        std::iter::successors(self.types.get(of), |of| self.types.get(of.base))
    }

    /// The element `name` of type `of`, its own or inherited.
    pub(crate) fn element(&'static self, of: &str, name: &str) -> Option<&'static Element> {
        self.lineage(of).find_map(|of| of.elements.get(name))
    }

    pub(crate) fn codes(&self, number: usize) -> &[&'static str] {
        self.codes.get(number).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn targets(&self, number: usize) -> &[&'static str] {
        self.targets.get(number).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn compartment(&self, kind: &str) -> &[&'static str] {
        self.compartments.get(kind).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether any type has a search parameter, or an element, of this name.
    pub(crate) fn names_parameter(&self, name: &str) -> bool {
        self.search.values().flatten().any(|(known, _)| *known == name)
            || self.types.values().any(|of| of.elements.contains_key(name))
    }

    /// Search parameters of a resource type, each with its paths.
    pub(crate) fn search(&self, kind: &str) -> &[(&'static str, Vec<&'static str>)] {
        self.search.get(kind).map(Vec::as_slice).unwrap_or_default()
    }
}

/// An element from the words of its line, and how often it must stand.
fn element(many: &'static str, kind: &'static str, rest: &[&'static str]) -> Option<(Element, usize)> {
    let number = || rest.first().and_then(|n| n.parse().ok());
    let kind = match kind {
        "code" if !rest.is_empty() => Kind::Code(number()?),
        "Reference" => Kind::Reference(number()),
        "CodeableConcept" | "Coding" if !rest.is_empty() => {
            Kind::Concept(kind, number()?, rest.get(1..).unwrap_or_default().to_vec())
        }
        "Resource" => Kind::Resource,
        _ => primitive(kind).map_or(Kind::Complex(kind), Kind::Primitive),
    };
    let (mark, choice) = many.split_at_checked(1)?;
    let (repeats, least) = match mark {
        "?" => (false, 0),
        "!" => (false, 1),
        "*" => (true, 0),
        "+" => (true, 1),
        _ => (true, many.split_once("..")?.0.parse().ok()?),
    };
    let choice = Some(choice).filter(|choice| choice.ends_with("[x]"));
    Some((Element { kind, repeats, choice }, least))
}

fn primitive(name: &str) -> Option<Primitive> {
    use Primitive::{
        Base64Binary, Boolean, Canonical, Code, Date, DateTime, Decimal, Id, Instant, Integer, Markdown, Oid,
        PositiveInt, String, Time, UnsignedInt, Uri, Url, Uuid, Xhtml,
    };
    [
        Boolean,
        Integer,
        PositiveInt,
        UnsignedInt,
        Decimal,
        String,
        Code,
        Id,
        Markdown,
        Uri,
        Url,
        Canonical,
        Oid,
        Uuid,
        Base64Binary,
        Date,
        DateTime,
        Instant,
        Time,
        Xhtml,
    ]
    .into_iter()
    .find(|primitive| primitive.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read() {
        let count = |start: &str| TEXT.lines().filter(|line| line.starts_with(start)).count();
        let table = table();
        assert_eq!(count("codes "), table.codes.len());
        assert_eq!(count("targets "), table.targets.len());
        assert_eq!(count("type "), table.types.len());
        assert_eq!(count(" "), table.types.values().map(|t| t.elements.len()).sum::<usize>());
        assert_eq!(count("compartment "), table.compartments.len());
        assert_eq!(count("search "), table.search.values().map(Vec::len).sum::<usize>());
        assert_eq!(table.resource_types().len(), 146);
        assert!(table.resource_type("DomainResource").is_none() && table.resource_type("HumanName").is_none());
    }

    #[test]
    fn elements_lead_to_their_type_codes_and_targets() {
        let kind = |of: &str, name: &str| table().element(of, name).map(|element| &element.kind);
        let Some(Kind::Code(gender)) = kind("Patient", "gender") else { panic!() };
        assert_eq!(table().codes(*gender), ["female", "male", "other", "unknown"]);
        let Some(Kind::Reference(Some(subject))) = kind("Condition", "subject") else { panic!() };
        assert_eq!(table().targets(*subject), ["Group", "Patient"]);
        assert!(matches!(kind("Patient.contact", "modifierExtension"), Some(Kind::Complex("Extension"))));
        assert!(matches!(kind("Patient", "meta"), Some(Kind::Complex("Meta"))));
        assert!(matches!(kind("Patient", "birthDate"), Some(Kind::Primitive(Primitive::Date))));
        assert!(kind("Patient", "nothing").is_none());
        let value = table().element("Observation", "valueQuantity").unwrap();
        assert_eq!((value.choice, value.repeats), (Some("value[x]"), false));
        assert!(table().element("Patient", "name").unwrap().repeats);
    }

    #[test]
    fn every_complex_element_has_a_type() {
        for element in table().types.values().flat_map(|of| of.elements.values()) {
            if let Kind::Complex(of) = element.kind {
                assert!(table().types.contains_key(of), "{of}");
            }
        }
    }
}
