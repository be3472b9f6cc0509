//! The few XML documents that an S3 store answers with, read strictly and within bounds: the store may be the attacker's.
//!
//! Takes elements and their text. Attributes, comments and instructions are passed over; a document type is refused, and
//! so is any entity but the five of XML and numbers, so nothing grows while it is read.

use kit::Timestamp;
use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;

use crate::time;

/// `ListVersionsResult` → `Version` → `Owner` → `ID` is the deepest.
const DEPTH_MAX: usize = 8;

/// 1000 lines of a listing, some 15 elements each.
const ELEMENTS_MAX: usize = 32_768;

/// A key has at most 1024 bytes, and each may be written as `%XX`.
const TEXT_BYTES_MAX: usize = 4_096;

/// Lines of one page of a listing: S3's own maximum.
pub(crate) const PAGE_LINES_MAX: usize = 1_000;

/// A day's retention is a number of days or years.
const DAYS_PER_YEAR: u32 = 365;

/// Why a document isn't one of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum XmlError {
    #[error("no XML: {0}")]
    Malformed(String),
    #[error("XML with a {0}, which no answer needs")]
    Forbidden(&'static str),
    #[error("XML with more than {max} {what}")]
    TooMuch { what: &'static str, max: usize },
    #[error("XML <{found}> instead of <{expected}>")]
    Other { expected: &'static str, found: String },
    #[error("<{0}> is missing, there twice, or not what it should be")]
    Field(&'static str),
}

/// One element with what stands in it.
#[derive(Debug, Default)]
struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// The document's root, which has to be `name`.
    fn read(bytes: &[u8], name: &'static str) -> Result<Self, XmlError> {
        let root = tree(bytes)?;
        if root.name == name { Ok(root) } else { Err(XmlError::Other { expected: name, found: root.name }) }
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The only child of this name, if there is one; two are an error.
    fn child(&self, name: &'static str) -> Result<Option<&Element>, XmlError> {
        let mut found = self.all(name);
        let first = found.next();
        if found.next().is_some() { Err(XmlError::Field(name)) } else { Ok(first) }
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, XmlError> {
        Ok(self.child(name)?.map(|child| child.text.as_str()))
    }

    fn needed(&self, name: &'static str) -> Result<&str, XmlError> {
        self.text(name)?.ok_or(XmlError::Field(name))
    }

    fn flag(&self, name: &'static str) -> Result<bool, XmlError> {
        match self.text(name)? {
            Some("true") => Ok(true),
            Some("false") | None => Ok(false),
            Some(_) => Err(XmlError::Field(name)),
        }
    }

    /// A text that was asked for with `encoding-type=url`.
    fn decoded(&self, name: &'static str) -> Result<Option<String>, XmlError> {
        let decode = |text: &str| percent_decode_str(text).decode_utf8().map(String::from);
        self.text(name)?.map(decode).transpose().map_err(|_| XmlError::Field(name))
    }
}

fn malformed(error: impl std::fmt::Display) -> XmlError {
    XmlError::Malformed(error.to_string().chars().take(120).collect())
}

fn tree(bytes: &[u8]) -> Result<Element, XmlError> {
    let text = std::str::from_utf8(bytes).map_err(malformed)?;
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let mut elements = 0;
    let mut start = |name: &[u8], depth: usize| {
        elements += 1;
        if elements > ELEMENTS_MAX {
            return Err(XmlError::TooMuch { what: "elements", max: ELEMENTS_MAX });
        }
        if depth >= DEPTH_MAX {
            return Err(XmlError::TooMuch { what: "levels", max: DEPTH_MAX });
        }
        Ok(Element { name: String::from_utf8_lossy(name).into_owned(), ..Element::default() })
    };
    loop {
        let closed = match reader.read_event().map_err(malformed)? {
            Event::Start(tag) => {
                let element = start(tag.local_name().as_ref(), open.len())?;
                open.push(element);
                None
            }
            Event::Empty(tag) => Some(start(tag.local_name().as_ref(), open.len())?),
            // That it closes what is open, the reader has seen.
            Event::End(_) => Some(open.pop().ok_or_else(|| malformed("an end without a start"))?),
            Event::Text(text) => {
                add(&mut open, &text.decode().map_err(malformed)?)?;
                None
            }
            Event::CData(text) => {
                add(&mut open, &text.decode().map_err(malformed)?)?;
                None
            }
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(malformed)?;
                let mut buffer = [0; 4];
                let text = match reference.resolve_char_ref().map_err(malformed)? {
                    Some(c) => &*c.encode_utf8(&mut buffer),
                    None => resolve_xml_entity(&name).ok_or(XmlError::Forbidden("named entity"))?,
                };
                add(&mut open, text)?;
                None
            }
            Event::DocType(_) => return Err(XmlError::Forbidden("document type")),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => None,
            Event::Eof => return Err(malformed("it ends early")),
        };
        let Some(closed) = closed else { continue };
        match open.last_mut() {
            Some(parent) => parent.children.push(closed),
            // What stands behind the root is of no interest, as long as the root is whole.
            None => return Ok(closed),
        }
    }
}

fn add(open: &mut [Element], text: &str) -> Result<(), XmlError> {
    let Some(element) = open.last_mut() else {
        return if text.trim().is_empty() { Ok(()) } else { Err(malformed("text outside of any element")) };
    };
    if element.text.len() + text.len() > TEXT_BYTES_MAX {
        return Err(XmlError::TooMuch { what: "bytes of text in one element", max: TEXT_BYTES_MAX });
    }
    element.text.push_str(text);
    Ok(())
}

/// The code of an error, such as `NoSuchKey`; empty where the body says none.
pub(crate) fn error_code(body: &[u8]) -> String {
    let code = Element::read(body, "Error").ok().and_then(|root| root.needed("Code").ok().map(str::to_owned));
    let plain = |code: &String| code.len() <= 64 && code.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'.');
    code.filter(plain).unwrap_or_default()
}

/// Whether versioning is enabled; otherwise what it is.
pub(crate) fn versioning(body: &[u8]) -> Result<Result<(), String>, XmlError> {
    let root = Element::read(body, "VersioningConfiguration")?;
    Ok(match root.text("Status")? {
        Some("Enabled") => Ok(()),
        Some(other) => Err(short(other)),
        None => Err("never enabled".into()),
    })
}

/// The default retention of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    pub(crate) enabled: bool,
    /// Mode and days; `None` where there is no default.
    pub(crate) default: Option<(String, u32)>,
}

pub(crate) fn lock(body: &[u8]) -> Result<Lock, XmlError> {
    let root = Element::read(body, "ObjectLockConfiguration")?;
    let enabled = root.text("ObjectLockEnabled")? == Some("Enabled");
    let rule = root.child("Rule")?.map(|rule| rule.child("DefaultRetention")).transpose()?.flatten();
    let default = rule.map(|rule| {
        let number = |name| -> Result<Option<u32>, XmlError> {
            rule.text(name)?.map(|text| text.parse().map_err(|_| XmlError::Field(name))).transpose()
        };
        let days = match (number("Days")?, number("Years")?) {
            (Some(days), None) => days,
            (None, Some(years)) => years.saturating_mul(DAYS_PER_YEAR),
            _ => return Err(XmlError::Field("Days")),
        };
        Ok((short(rule.needed("Mode")?), days))
    });
    Ok(Lock { enabled, default: default.transpose()? })
}

/// How long one version is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    pub(crate) mode: String,
    pub(crate) until: Timestamp,
}

