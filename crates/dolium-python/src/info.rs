//! Owns [`Info`], what `Cache.info` returns.

use pyo3::prelude::*;

use crate::value::unscalar;

/// The facts that are stored about an entry.
#[pyclass(frozen, get_all, module = "dolium", name = "Info")]
pub(crate) struct Info {
    /// When the value was stored, in seconds since 1970.
    store_time: f64,
    /// When the entry expires, in seconds since 1970, or None.
    expire_time: Option<f64>,
    /// When the value was last read, under an eviction policy that records it; else when it was stored.
    access_time: f64,
    /// How often the value was read since it was stored, under an eviction policy that records it.
    access_count: i64,
    /// Bytes of the key and the value as they are stored.
    size: u64,
    /// The tag, or None.
    tag: Py<PyAny>,
    /// How the value is stored: one of the `MODE_…` numbers.
    mode: i64,
    /// The path of the value file, or None if the value is in the database.
    path: Option<String>,
}

impl Info {
    pub fn of(py: Python<'_>, info: dolium::Info) -> PyResult<Self> {
        Ok(Self {
            store_time: info.store_time,
            expire_time: info.expire_time,
            access_time: info.access_time,
            access_count: info.access_count,
            size: info.size,
            tag: unscalar(py, &info.tag)?.unbind(),
            mode: info.mode,
            path: info.path.map(|path| path.to_string_lossy().into_owned()),
        })
    }
}

#[pymethods]
impl Info {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let path = self.path.as_ref().into_pyobject(py)?.repr()?.to_string();
        let expire_time = self.expire_time.into_pyobject(py)?.repr()?.to_string();
        Ok(format!(
            "Info(store_time={:?}, expire_time={expire_time}, access_time={:?}, access_count={}, size={}, \
             tag={}, mode={}, path={path})",
            self.store_time,
            self.access_time,
            self.access_count,
            self.size,
            self.tag.bind(py).repr()?,
            self.mode,
        ))
    }
}
