//! Makes `crates/chart/src/fhir/bindings.txt`, the table of what FHIR R4 itself says about elements, codes, reference
//! targets, compartments and search parameters, from the definitions in npm's `hl7.fhir.r4.examples` 4.0.1.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

const HEADER: &str = "\
# Facts of HL7 FHIR R4 4.0.1 (CC0-1.0): StructureDefinition, ValueSet expansion, CompartmentDefinition and
# SearchParameter resources of npm hl7.fhir.r4.examples 4.0.1. Made by `cargo xtask fhir-bindings`; not edited by hand.
#   codes N CODE…                       the value set that bindings call N
#   targets N TYPE…                     the resource types that references call N
#   type NAME BASE                      opens a type; its elements follow, each on a line that starts with a space:
#    ELEMENT MANY TYPE [N] [SYSTEM…]    MANY: ? 0..1, ! 1..1, * 0..*, + 1..*, or MIN..*; of one form of a choice, its
#                                       name follows; code and CodeableConcept: codes N; Reference: targets N
#   compartment TYPE PATH…              where a resource names the patient to whom it belongs
#   search TYPE PARAMETER PATH…         where a search parameter looks; PATH?system=S takes only telecoms of system S
";

/// Value sets without a closed list of codes: their code systems are open, external or too large to hold.
const OPEN: &[&str] = &["mimetypes", "currencies", "ucum-units", "all-languages", "LL379-9"];

/// The search parameters that this server offers, by FHIR's own names.
const OFFERED: &[&str] =
    &["identifier", "name", "family", "given", "birthdate", "phone", "email", "telecom", "patient", "subject"];

#[derive(Default)]
struct Table {
    codes: Vec<String>,
    targets: Vec<String>,
    types: BTreeMap<String, (String, Vec<String>)>,
}

/// `package` is the unpacked folder that holds the .json files.
pub(crate) fn run(package: &Path, out: &Path) -> Result<()> {
    let mut definitions = Vec::new();
    for entry in std::fs::read_dir(package).with_context(|| format!("{} is no folder", package.display()))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("StructureDefinition-")) {
            definitions.push(read(&path)?);
        }
    }
    let expansions: BTreeMap<String, Value> = resources(&package.join("Bundle-valueset-expansions.json"))?
        .into_iter()
        .map(|set| (text(&set, "/url").to_owned(), set))
        .collect();

    let mut table = Table::default();
    definitions.sort_by(|a, b| text(a, "/name").cmp(text(b, "/name")));
    for definition in &definitions {
        let kind = text(definition, "/kind");
        let own =
            text(definition, "/url") == format!("http://hl7.org/fhir/StructureDefinition/{}", text(definition, "/id"));
        let profile = text(definition, "/derivation") == "constraint" && !is_quantity_kind(definition);
        if own && !profile && matches!(kind, "resource" | "complex-type") {
            table.define(definition, &expansions)?;
        }
    }
    let search = resources(&package.join("Bundle-searchParams.json"))?;
    let compartments = read(&package.join("CompartmentDefinition-patient.json"))?;
    std::fs::write(out, table.print(&search, &compartments)?)?;
    Ok(())
}

/// Age, Count, Distance and Duration are defined as constraints on Quantity, and used as types.
fn is_quantity_kind(definition: &Value) -> bool {
    matches!(text(definition, "/id"), "Age" | "Count" | "Distance" | "Duration")
}

