//! Classes of characters, by bytes where they are ASCII.

/// The separator that is not ASCII: U+00A0, a space that does not break.
const NO_BREAK_SPACE: [u8; 2] = [0xC2, 0xA0];

/// Whether the byte is an ASCII letter or digit, or `_`.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether the byte before a place satisfies the condition; false at the beginning.
pub fn before(bytes: &[u8], place: usize, is: impl Fn(u8) -> bool) -> bool {
    place > 0 && is(bytes[place - 1])
}

/// Whether the byte at a place satisfies the condition; false at the end.
pub fn at(bytes: &[u8], place: usize, is: impl Fn(u8) -> bool) -> bool {
    bytes.get(place).is_some_and(|byte| is(*byte))
}

/// How many bytes the space, plain or not to be broken, at a place has; 0 where there is none.
pub fn space(bytes: &[u8], place: usize) -> usize {
    match bytes.get(place) {
        Some(b' ') => 1,
        Some(0xC2) if bytes[place..].starts_with(&NO_BREAK_SPACE) => 2,
        _ => 0,
    }
}

/// The end of the longest sequence from a place on whose bytes satisfy the condition, at most so many of them.
pub fn run(bytes: &[u8], place: usize, most: usize, is: impl Fn(u8) -> bool) -> usize {
    let rest = &bytes[place..bytes.len().min(place.saturating_add(most))];
    place + rest.iter().position(|byte| !is(*byte)).unwrap_or(rest.len())
}
