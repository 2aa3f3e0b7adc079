//! Words and phrases of a list in a text, by one automaton over all of them, however many there are.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::text::{At, Text};

/// First and last code points of ranges, in ascending order.
pub type Ranges = Vec<(u32, u32)>;

/// Finds the words that it was made for. Holds no state between two texts.
pub struct Matcher {
    automaton: AhoCorasick,
    folds: HashMap<char, char>,
    no_letters: Ranges,
    unspaced: Ranges,
}

impl Matcher {
    /// Makes a matcher. `folds` says what a character becomes so that case makes no difference; `no_letters` are those
    /// beyond ASCII that no word is made of, `unspaced` the letters of scripts without a space between words.
    ///
    /// Fails where the words are too many for an automaton.
    pub fn new(
        words: &[String],
        folds: HashMap<char, char>,
        no_letters: Ranges,
        unspaced: Ranges,
    ) -> Result<Self, String> {
        let folded: Vec<String> = words.iter().map(|word| fold(word, &folds)).collect();
        let automaton = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&folded);
        Ok(Self { automaton: automaton.map_err(|error| error.to_string())?, folds, no_letters, unspaced })
    }

    /// The words found, in order of place, none within another; of several that begin at one place the longest. Offsets
    /// are in characters.
    pub fn find(&self, text: &str) -> Vec<(usize, usize)> {
        let folded = fold(text, &self.folds);
        let mut whole: Vec<(usize, usize)> = self
            .automaton
            .find_overlapping_iter(&folded)
            .map(|found| (found.start(), found.end()))
            .filter(|(start, end)| !self.joined(&folded, *start) && !self.joined(&folded, *end))
            .collect();
        whole.sort_unstable_by_key(|(start, end)| (*start, usize::MAX - end));
        let mut until = 0;
        whole.retain(|(start, end)| {
            let free = *start >= until;
            if free {
                until = *end;
            }
            free
        });
        // As many characters stand before a place in the folded text as in the one it was.
        let text = Text::new(&folded);
        let mut at = At::default();
        for place in whole.iter_mut().flat_map(|(start, end)| [start, end]) {
            at = text.at_byte(at, *place);
            *place = at.char;
        }
        whole
    }

    /// Whether one word goes on over this place.
    fn joined(&self, folded: &str, place: usize) -> bool {
        let before = folded[..place].chars().next_back();
        let after = folded[place..].chars().next();
        before.is_some_and(|character| self.is_spaced(character))
            && after.is_some_and(|character| self.is_spaced(character))
    }

    /// Whether the character is of words that have spaces between them.
    fn is_spaced(&self, character: char) -> bool {
        if character.is_ascii() {
            return character.is_ascii_alphanumeric() || character == '_';
        }
        !within(&self.no_letters, character) && !within(&self.unspaced, character)
    }
}

fn fold(text: &str, folds: &HashMap<char, char>) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut folded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.bytes().position(|byte| !byte.is_ascii()) {
        let (ascii, beyond) = rest.split_at(place);
        push_lowercase(&mut folded, ascii);
        let mut characters = beyond.chars();
        folded.extend(characters.next().map(|character| folds.get(&character).copied().unwrap_or(character)));
        rest = characters.as_str();
    }
    push_lowercase(&mut folded, rest);
    folded
}

fn push_lowercase(folded: &mut String, ascii: &str) {
    let from = folded.len();
    folded.push_str(ascii);
    folded[from..].make_ascii_lowercase();
}

fn within(ranges: &[(u32, u32)], character: char) -> bool {
    let code = u32::from(character);
    let following = ranges.partition_point(|(_, last)| *last < code);
    ranges.get(following).is_some_and(|(first, _)| *first <= code)
}
