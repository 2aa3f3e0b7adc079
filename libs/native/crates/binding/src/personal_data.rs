//! The scan for personal data.

use std::collections::{HashMap, HashSet};

use astromesh_native_core::personal_data as core;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// As `astromesh_native.scan_tables.Tables` holds them.
#[derive(FromPyObject)]
pub struct Tables {
    iban_lengths: HashMap<String, usize>,
    card_ranges: Vec<(String, String, HashSet<u32>)>,
    calling_codes: HashMap<String, HashSet<u32>>,
    secrets: Vec<SecretShape>,
    no_letters: Vec<(u32, u32)>,
    file_endings: HashSet<String>,
}

/// As `astromesh_native.scan_tables.SecretShape` has it.
#[derive(FromPyObject)]
pub struct SecretShape {
    prefix: String,
    characters: String,
    least: usize,
    most: usize,
}

/// As `astromesh_native.numbering.NumberingPlan` has it.
#[derive(FromPyObject)]
pub struct NumberingPlan {
    prefix: String,
    required: bool,
    lengths: HashSet<u32>,
    shapes: Vec<String>,
    north_american: bool,
}

/// Finds the entities that it was made for.
#[pyclass(frozen)]
pub struct PersonalDataScanner(core::Scanner);

#[pymethods]
impl PersonalDataScanner {
    #[new]
    fn new(entities: HashSet<String>, plans: Vec<NumberingPlan>, tables: Tables) -> PyResult<Self> {
        let plans: Vec<_> = plans.into_iter().map(core::NumberingPlan::from).collect();
        core::Scanner::new(selected(&entities), &plans, &tables.into()).map(Self).map_err(PyValueError::new_err)
    }

    fn scan(&self, py: Python<'_>, text: &str) -> Vec<(usize, usize, &'static str)> {
        let spans = py.detach(|| self.0.scan(text));
        spans.into_iter().map(|span| (span.start, span.end, span.kind.name())).collect()
    }
}

fn selected(entities: &HashSet<String>) -> core::Entities {
    core::Entities {
        email: entities.contains("email"),
        phone: entities.contains("phone"),
        iban: entities.contains("iban"),
        credit_card: entities.contains("credit_card"),
        us_ssn: entities.contains("us_ssn"),
        ip_address: entities.contains("ip_address"),
        secret: entities.contains("secret"),
    }
}

/// A bit for each length. None is longer than 31.
fn bits(lengths: HashSet<u32>) -> u32 {
    lengths.into_iter().filter_map(|length| 1u32.checked_shl(length)).fold(0, |bits, bit| bits | bit)
}

impl From<NumberingPlan> for core::NumberingPlan {
    fn from(plan: NumberingPlan) -> Self {
        Self {
            prefix: plan.prefix,
            required: plan.required,
            lengths: bits(plan.lengths),
            shapes: plan.shapes,
            north_american: plan.north_american,
        }
    }
}

impl From<Tables> for core::Tables {
    fn from(tables: Tables) -> Self {
        let ranges = tables.card_ranges.into_iter();
        let codes = tables.calling_codes.into_iter();
        let secrets = tables.secrets.into_iter().map(|shape| core::SecretShape {
            prefix: shape.prefix,
            alphabet: shape.characters,
            least: shape.least,
            most: shape.most,
        });
        Self {
            iban_lengths: tables.iban_lengths.into_iter().collect(),
            card_ranges: ranges
                .map(|(low, high, lengths)| core::CardRange { low, high, lengths: bits(lengths) })
                .collect(),
            calling_codes: codes.map(|(code, lengths)| (code, bits(lengths))).collect(),
            secrets: secrets.collect(),
            no_letters: tables.no_letters,
            file_endings: tables.file_endings.into_iter().collect(),
        }
    }
}
