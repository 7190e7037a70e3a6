//! The bare limit of a `get`: one call through PyO3 that finds the same bytes in a table that is mapped from a file,
//! and copies them. No other process may write, nothing expires, no key is longer than a slot.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Bytes of a slot: lengths of key and value, key, value.
const SLOT: usize = 256;
const HEAD: usize = 2;

/// A table of small entries in a file.
#[pyclass(frozen)]
struct Table {
    bytes: &'static [u8],
}

#[pymethods]
impl Table {
    /// Makes the file anew, from pairs of text and bytes that fit a slot, and maps it.
    #[new]
    #[expect(clippy::needless_pass_by_value, reason = "extracted from Python objects")]
    fn new(path: PathBuf, pairs: Vec<(String, Vec<u8>)>) -> PyResult<Self> {
        let slots = (2 * pairs.len()).next_power_of_two();
        let mut table = vec![0; slots * SLOT];
        for (key, value) in &pairs {
            let lengths = [u8::try_from(key.len())?, u8::try_from(value.len())?];
            let slot = probe(slots, key).find(|slot| table[slot * SLOT] == 0).expect("half are free");
            let mut place = &mut table[slot * SLOT..][..SLOT];
            [&lengths, key.as_bytes(), value].iter().try_for_each(|part| place.write_all(part))?;
        }
        std::fs::write(&path, &table)?;
        Ok(Self { bytes: map(&File::open(&path)?, table.len())? })
    }

    fn get<'py>(&self, py: Python<'py>, key: &str) -> Option<Bound<'py, PyBytes>> {
        for slot in probe(self.bytes.len() / SLOT, key) {
            let slot = &self.bytes[slot * SLOT..][..SLOT];
            let (key_len, value_len) = (usize::from(slot[0]), usize::from(slot[1]));
            if key_len == 0 {
                return None;
            }
            let rest = &slot[HEAD..];
            if rest.get(..key_len) == Some(key.as_bytes()) {
                return Some(PyBytes::new(py, rest.get(key_len..key_len + value_len)?));
            }
        }
        None
    }
}

/// The slots in which a key may lie, in order.
fn probe(slots: usize, key: &str) -> impl Iterator<Item = usize> {
    let first = key.bytes().fold(0, |sum: usize, byte| (sum ^ usize::from(byte)).wrapping_mul(0x9e37_79b1));
    let first = first ^ first >> 15;
    (0..slots).map(move |step| first.wrapping_add(step) & (slots - 1))
}

fn map(file: &File, len: usize) -> io::Result<&'static [u8]> {
    use rustix::mm::{MapFlags, ProtFlags, mmap};
    // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
    let start = unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::SHARED, file, 0) }?;
    // SAFETY: the mapping is so long, is never unmapped, and the bench's own file behind it is not written again.
    Ok(unsafe { std::slice::from_raw_parts(start.cast(), len) })
}

/// The module.
#[pymodule]
mod bare {
    #[pymodule_export]
    use super::Table;
}
