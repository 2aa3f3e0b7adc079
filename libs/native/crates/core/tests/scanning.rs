//! What scans find, without Python: the suites of `libs/native/tests` hold them to their twins.

use std::collections::HashMap;

use astromesh_native_core::keywords::Matcher;
use astromesh_native_core::personal_data::{CardRange, Entities, NumberingPlan, Scanner, SecretShape, Tables};

fn tables() -> Tables {
    Tables {
        iban_lengths: vec![("DE".to_owned(), 22)],
        card_ranges: vec![CardRange { low: "4".to_owned(), high: "4".to_owned(), lengths: 1 << 16 }],
        calling_codes: vec![("44".to_owned(), 1 << 10)],
        secrets: vec![SecretShape { prefix: "sk-".to_owned(), alphabet: "abc".to_owned(), least: 3, most: 0 }],
        no_letters: vec![(0x80, 0xBF)],
        file_endings: vec!["png".to_owned()],
    }
}

fn everything() -> Entities {
    let (email, phone, iban, credit_card) = (true, true, true, true);
    Entities { email, phone, iban, credit_card, us_ssn: true, ip_address: true, secret: true }
}

fn found(entities: Entities, text: &str) -> Vec<String> {
    let plan = NumberingPlan {
        prefix: "0".to_owned(),
        required: true,
        lengths: 1 << 10,
        shapes: vec![r"2\d{9}".to_owned()],
        north_american: false,
    };
    let scanner = Scanner::new(entities, &[plan], &tables()).unwrap();
    let characters: Vec<char> = text.chars().collect();
    let named = |span: &astromesh_native_core::personal_data::Span| {
        let written: String = characters[span.start..span.end].iter().collect();
        format!("{} {written}", span.kind.name())
    };
    scanner.scan(text).iter().map(named).collect()
}

#[test]
fn one_pass_finds_every_kind_and_counts_characters() {
    let text = "é ada@example.com, 020 7946 0958 or +44 20 7946 0958; DE89 3704 0044 0532 0130 00, \
                4111 1111 1111 1111, 219-09-9999, 10.1.2.3, ::1:2:3, sk-abc, icon@2x.png";
    let expected = [
        "EMAIL ada@example.com",
        "PHONE 020 7946 0958",
        "PHONE +44 20 7946 0958",
        "IBAN DE89 3704 0044 0532 0130 00",
        "CREDIT_CARD 4111 1111 1111 1111",
        "US_SSN 219-09-9999",
        "IP_ADDRESS 10.1.2.3",
        "IP_ADDRESS ::1:2:3",
        "API_KEY sk-abc",
    ];
    assert_eq!(found(everything(), text), expected);
}

#[test]
fn only_the_wanted_entities_are_found() {
    let ip_address = Entities { ip_address: true, ..Entities::default() };
    assert_eq!(found(ip_address, "ada@example.com 10.1.2.3"), ["IP_ADDRESS 10.1.2.3"]);
    assert!(found(Entities::default(), "ada@example.com 10.1.2.3").is_empty());
}

#[test]
fn a_table_beyond_its_bounds_is_refused() {
    let wrong = Tables { calling_codes: vec![("12345".to_owned(), 1)], ..tables() };
    assert!(Scanner::new(everything(), &[], &wrong).is_err());
    let wrong = Tables { iban_lengths: vec![("DE".to_owned(), 35)], ..tables() };
    assert!(Scanner::new(everything(), &[], &wrong).is_err());
}

#[test]
fn the_longest_word_that_stands_alone_is_found_whatever_its_case() {
    let words = ["new", "new york"].map(str::to_owned);
    let matcher = Matcher::new(&words, HashMap::from([('É', 'é')]), vec![(0x80, 0xBF)], vec![]).unwrap();
    assert_eq!(matcher.find("É New York, NEW yorker, news"), [(2, 10), (12, 15)]);
}
