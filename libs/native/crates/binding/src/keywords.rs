//! Words and phrases of a list.

use std::collections::HashMap;

use astromesh_native_core::keywords::{Matcher, Ranges};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Finds the words that it was made for.
#[pyclass(frozen)]
pub struct KeywordMatcher(Matcher);

#[pymethods]
impl KeywordMatcher {
    #[new]
    fn new(words: Vec<String>, folds: HashMap<u32, u32>, no_letters: Ranges, unspaced: Ranges) -> PyResult<Self> {
        let pair = |(from, to)| Some((char::from_u32(from)?, char::from_u32(to)?));
        let folds = folds.into_iter().filter_map(pair).collect();
        Matcher::new(&words, folds, no_letters, unspaced).map(Self).map_err(PyValueError::new_err)
    }

    fn find(&self, py: Python<'_>, text: &str) -> Vec<(usize, usize)> {
        py.detach(|| self.0.find(text))
    }
}
