//! Documents of some pages: made once, and printed as a page for browsers and as PDF.

mod pdf;

use askama::Template;
use kit::{Blame, Fault};

pub use self::pdf::is_printable;

pub struct Paper {
    pub title: String,
    /// Whom or what it is about: at the top of the page.
    pub who: String,
    /// The same in letters that the PDF has: at the top of each of its pages.
    pub head: String,
    /// What a reader of the PDF has to know of it.
    pub notice: Option<String>,
    pub foot: String,
    pub sections: Vec<Section>,
}

#[derive(Template)]
#[template(path = "paper_section.html")]
pub struct Section {
    pub title: String,
    pub blocks: Vec<Block>,
}

pub enum Block {
    /// What must not be overlooked.
    Alarm(String),
    Facts(Vec<(&'static str, String)>),
    Lines(Vec<String>),
    /// Line by line as it is.
    Text(Vec<String>),
    Table {
        head: Vec<&'static str>,
        rows: Vec<Vec<String>>,
    },
}

#[derive(Template)]
#[template(path = "paper.html")]
struct Page<'a> {
    title: &'a str,
    who: &'a str,
    foot: &'a str,
    /// Titles, and what stands under them.
    sections: Vec<(&'a str, String)>,
}

/// Without what turns the reading direction of what follows it, or can't be seen.
pub fn plain(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
    text.chars().filter(|c| !turns(*c) && !c.is_control()).collect()
}

impl Section {
    pub fn new(title: impl Into<String>, blocks: Vec<Block>) -> Self {
        Self { title: title.into(), blocks }
    }

    /// As XHTML that FHIR lets stand in a narrative.
    pub fn html(&self) -> Result<String, Fault> {
        self.render().map_err(|e| Fault::new(Blame::Ours, "paper.page", e.to_string()))
    }

    pub fn cleaned(self) -> Self {
        let each = |lines: Vec<String>| lines.iter().map(|line| plain(line)).collect::<Vec<_>>();
        let blocks = self.blocks.into_iter().map(|block| match block {
            Block::Alarm(text) => Block::Alarm(plain(&text)),
            Block::Facts(facts) => Block::Facts(facts.into_iter().map(|(what, text)| (what, plain(&text))).collect()),
            Block::Lines(lines) => Block::Lines(each(lines)),
            Block::Text(lines) => Block::Text(each(lines)),
            Block::Table { head, rows } => Block::Table { head, rows: rows.into_iter().map(each).collect() },
        });
        Self { title: plain(&self.title), blocks: blocks.collect() }
    }
}

impl Paper {
    /// A4, black on white, no script, nothing from elsewhere.
    pub fn page(&self) -> Result<String, Fault> {
        let sections = self.sections.iter().map(|section| Ok((section.title.as_str(), section.html()?)));
        let sections = sections.collect::<Result<_, Fault>>()?;
        let page = Page { title: &self.title, who: &self.who, foot: &self.foot, sections };
        page.render().map_err(|e| Fault::new(Blame::Ours, "paper.page", e.to_string()))
    }
}
