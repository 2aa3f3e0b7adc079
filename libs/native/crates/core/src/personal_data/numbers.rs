//! Groups of digits with the separators between them, cut out of the text once for all who look at numbers.

use super::characters::{run, space};

/// Between two groups of digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// One space, full stop or hyphen, as within a card's number.
    Single,
    /// Another separator, or up to three of them.
    Wide,
}

/// Digits, and what stands between them and the group before.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Where the digits begin.
    pub start: usize,
    /// Where they end.
    pub end: usize,
    /// What stands before them; the first group's is Wide.
    pub gap: Gap,
}

impl Group {
    /// How many digits it has.
    pub fn len(&self) -> usize {
        self.end - self.start
    }
}

/// Groups of digits with one to three separators between each two.
#[derive(Default)]
pub struct Run {
    groups: Vec<Group>,
}

const MOST_SEPARATORS: usize = 3;

impl Run {
    /// Reads the run that begins with the digit at `place`.
    pub fn read(&mut self, bytes: &[u8], place: usize) {
        self.groups.clear();
        let (mut start, mut gap) = (place, Gap::Wide);
        loop {
            let end = run(bytes, start, usize::MAX, |byte| byte.is_ascii_digit());
            self.groups.push(Group { start, end, gap });
            match next_group(bytes, end) {
                Some((next, between)) => (start, gap) = (next, between),
                None => return,
            }
        }
    }

    /// All groups; at least one.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Where the first digit stands.
    pub fn start(&self) -> usize {
        self.groups[0].start
    }

    /// The place behind the last digit.
    pub fn end(&self) -> usize {
        self.groups[self.groups.len() - 1].end
    }
}

fn next_group(bytes: &[u8], end: usize) -> Option<(usize, Gap)> {
    let mut place = end;
    let mut narrow = true;
    for separators in 1..=MOST_SEPARATORS {
        let (width, of_card) = separator(bytes, place);
        if width == 0 {
            return None;
        }
        narrow = narrow && of_card && separators == 1;
        place += width;
        if bytes.get(place).is_some_and(u8::is_ascii_digit) {
            return Some((place, if narrow { Gap::Single } else { Gap::Wide }));
        }
    }
    None
}

/// How many bytes the separator at a place has, and whether cards are written with it.
fn separator(bytes: &[u8], place: usize) -> (usize, bool) {
    match bytes.get(place) {
        Some(b'.' | b'-') => (1, true),
        Some(b'(' | b')' | b'/') => (1, false),
        _ => (space(bytes, place), true),
    }
}
