//! What Python sees of astromesh-native-core: translation only, with the interpreter's lock released while it works.
//!
//! Typed in `astromesh_native_rust.pyi`; one module here for each module of the core.

mod chunking;
mod keywords;
mod personal_data;
mod texts;
mod tokens;

/// What Python sees.
#[pyo3::pymodule]
mod astromesh_native_rust {
    /// The version of the distribution; only the same version of `astromesh_native` uses this extension.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// Counted up here and in `astromesh_native.choice` with each change of what Python sees.
    #[pymodule_export]
    const INTERFACE: u32 = 4;

    #[pymodule_export]
    use crate::chunking::{Chunker, headings, sentence_edges};
    #[pymodule_export]
    use crate::keywords::KeywordMatcher;
    #[pymodule_export]
    use crate::personal_data::PersonalDataScanner;
    #[pymodule_export]
    use crate::tokens::{WordPiece, WordRuler, Words};
}
