//! A document as PDF 1.7: A4, black on white, in Helvetica, which every reader has; nothing is embedded, so it is no PDF/A.
//!
//! Its characters are those of WinAnsi (PDF 32000-1, annex D.2). What is written in others is never left out in silence, nor put into
//! letters that nobody chose: the place says that it is in the page beside it.

use pdf_writer::types::TextRenderingMode;
use pdf_writer::{Content, Finish as _, Name, Pdf, Rect, Ref, Str, TextStr};

use super::{Block, Paper};

/// In points.
const WIDTH: f32 = 595.0;
const HEIGHT: f32 = 842.0;
const MARGIN: f32 = 42.0;
const INNER: f32 = WIDTH - 2.0 * MARGIN;
const BOTTOM: f32 = MARGIN + 18.0;
const SIZE: f32 = 9.0;
const HEADING: f32 = 11.5;
const SMALL: f32 = 7.5;
/// Of a line, in its size.
const LEADING: f32 = 1.3;
/// A column is at most so much wider than what stands in it: the eye finds the way along a row.
const STRETCH: f32 = 1.4;
/// Between a table's columns.
const GUTTER: f32 = 6.0;

const REGULAR: Name<'_> = Name(b"F1");
const BOLD: Name<'_> = Name(b"F2");

/// Helvetica's advance widths of the characters from blank to tilde, in thousandths (Adobe Core 14 AFM).
#[rustfmt::skip]
const WIDTHS: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];
/// Of the others: as wide as nearly all of them.
const OTHER: u16 = 778;
/// How much wider Helvetica-Bold is at most, of what is printed here.
const BOLD_MORE: f32 = 1.1;

/// A character in WinAnsi.
fn win_ansi(c: char) -> Option<u8> {
    match c {
        ' '..='~' | '\u{a0}'..='\u{ff}' => u8::try_from(u32::from(c)).ok(),
        '€' => Some(0x80),
        '…' => Some(0x85),
        '‘' => Some(0x91),
        '’' => Some(0x92),
        '“' => Some(0x93),
        '”' => Some(0x94),
        '•' => Some(0x95),
        '–' => Some(0x96),
        '—' => Some(0x97),
        _ => None,
    }
}

pub fn is_printable(text: &str) -> bool {
    text.chars().all(|c| win_ansi(c).is_some())
}

/// What can't be printed, said once for each run of it, with the blanks between.
fn encoded(text: &str) -> Vec<u8> {
    // `blank`: one that stands behind what can't be printed, and is written where the run ends.
    let (mut bytes, mut open, mut blank): (Vec<u8>, bool, bool) = (Vec::new(), false, false);
    for c in text.chars() {
        match win_ansi(c) {
            Some(b' ') if open => blank = true,
            Some(byte) => {
                if std::mem::take(&mut blank) {
                    bytes.push(b' ');
                }
                open = false;
                bytes.push(byte);
            }
            None => {
                if !std::mem::replace(&mut open, true) {
                    bytes.extend(b"[see the .html]");
                }
                blank = false;
            }
        }
    }
    bytes
}

fn width(bytes: &[u8], size: f32, bold: bool) -> f32 {
    let of = |byte: &u8| {
        f32::from(byte.checked_sub(32).and_then(|at| WIDTHS.get(usize::from(at))).copied().unwrap_or(OTHER))
    };
    bytes.iter().map(of).sum::<f32>() / 1_000.0 * size * if bold { BOLD_MORE } else { 1.0 }
}