impl Table {
    fn define(&mut self, definition: &Value, expansions: &BTreeMap<String, Value>) -> Result<()> {
        let name = text(definition, "/id").to_owned();
        let base = text(definition, "/baseDefinition").rsplit('/').next().unwrap_or_default().to_owned();
        let base = if is_quantity_kind(definition) { "Element".to_owned() } else { base };
        let elements = list(definition, "/snapshot/element");
        let root = text(definition, "/type");
        self.types.insert(name.clone(), (base, Vec::new()));
        for element in elements {
            let path = text(element, "/path").replacen(root, &name, 1);
            let Some((parent, last)) = path.rsplit_once('.') else { continue };
            let types = list(element, "/type");
            let backbone = matches!(types.first().map(|t| text(t, "/code")), Some("BackboneElement" | "Element"));
            if backbone {
                self.types
                    .insert(path.clone(), (text(types.first().unwrap_or(element), "/code").to_owned(), Vec::new()));
            }
            let inherited = text(element, "/base/path").split('.').next().unwrap_or_default();
            if matches!(inherited, "Element" | "BackboneElement" | "Resource" | "DomainResource") && inherited != name {
                continue;
            }
            let Some(many) = many(element)? else { continue };
            let mut lines = Vec::new();
            if let Some(shared) = element.get("contentReference").and_then(Value::as_str) {
                lines.push(format!("{last} {many} {}", shared.trim_start_matches('#')));
            } else if backbone {
                lines.push(format!("{last} {many} {path}"));
            }
            for kind in if lines.is_empty() { types } else { &[] } {
                let code = match (text(kind, "/code"), path.as_str()) {
                    ("http://hl7.org/fhirpath/System.String", "Resource.id") => "id",
                    ("http://hl7.org/fhirpath/System.String", "Extension.url") => "uri",
                    ("http://hl7.org/fhirpath/System.String", _) => "string",
                    (code, _) => code,
                };
                let (key, many) = match last.strip_suffix("[x]") {
                    Some(stem) => (format!("{stem}{}", capital(code)), format!("{many}{last}")),
                    None => (last.to_owned(), many.clone()),
                };
                lines.push(format!("{key} {many} {}", self.kind(code, kind, element, expansions)?));
            }
            let (_, own) = self.types.get_mut(parent).with_context(|| format!("{path}: its parent is undefined"))?;
            own.extend(lines);
        }
        Ok(())
    }

    /// The type of one element, with its targets or codes.
    fn kind(
        &mut self,
        code: &str,
        kind: &Value,
        element: &Value,
        expansions: &BTreeMap<String, Value>,
    ) -> Result<String> {
        if code == "Reference" {
            let mut targets: Vec<&str> = list(kind, "/targetProfile")
                .iter()
                .filter_map(|target| target.as_str()?.rsplit('/').next())
                .filter(|target| *target != "Resource")
                .collect();
            targets.sort_unstable();
            return Ok(match targets.is_empty() {
                true => code.to_owned(),
                false => format!("{code} {}", number(&mut self.targets, targets.join(" "))),
            });
        }
        let url = text(element, "/binding/valueSet").split('|').next().unwrap_or_default();
        let closed = text(element, "/binding/strength") == "required" && !OPEN.iter().any(|name| url.ends_with(name));
        if !closed || !matches!(code, "code" | "CodeableConcept" | "Coding") {
            return Ok(code.to_owned());
        }
        let set = expansions.get(url).with_context(|| format!("{url} has no expansion"))?;
        let (mut codes, mut systems) = (BTreeSet::new(), BTreeSet::new());
        collect(list(set, "/expansion/contains"), &mut codes, &mut systems);
        if codes.is_empty() || codes.iter().any(|code| code.contains(' ')) {
            bail!("{url}: no codes, or a code with a space");
        }
        let codes: Vec<&str> = codes.into_iter().collect();
        let number = number(&mut self.codes, codes.join(" "));
        let systems: Vec<&str> = systems.into_iter().collect();
        Ok(match code {
            "code" => format!("{code} {number}"),
            _ => format!("{code} {number} {}", systems.join(" ")),
        })
    }

