//! The lines of a markdown text and what each is. Means what `astromesh_native.twins.markdown` means.

use crate::tables::is_decimal;
use crate::text::{At, Text, is_space};

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// White space alone.
    Blank,
    /// An ATX heading of this level.
    Heading(u8),
    /// In a fence, or the fence itself.
    Code,
    /// A row of a table.
    Table,
    /// A thematic break, or an underline.
    Rule,
    /// Prose.
    Text,
    /// The first line of a list's item, or of a quote with a marker.
    Item,
}

/// One line: where it starts, and its body without marker, hashes, white space.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// What it is.
    pub kind: Kind,
    /// Its first place.
    pub start: At,
    /// The first place of its body.
    pub body_start: At,
    /// The place behind its body.
    pub body_end: At,
}

/// A heading: where its line starts, and the titles from the outermost down to its own. All places are characters.
#[derive(Clone, Debug)]
pub struct Heading {
    /// Of its line.
    pub start: usize,
    /// Where each title stands.
    pub path: Vec<(usize, usize)>,
}

/// The headings of a text in order, each with the titles above it.
#[must_use]
pub fn headings(text: Text<'_>) -> Vec<Heading> {
    let mut open: Vec<(u8, (usize, usize))> = Vec::new();
    let mut found = Vec::new();
    for line in Lines::new(text) {
        if let Kind::Heading(level) = line.kind {
            open.retain(|(above, _)| *above < level);
            open.push((level, (line.body_start.char, line.body_end.char)));
            let path = open.iter().map(|(_, title)| *title).collect();
            found.push(Heading { start: line.start.char, path });
        }
    }
    found
}

/// The lines of a text in order; together they are the whole text.
pub struct Lines<'a> {
    text: Text<'a>,
    next: At,
    fence: Option<(u8, usize)>,
}

impl<'a> Lines<'a> {
    /// From the text's start.
    #[must_use]
    pub fn new(text: Text<'a>) -> Self {
        Self { text, next: At::default(), fence: None }
    }

    /// What the line is, and which of its bytes are its body, white space around them included.
    fn classified(&mut self, raw: &str) -> (Kind, usize, usize) {
        let opened = fence(raw);
        if let Some((mark, length)) = self.fence {
            if opened
                .is_some_and(|(other, run, end)| other == mark && run >= length && raw[end..].chars().all(is_space))
            {
                self.fence = None;
            }
            (Kind::Code, 0, raw.len())
        } else if let Some((mark, length, _)) = opened {
            self.fence = Some((mark, length));
            (Kind::Code, 0, raw.len())
        } else {
            plain(raw)
        }
    }
}

impl Iterator for Lines<'_> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        let start = self.next;
        let rest = &self.text.str[start.byte..];
        if rest.is_empty() {
            return None;
        }
        let length = memchr::memchr(b'\n', rest.as_bytes()).map_or(rest.len(), |found| found + 1);
        let whole = &rest[..length];
        let (kind, from, to) = self.classified(whole.trim_end_matches(['\r', '\n']));
        let begin = self.text.at_byte(start, start.byte + from);
        let end = self.text.at_byte(begin, start.byte + to);
        let (body_start, body_end) = self.text.stripped(begin, end);
        self.next = self.text.at_byte(end, start.byte + length);
        Some(Line { kind, start, body_start, body_end })
    }
}

fn plain(raw: &str) -> (Kind, usize, usize) {
    if raw.chars().all(is_space) {
        return (Kind::Blank, 0, 0);
    }
    if let Some((level, begin)) = heading(raw) {
        return (Kind::Heading(level), begin, begin + unclosed(&raw[begin..]).len());
    }
    if is_rule(raw) {
        return (Kind::Rule, 0, raw.len());
    }
    if is_table_row(raw) {
        return (Kind::Table, 0, raw.len());
    }
    let past = marker(raw);
    let marked = raw[..past].bytes().any(|byte| !matches!(byte, b' ' | b'\t' | b'>'));
    (if marked { Kind::Item } else { Kind::Text }, past, raw.len())
}

/// Three spaces at most, which may stand before a mark.
fn indent(raw: &str) -> usize {
    raw.bytes().take(3).take_while(|byte| *byte == b' ').count()
}

fn blanks(raw: &str) -> usize {
    raw.bytes().take_while(|byte| is_blank(*byte)).count()
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn run_of(raw: &str, mark: u8) -> usize {
    raw.bytes().take_while(|byte| *byte == mark).count()
}

/// The mark of a fence, how many of them, and where they end.
fn fence(raw: &str) -> Option<(u8, usize, usize)> {
    let begin = indent(raw);
    let mark = *raw.as_bytes().get(begin)?;
    let run = run_of(&raw[begin..], mark);
    (matches!(mark, b'`' | b'~') && run >= 3).then_some((mark, run, begin + run))
}

/// The level of a heading and where its title begins.
fn heading(raw: &str) -> Option<(u8, usize)> {
    let begin = indent(raw);
    let level = run_of(&raw[begin..], b'#');
    let hashes_end = begin + level;
    let space = blanks(&raw[hashes_end..]);
    let ends = space > 0 || hashes_end == raw.len();
    (1..=6).contains(&level).then_some(())?;
    ends.then_some((u8::try_from(level).ok()?, hashes_end + space))
}

/// A title without the hashes that close it; hashes that stand at a word are the word's.
fn unclosed(title: &str) -> &str {
    let open = title.trim_end_matches([' ', '\t']).trim_end_matches('#');
    if open.is_empty() || open.ends_with([' ', '\t']) { open } else { title }
}

fn is_rule(raw: &str) -> bool {
    let line = &raw.as_bytes()[indent(raw)..];
    let Some(mark) = line.first().copied() else { return false };
    match mark {
        b'*' | b'-' | b'_' => {
            line.iter().all(|byte| *byte == mark || is_blank(*byte))
                && line.iter().filter(|byte| **byte == mark).count() >= 3
        }
        b'=' => line.iter().skip_while(|byte| **byte == b'=').all(|byte| is_blank(*byte)),
        _ => false,
    }
}

fn is_table_row(raw: &str) -> bool {
    let line = raw.trim_matches([' ', '\t']);
    line.len() > 1 && line.starts_with('|') && line.ends_with('|')
}

/// How long the markers of quotes, lists and tasks are that a line begins with, white space included.
fn marker(raw: &str) -> usize {
    let mut place = blanks(raw);
    while raw[place..].starts_with('>') {
        place += 1 + usize::from(raw[place + 1..].starts_with([' ', '\t']));
    }
    place += blanks(&raw[place..]);
    place + item(&raw[place..])
}

/// How long the marker of a list's item is; 0 where there is none.
fn item(rest: &str) -> usize {
    let sign = if rest.starts_with(['-', '*', '+']) { 1 } else { number(rest) };
    let space = rest.get(sign..).map_or(0, blanks);
    if sign == 0 || space == 0 {
        return 0;
    }
    let past = sign + space;
    let task = &rest[past..];
    let box_length = ["[ ]", "[x]", "[X]"].iter().any(|sign| task.starts_with(sign)).then_some(3);
    let after = box_length.map_or(0, |length| blanks(&task[length..]));
    if after > 0 { past + 3 + after } else { past }
}

/// How long `1.` or `1)` is; 0 where there is none.
fn number(rest: &str) -> usize {
    let digits: usize = rest.chars().take(9).take_while(|letter| is_decimal(*letter)).map(char::len_utf8).sum();
    if digits > 0 && rest[digits..].starts_with(['.', ')']) { digits + 1 } else { 0 }
}
