//! Words by their bytes, for the longest one that a text begins with.

const EMPTY: u64 = u64::MAX;

/// A set of words as a tree; its edges lie in one table with open addressing.
pub struct Trie {
    /// Edge (node, byte) and the node that it leads to, as `key << 32 | node`.
    edges: Vec<u64>,
    mask: usize,
    ends: Vec<bool>,
}

impl Trie {
    /// The tree of these words.
    #[must_use]
    pub fn new<'a>(words: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let most: usize = words.clone().map(<[u8]>::len).sum();
        let slots = (most.max(1) * 2).next_power_of_two();
        let mut trie = Self { edges: vec![EMPTY; slots], mask: slots - 1, ends: vec![false] };
        for word in words {
            let node = word.iter().fold(0, |node, byte| trie.grown(node, *byte));
            trie.ends[node as usize] = true;
        }
        trie
    }

    /// How long the longest word is that `text` begins with; 0 where there is none.
    #[must_use]
    pub fn longest(&self, text: &[u8]) -> usize {
        let (mut node, mut found) = (0, 0);
        for (place, byte) in text.iter().enumerate() {
            match self.next(node, *byte) {
                Some(next) => node = next,
                None => break,
            }
            if self.ends[node as usize] {
                found = place + 1;
            }
        }
        found
    }

    fn next(&self, node: u32, byte: u8) -> Option<u32> {
        let key = key(node, byte);
        let mut slot = self.slot(key);
        loop {
            let edge = self.edges[slot];
            if edge >> 32 == u64::from(key) {
                return u32::try_from(edge & 0xffff_ffff).ok();
            }
            if edge == EMPTY {
                return None;
            }
            slot = (slot + 1) & self.mask;
        }
    }

    fn grown(&mut self, node: u32, byte: u8) -> u32 {
        if let Some(next) = self.next(node, byte) {
            return next;
        }
        let key = key(node, byte);
        let mut slot = self.slot(key);
        while self.edges[slot] != EMPTY {
            slot = (slot + 1) & self.mask;
        }
        let next = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        self.edges[slot] = u64::from(key) << 32 | u64::from(next);
        self.ends.push(false);
        next
    }

    fn slot(&self, key: u32) -> usize {
        (u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & self.mask
    }
}

/// Fewer than 2²⁴ nodes: a vocabulary has some hundred thousand.
fn key(node: u32, byte: u8) -> u32 {
    node << 8 | u32::from(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_word_is_found_and_none_where_there_is_none() {
        let words = ["un", "unaff", "able"];
        let trie = Trie::new(words.iter().map(|word| word.as_bytes()));
        assert_eq!(trie.longest(b"unaffable"), 5);
        assert_eq!(trie.longest(b"unafable"), 2);
        assert_eq!(trie.longest(b"nable"), 0);
        assert_eq!(trie.longest(b""), 0);
    }
}