    fn print(&self, search: &[Value], compartments: &Value) -> Result<String> {
        let mut out = HEADER.to_owned();
        for (word, lines) in [("codes", &self.codes), ("targets", &self.targets)] {
            for (number, line) in lines.iter().enumerate() {
                writeln!(out, "{word} {number} {line}")?;
            }
        }
        for (name, (base, lines)) in &self.types {
            writeln!(out, "type {name} {base}")?;
            for line in lines {
                let used = line.split(' ').nth(2).unwrap_or_default();
                if used.starts_with(char::is_uppercase) && !self.types.contains_key(used) {
                    bail!("{name}: {line}: its type is undefined");
                }
                writeln!(out, " {line}")?;
            }
        }
        let paths = |kind: &str, parameter: &str| -> Vec<String> {
            search
                .iter()
                .filter(|found| text(found, "/code") == parameter)
                .filter(|found| list(found, "/base").iter().any(|base| base == kind))
                .flat_map(|found| expression(text(found, "/expression"), kind))
                .collect()
        };
        let resources: Vec<&String> = self
            .types
            .iter()
            .filter(|(_, (base, _))| matches!(base.as_str(), "Resource" | "DomainResource"))
            .map(|(name, _)| name)
            .collect();
        for kind in &resources {
            let listed = list(compartments, "/resource").iter().find(|entry| text(entry, "/code") == kind.as_str());
            let named = listed.map(|entry| list(entry, "/param")).unwrap_or_default();
            let mut found: Vec<String> =
                ["patient", "subject"].iter().flat_map(|parameter| paths(kind, parameter)).collect();
            found.extend(named.iter().filter_map(Value::as_str).flat_map(|parameter| paths(kind, parameter)));
            let found: BTreeSet<String> = found.into_iter().collect();
            // A link between two Patient resources does not put one into the other's chart.
            if !found.is_empty() && kind.as_str() != "Patient" {
                writeln!(out, "compartment {kind} {}", found.into_iter().collect::<Vec<_>>().join(" "))?;
            }
        }
        for kind in &resources {
            for parameter in OFFERED {
                let found: BTreeSet<String> = paths(kind, parameter).into_iter().collect();
                if !found.is_empty() {
                    writeln!(out, "search {kind} {parameter} {}", found.into_iter().collect::<Vec<_>>().join(" "))?;
                }
            }
        }
        Ok(out)
    }
}

/// Plain paths below `kind` in a search parameter's FHIRPath expression.
fn expression(expression: &str, kind: &str) -> Vec<String> {
    expression
        .split('|')
        .filter_map(|part| {
            let part = part.trim().trim_matches(|c| c == '(' || c == ')');
            let part = part.split(" as ").next().unwrap_or(part).trim();
            let (path, condition) = part.split_once(".where(").unwrap_or((part, ""));
            let path = match path.split_once('.') {
                Some((root, rest)) if root == kind => rest,
                Some(_) => return None,
                None if path.starts_with(char::is_lowercase) => path,
                None => return None,
            };
            let system = condition.strip_prefix("system='").and_then(|rest| rest.split('\'').next());
            Some(system.map_or_else(|| path.to_owned(), |system| format!("{path}?system={system}")))
        })
        .collect()
}

/// How often an element may stand; none where it may not.
fn many(element: &Value) -> Result<Option<String>> {
    let least = element.get("min").and_then(Value::as_u64).unwrap_or_default();
    Ok(Some(match (least, text(element, "/max")) {
        (_, "0") => return Ok(None),
        (0, "1") => "?".to_owned(),
        (1, "1") => "!".to_owned(),
        (0, "*") => "*".to_owned(),
        (1, "*") => "+".to_owned(),
        (least, "*") => format!("{least}..*"),
        (least, most) => bail!("{}: {least}..{most}", text(element, "/path")),
    }))
}

fn capital(word: &str) -> String {
    word.char_indices().map(|(at, c)| if at == 0 { c.to_ascii_uppercase() } else { c }).collect()
}

fn collect<'a>(contains: &'a [Value], codes: &mut BTreeSet<&'a str>, systems: &mut BTreeSet<&'a str>) {
    for entry in contains {
        if entry.get("abstract") != Some(&Value::Bool(true)) && entry.get("code").is_some() {
            codes.insert(text(entry, "/code"));
            systems.insert(text(entry, "/system"));
        }
        collect(list(entry, "/contains"), codes, systems);
    }
}

fn number(lines: &mut Vec<String>, line: String) -> usize {
    lines.iter().position(|known| *known == line).unwrap_or_else(|| {
        lines.push(line);
        lines.len() - 1
    })
}

fn read(path: &Path) -> Result<Value> {
    serde_json::from_slice(&std::fs::read(path).with_context(|| format!("{} is missing", path.display()))?)
        .with_context(|| format!("{} is no JSON", path.display()))
}

fn resources(bundle: &Path) -> Result<Vec<Value>> {
    Ok(list(&read(bundle)?, "/entry").iter().filter_map(|entry| entry.get("resource").cloned()).collect())
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
