//! How long a piece of a text is and where it may be cut. Means what `astromesh_native.twins.rulers` means.

use crate::tables::decomposed_length;
use crate::text::{At, Text};

/// Characters. BERT's tokenizers read a longer word as one unknown token.
pub const LONGEST_WORD: usize = 100;

/// Measures one text. Places are characters; sizes are in the ruler's unit.
pub trait Ruler: Sync {
    /// How long the span is.
    fn size(&self, start: usize, end: usize) -> usize;
    /// Whether a chunk may begin here.
    fn may_cut(&self, place: usize) -> bool;
    /// The farthest place up to `end` that is at most `limit` from `start`, though always beyond `start`.
    fn forward(&self, start: usize, end: usize, limit: usize) -> usize;
    /// The farthest place before `end` that is at most `limit` from it; `end` where there is none.
    fn back(&self, end: usize, limit: usize) -> usize;
}

/// One character is one unit.
pub struct Characters;

impl Ruler for Characters {
    fn size(&self, start: usize, end: usize) -> usize {
        end - start
    }

    fn may_cut(&self, _place: usize) -> bool {
        true
    }

    fn forward(&self, start: usize, end: usize, limit: usize) -> usize {
        (start + limit.max(1)).min(end)
    }

    fn back(&self, end: usize, limit: usize) -> usize {
        end.saturating_sub(limit)
    }
}

/// A word: where it starts and ends, and how many tokens it is.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// Its first place.
    pub start: At,
    /// The place behind it.
    pub end: At,
    /// How many tokens the model reads.
    pub tokens: usize,
}

/// Counts tokens by whole words; what is too long to be one is cut by characters.
pub struct WordRuler {
    starts: Vec<u32>,
    ends: Vec<u32>,
    sums: Vec<u32>,
}

/// Takes words in order and makes a ruler of them.
pub struct WordRulerBuilder<'a> {
    text: Text<'a>,
    most: usize,
    done: At,
    ruler: WordRuler,
}

impl<'a> WordRulerBuilder<'a> {
    /// `most` is the size that no word may exceed.
    #[must_use]
    pub fn new(text: Text<'a>, most: usize) -> Self {
        let ruler = WordRuler { starts: Vec::new(), ends: Vec::new(), sums: vec![0] };
        Self { text, most, done: At::default(), ruler }
    }

    /// The next word.
    pub fn push(&mut self, word: Word) {
        self.gap(word.start);
        if word.tokens > self.most || word.end.char - word.start.char > LONGEST_WORD {
            self.by_characters(word.start, word.end);
        } else {
            self.atom(word.start.char, word.end.char, word.tokens);
        }
        self.done = word.end;
    }

    /// The ruler, once all words are in.
    #[must_use]
    pub fn finish(mut self) -> WordRuler {
        self.gap(self.text.end());
        self.ruler
    }

    fn gap(&mut self, until: At) {
        let length = until.char.saturating_sub(self.done.char);
        if length > LONGEST_WORD || !self.text.is_blank(self.done, until) {
            self.by_characters(self.done, until);
        }
    }

    fn by_characters(&mut self, start: At, end: At) {
        let step = (self.most / 8).max(1);
        let mut first = start;
        while first.char < end.char {
            let past = self.text.at_char(first, (first.char + step).min(end.char));
            self.atom(first.char, past.char, decomposed_length(self.text.slice(first, past)));
            first = past;
        }
    }

    fn atom(&mut self, start: usize, end: usize, tokens: usize) {
        let sum = self.ruler.sums.last().copied().unwrap_or(0);
        self.ruler.starts.push(narrow(start));
        self.ruler.ends.push(narrow(end));
        self.ruler.sums.push(sum + narrow(tokens));
    }
}

/// Texts are shorter than 2³² characters; the binding refuses others.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Where `value` would stand before its equals.
fn left(sorted: &[u32], value: usize) -> usize {
    sorted.partition_point(|each| (*each as usize) < value)
}

impl Ruler for WordRuler {
    fn size(&self, start: usize, end: usize) -> usize {
        let (first, past) = (left(&self.starts, start), left(&self.starts, end));
        (self.sums[past] as usize).saturating_sub(self.sums[first] as usize)
    }

    fn may_cut(&self, place: usize) -> bool {
        let before = left(&self.starts, place);
        before == 0 || self.ends[before - 1] as usize <= place
    }

    fn forward(&self, start: usize, end: usize, limit: usize) -> usize {
        let first = left(&self.starts, start);
        let farthest = self.sums[first] as usize + limit;
        let past = first + self.sums[first..].partition_point(|sum| *sum as usize <= farthest) - 1;
        self.starts.get(past.max(first + 1)).map_or(end, |place| (*place as usize).min(end))
    }

    fn back(&self, end: usize, limit: usize) -> usize {
        let past = left(&self.starts, end);
        let nearest = (self.sums[past] as usize).saturating_sub(limit);
        let first = left(&self.sums[..past], nearest);
        if first < past { self.starts[first] as usize } else { end }
    }
}
