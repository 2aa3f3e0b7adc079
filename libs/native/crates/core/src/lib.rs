//! The hot loops of Astromesh, without Python: one module a group of functions.
//!
//! Each function means exactly what its twin in `astromesh_native.twins` means; `libs/native/tests` holds them to it.
#![forbid(unsafe_code)]

pub mod bert;
pub mod chunking;
pub mod keywords;
pub mod markdown;
pub mod personal_data;
pub mod rulers;
pub mod sentences;
pub mod tables;
pub mod text;
pub mod trie;
pub mod wordpiece;
