//! Places in a text where something was found, and what becomes of places that overlap.

use crate::text::{At, Text};

/// What was found. In order of precedence: the surer evidence first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A private key in PEM.
    PrivateKey,
    /// An API key or token.
    ApiKey,
    /// An e-mail address.
    Email,
    /// A bank account.
    Iban,
    /// A payment card.
    CreditCard,
    /// A US social security number.
    UsSsn,
    /// An IPv4 or IPv6 address.
    IpAddress,
    /// A telephone number.
    Phone,
}

impl Kind {
    /// As verdicts name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::PrivateKey => "PRIVATE_KEY",
            Self::ApiKey => "API_KEY",
            Self::Email => "EMAIL",
            Self::Iban => "IBAN",
            Self::CreditCard => "CREDIT_CARD",
            Self::UsSsn => "US_SSN",
            Self::IpAddress => "IP_ADDRESS",
            Self::Phone => "PHONE",
        }
    }
}

/// From `start` to `end` (exclusive) of a text, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// What it is.
    pub kind: Kind,
}

impl Span {
    pub(super) fn new(start: usize, end: usize, kind: Kind) -> Self {
        Self { start, end, kind }
    }
}

/// Spans that do not overlap, in order of place, covering whatever any given one covers. Overlapping spans become one of
/// the surest kind among them: covering the union means that redaction never leaves the rest of a loser behind.
pub fn disjoint(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable_by_key(|span| (span.start, span.end));
    let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start < last.end => {
                last.end = last.end.max(span.end);
                last.kind = last.kind.min(span.kind);
            }
            _ => merged.push(span),
        }
    }
    merged
}

/// Turns offsets in bytes, in order, into offsets in characters.
pub fn in_characters(text: &str, spans: &mut [Span]) {
    let text = Text::new(text);
    let mut at = At::default();
    for span in spans {
        for place in [&mut span.start, &mut span.end] {
            at = text.at_byte(at, *place);
            *place = at.char;
        }
    }
}