/// Lines that fit; a word that doesn't is cut.
fn wrapped(text: &str, size: f32, bold: bool, most: f32) -> Vec<Vec<u8>> {
    let (mut lines, mut line): (Vec<Vec<u8>>, Vec<u8>) = (Vec::new(), Vec::new());
    for word in encoded(text).split(|byte| *byte == b' ') {
        let joined = if line.is_empty() { word.to_vec() } else { [&line[..], b" ", word].concat() };
        if width(&joined, size, bold) <= most {
            line = joined;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for byte in word {
            line.push(*byte);
            if width(&line, size, bold) > most && line.len() > 1 {
                line.pop();
                lines.push(std::mem::replace(&mut line, vec![*byte]));
            }
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// What is on the pages so far.
struct Sheet<'a> {
    head: &'a str,
    pages: Vec<Content>,
    page: Content,
    /// Where the next line's top is.
    y: f32,
}

impl<'a> Sheet<'a> {
    fn new(head: &'a str) -> Self {
        let mut sheet = Self { head, pages: Vec::new(), page: Content::new(), y: 0.0 };
        sheet.begin();
        sheet
    }

    fn begin(&mut self) {
        self.page = Content::new();
        self.y = HEIGHT - MARGIN;
        for line in wrapped(self.head, SIZE, true, INNER) {
            self.text(&line, MARGIN, SIZE, true);
            self.y -= SIZE * LEADING;
        }
        self.rule();
        self.y -= 6.0;
    }

    fn turn(&mut self) {
        let page = std::mem::replace(&mut self.page, Content::new());
        self.pages.push(page);
        self.begin();
    }

    /// Turns the page where there is no room.
    fn need(&mut self, height: f32) {
        if self.y - height < BOTTOM {
            self.turn();
        }
    }

    fn text(&mut self, bytes: &[u8], x: f32, size: f32, bold: bool) {
        self.page.begin_text();
        self.page.set_text_rendering_mode(TextRenderingMode::Fill);
        self.page.set_font(if bold { BOLD } else { REGULAR }, size);
        self.page.next_line(x, self.y - size);
        self.page.show(Str(bytes));
        self.page.end_text();
    }

    fn rule(&mut self) {
        self.page.set_line_width(0.5);
        self.page.move_to(MARGIN, self.y).line_to(WIDTH - MARGIN, self.y).stroke();
    }

    fn paragraph(&mut self, text: &str, size: f32, bold: bool) {
        for line in wrapped(text, size, bold, INNER) {
            self.need(size * LEADING);
            self.text(&line, MARGIN, size, bold);
            self.y -= size * LEADING;
        }
    }

    /// Cells beside each other; `bold`: which columns are.
    fn row(&mut self, cells: &[(&str, f32)], bold: impl Fn(usize) -> bool, size: f32) {
        let each: Vec<Vec<Vec<u8>>> =
            cells.iter().enumerate().map(|(at, (text, wide))| wrapped(text, size, bold(at), wide - GUTTER)).collect();
        let most = each.iter().map(Vec::len).max().unwrap_or(0);
        // A row that is higher than a page goes on there.
        for number in 0..most {
            self.need(size * LEADING);
            let mut x = MARGIN;
            for (at, ((_, wide), lines)) in cells.iter().zip(&each).enumerate() {
                if let Some(line) = lines.get(number) {
                    self.text(line, x, size, bold(at));
                }
                x += wide;
            }
            self.y -= size * LEADING;
        }
    }

    fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return;
        }
        // By what stands in a column, and none so narrow that its head is cut.
        let natural: Vec<f32> = (head.iter().enumerate())
            .map(|(at, head)| {
                let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| width(&encoded(cell), SIZE, false));
                cells.fold(width(&encoded(head), SIZE, true), f32::max).min(INNER / 2.0) + GUTTER
            })
            .collect();
        let scale = (INNER / natural.iter().sum::<f32>().max(1.0)).min(STRETCH);
        let wide = |at: usize| natural.get(at).copied().unwrap_or(0.0) * scale;
        let title: Vec<(&str, f32)> = head.iter().enumerate().map(|(at, text)| (*text, wide(at))).collect();
        self.need(3.0 * SIZE * LEADING);
        self.row(&title, |_| true, SIZE);
        self.rule();
        self.y -= 2.0;
        for row in rows {
            if self.y - SIZE * LEADING < BOTTOM {
                self.turn();
                self.row(&title, |_| true, SIZE);
                self.rule();
                self.y -= 2.0;
            }
            let cells: Vec<(&str, f32)> = row.iter().enumerate().map(|(at, text)| (text.as_str(), wide(at))).collect();
            self.row(&cells, |_| false, SIZE);
        }
        self.y -= 4.0;
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Alarm(text) => self.paragraph(&format!("! {text}"), SIZE, true),
            Block::Text(lines) => lines.iter().for_each(|line| self.paragraph(line, SMALL, false)),
            Block::Lines(lines) => lines.iter().for_each(|line| self.paragraph(&format!("- {line}"), SIZE, false)),
            Block::Facts(facts) => {
                for (what, text) in facts {
                    self.row(&[(what, 100.0), (text, INNER - 100.0)], |at| at == 1, SIZE);
                }
                self.y -= 4.0;
            }
            Block::Table { head, rows } => self.table(head, rows),
        }
    }
}

