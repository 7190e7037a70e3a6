//! Owns references to Python objects that are looked up when they are first needed: this module is
//! imported before the package around it is.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

static MODULES: Lazy = Lazy::new("sys", "modules");

/// An attribute of a Python module.
pub(crate) struct Lazy {
    module: &'static str,
    name: &'static str,
    object: PyOnceLock<Py<PyAny>>,
}

impl Lazy {
    pub const fn new(module: &'static str, name: &'static str) -> Self {
        Self { module, name, object: PyOnceLock::new() }
    }

    pub fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let object = self
            .object
            .get_or_try_init(py, || Ok::<_, PyErr>(py.import(self.module)?.getattr(self.name)?.unbind()))?;
        Ok(object.bind(py))
    }

    /// The same, or None as long as the program has not imported the module.
    pub fn get_if_imported<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyAny>> {
        if self.object.get(py).is_none() && !MODULES.get(py).ok()?.contains(self.module).ok()? {
            return None;
        }
        self.get(py).ok()
    }
}
