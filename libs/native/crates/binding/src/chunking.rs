//! Chunks, headings and sentences.

use std::collections::HashSet;

use astromesh_native_core::chunking::{Chunk, Chunker as Core, Strategy};
use astromesh_native_core::markdown;
use astromesh_native_core::rulers::Characters;
use astromesh_native_core::sentences;
use astromesh_native_core::text::Text;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PySlice, PyString, PyTuple};

use crate::texts::utf8;
use crate::tokens::WordRuler;

/// Each is a level of the call stack.
const MOST_SEPARATORS: usize = 1024;

#[pyclass(frozen, module = "astromesh_native_rust")]
pub struct Chunker(Core);

#[pymethods]
impl Chunker {
    #[new]
    fn new(strategy: &str, size: usize, overlap: usize, separators: Vec<Bound<'_, PyString>>) -> PyResult<Self> {
        let strategy = match strategy {
            "fixed" => Strategy::Fixed,
            "recursive" => Strategy::Recursive,
            "sentence" => Strategy::Sentence,
            _ => return Err(PyValueError::new_err(format!("no strategy: {strategy}"))),
        };
        let separators = separators.iter().map(utf8).collect::<PyResult<Vec<_>>>()?;
        let empty = separators.iter().any(|each| each.is_empty());
        if size == 0 || overlap >= size || empty || separators.len() > MOST_SEPARATORS {
            return Err(PyValueError::new_err("sizes or separators that cannot be"));
        }
        Ok(Self(Core::new(strategy, size, overlap, separators)))
    }

    #[pyo3(signature = (text, sections, ruler=None, breaks=HashSet::new()))]
    fn spans(
        &self,
        py: Python<'_>,
        text: &Bound<'_, PyString>,
        sections: Vec<(usize, usize)>,
        ruler: Option<&Bound<'_, WordRuler>>,
        breaks: HashSet<usize>,
    ) -> PyResult<Vec<Chunk>> {
        let text = utf8(text)?;
        let places: Vec<usize> = sections.iter().flat_map(|(start, end)| [*start, *end]).collect();
        if !places.is_sorted() {
            return Err(PyValueError::new_err("sections are not in order"));
        }
        let ruler = ruler.map(Bound::get);
        Ok(py.detach(|| {
            let text = Text::new(&text);
            match ruler {
                Some(ruler) => self.0.chunks(text, &sections, &ruler.0, &breaks),
                None => self.0.chunks(text, &sections, &Characters, &breaks),
            }
        }))
    }
}

/// A heading's place and titles, which are slices of the text: they keep what UTF-8 has no form of.
type Heading<'py> = (usize, Bound<'py, PyTuple>);

#[pyfunction]
pub fn headings<'py>(py: Python<'py>, text: &Bound<'py, PyString>) -> PyResult<Vec<Heading<'py>>> {
    let read = utf8(text)?;
    let found = py.detach(|| markdown::headings(Text::new(&read)));
    let title = |(start, end): (usize, usize)| -> PyResult<Bound<'py, PyAny>> {
        text.as_any().get_item(PySlice::new(py, start.try_into()?, end.try_into()?, 1))
    };
    let entry = |heading: markdown::Heading| {
        let titles = heading.path.into_iter().map(title).collect::<PyResult<Vec<_>>>()?;
        Ok((heading.start, PyTuple::new(py, titles)?))
    };
    found.into_iter().map(entry).collect()
}

#[pyfunction]
pub fn sentence_edges(py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<Vec<usize>> {
    let text = utf8(text)?;
    Ok(py.detach(|| sentences::sentence_edges(Text::new(&text)).into_iter().map(|edge| edge.char).collect()))
}
