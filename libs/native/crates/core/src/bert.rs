//! What BERT's normalizer and pre-tokenizer make of each character: cleaned, without accents, in lower case.

use std::sync::OnceLock;

use crate::tables::{Table, codes, entries, hangul};

/// A part of what a character becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A letter of a word.
    Letter(char),
    /// A letter that the library puts elsewhere among the marks around it.
    Moved(char),
    /// A word of its own.
    Alone,
    /// An end of a word.
    Space,
}

const SAME: u16 = 0;
const REMOVED: u16 = 1;
const SPACE: u16 = 2;
const ALONE: u16 = 3;
const MOVED: u16 = 4;
const FIRST_MAPPED: u16 = 5;

/// The tables, read once.
pub struct Normalizer {
    table: Table,
    mapped: Vec<Vec<char>>,
}

impl Normalizer {
    /// The one of the process.
    pub fn shared() -> &'static Self {
        static NORMALIZER: OnceLock<Normalizer> = OnceLock::new();
        NORMALIZER.get_or_init(Self::read)
    }

    fn read() -> Self {
        let (mut table, mut mapped) = (Table::new(), Vec::new());
        for (name, mut words) in entries(include_str!("../tables/bert.txt")) {
            let value = match name {
                "removed" => REMOVED,
                "space" => SPACE,
                "alone" => ALONE,
                "moved" => MOVED,
                _ => {
                    let code = words.next().map_or(0, |word| *codes(word).start());
                    *table.slot(code) = FIRST_MAPPED + u16::try_from(mapped.len()).unwrap_or(0);
                    mapped.push(words.flat_map(codes).filter_map(letter).collect());
                    continue;
                }
            };
            words.flat_map(codes).for_each(|code| *table.slot(code) = value);
        }
        Self { table, mapped }
    }

    /// Visits what a character becomes, in order; a removed one becomes nothing.
    #[inline]
    pub fn parts(&self, given: char, mut visit: impl FnMut(Part)) {
        match self.table.get(given) {
            SAME => match hangul(given) {
                Some(letters) => letters.for_each(|each| visit(Part::Letter(each))),
                None => visit(Part::Letter(given)),
            },
            REMOVED => {}
            SPACE => visit(Part::Space),
            ALONE => visit(Part::Alone),
            MOVED => visit(Part::Moved(given)),
            index => {
                for each in &self.mapped[usize::from(index - FIRST_MAPPED)] {
                    visit(match self.table.get(*each) {
                        SPACE => Part::Space,
                        ALONE => Part::Alone,
                        MOVED => Part::Moved(*each),
                        _ => Part::Letter(*each),
                    });
                }
            }
        }
    }
}

fn letter(code: usize) -> Option<char> {
    u32::try_from(code).ok().and_then(char::from_u32)
}
