//! API keys, tokens and private keys, by the prefixes that their issuers gave them for this purpose.

use super::characters::{at, before, is_word, run};
use super::spans::{Kind, Span};
use super::tables::Tables;

const SHORTEST_PART: usize = 10;
const SHORTEST_BEARER: usize = 20;
const LONGEST_LABEL: usize = 30;
const LONGEST_PRIVATE_KEY: usize = 10_000;

/// Up to where keys of each form were found: within one no other of its form begins.
#[derive(Default)]
pub struct Reached {
    key: usize,
    web_token: usize,
    bearer: usize,
    private_key: usize,
}

struct Shape {
    prefix: usize,
    alphabet: [bool; 256],
    least: usize,
    most: usize,
}

/// Finds keys by the shapes that are given.
pub struct Secrets {
    shapes: Vec<Shape>,
}

impl Secrets {
    pub fn new(tables: &Tables) -> Self {
        let shapes = tables.secrets.iter().map(|shape| {
            let mut alphabet = [false; 256];
            shape.alphabet.bytes().for_each(|byte| alphabet[usize::from(byte)] = true);
            Shape { prefix: shape.prefix.len(), alphabet, least: shape.least, most: shape.most }
        });
        Self { shapes: shapes.collect() }
    }

    /// The key of a shape whose prefix stands at a place.
    pub fn key(&self, text: &str, place: usize, shape: usize, reached: &mut Reached) -> Option<Span> {
        let bytes = text.as_bytes();
        let Shape { prefix, alphabet, least, most } = &self.shapes[shape];
        if place < reached.key || before(bytes, place, is_token) {
            return None;
        }
        let body = place + prefix;
        let longest = if *most == 0 { usize::MAX } else { *most };
        let end = run(bytes, body, longest, |byte| alphabet[usize::from(byte)]);
        if end - body < *least || (*most > 0 && at(bytes, end, is_token)) {
            return None;
        }
        reached.key = end;
        Some(Span::new(place, end, Kind::ApiKey))
    }
}

fn is_token(byte: u8) -> bool {
    is_word(byte) || byte == b'-'
}

/// The JSON web token that begins at a place (RFC 7519: three base64url parts, the first two JSON objects).
pub fn web_token(text: &str, place: usize, reached: &mut Reached) -> Option<Span> {
    let bytes = text.as_bytes();
    if place < reached.web_token || before(bytes, place, |byte| is_token(byte) || byte == b'.') {
        return None;
    }
    let second = web_token_part(bytes, place)?;
    let third = web_token_part(bytes, second)?;
    let end = run(bytes, third, usize::MAX, is_token);
    reached.web_token = end;
    Some(Span::new(place, end, Kind::ApiKey))
}

/// The place behind a part that is an object, and its full stop.
fn web_token_part(bytes: &[u8], place: usize) -> Option<usize> {
    if !bytes[place..].starts_with(b"eyJ") {
        return None;
    }
    let end = run(bytes, place + 3, usize::MAX, is_token);
    (end - place - 3 >= SHORTEST_PART && at(bytes, end, |byte| byte == b'.')).then_some(end + 1)
}

/// The token behind the word "bearer" at a place (RFC 6750).
pub fn bearer(text: &str, place: usize, reached: &mut Reached) -> Option<Span> {
    let bytes = text.as_bytes();
    if place < reached.bearer || before(bytes, place, is_word) {
        return None;
    }
    let start = run(bytes, place + "bearer".len(), usize::MAX, |byte| byte == b' ');
    let body = run(bytes, start, usize::MAX, |byte| is_token(byte) || b".~+/".contains(&byte));
    if body - start < SHORTEST_BEARER {
        return None;
    }
    let end = run(bytes, body, usize::MAX, |byte| byte == b'=');
    reached.bearer = end;
    Some(Span::new(start, end, Kind::ApiKey))
}

/// The private key whose first dashes stand at a place (RFC 7468); one whose end was cut off counts up to the next
/// dashes.
pub fn private_key(text: &str, place: usize, reached: &mut Reached) -> Option<Span> {
    if place < reached.private_key {
        return None;
    }
    let body = label_end(text, place, "-----BEGIN ")?;
    let mut end = text.len();
    for (count, (offset, character)) in text[body..].char_indices().enumerate() {
        let here = body + offset;
        if count == LONGEST_PRIVATE_KEY || (character == '-' && text[here..].starts_with("-----")) {
            end = here;
            break;
        }
    }
    end = label_end(text, end, "-----END ").unwrap_or(end);
    reached.private_key = end;
    Some(Span::new(place, end, Kind::PrivateKey))
}

/// The place behind the line that begins so and names a private key.
fn label_end(text: &str, place: usize, opening: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if !bytes[place..].starts_with(opening.as_bytes()) {
        return None;
    }
    let start = place + opening.len();
    let longest = LONGEST_LABEL + "PRIVATE KEY BLOCK".len();
    let end = run(bytes, start, longest, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ');
    let label = &text[start..end];
    let algorithm = label.strip_suffix("PRIVATE KEY").or_else(|| label.strip_suffix("PRIVATE KEY BLOCK"))?;
    (algorithm.len() <= LONGEST_LABEL && bytes[end..].starts_with(b"-----")).then_some(end + 5)
}
