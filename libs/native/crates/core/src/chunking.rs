//! A text to overlapping chunks. Means what `astromesh_native.twins.chunking` means.

use std::collections::{HashSet, VecDeque};

use memchr::memmem::Finder;

use crate::rulers::Ruler;
use crate::sentences::sentence_edges;
use crate::text::{At, Text};

/// What names the places to cut at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// By length alone.
    Fixed,
    /// After the coarsest separator that works.
    Recursive,
    /// Between sentences.
    Sentence,
}

/// How to cut: sizes in the ruler's unit, 0 ≤ overlap < size, no separator empty.
pub struct Chunker {
    strategy: Strategy,
    size: usize,
    overlap: usize,
    separators: Vec<Finder<'static>>,
}

/// A chunk: from, to, and the number of its section.
pub type Chunk = (usize, usize, usize);

impl Chunker {
    /// Takes the settings as they are.
    pub fn new<S: AsRef<str>>(
        strategy: Strategy,
        size: usize,
        overlap: usize,
        separators: impl IntoIterator<Item = S>,
    ) -> Self {
        let separators = separators.into_iter().map(|each| Finder::new(each.as_ref()).into_owned()).collect();
        Self { strategy, size, overlap, separators }
    }

    /// The chunks of consecutive sections, white space around them left out; chunks end at `breaks`.
    #[must_use]
    pub fn chunks<R: Ruler>(
        &self,
        text: Text<'_>,
        sections: &[(usize, usize)],
        ruler: &R,
        breaks: &HashSet<usize>,
    ) -> Vec<Chunk> {
        let edges = if self.strategy == Strategy::Sentence { sentence_edges(text) } else { Vec::new() };
        let mut cutter = Cutter {
            chunker: self,
            text,
            ruler,
            breaks,
            run: VecDeque::new(),
            out: Vec::new(),
            section: 0,
            last_end: 0,
        };
        let mut place = At::default();
        for (number, (from, to)) in sections.iter().enumerate() {
            let start = text.at_char(place, *from);
            let end = text.at_char(start, *to);
            cutter.section = number;
            cutter.last_end = start.char;
            match self.strategy {
                Strategy::Fixed => cutter.windows(start, end),
                Strategy::Recursive => cutter.pieces(start, end, 0),
                Strategy::Sentence => cutter.sentences(start, end, &edges),
            }
            cutter.finish_run();
            place = end;
        }
        cutter.out
    }
}

struct Cutter<'a, R> {
    chunker: &'a Chunker,
    text: Text<'a>,
    ruler: &'a R,
    breaks: &'a HashSet<usize>,
    /// Neighbouring pieces that are one chunk so far.
    run: VecDeque<(At, At)>,
    out: Vec<Chunk>,
    section: usize,
    last_end: usize,
}

impl<R: Ruler> Cutter<'_, R> {
    fn emit(&mut self, start: At, past: At) {
        let (first, last) = self.text.stripped(start, past);
        // One that holds an overlap and white space says nothing new.
        if last.char > first.char.max(self.last_end) {
            self.out.push((first.char, last.char, self.section));
            self.last_end = last.char;
        }
    }

    fn windows(&mut self, start: At, end: At) {
        let (size, overlap, ruler) = (self.chunker.size, self.chunker.overlap, self.ruler);
        let mut start = start;
        let mut past = self.text.at_char(start, ruler.forward(start.char, end.char, size));
        while past.char < end.char {
            self.emit(start, past);
            let beyond = ruler.forward(past.char, end.char, 1);
            let farthest = ruler.forward(start.char, end.char, 1).max(ruler.back(past.char, overlap));
            // As far back as leaves room for what is new.
            let next = past.char.min(farthest.max(ruler.back(beyond, size)));
            start = self.text.at_char(past, next);
            past = self.text.at_char(past, ruler.forward(start.char, end.char, size));
        }
        self.emit(start, past);
    }

    fn sentences(&mut self, start: At, end: At, edges: &[At]) {
        let within = edges.partition_point(|edge| edge.char <= start.char);
        let mut from = start;
        for edge in edges[within..].iter().take_while(|edge| edge.char < end.char) {
            // A sentence that a break in its line tears apart is given twice: edges may repeat.
            if from.char < edge.char && self.ruler.may_cut(edge.char) {
                self.pieces(from, *edge, 0);
                from = *edge;
            }
        }
        self.pieces(from, end, 0);
    }

    /// Consecutive pieces, none longer than a chunk, cut at the coarsest separator that works.
    fn pieces(&mut self, start: At, end: At, level: usize) {
        let chunker = self.chunker;
        if self.ruler.size(start.char, end.char) <= chunker.size {
            self.join(start, end);
        } else if let Some(separator) = chunker.separators.get(level) {
            self.split(start, end, separator, level);
        } else {
            self.steps(start, end);
        }
    }

    fn split(&mut self, start: At, end: At, separator: &Finder<'_>, level: usize) {
        let (text, width) = (self.text, separator.needle().len());
        let span = text.slice(start, end);
        let (mut from, mut seen) = (start, start);
        for found in separator.find_iter(span.as_bytes()) {
            let byte = start.byte + found + width;
            if byte < end.byte {
                seen = text.at_byte(seen, byte);
                if self.ruler.may_cut(seen.char) {
                    self.pieces(from, seen, level + 1);
                    from = seen;
                }
            }
        }
        self.pieces(from, end, level + 1);
    }

    /// Pieces by length, no longer than the overlap, or neighbours would share nothing.
    fn steps(&mut self, start: At, end: At) {
        let (size, overlap) = (self.chunker.size, self.chunker.overlap);
        let step = if overlap == 0 { size } else { overlap.min(size - overlap) };
        let mut from = start;
        while from.char < end.char {
            let past = self.text.at_char(from, self.ruler.forward(from.char, end.char, step));
            self.join(from, past);
            from = past;
        }
    }

    /// Adds a piece to the run, or ends the run before it; the next run begins with what makes up the overlap.
    fn join(&mut self, start: At, past: At) {
        if let Some(&(begin, _)) = self.run.front()
            && (self.breaks.contains(&start.char) || self.ruler.size(begin.char, past.char) > self.chunker.size)
        {
            self.emit(begin, start);
            self.run.pop_front();
            while self.run.front().is_some_and(|&(begin, _)| !self.is_shared(begin, start, past)) {
                self.run.pop_front();
            }
        }
        self.run.push_back((start, past));
    }

    fn is_shared(&self, begin: At, cut: At, past: At) -> bool {
        let ruler = self.ruler;
        ruler.size(begin.char, cut.char) <= self.chunker.overlap
            && ruler.size(begin.char, past.char) <= self.chunker.size
    }

    fn finish_run(&mut self) {
        if let (Some(&(begin, _)), Some(&(_, past))) = (self.run.front(), self.run.back()) {
            self.emit(begin, past);
        }
        self.run.clear();
    }
}