impl Paper {
    pub fn pdf(&self) -> Vec<u8> {
        let mut sheet = Sheet::new(&self.head);
        sheet.paragraph(&self.title, 14.0, true);
        if let Some(notice) = &self.notice {
            sheet.paragraph(notice, SIZE, true);
        }
        for section in &self.sections {
            sheet.y -= 6.0;
            sheet.need(4.0 * HEADING);
            sheet.paragraph(&section.title, HEADING, true);
            section.blocks.iter().for_each(|block| sheet.block(block));
        }
        let Sheet { mut pages, page, .. } = sheet;
        pages.push(page);
        self.written(pages)
    }

    fn written(&self, pages: Vec<Content>) -> Vec<u8> {
        let (catalog, tree, regular, bold, info) = (Ref::new(1), Ref::new(2), Ref::new(3), Ref::new(4), Ref::new(5));
        let count = i32::try_from(pages.len()).unwrap_or(i32::MAX);
        let page_of = |number: i32| Ref::new(6 + 2 * number);
        let mut pdf = Pdf::new();
        pdf.set_version(1, 7);
        pdf.catalog(catalog).pages(tree).lang(TextStr("en"));
        pdf.document_info(info).title(TextStr(&self.title)).creator(TextStr("Holdfast"));
        pdf.pages(tree).kids((0..count).map(page_of)).count(count);
        for (font, name) in [(regular, &b"Helvetica"[..]), (bold, b"Helvetica-Bold")] {
            pdf.type1_font(font).base_font(Name(name)).encoding_predefined(Name(b"WinAnsiEncoding"));
        }
        for (number, mut content) in (0..count).zip(pages) {
            let foot = format!("{} · page {} of {count}", self.foot, number + 1);
            content.begin_text();
            content.set_font(REGULAR, SMALL);
            content.next_line(MARGIN, MARGIN - SMALL);
            content.show(Str(&encoded(&foot)));
            content.end_text();
            let (page_ref, content_ref) = (page_of(number), Ref::new(7 + 2 * number));
            let mut page = pdf.page(page_ref);
            page.media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT)).parent(tree).contents(content_ref);
            page.resources().fonts().pair(REGULAR, regular).pair(BOLD, bold);
            page.finish();
            pdf.stream(content_ref, &content.finish());
        }
        pdf.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_has_no_letters_for_is_said() {
        assert_eq!(encoded("A – Ü’s 70 Gy"), b"A \x96 \xdc\x92s 70 Gy");
        assert_eq!(encoded("झूठै वौणो, SYN-7"), b"[see the .html], SYN-7");
        assert_eq!(encoded("ഴൂ ഞെ or Zhoo"), b"[see the .html] or Zhoo");
    }

    #[test]
    fn nothing_is_wider_than_its_place_and_nothing_is_lost() {
        let text = format!("{} and {}", "1.2.840.".repeat(30), "words ".repeat(60));
        let lines = wrapped(&text, SIZE, false, 120.0);
        assert!(lines.iter().all(|line| width(line, SIZE, false) <= 120.0));
        let kept = |bytes: &[u8]| bytes.iter().filter(|byte| **byte != b' ').count();
        assert_eq!(kept(&lines.concat()), kept(text.as_bytes()));
    }
}
