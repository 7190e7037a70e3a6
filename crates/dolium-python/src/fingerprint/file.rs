//! The contents of a file, hashed without the interpreter.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::encode;
use crate::enter;

/// Bytes that are read at once.
const PIECE: usize = 1 << 18;

/// The digest of a file's contents, 20 bytes of BLAKE3.
#[pyfunction]
#[pyo3(name = "_file_digest", signature = (path, /))]
pub(super) fn digest(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyBytes>> {
    let digest = enter::leave(py, || {
        let mut file = File::open(path)?;
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok::<_, std::io::Error>(encode::finish(&hasher)),
                read => hasher.update(&piece[..read]),
            };
        }
    })?;
    Ok(PyBytes::new(py, &digest))
}