pub(crate) fn retention(body: &[u8]) -> Result<Retention, XmlError> {
    let root = Element::read(body, "Retention")?;
    let until = time::parse(root.needed("RetainUntilDate")?).ok_or(XmlError::Field("RetainUntilDate"))?;
    Ok(Retention { mode: short(root.needed("Mode")?), until })
}

/// What a request to keep something until then says.
pub(crate) fn retention_request(until: Timestamp) -> String {
    format!(
        "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>COMPLIANCE</Mode>\
         <RetainUntilDate>{until}</RetainUntilDate></Retention>"
    )
}

/// One page of keys with their lengths.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyPage {
    pub(crate) keys: Vec<(String, u64)>,
    pub(crate) more: bool,
}

pub(crate) fn keys(body: &[u8]) -> Result<KeyPage, XmlError> {
    let root = Element::read(body, "ListBucketResult")?;
    let line = |one: &Element| {
        let len = one.needed("Size")?.parse().map_err(|_| XmlError::Field("Size"))?;
        Ok((one.decoded("Key")?.ok_or(XmlError::Field("Key"))?, len))
    };
    let keys: Vec<_> = root.all("Contents").map(line).collect::<Result<_, _>>()?;
    page(keys.len())?;
    Ok(KeyPage { keys, more: root.flag("IsTruncated")? })
}

