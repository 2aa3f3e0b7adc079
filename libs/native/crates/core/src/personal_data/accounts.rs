//! Bank accounts (IBAN), payment cards and US social security numbers, each by its check digits or its rules.

use super::characters::{at, before, is_word, space};
use super::numbers::{Gap, Group, Run};
use super::spans::{Kind, Span};
use super::tables::{CardRange, Tables};

const SHORTEST_CARD: usize = 13;
const LONGEST_CARD: usize = 19;
/// As cards print them: 4-4-4-4, 4-6-5, 4-6-4, 4-4-4-4-3, or all together.
const FIRST_GROUP: usize = 4;
const MOST_GROUPS: usize = 5;
const LETTERS: usize = 26;
const LONGEST_IBAN: usize = 34;

/// Finds IBANs and payment cards.
pub struct Accounts {
    iban_lengths: [u8; LETTERS * LETTERS],
    card_ranges: Vec<CardRange>,
}

impl Accounts {
    pub fn new(tables: &Tables) -> Result<Self, String> {
        let mut iban_lengths = [0; LETTERS * LETTERS];
        for (country, length) in &tables.iban_lengths {
            let place = country_place(country.as_bytes()).filter(|_| *length <= LONGEST_IBAN);
            let place = place.ok_or_else(|| format!("no country with an IBAN: {country}"))?;
            iban_lengths[place] = *length as u8;
        }
        let ranges = tables.card_ranges.iter();
        let card_ranges = ranges.map(|range| CardRange { low: range.low.clone(), high: range.high.clone(), ..*range });
        Ok(Self { iban_lengths, card_ranges: card_ranges.collect() })
    }

    /// The IBAN whose first digit stands at a place; written together or in groups, in either case.
    pub fn iban(&self, text: &str, digit: usize) -> Option<Span> {
        let bytes = text.as_bytes();
        let start = digit.checked_sub(2)?;
        if before(bytes, start, |byte| byte.is_ascii_alphanumeric()) || !at(bytes, digit + 1, |b| b.is_ascii_digit()) {
            return None;
        }
        let length = usize::from(self.iban_lengths[country_place(&bytes[start..digit])?]);
        let end = iban_end(bytes, start, length)?;
        (!at(bytes, end, |byte| byte.is_ascii_alphanumeric())).then(|| Span::new(start, end, Kind::Iban))
    }

    /// Finds card numbers of 13 to 19 digits, also where other groups of digits stand directly beside them.
    pub fn cards(&self, bytes: &[u8], run: &Run, found: &mut Vec<Span>) {
        let mut groups = run.groups();
        while let Some(first) = groups.first() {
            match self.groups_of_card(bytes, groups) {
                Some(count) => {
                    found.push(Span::new(first.start, groups[count - 1].end, Kind::CreditCard));
                    groups = &groups[count..];
                }
                None => groups = &groups[1..],
            }
        }
    }

    fn groups_of_card(&self, bytes: &[u8], groups: &[Group]) -> Option<usize> {
        if groups[0].len() < FIRST_GROUP {
            return None;
        }
        let mut digits = [0; LONGEST_CARD];
        let mut length = 0;
        for (index, group) in groups.iter().take(MOST_GROUPS).enumerate() {
            if length + group.len() > LONGEST_CARD || (index > 0 && group.gap != Gap::Single) {
                return None;
            }
            digits[length..length + group.len()].copy_from_slice(&bytes[group.start..group.end]);
            length += group.len();
            if length >= SHORTEST_CARD && self.is_card_number(&digits[..length]) {
                return Some(index + 1);
            }
        }
        None
    }

    fn is_card_number(&self, digits: &[u8]) -> bool {
        self.card_ranges.iter().any(|range| is_issued(range, digits)) && passes_luhn(digits)
    }
}

/// Whether a payment scheme could have issued the number, as to its first digits and its length.
fn is_issued(range: &CardRange, digits: &[u8]) -> bool {
    let first = &digits[..range.low.len()];
    range.lengths >> digits.len() & 1 == 1 && range.low.as_bytes() <= first && first <= range.high.as_bytes()
}

/// Whether the last digit is the Luhn check digit of the others (ISO/IEC 7812-1, annex B).
fn passes_luhn(digits: &[u8]) -> bool {
    const DOUBLED: [u32; 10] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
    let sum = digits.iter().rev().enumerate().map(|(place, digit)| {
        let value = digit - b'0';
        if place % 2 == 0 { u32::from(value) } else { DOUBLED[usize::from(value)] }
    });
    sum.sum::<u32>() % 10 == 0
}

fn country_place(letters: &[u8]) -> Option<usize> {
    let [first, second] = letters else { return None };
    let place = |letter: &u8| letter.is_ascii_alphabetic().then(|| usize::from(letter.to_ascii_uppercase() - b'A'));
    Some(place(first)? * LETTERS + place(second)?)
}

/// The place behind an IBAN of so many letters and digits, in at most twice as many characters, whose check digits are
/// right (ISO 7064).
fn iban_end(bytes: &[u8], start: usize, length: usize) -> Option<usize> {
    let mut compact = [0; LONGEST_IBAN];
    let (mut count, mut place) = (0, start);
    for _ in 0..2 * length {
        let byte = *bytes.get(place)?;
        let width = if byte == b'-' { 1 } else { space(bytes, place) };
        if width > 0 {
            place += width;
            continue;
        }
        if !byte.is_ascii_alphanumeric() {
            return None;
        }
        compact[count] = byte;
        count += 1;
        place += 1;
        if count == length {
            return is_iban(&compact[..length]).then_some(place);
        }
    }
    None
}

fn is_iban(compact: &[u8]) -> bool {
    let rotated = compact[4..].iter().chain(&compact[..4]);
    let remainder = rotated.fold(0, |remainder, byte| match byte.to_ascii_uppercase() {
        digit @ b'0'..=b'9' => (remainder * 10 + u32::from(digit - b'0')) % 97,
        letter => (remainder * 100 + u32::from(letter - b'A') + 10) % 97,
    });
    remainder == 1
}

/// Finds US social security numbers with their separators (bare nine digits are too often something else).
pub fn social_security_numbers(bytes: &[u8], run: &Run, found: &mut Vec<Span>) {
    for parts in run.groups().windows(3) {
        let [area, group, serial] = parts else { continue };
        let (start, end) = (area.start, serial.end);
        let outside = |byte: u8| is_word(byte) || byte == b'-';
        if (area.len(), group.len(), serial.len()) == (3, 2, 4)
            && are_separated(bytes, parts)
            && is_given_out(&bytes[start..area.end], &bytes[group.start..group.end], &bytes[serial.start..end])
            && !before(bytes, start, outside)
            && !at(bytes, end, outside)
        {
            found.push(Span::new(start, end, Kind::UsSsn));
        }
    }
}

/// Whether the same hyphen or plain space stands between each two groups.
fn are_separated(bytes: &[u8], parts: &[Group]) -> bool {
    let first = bytes[parts[0].end];
    matches!(first, b'-' | b' ')
        && parts.windows(2).all(|pair| pair[1].start - pair[0].end == 1 && bytes[pair[0].end] == first)
}

/// SSA: no area 000, 666 or 9xx, no group 00, no serial 0000.
fn is_given_out(area: &[u8], group: &[u8], serial: &[u8]) -> bool {
    area != b"000" && area != b"666" && area[0] != b'9' && group != b"00" && serial != b"0000"
}
