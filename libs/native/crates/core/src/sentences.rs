//! Where sentences begin and end. Means what `astromesh_native.twins.sentences` means.

use crate::markdown::{Kind, Line, Lines};
use crate::tables::{is_decimal, is_lower, is_upper, is_word};
use crate::text::{At, Text, is_space};

const ABBREVIATIONS: [&str; 26] = [
    "dr", "mr", "mrs", "ms", "prof", "st", "jr", "sr", "vs", "etc", "e.g", "i.e", "eg", "ie", "cf", "al", "fig", "vol",
    "pp", "approx", "inc", "ltd", "co", "dept", "est", "",
];
/// How far back a word before a full stop is looked for, the stop included.
const LONGEST: usize = 20;

/// Where sentences begin, and where they end before what is no sentence; in order, some twice.
#[must_use]
pub fn sentence_edges(text: Text<'_>) -> Vec<At> {
    let mut edges: Vec<At> = Vec::new();
    let mut last = At::default();
    let mut spans = Vec::new();
    for_each_paragraph(text, |paragraph| {
        spans.clear();
        Joined::new(text, paragraph).spans(text, &mut spans);
        for &(start, end) in &spans {
            if !edges.is_empty() && !text.is_blank(last, start) {
                edges.push(last);
            }
            edges.push(start);
            last = end;
        }
    });
    if !edges.is_empty() && !text.is_blank(last, text.end()) {
        edges.push(last);
    }
    edges
}

/// Runs of lines that read on: a blank line, a new list item, or anything that is no prose ends a run.
fn for_each_paragraph(text: Text<'_>, mut visit: impl FnMut(&[Line])) {
    let mut run: Vec<Line> = Vec::new();
    for line in Lines::new(text) {
        if line.kind != Kind::Text && !run.is_empty() {
            visit(&run);
            run.clear();
        }
        if matches!(line.kind, Kind::Text | Kind::Item) && line.body_start.byte < line.body_end.byte {
            run.push(line);
        }
    }
    if !run.is_empty() {
        visit(&run);
    }
}

/// The bodies of a paragraph's lines, joined by spaces, and where each came from.
struct Joined {
    body: String,
    lines: Vec<(usize, At)>,
}

impl Joined {
    fn new(text: Text<'_>, paragraph: &[Line]) -> Self {
        let mut body = String::new();
        let mut lines = Vec::with_capacity(paragraph.len());
        for line in paragraph {
            if !body.is_empty() {
                body.push(' ');
            }
            lines.push((body.len(), line.body_start));
            body.push_str(text.slice(line.body_start, line.body_end));
        }
        Self { body, lines }
    }

    /// The sentences as places in the text.
    fn spans(&self, text: Text<'_>, found: &mut Vec<(At, At)>) {
        let mut cursor = Cursor { text, lines: &self.lines, line: 0, joined: 0, at: self.lines[0].1 };
        let mut start = 0;
        let mut cut = |past: usize| {
            let first = past - self.body[start..past].trim_start_matches(is_space).len();
            let from = cursor.place(first);
            let last = self.body[..past].char_indices().next_back().map_or(0, |(byte, _)| byte);
            let end = cursor.place(last);
            found.push((from, At { byte: end.byte + (past - last), char: end.char + 1 }));
            start = past;
        };
        let mut place = 0;
        while let Some((begin, end)) = next_end(&self.body, place) {
            if end < self.body.len() && !goes_on(&self.body, begin, end) {
                cut(end);
            }
            place = end;
        }
        cut(self.body.len());
    }
}

/// Leads places in joined lines back to the text, in order.
struct Cursor<'a> {
    text: Text<'a>,
    lines: &'a [(usize, At)],
    line: usize,
    joined: usize,
    at: At,
}

impl Cursor<'_> {
    fn place(&mut self, joined: usize) -> At {
        while self.lines.get(self.line + 1).is_some_and(|next| next.0 <= joined) {
            self.line += 1;
            (self.joined, self.at) = self.lines[self.line];
        }
        self.at = self.text.at_byte(self.at, self.at.byte + (joined - self.joined));
        self.joined = joined;
        self.at
    }
}

fn is_stop(letter: char) -> bool {
    matches!(letter, '.' | '!' | '?' | '\u{2026}')
}

fn is_wide_stop(letter: char) -> bool {
    matches!(letter, '。' | '！' | '？' | '।')
}

fn run(body: &str, from: usize, belongs: impl Fn(char) -> bool) -> usize {
    let rest = &body[from..];
    from + rest.find(|letter| !belongs(letter)).unwrap_or(rest.len())
}

/// The next stops with what closes behind them; what only looks like an end is among them.
fn next_end(body: &str, from: usize) -> Option<(usize, usize)> {
    let mut place = from;
    loop {
        let begin = place + body[place..].find(|letter| is_stop(letter) || is_wide_stop(letter))?;
        if body[begin..].starts_with(is_wide_stop) {
            let stops = run(body, begin, is_wide_stop);
            return Some((begin, run(body, stops, |letter| matches!(letter, '”' | '’' | '」' | '』' | '）'))));
        }
        let stops = run(body, begin, is_stop);
        if !body[..begin].ends_with(is_stop) {
            let closed =
                run(body, stops, |letter| matches!(letter, '"' | '\'' | '”' | '’' | ')' | ']' | '*' | '_' | '`'));
            if body[closed..].chars().next().is_none_or(is_space) {
                return Some((begin, closed));
            }
        }
        place = stops;
    }
}

/// True for a full stop that belongs to an abbreviation or an initial, or before a word in lower case.
fn goes_on(body: &str, begin: usize, end: usize) -> bool {
    if &body[begin..end] != "." {
        return false;
    }
    if body[end..].chars().find(|letter| !is_space(*letter)).is_some_and(is_lower) {
        return true;
    }
    let before = &body[..begin];
    if !before.ends_with(is_word) {
        return false;
    }
    let mut first = None;
    for (byte, letter) in before.char_indices().rev().take(LONGEST - 1) {
        if letter != '.' && !is_word(letter) {
            break;
        }
        if letter != '.' && letter != '_' && !is_decimal(letter) {
            first = Some(byte);
        }
    }
    first.is_some_and(|byte| is_short(&before[byte..]))
}

fn is_short(name: &str) -> bool {
    let initial = name.chars().next().is_some_and(is_upper) && name.chars().nth(1).is_none() && name != "I";
    initial || ABBREVIATIONS.iter().any(|known| !known.is_empty() && known.eq_ignore_ascii_case(name))
}