/// One version of a key, or a mark that hides the older ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) key: String,
    pub(crate) id: String,
    pub(crate) latest: bool,
    pub(crate) is_marker: bool,
    pub(crate) len: u64,
    pub(crate) modified: Timestamp,
}

/// One page of versions; of one key the newest first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct VersionPage {
    pub(crate) versions: Vec<Version>,
    /// The key and the version to go on behind.
    pub(crate) next: Option<(String, String)>,
}

pub(crate) fn versions(body: &[u8]) -> Result<VersionPage, XmlError> {
    let root = Element::read(body, "ListVersionsResult")?;
    let line = |one: &Element| {
        let is_marker = one.name == "DeleteMarker";
        let len = if is_marker { Ok(0) } else { one.needed("Size")?.parse().map_err(|_| XmlError::Field("Size")) };
        Ok(Version {
            key: one.decoded("Key")?.ok_or(XmlError::Field("Key"))?,
            id: one.needed("VersionId")?.to_owned(),
            latest: one.flag("IsLatest")?,
            is_marker,
            len: len?,
            modified: time::parse(one.needed("LastModified")?).ok_or(XmlError::Field("LastModified"))?,
        })
    };
    let lines = root.children.iter().filter(|child| child.name == "Version" || child.name == "DeleteMarker");
    let versions: Vec<_> = lines.map(line).collect::<Result<_, _>>()?;
    page(versions.len())?;
    let next = if root.flag("IsTruncated")? {
        let key = root.decoded("NextKeyMarker")?.ok_or(XmlError::Field("NextKeyMarker"))?;
        Some((key, root.text("NextVersionIdMarker")?.unwrap_or_default().to_owned()))
    } else {
        None
    };
    Ok(VersionPage { versions, next })
}

fn page(lines: usize) -> Result<(), XmlError> {
    let what = "lines in a page";
    if lines > PAGE_LINES_MAX { Err(XmlError::TooMuch { what, max: PAGE_LINES_MAX }) } else { Ok(()) }
}

