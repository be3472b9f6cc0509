//! Narrative: well-formed XHTML that holds only what HL7 FHIR R4 allows (narrative.html, invariants txt-1 and txt-2):
//! no script, no event handler, no address that runs code.

const ELEMENTS: &[&str] = &[
    "a",
    "abbr",
    "acronym",
    "b",
    "big",
    "blockquote",
    "br",
    "caption",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "li",
    "ol",
    "p",
    "pre",
    "q",
    "samp",
    "small",
    "span",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "tt",
    "ul",
    "var",
];

const ATTRIBUTES: &[&str] = &[
    "abbr",
    "accesskey",
    "align",
    "alt",
    "axis",
    "bgcolor",
    "border",
    "cellhalign",
    "cellpadding",
    "cellspacing",
    "cellvalign",
    "char",
    "charoff",
    "charset",
    "cite",
    "class",
    "colspan",
    "compact",
    "coords",
    "dir",
    "frame",
    "headers",
    "height",
    "href",
    "hreflang",
    "hspace",
    "id",
    "lang",
    "longdesc",
    "name",
    "nowrap",
    "rel",
    "rev",
    "rowspan",
    "rules",
    "scope",
    "shape",
    "span",
    "src",
    "start",
    "style",
    "summary",
    "tabindex",
    "title",
    "type",
    "valign",
    "value",
    "vspace",
    "width",
    "xml:lang",
];

const XHTML: &str = "http://www.w3.org/1999/xhtml";

/// Elements inside each other: enough for tables in lists in quotations.
const DEPTH_MAX: usize = 64;

/// Says what is wrong with a narrative's `div`.
pub(crate) fn check(text: &str) -> Result<(), &'static str> {
    let text = text.trim();
    let mut open: Vec<&str> = Vec::new();
    let mut content = false;
    let mut rest = text;
    let mut roots = 0;
    while !rest.is_empty() {
        let Some(at) = rest.find('<') else {
            return Err("text follows its div");
        };
        let (words, markup) = rest.split_at(at);
        if open.is_empty() && !words.trim().is_empty() {
            return Err("text stands outside its div");
        }
        content |= !words.trim().is_empty();
        entities(words)?;
        if let Some(after) = markup.strip_prefix("<!--") {
            let Some((comment, after)) = after.split_once("-->") else { return Err("a comment has no end") };
            if comment.contains("--") {
                return Err("a comment holds two hyphens");
            }
            rest = after;
            continue;
        }
        let (tag, after) = tag(markup)?;
        rest = after;
        match tag {
            Tag::Close(name) => {
                if open.pop() != Some(name) {
                    return Err("an end tag closes another element than the one that is open");
                }
            }
            Tag::Open { name, attributes, empty } => {
                if open.is_empty() {
                    roots += 1;
                    if name != "div" || roots > 1 || attribute(&attributes, "xmlns") != Some(XHTML) {
                        return Err("it must be one div in the namespace http://www.w3.org/1999/xhtml");
                    }
                }
                if !ELEMENTS.contains(&name) {
                    return Err("an element that narrative must not hold");
                }
                check_attributes(&attributes)?;
                content |= name == "img" && attribute(&attributes, "src").is_some();
                if !empty {
                    open.push(name);
                    if open.len() > DEPTH_MAX {
                        return Err("more than 64 elements inside each other");
                    }
                }
            }
        }
    }
    match (open.is_empty() && roots == 1, content) {
        (true, true) => Ok(()),
        (true, false) => Err("it holds neither text nor an image"),
        (false, _) => Err("an element is not closed"),
    }
}

type Attributes<'a> = Vec<(&'a str, &'a str)>;

enum Tag<'a> {
    Close(&'a str),
    Open { name: &'a str, attributes: Attributes<'a>, empty: bool },
}

fn attribute<'a>(attributes: &Attributes<'a>, name: &str) -> Option<&'a str> {
    attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
}

