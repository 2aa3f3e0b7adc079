//! Finds personal data and secrets in one pass: an automaton stops at what could begin or belong to a finding, a digit,
//! an `@`, a colon, the prefix of a key, and a validator looks around that place. Time is linear in the text.

mod accounts;
mod addresses;
mod characters;
mod numbers;
mod phones;
mod secrets;
mod spans;
mod tables;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

use accounts::Accounts;
use addresses::Addresses;
use numbers::Run;
use phones::Phones;
use secrets::{Reached, Secrets};
pub use spans::{Kind, Span};
use spans::{disjoint, in_characters};
pub use tables::{CardRange, NumberingPlan, SecretShape, Tables};

/// What can be looked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entities {
    /// E-mail addresses.
    pub email: bool,
    /// Telephone numbers.
    pub phone: bool,
    /// Bank accounts.
    pub iban: bool,
    /// Payment cards.
    pub credit_card: bool,
    /// US social security numbers.
    pub us_ssn: bool,
    /// IPv4 and IPv6 addresses.
    pub ip_address: bool,
    /// API keys, tokens and private keys.
    pub secret: bool,
}

impl Entities {
    fn numbers(self) -> bool {
        self.phone || self.iban || self.credit_card || self.us_ssn || self.ip_address
    }
}

#[derive(Clone, Copy)]
enum Trigger {
    Digit,
    At,
    Colon,
    Key(usize),
    WebToken,
    Bearer,
    PrivateKey,
}

/// Finds the entities that it was made for. Holds no state between two texts.
pub struct Scanner {
    entities: Entities,
    automaton: AhoCorasick,
    triggers: Vec<Trigger>,
    addresses: Addresses,
    accounts: Accounts,
    phones: Phones,
    secrets: Secrets,
}

impl Scanner {
    /// Makes a scanner. Fails where a shape of a plan is no regular expression, or a table is beyond its bounds.
    pub fn new(entities: Entities, plans: &[NumberingPlan], tables: &Tables) -> Result<Self, String> {
        let (patterns, triggers): (Vec<String>, Vec<Trigger>) = triggers(entities, tables).into_iter().unzip();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .kind(Some(AhoCorasickKind::DFA))
            .prefilter(false)
            .build(&patterns)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            entities,
            automaton,
            triggers,
            addresses: Addresses::new(tables),
            accounts: Accounts::new(tables)?,
            phones: Phones::new(plans, tables)?,
            secrets: Secrets::new(tables),
        })
    }

    /// What was found, disjoint and in order of place. Offsets are in characters.
    pub fn scan(&self, text: &str) -> Vec<Span> {
        let mut found = Vec::new();
        let mut run = Run::default();
        let mut reached = Reached::default();
        let mut ipv6_until = 0;
        let mut at = 0;
        while let Some(hit) = self.automaton.find(Input::new(text).range(at..)) {
            let place = hit.start();
            at = place + 1;
            match self.triggers[hit.pattern().as_usize()] {
                Trigger::Digit => {
                    run.read(text.as_bytes(), place);
                    self.numbers(text, &run, &mut found);
                    at = run.end();
                }
                Trigger::At => found.extend(self.addresses.email(text, place)),
                Trigger::Colon if place >= ipv6_until => {
                    let (address, end) = addresses::ipv6(text, place);
                    found.extend(address);
                    ipv6_until = end;
                }
                Trigger::Colon => {}
                Trigger::Key(shape) => found.extend(self.secrets.key(text, place, shape, &mut reached)),
                Trigger::WebToken => found.extend(secrets::web_token(text, place, &mut reached)),
                Trigger::Bearer => found.extend(secrets::bearer(text, place, &mut reached)),
                Trigger::PrivateKey => found.extend(secrets::private_key(text, place, &mut reached)),
            }
        }
        let mut spans = disjoint(found);
        in_characters(text, &mut spans);
        spans
    }

    fn numbers(&self, text: &str, run: &Run, found: &mut Vec<Span>) {
        let bytes = text.as_bytes();
        if self.entities.iban {
            found.extend(self.accounts.iban(text, run.start()));
        }
        if self.entities.ip_address {
            addresses::ipv4(bytes, run, found);
        }
        if self.entities.us_ssn {
            accounts::social_security_numbers(bytes, run, found);
        }
        if self.entities.credit_card {
            self.accounts.cards(bytes, run, found);
        }
        if self.entities.phone {
            self.phones.find(bytes, run, found);
        }
    }
}

fn triggers(entities: Entities, tables: &Tables) -> Vec<(String, Trigger)> {
    let mut triggers = Vec::new();
    if entities.numbers() {
        triggers.extend(('0'..='9').map(|digit| (digit.to_string(), Trigger::Digit)));
    }
    if entities.email {
        triggers.push(("@".to_owned(), Trigger::At));
    }
    if entities.ip_address {
        triggers.push((":".to_owned(), Trigger::Colon));
    }
    if entities.secret {
        let shapes = tables.secrets.iter().enumerate();
        triggers.extend(shapes.map(|(index, shape)| (shape.prefix.clone(), Trigger::Key(index))));
        triggers.push(("eyJ".to_owned(), Trigger::WebToken));
        triggers.extend(["Bearer ", "bearer "].map(|word| (word.to_owned(), Trigger::Bearer)));
        triggers.push(("-----BEGIN ".to_owned(), Trigger::PrivateKey));
    }
    triggers
}