/// A word of the store's that may come into an error's text.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn answers_of_a_real_store_are_read() {
        let body = br#"<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>"#;
        assert_eq!(versioning(body), Ok(Ok(())));
        assert_eq!(versioning(b"<VersioningConfiguration/>"), Ok(Err("never enabled".into())));
        let body = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
        assert_eq!(versioning(body), Ok(Err("Suspended".into())));
        let body = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Years>2</Years></DefaultRetention></Rule></ObjectLockConfiguration>";
        assert_eq!(lock(body), Ok(Lock { enabled: true, default: Some(("COMPLIANCE".into(), 730)) }));
        assert_eq!(lock(b"<ObjectLockConfiguration/>"), Ok(Lock { enabled: false, default: None }));
        let body = b"<ListVersionsResult><NextKeyMarker>p/o/a%2D</NextKeyMarker><NextVersionIdMarker>67</NextVersionIdMarker><IsTruncated>true</IsTruncated><DeleteMarker><Key>p/o/a-</Key><VersionId>68</VersionId><IsLatest>true</IsLatest><LastModified>2026-11-25T03:48:40Z</LastModified></DeleteMarker><Version><Key>p/o/a-</Key><VersionId>67</VersionId><IsLatest>false</IsLatest><ETag>&#34;3f&#34;</ETag><Size>8</Size><Owner><ID>x</ID></Owner><LastModified>2026-11-25T03:48:40Z</LastModified></Version></ListVersionsResult>";
        let page = versions(body).unwrap();
        assert_eq!(page.next, Some(("p/o/a-".into(), "67".into())));
        assert_eq!((page.versions.len(), page.versions[0].is_marker, page.versions[1].len), (2, true, 8));
        assert_eq!(error_code(b"<Error><Code>NoSuchKey</Code></Error>"), "NoSuchKey");
        assert_eq!(error_code(b"<html>502</html>"), "");
        assert_eq!(retention(retention_request(Timestamp(7)).as_bytes()).unwrap().until, Timestamp(7));
    }

    #[test]
    fn what_no_answer_needs_is_refused() {
        let wrong: [&[u8]; 9] = [
            b"",
            b"<a>",
            b"<a></b>",
            b"x<Retention/>",
            b"<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
            b"<a>&x;</a>",
            b"<a>&#0;</a>",
            b"<a>\xff</a>",
            b"\x00\x01\x02",
        ];
        for body in wrong {
            assert!(tree(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
        assert!(matches!(keys(b"<Other/>"), Err(XmlError::Other { .. })));
        let twice = b"<Retention><Mode>A</Mode><Mode>B</Mode><RetainUntilDate>2026-11-25T03:48:40Z</RetainUntilDate></Retention>";
        assert_eq!(retention(twice), Err(XmlError::Field("Mode")));
        let negative = b"<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>";
        assert_eq!(keys(negative), Err(XmlError::Field("Size")));
    }

    #[test]
    fn bounds_hold() {
        let deep = format!("{}{}", "<a>".repeat(DEPTH_MAX + 1), "</a>".repeat(DEPTH_MAX + 1));
        assert_eq!(tree(deep.as_bytes()).unwrap_err(), XmlError::TooMuch { what: "levels", max: DEPTH_MAX });
        let many = format!("<a>{}</a>", "<b/>".repeat(ELEMENTS_MAX));
        assert!(matches!(tree(many.as_bytes()), Err(XmlError::TooMuch { what: "elements", .. })));
        let long = format!("<a>{}</a>", "&#65;".repeat(TEXT_BYTES_MAX + 1));
        assert!(matches!(tree(long.as_bytes()), Err(XmlError::TooMuch { .. })));
        let line = "<Contents><Key>a</Key><Size>1</Size></Contents>";
        let full = format!("<ListBucketResult>{}</ListBucketResult>", line.repeat(PAGE_LINES_MAX));
        assert_eq!(keys(full.as_bytes()).unwrap().keys.len(), PAGE_LINES_MAX);
        let over = format!("<ListBucketResult>{}</ListBucketResult>", line.repeat(PAGE_LINES_MAX + 1));
        assert!(matches!(keys(over.as_bytes()), Err(XmlError::TooMuch { what: "lines in a page", .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (tree(&body), error_code(&body));
        }

        #[test]
        fn no_tangle_of_tags_panics(body in "(<[/!?]?(a|Key|Size|!DOCTYPE|\\[CDATA\\[)[ />]?|&(#x?[0-9A-F]{0,7}|lt|[a-z]{1,3});?|\\]\\]>|[a-z%/-]){0,30}") {
            let _ = (tree(body.as_bytes()), keys(body.as_bytes()), versions(body.as_bytes()), lock(body.as_bytes()));
        }
    }
}
