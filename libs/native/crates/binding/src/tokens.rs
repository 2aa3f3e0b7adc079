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
pub struct WordPiece {
    pieces: Arc<Pieces>,
    library: Py<PyAny>,
}

#[pymethods]
impl WordPiece {
    #[new]
    fn new(vocabulary: Vec<String>, specials: Vec<String>, library: Py<PyAny>) -> PyResult<Self> {
        let bracketed = |token: &String| {
            token.is_ascii()
                && token.find('[') == Some(0)
                && token.rfind('[') == Some(0)
                && token.find(']') == Some(token.len() - 1)
        };
        if !specials.iter().all(bracketed) {
            return Err(PyValueError::new_err("a special token is not of the form [NAME]"));
        }
        Ok(Self { pieces: Arc::new(Pieces::new(&vocabulary, specials)), library })
    }

    fn count(&self, py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<usize> {
        let text = utf8(text)?;
        Ok(py.detach(|| self.pieces.count(Text::new(&text))))
    }

    fn words(&self, text: Bound<'_, PyString>) -> Words {
        Words { pieces: self.pieces.clone(), library: self.library.clone_ref(text.py()), text: text.unbind() }
    }
}

/// The words of a text, read when they are asked for.
#[pyclass(frozen, module = "astromesh_native_rust")]
pub struct Words {
    pieces: Arc<Pieces>,
    /// The twin, asked where the order of marks matters.
    library: Py<PyAny>,
    text: Py<PyString>,
}

impl Words {
    fn of_library<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.library.bind(py).call_method1("words", (&self.text,))?.try_iter()
    }
}

#[pymethods]
impl Words {
    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let text = utf8(self.text.bind(py))?;
        let found = py.detach(|| {
            let mut found = Vec::new();
            let visit = |word: Word| found.push((word.start.char, word.end.char, word.tokens));
            self.pieces.words(Text::new(&text), visit).then_some(found)
        });
        found.map_or_else(|| self.of_library(py), |found| PyList::new(py, found)?.try_iter())
    }
}

#[pyclass(frozen, module = "astromesh_native_rust")]
pub struct WordRuler(pub Core);

#[pymethods]
impl WordRuler {
    #[new]
    fn new(py: Python<'_>, text: &Bound<'_, PyString>, words: &Bound<'_, PyAny>, most: usize) -> PyResult<Self> {
        let read = utf8(text)?;
        let read: &str = &read;
        if let Ok(words) = words.cast::<Words>()
            && words.get().text.is(text)
        {
            let pieces = &words.get().pieces;
            return match py.detach(|| of_pieces(Text::new(read), pieces, most)) {
                Some(ruler) => Ok(Self(ruler)),
                None => Ok(Self(of_words(Text::new(read), words.get().of_library(py)?, most)?)),
            };
        }
        Ok(Self(of_words(Text::new(read), words.try_iter()?, most)?))
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

fn of_pieces(text: Text<'_>, pieces: &Pieces, most: usize) -> Option<Core> {
    let mut builder = WordRulerBuilder::new(text, most);
    pieces.words(text, |word| builder.push(word)).then(|| builder.finish())
}

fn of_words(text: Text<'_>, words: Bound<'_, PyIterator>, most: usize) -> PyResult<Core> {
    let mut builder = WordRulerBuilder::new(text, most);
    let mut place = At::default();
    for word in words {
        let (start, end, tokens): (usize, usize, usize) = word?.extract()?;
        let start = text.at_char(place, start);
        place = text.at_char(start, end);
        builder.push(Word { start, end: place, tokens });
    }
    Ok(builder.finish())
}
