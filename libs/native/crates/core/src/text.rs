//! A text and places in it, each held as bytes of UTF-8 and as characters, so that neither is counted twice.

/// A place in a text: how many bytes and how many characters stand before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// Bytes before it.
    pub byte: usize,
    /// Characters (code points) before it.
    pub char: usize,
}

/// A text that knows whether its bytes are its characters.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    /// The text itself.
    pub str: &'a str,
    ascii: bool,
}

impl<'a> Text<'a> {
    /// Looks at each byte once.
    #[must_use]
    pub fn new(str: &'a str) -> Self {
        Self { str, ascii: str.is_ascii() }
    }

    /// Its end.
    #[must_use]
    pub fn end(&self) -> At {
        self.at_byte(At::default(), self.str.len())
    }

    /// What stands between two places.
    #[must_use]
    pub fn slice(&self, start: At, end: At) -> &'a str {
        self.str.get(start.byte..end.byte).unwrap_or("")
    }

    /// The place at a byte at or behind `from`.
    #[must_use]
    pub fn at_byte(&self, from: At, byte: usize) -> At {
        let between = &self.str[from.byte..byte];
        let count = if self.ascii { between.len() } else { between.chars().count() };
        At { byte, char: from.char + count }
    }

    /// The place of a character, in time that grows with its distance from `near`; the end where there is none.
    #[must_use]
    pub fn at_char(&self, near: At, char: usize) -> At {
        if self.ascii {
            let place = char.min(self.str.len());
            return At { byte: place, char: place };
        }
        if char >= near.char {
            let rest = &self.str[near.byte..];
            match rest.char_indices().nth(char - near.char) {
                Some((byte, _)) => At { byte: near.byte + byte, char },
                None => self.end(),
            }
        } else {
            let before = &self.str[..near.byte];
            let found = before.char_indices().rev().nth(near.char - char - 1);
            At { byte: found.map_or(0, |(byte, _)| byte), char }
        }
    }

    /// The span without white space around it.
    #[must_use]
    pub fn stripped(&self, start: At, end: At) -> (At, At) {
        let (mut first, mut last) = (start, end);
        for letter in self.slice(start, end).chars().take_while(|letter| is_space(*letter)) {
            first = At { byte: first.byte + letter.len_utf8(), char: first.char + 1 };
        }
        for letter in self.slice(first, end).chars().rev().take_while(|letter| is_space(*letter)) {
            last = At { byte: last.byte - letter.len_utf8(), char: last.char - 1 };
        }
        (first, last)
    }

    /// Whether there is anything but white space in the span.
    #[must_use]
    pub fn is_blank(&self, start: At, end: At) -> bool {
        self.slice(start, end).chars().all(is_space)
    }
}

/// What Python's `str.isspace` holds of a character; the set is closed.
#[must_use]
pub fn is_space(letter: char) -> bool {
    matches!(letter,
        '\t'..='\r' | '\x1c'..=' ' | '\u{85}' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}'
        | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_both_counts_whichever_way_it_is_reached() {
        let text = Text::new("a\u{e9}\u{1f680}b");
        let end = text.end();
        assert_eq!(end, At { byte: 8, char: 4 });
        for char in 0..=4 {
            assert_eq!(text.at_char(end, char), text.at_char(At::default(), char));
        }
        assert_eq!(text.at_char(end, 2), At { byte: 3, char: 2 });
    }

    #[test]
    fn white_space_is_stripped_of_both_ends_and_of_nothing_else() {
        let text = Text::new("\u{2003} a\u{1c}");
        let (first, last) = text.stripped(At::default(), text.end());
        assert_eq!(text.slice(first, last), "a");
        assert!(text.is_blank(At::default(), first));
    }
}
