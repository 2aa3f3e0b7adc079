//! E-mail addresses and IP addresses.

use std::net::Ipv6Addr;

use super::characters::{at, before, is_word, run};
use super::numbers::Run;
use super::spans::{Kind, Span};
use super::tables::Tables;

const LONGEST_LOCAL_PART: usize = 64;
const LONGEST_LABEL: usize = 63;
const MOST_LABELS: usize = 10;
const LONGEST_PUNYCODE: usize = 59;
const LONGEST_IPV6: usize = 45;
/// Punctuation that may end a sentence behind an address.
const PUNCTUATION: usize = 4;

/// Finds e-mail addresses (RFC 5321 without quoted local parts; RFC 6531's international letters).
pub struct Addresses {
    no_letters: Vec<(u32, u32)>,
    file_endings: Vec<String>,
}

impl Addresses {
    pub fn new(tables: &Tables) -> Self {
        Self { no_letters: tables.no_letters.clone(), file_endings: tables.file_endings.clone() }
    }

    /// The address around the `@` at a place.
    pub fn email(&self, text: &str, place: usize) -> Option<Span> {
        let end = self.domain_end(text, place)?;
        let start = self.local_part_start(text, place);
        (start < place).then(|| Span::new(start, end, Kind::Email))
    }

    /// The place behind the longest domain that begins after the `@`.
    fn domain_end(&self, text: &str, at: usize) -> Option<usize> {
        let mut place = at + 1;
        let mut end = None;
        for _ in 0..MOST_LABELS {
            let Some(label) = self.label_end(text, place) else { break };
            place = label;
            end = self.top_level_end(text, place).or(end);
        }
        end
    }

    /// The place behind a label and its full stop.
    fn label_end(&self, text: &str, place: usize) -> Option<usize> {
        let mut last_is_letter = false;
        for (count, (offset, character)) in text[place..].char_indices().take(LONGEST_LABEL + 1).enumerate() {
            if character == '.' {
                return (count > 0 && last_is_letter).then_some(place + offset + 1);
            }
            last_is_letter = self.is_letter_or_digit(character);
            if !last_is_letter && (count == 0 || !matches!(character, '-' | '_')) {
                return None;
            }
        }
        None
    }

    fn top_level_end(&self, text: &str, place: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        if bytes[place..].starts_with(b"xn--") {
            let body = place + 4;
            let end = run(bytes, body, LONGEST_PUNYCODE, |byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if end >= body + 2 {
                return Some(end);
            }
        }
        let end = run(bytes, place, LONGEST_LABEL, |byte| byte.is_ascii_alphabetic());
        if end >= place + 2 {
            let written = &text[place..end];
            let is_file = self.file_endings.iter().any(|ending| ending.eq_ignore_ascii_case(written));
            return (!is_file).then_some(end);
        }
        let beyond =
            text[place..].chars().take(LONGEST_LABEL).take_while(|character| self.is_letter_beyond(*character));
        let (count, width) = beyond.fold((0, 0), |(count, width), character| (count + 1, width + character.len_utf8()));
        (count >= 2).then_some(place + width)
    }

    fn local_part_start(&self, text: &str, at: usize) -> usize {
        let mut first_letter = at;
        for (offset, character) in text[..at].char_indices().rev().take(LONGEST_LOCAL_PART) {
            let is_letter = self.is_letter_or_digit(character);
            if !is_letter && !is_local_punctuation(character) {
                break;
            }
            if is_letter {
                first_letter = offset;
            }
        }
        first_letter
    }

    fn is_letter_or_digit(&self, character: char) -> bool {
        character.is_ascii_alphanumeric() || self.is_letter_beyond(character)
    }

    fn is_letter_beyond(&self, character: char) -> bool {
        let code = u32::from(character);
        if code < 0x80 {
            return false;
        }
        let following = self.no_letters.partition_point(|(_, last)| *last < code);
        self.no_letters.get(following).is_none_or(|(first, _)| code < *first)
    }
}

fn is_local_punctuation(character: char) -> bool {
    character.is_ascii() && b".!#$%&'*+/=?^_`{|}~-".contains(&(character as u8))
}

/// Finds IPv4 addresses in dotted form.
pub fn ipv4(bytes: &[u8], numbers: &Run, found: &mut Vec<Span>) {
    for octets in numbers.groups().windows(4) {
        let (start, end) = (octets[0].start, octets[3].end);
        let dotted = octets.windows(2).all(|pair| pair[1].start - pair[0].end == 1 && bytes[pair[0].end] == b'.');
        if dotted
            && octets.iter().all(|octet| is_octet(&bytes[octet.start..octet.end]))
            && !before(bytes, start, |byte| is_word(byte) || byte == b'.')
            && !at(bytes, end, is_word)
            && !(at(bytes, end, |byte| byte == b'.') && at(bytes, end + 1, |byte| byte.is_ascii_digit()))
        {
            found.push(Span::new(start, end, Kind::IpAddress));
        }
    }
}

fn is_octet(digits: &[u8]) -> bool {
    matches!(digits, [_] | [b'1'..=b'9', _] | [b'1', _, _] | [b'2', b'0'..=b'4', _] | [b'2', b'5', b'0'..=b'5'])
}

/// The IPv6 address (RFC 4291) around the colon at a place, and the end of what cannot be part of another one.
pub fn ipv6(text: &str, colon: usize) -> (Option<Span>, usize) {
    let bytes = text.as_bytes();
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.';
    let end = run(bytes, colon, usize::MAX, is_part);
    let lowest = colon.saturating_sub(LONGEST_IPV6 + PUNCTUATION);
    let start = colon - bytes[lowest..colon].iter().rev().take_while(|byte| is_part(**byte)).count();
    // What is still longer to the left is too long in any case.
    if before(bytes, start, |byte| is_word(byte) || is_part(byte)) || at(bytes, end, is_word) {
        return (None, end);
    }
    if end - start > LONGEST_IPV6 + PUNCTUATION {
        return (None, end);
    }
    let mut candidate = text[start..end].trim_end_matches('.');
    if candidate.ends_with(':') && !candidate.ends_with("::") {
        candidate = &candidate[..candidate.len() - 1];
    }
    // "::" and "a::b" are more often code than an address.
    let hexadecimal = candidate.bytes().filter(u8::is_ascii_hexdigit).count();
    let is_address = hexadecimal >= 3 && candidate.parse::<Ipv6Addr>().is_ok();
    (is_address.then(|| Span::new(start, start + candidate.len(), Kind::IpAddress)), end)
}
