//! Words with their tokens, and rulers of them.

use std::sync::Arc;

use astromesh_native_core::rulers::{Ruler, Word, WordRuler as Core, WordRulerBuilder};
use astromesh_native_core::text::{At, Text};
use astromesh_native_core::wordpiece::WordPiece as Pieces;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList, PyString};

use crate::texts::utf8;

#[pyclass(frozen, module = "astromesh_native_rust")]
pub struct WordPiece(Arc<Pieces>);

#[pymethods]
impl WordPiece {
    #[new]
    fn new(vocabulary: Vec<String>, specials: Vec<String>) -> PyResult<Self> {
        let bracketed = |token: &String| {
            token.is_ascii()
                && token.find('[') == Some(0)
                && token.rfind('[') == Some(0)
                && token.find(']') == Some(token.len() - 1)
        };
        if !specials.iter().all(bracketed) {
            return Err(PyValueError::new_err("a special token is not of the form [NAME]"));
        }
        Ok(Self(Arc::new(Pieces::new(&vocabulary, specials))))
    }

    fn count(&self, py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<usize> {
        let text = utf8(text)?;
        Ok(py.detach(|| self.0.count(Text::new(&text))))
    }

    fn words(&self, text: Bound<'_, PyString>) -> Words {
        Words { pieces: self.0.clone(), text: text.unbind() }
    }
}

/// The words of a text, read when they are asked for.
#[pyclass(frozen, module = "astromesh_native_rust")]
pub struct Words {
    pieces: Arc<Pieces>,
    text: Py<PyString>,
}

#[pymethods]
impl Words {
    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let text = utf8(self.text.bind(py))?;
        let found = py.detach(|| {
            let mut found = Vec::new();
            self.pieces.words(Text::new(&text), |word| found.push((word.start.char, word.end.char, word.tokens)));
            found
        });
        PyList::new(py, found)?.try_iter()
    }
}

#[pyclass(frozen, module = "astromesh_native_rust")]
pub struct WordRuler(pub Core);

#[pymethods]
impl WordRuler {
    #[new]
    fn new(py: Python<'_>, text: &Bound<'_, PyString>, words: &Bound<'_, PyAny>, most: usize) -> PyResult<Self> {
        let read = utf8(text)?;
        if let Ok(words) = words.cast::<Words>()
            && words.get().text.is(text)
        {
            let pieces = &words.get().pieces;
            return Ok(Self(py.detach(|| {
                let text = Text::new(&read);
                let mut builder = WordRulerBuilder::new(text, most);
                pieces.words(text, |word| builder.push(word));
                builder.finish()
            })));
        }
        let text = Text::new(&read);
        let mut builder = WordRulerBuilder::new(text, most);
        let mut place = At::default();
        for word in words.try_iter()? {
            let (start, end, tokens): (usize, usize, usize) = word?.extract()?;
            let start = text.at_char(place, start);
            place = text.at_char(start, end);
            builder.push(Word { start, end: place, tokens });
        }
        Ok(Self(builder.finish()))
    }

    fn size(&self, start: usize, end: usize) -> usize {
        self.0.size(start, end)
    }

    fn may_cut(&self, place: usize) -> bool {
        self.0.may_cut(place)
    }

    fn forward(&self, start: usize, end: usize, limit: usize) -> usize {
        self.0.forward(start, end, limit)
    }

    fn back(&self, end: usize, limit: usize) -> usize {
        self.0.back(end, limit)
    }
}
