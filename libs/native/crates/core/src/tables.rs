//! What a character is, from tables that `scripts/generate_tables.py` writes. Blocks of 256 that hold nothing are shared.

use std::sync::OnceLock;

/// A value for each character; 0 where none was given.
pub struct Table {
    blocks: Vec<Option<Box<[u16; 256]>>>,
}

impl Table {
    /// One that holds 0 of every character.
    #[must_use]
    pub fn new() -> Self {
        Self { blocks: vec![None; 0x11_0000 >> 8] }
    }

    /// What is held of a character.
    #[inline]
    #[must_use]
    pub fn get(&self, letter: char) -> u16 {
        let code = letter as usize;
        self.blocks[code >> 8].as_ref().map_or(0, |block| block[code & 0xff])
    }

    /// The value to be changed.
    pub fn slot(&mut self, code: usize) -> &mut u16 {
        let block = self.blocks[code >> 8].get_or_insert_with(|| Box::new([0; 256]));
        &mut block[code & 0xff]
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

/// The lines of a table's file as a name and its words, comments left out.
pub fn entries(file: &'static str) -> impl Iterator<Item = (&'static str, std::str::Split<'static, char>)> {
    file.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut words = line.split(' ');
        (words.next().unwrap_or(""), words)
    })
}

/// The code points that `30-39` or `41` stands for.
///
/// # Panics
/// For anything else: the tables are compiled in.
#[must_use]
pub fn codes(word: &str) -> std::ops::RangeInclusive<usize> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let number = |hex| usize::from_str_radix(hex, 16).expect("a table holds hexadecimal numbers");
    number(first)..=number(last)
}

const ALNUM: u16 = 1;
const DECIMAL: u16 = 2;
const LOWER: u16 = 4;
const UPPER: u16 = 8;
/// From this bit on: how many characters more the decomposed form has.
const NFD: u16 = 4;

fn python() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Table::new();
        for (name, words) in entries(include_str!("../tables/python.txt")) {
            let bits = match name {
                "alnum" => ALNUM,
                "decimal" => DECIMAL,
                "lower" => LOWER,
                "upper" => UPPER,
                "nfd2" => 1 << NFD,
                "nfd3" => 2 << NFD,
                _ => 3 << NFD,
            };
            words.flat_map(codes).for_each(|code| *table.slot(code) |= bits);
        }
        table
    })
}

/// Python's `\w`.
#[must_use]
pub fn is_word(letter: char) -> bool {
    letter == '_' || python().get(letter) & ALNUM != 0
}

/// Python's `\d`.
#[must_use]
pub fn is_decimal(letter: char) -> bool {
    python().get(letter) & DECIMAL != 0
}

/// Python's `str.islower` of one character.
#[must_use]
pub fn is_lower(letter: char) -> bool {
    python().get(letter) & LOWER != 0
}

/// Python's `str.isupper` of one character.
#[must_use]
pub fn is_upper(letter: char) -> bool {
    python().get(letter) & UPPER != 0
}

/// How many characters a text has when decomposed (NFD).
#[must_use]
pub fn decomposed_length(text: &str) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    let table = python();
    text.chars()
        .map(|letter| match hangul(letter) {
            Some(parts) => parts.count(),
            None => usize::from(table.get(letter) >> NFD) + 1,
        })
        .sum()
}

/// The letters of a Hangul syllable. Unicode 3.12, "Conjoining Jamo Behavior".
#[must_use]
pub fn hangul(letter: char) -> Option<impl Iterator<Item = char>> {
    let index = (letter as u32).checked_sub(0xac00).filter(|index| *index < 11172)?;
    let last = index % 28;
    let codes = [0x1100 + index / 588, 0x1161 + index % 588 / 28, 0x11a7 + last];
    let used = if last == 0 { 2 } else { 3 };
    Some(codes.into_iter().take(used).filter_map(char::from_u32))
}