fn name(text: &str) -> (&str, &str) {
    let end =
        text.find(|c: char| !(c.is_ascii_alphanumeric() || c == ':' || c == '-' || c == '_')).unwrap_or(text.len());
    text.split_at(end)
}

/// The tag that `markup` begins with, and what follows it.
fn tag(markup: &str) -> Result<(Tag<'_>, &str), &'static str> {
    let inside = markup.strip_prefix('<').unwrap_or(markup);
    if let Some(closing) = inside.strip_prefix('/') {
        let (name, rest) = name(closing);
        let Some(after) = rest.trim_start().strip_prefix('>') else { return Err("an end tag is malformed") };
        return Ok((Tag::Close(name), after));
    }
    let (tag_name, mut rest) = name(inside);
    if tag_name.is_empty() {
        return Err("a < begins no element (declarations, processing instructions and CDATA are not allowed)");
    }
    let mut attributes = Attributes::new();
    loop {
        let trimmed = rest.trim_start();
        if let Some(after) = trimmed.strip_prefix("/>") {
            return Ok((Tag::Open { name: tag_name, attributes, empty: true }, after));
        }
        if let Some(after) = trimmed.strip_prefix('>') {
            return Ok((Tag::Open { name: tag_name, attributes, empty: false }, after));
        }
        let (key, after) = name(trimmed);
        let value = after.trim_start().strip_prefix('=').map(str::trim_start);
        let quote = value.and_then(|v| v.chars().next()).filter(|c| matches!(c, '"' | '\''));
        let (Some(value), Some(quote), false) = (value, quote, key.is_empty() || trimmed.len() == rest.len()) else {
            return Err("an attribute is malformed");
        };
        let Some((value, after)) = value.get(1..).and_then(|v| v.split_once(quote)) else {
            return Err("an attribute's value has no end");
        };
        if attribute(&attributes, key).is_some() {
            return Err("an attribute stands twice");
        }
        if value.contains('<') {
            return Err("a < stands in an attribute");
        }
        attributes.push((key, value));
        if attributes.len() > ATTRIBUTES.len() {
            return Err("an element has too many attributes");
        }
        rest = after;
    }
}

fn check_attributes(attributes: &Attributes<'_>) -> Result<(), &'static str> {
    for (key, value) in attributes {
        entities(value)?;
        let plain: String = decoded(value).chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect();
        let plain = plain.to_ascii_lowercase();
        match *key {
            "xmlns" if *value == XHTML => {}
            "href" | "src" | "cite" | "longdesc" => {
                let scheme =
                    plain.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| !scheme.contains(['/', '?', '#']));
                let web = matches!(scheme, None | Some("http" | "https" | "ftp" | "mailto" | "tel" | "urn" | "cid"));
                let image = *key == "src" && is_image(&plain);
                if !(web || image) {
                    return Err("an address whose scheme narrative must not use");
                }
            }
            "style" => {
                let runs = ["expression(", "@import", "behavior", "-moz-binding", "\\", "javascript:"];
                let loads = plain.split("url(").skip(1).any(|url| !is_image(url.trim_start_matches(['"', '\''])));
                if loads || runs.iter().any(|word| plain.contains(word)) {
                    return Err("a style that loads or runs something");
                }
            }
            _ if ATTRIBUTES.contains(key) => {}
            _ => return Err("an attribute that narrative must not hold"),
        }
    }
    Ok(())
}

/// Pixels inside the address itself.
fn is_image(address: &str) -> bool {
    ["data:image/png;", "data:image/jpeg;", "data:image/gif;"].iter().any(|start| address.starts_with(start))
}

/// Refuses an ampersand that begins no entity of XML, and entities that name control characters. HL7 FHIR R4,
/// narrative.html: there is no support for HTML's entities.
fn entities(text: &str) -> Result<(), &'static str> {
    for part in text.split('&').skip(1) {
        let Some((entity, _)) = part.split_once(';') else { return Err("an & begins no entity") };
        let named = ["amp", "lt", "gt", "quot", "apos"].contains(&entity);
        let good = match entity.strip_prefix('#') {
            Some(number) => character(number).is_some_and(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r')),
            None => named,
        };
        if !good {
            return Err("an & begins no entity");
        }
    }
    Ok(())
}

fn character(number: &str) -> Option<char> {
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    };
    code.ok().and_then(char::from_u32)
}

