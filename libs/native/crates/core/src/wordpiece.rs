//! The words of a text and their tokens as BERT's uncased tokenizers read them.
//! Means what `astromesh_native.twins.wordpiece` means, which asks the `tokenizers` library.

use crate::bert::{Normalizer, Part};
use crate::rulers::{LONGEST_WORD, Word};
use crate::tables::decomposed_length;
use crate::text::{At, Text};
use crate::trie::Trie;

/// Characters read at a time; words are cut at a window's edge only where no blank stands in the whole window.
pub const WINDOW: usize = 1 << 14;

const CONTINUED: &str = "##";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ascii {
    Letter(u8),
    Removed,
    Space,
    Alone,
}

/// A vocabulary and the special tokens that texts may name.
pub struct WordPiece {
    first: Trie,
    continued: Trie,
    specials: Vec<String>,
    ascii: [Ascii; 128],
    normalizer: &'static Normalizer,
}

impl WordPiece {
    /// `specials` are as `[MASK]`: they begin with a bracket and have no other one but the last character.
    #[must_use]
    pub fn new(vocabulary: &[String], specials: Vec<String>) -> Self {
        let first = vocabulary.iter().filter(|token| !token.starts_with(CONTINUED));
        let continued = vocabulary.iter().filter_map(|token| token.strip_prefix(CONTINUED));
        let normalizer = Normalizer::shared();
        Self {
            first: Trie::new(first.map(|token| token.as_bytes())),
            continued: Trie::new(continued.map(str::as_bytes)),
            specials,
            ascii: std::array::from_fn(|code| ascii(normalizer, code)),
            normalizer,
        }
    }

    /// How many tokens the text is.
    #[must_use]
    pub fn count(&self, text: Text<'_>) -> usize {
        let mut total = 0;
        self.read(text, At::default(), text.end(), |word| total += word.tokens);
        total
    }

    /// Visits the words in order. Of a word that a window's edge cut in two, no part says how many tokens the whole
    /// has: each counts as most as it could. False where the library may see a word's places otherwise, because it
    /// puts marks in another order.
    #[must_use]
    pub fn words(&self, text: Text<'_>, mut visit: impl FnMut(Word)) -> bool {
        let (mut begin, end) = (At::default(), text.end());
        let (mut torn_before, mut sure) = (false, true);
        while begin.byte < end.byte {
            let (past, torn) = window_end(text, begin, end);
            sure &= self.read(text, begin, past, |mut word| {
                if (torn_before && word.start == begin) || (torn && word.end == past) {
                    word.tokens = decomposed_length(text.slice(word.start, word.end));
                }
                visit(word);
            });
            (begin, torn_before) = (past, torn);
        }
        sure
    }

    fn read(&self, text: Text<'_>, begin: At, end: At, visit: impl FnMut(Word)) -> bool {
        let bytes = text.slice(begin, end).as_bytes();
        let mut reading =
            Reading { pieces: self, letters: Vec::new(), count: 0, start: begin, end: begin, sure: true, visit };
        let (mut place, mut at) = (0, begin);
        while let Some(byte) = bytes.get(place).copied() {
            let mut next = At { byte: at.byte + 1, char: at.char + 1 };
            if byte < 0x80 {
                match self.ascii[usize::from(byte)] {
                    Ascii::Letter(lower) => reading.ascii(lower, at, next),
                    Ascii::Removed => {}
                    Ascii::Space => reading.word_ends(),
                    Ascii::Alone => {
                        if let Some(length) = self.special(byte, &bytes[place..]) {
                            next = At { byte: at.byte + length, char: at.char + length };
                        }
                        reading.alone(at, next);
                    }
                }
            } else if let Some(letter) = text.str[at.byte..].chars().next() {
                next.byte = at.byte + letter.len_utf8();
                self.normalizer.parts(letter, |part| reading.part(part, at, next));
            }
            place += next.byte - at.byte;
            at = next;
        }
        reading.word_ends();
        reading.sure
    }

    fn special(&self, byte: u8, rest: &[u8]) -> Option<usize> {
        let found = || self.specials.iter().find(|token| rest.starts_with(token.as_bytes()));
        if byte == b'[' { found().map(String::len) } else { None }
    }

    /// Greedy, the longest piece first; a word with a piece that the vocabulary lacks is one unknown token.
    fn tokens(&self, word: &[u8]) -> usize {
        let mut rest = word;
        let mut count = 0;
        while !rest.is_empty() {
            let pieces = if count == 0 { &self.first } else { &self.continued };
            let length = pieces.longest(rest);
            if length == 0 {
                return 1;
            }
            rest = &rest[length..];
            count += 1;
        }
        count
    }
}

fn ascii(normalizer: &Normalizer, code: usize) -> Ascii {
    let mut found = Ascii::Removed;
    let letter = u8::try_from(code).map_or('\0', char::from);
    normalizer.parts(letter, |part| {
        found = match part {
            Part::Letter(lower) | Part::Moved(lower) => Ascii::Letter(u8::try_from(lower).unwrap_or(0)),
            Part::Alone => Ascii::Alone,
            Part::Space => Ascii::Space,
        }
    });
    found
}

/// Where the window that begins here ends, and whether that may be in a word.
fn window_end(text: Text<'_>, begin: At, end: At) -> (At, bool) {
    let past = text.at_char(begin, begin.char + WINDOW);
    if past.byte >= end.byte {
        return (end, false);
    }
    match memchr::memrchr2(b' ', b'\n', text.slice(begin, past).as_bytes()) {
        Some(blank) => (text.at_byte(begin, begin.byte + blank + 1), false),
        None => (past, true),
    }
}

/// The word that is being read.
struct Reading<'a, V> {
    pieces: &'a WordPiece,
    letters: Vec<u8>,
    count: usize,
    start: At,
    end: At,
    sure: bool,
    visit: V,
}

impl<V: FnMut(Word)> Reading<'_, V> {
    #[inline]
    fn ascii(&mut self, letter: u8, from: At, to: At) {
        self.reach(from, to);
        if self.count <= LONGEST_WORD {
            self.letters.push(letter);
        }
    }

    fn part(&mut self, part: Part, from: At, to: At) {
        match part {
            Part::Letter(letter) | Part::Moved(letter) => {
                self.sure &= matches!(part, Part::Letter(_));
                self.reach(from, to);
                if self.count <= LONGEST_WORD {
                    self.letters.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            Part::Alone => self.alone(from, to),
            Part::Space => self.word_ends(),
        }
    }

    #[inline]
    fn reach(&mut self, from: At, to: At) {
        if self.count == 0 {
            self.start = from;
        }
        self.end = to;
        self.count += 1;
    }

    fn alone(&mut self, from: At, to: At) {
        self.word_ends();
        (self.visit)(Word { start: from, end: to, tokens: 1 });
    }

    #[inline]
    fn word_ends(&mut self) {
        if self.count > 0 {
            let tokens = if self.count > LONGEST_WORD { 1 } else { self.pieces.tokens(&self.letters) };
            (self.visit)(Word { start: self.start, end: self.end, tokens });
            self.letters.clear();
            self.count = 0;
        }
    }
}
