//! Python's strings as UTF-8. Characters stay in number and place.

use std::borrow::Cow;

use pyo3::exceptions::{PyOverflowError, PyUnicodeEncodeError};
use pyo3::prelude::*;
use pyo3::types::PyString;

/// What a lone surrogate, which UTF-8 has no form of, is read as: a noncharacter of as many bytes.
const STAND_IN: [u8; 3] = [0xef, 0xbf, 0xbf];

/// The text, without a copy where it can be. Raises OverflowError for 4 GiB and more.
pub fn utf8<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, str>> {
    let found = match text.to_str() {
        Ok(found) => Cow::Borrowed(found),
        Err(error) if error.is_instance_of::<PyUnicodeEncodeError>(text.py()) => Cow::Owned(without_surrogates(text)?),
        Err(error) => return Err(error),
    };
    if u32::try_from(found.len()).is_err() {
        return Err(PyOverflowError::new_err("a text of 4 GiB and more; cut it before"));
    }
    Ok(found)
}

fn without_surrogates(text: &Bound<'_, PyString>) -> PyResult<String> {
    let encoded = text.call_method1("encode", ("utf-8", "surrogatepass"))?;
    let mut bytes: Vec<u8> = encoded.extract()?;
    // ED is followed by A0 and more in the form of a surrogate alone.
    let places: Vec<usize> = memchr::memchr_iter(0xed, &bytes).filter(|place| bytes[place + 1] >= 0xa0).collect();
    for place in places {
        bytes[place..place + 3].copy_from_slice(&STAND_IN);
    }
    Ok(String::from_utf8(bytes)?)
}