/// An attribute as a browser reads it. Entities that could hide a scheme are numbers and a few names; any other name
/// stays as it is, since no entity but these stands for a letter or a colon of ASCII.
fn decoded(value: &str) -> String {
    let mut parts = value.split('&');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (entity, rest) = part.split_once(';').unwrap_or((part, ""));
        match (entity.strip_prefix('#').and_then(character), entity) {
            (Some(c), _) => out.push(c),
            (None, "colon") => out.push(':'),
            (None, "Tab" | "NewLine") => {}
            (None, "lpar") => out.push('('),
            (None, "bsol") => out.push('\\'),
            (None, "commat") => out.push('@'),
            (None, "sol") => out.push('/'),
            (None, other) => {
                out.push('&');
                out.push_str(other);
            }
        }
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn div(inside: &str) -> Result<(), &'static str> {
        check(&format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{inside}</div>"))
    }

    #[test]
    fn honest_narrative_passes() {
        for good in [
            "ലക്ഷ്മി",
            "<p>a &amp; b&#160;&#8364;</p>",
            "<a href=\"http://a.example/x?y=z:1\">x</a>",
            "<a href='#top' name=\"n\">x</a>",
            "<a href=\"Patient/1\">x</a>",
            "<td style=\"background: url(data: image/png;base64,AAAA)\">x</td>",
            "<img src=\"data:image/png;base64,AAAA\" alt=\"x\"/>",
            "<br/>x<!-- why -->",
            "<table><tr><td colspan=\"2\" style=\"color: red\">1 &lt; 2</td></tr></table>",
            "a > b",
        ] {
            assert_eq!(div(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_could_run_or_load_is_refused() {
        for bad in [
            "<script>x</script>",
            "<SCRIPT>x</SCRIPT>",
            "<svg onload=\"x\"/>",
            "<p onclick=\"x\">x</p>",
            "<iframe/>x",
            "<style>x</style>",
            "<object>x</object>",
            "<form>x</form>",
            "<a href=\"javascript:x\">x</a>",
            "<a href=\" JaVa&#x53;cript:x\">x</a>",
            "<a href=\"java&#10;script:x\">x</a>",
            "<a href=\"javascript&colon;x\">x</a>",
            "<a href=\"java&Tab;script:x\">x</a>",
            "<a href=\"vbscript:x\">x</a>",
            "<a href=\"data:text/html,x\">x</a>",
            "<img src=\"data:image/svg+xml,x\"/>",
            "<p style=\"background:url(x)\">x</p>",
            "<p style=\"width:expression(x)\">x</p>",
            "<p style=\"a:\\75rl(x)\">x</p>",
            "<![CDATA[x]]>",
            "<?x y?>",
            "<!DOCTYPE x>",
            "x & y",
            "x &nbsp; y",
            "x &bogus; y",
            "x &#0; y",
            "<p>x",
            "x</p>",
            "<p><b>x</p></b>",
            "<p a=b>x</p>",
            "<p title=\"a\" title=\"b\">x</p>",
            "<p title=\"a\"id=\"b\">x</p>",
            "<p title=\"<\">x</p>",
            "< p>x</p>",
            "<p/ >x",
        ] {
            assert!(div(bad).is_err(), "{bad}");
        }
        assert!(div(" ").is_err() && check("").is_err() && check("<div>x</div>").is_err() && check("x").is_err());
        assert!(div("x</div><div xmlns=\"http://www.w3.org/1999/xhtml\">y").is_err(), "two roots");
        assert!(div(&"<b>".repeat(1_000_000)).is_err());
    }
}
