//! Owns values that lie in files: loading them, and opening them to be read.

use dolium::raw::mode;
use dolium::{Entry, Value, host};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};

use super::{Found, Inner, Shard};
use crate::lazy::Lazy;
use crate::{enter, reader, text};

static BYTES_IO: Lazy = Lazy::new("io", "BytesIO");

impl Inner {
    /// Turns the bytes of a value file into an object. Returns `None` if they are not what the row says.
    pub(super) fn load_file<'py>(
        &self,
        py: Python<'py>,
        (shard, key): (&Shard, &dolium::Key<'_>),
        bytes: Bound<'py, PyBytes>,
        mode: i64,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match mode {
            mode::PICKLE => {
                let stored = bytes.as_bytes();
                let signed = shard.enter(py, true, |cache| host::verified(cache, key, stored))?;
                let pickle = signed.unwrap_or(stored);
                let whole = || {
                    let part = PySlice::new(py, 0, pickle.len().try_into()?, 1);
                    PyMemoryView::from(&bytes)?.get_item(part)
                };
                self.unpickled(py, pickle, signed.is_some(), whole).map(Some)
            }
            mode::TEXT => {
                let bytes = bytes.as_bytes();
                let text = enter::leave(py, || str::from_utf8(bytes).ok());
                text.map(|text| Ok(text::text(py, text)?.into_any())).transpose()
            }
            _ => Ok(Some(bytes.into_any())),
        }
    }

    /// The value of a key as a file in memory, if it is bytes.
    pub(super) fn find_for_reading<'py>(
        &self,
        py: Python<'py>,
        (shard, key): (&Shard, &dolium::Key<'_>),
        retry: bool,
    ) -> PyResult<Option<Found<'py>>> {
        let Some(entry) = shard.enter(py, retry, |cache| cache.entry(key))? else {
            return Ok(None);
        };
        let is_bytes = matches!(entry.value, Value::Bytes(_));
        let mut found = self.found(py, entry)?;
        if let Some(found) = found.as_mut().filter(|_| is_bytes) {
            found.value = BYTES_IO.get(py)?.call1((&found.value,))?;
        }
        Ok(found)
    }
}

/// An open file, if the value of the key is bytes in a value file.
pub(super) fn find_file<'py>(
    py: Python<'py>,
    shard: &Shard,
    key: &dolium::Key<'_>,
    retry: bool,
) -> PyResult<Option<Found<'py>>> {
    let opened = shard.enter(py, retry, |cache| match cache.info(key)? {
        Some(info) if info.mode == mode::BINARY && info.path.is_some() => cache.open_value(key),
        _ => Ok(None),
    })?;
    let Some(Entry { value: stream, expire_time, tag, store_time, .. }) = opened else {
        return Ok(None);
    };
    Ok(Some(Found { value: reader::open(py, stream)?, expire_time, tag, store_time }))
}
