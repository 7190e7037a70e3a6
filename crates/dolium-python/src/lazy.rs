//! References to Python objects that are looked up when they are first needed, because this module is
//! imported before the package around it. What an error or a warning needs is looked up at import: see `error`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

static MODULES: Lazy = Lazy::new("sys", "modules");

/// An attribute of a Python module.
pub(crate) struct Lazy {
    module: &'static str,
    name: &'static str,
    object: PyOnceLock<Py<PyAny>>,
    /// The name of the module, of which the hash is known from the second look on.
    key: PyOnceLock<Py<PyString>>,
}

impl Lazy {
    pub const fn new(module: &'static str, name: &'static str) -> Self {
        Self { module, name, object: PyOnceLock::new(), key: PyOnceLock::new() }
    }

    pub fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let object = self
            .object
            .get_or_try_init(py, || Ok::<_, PyErr>(py.import(self.module)?.getattr(self.name)?.unbind()))?;
        Ok(object.bind(py))
    }

    /// The same, or None as long as the program has not imported the module.
    pub fn get_if_imported<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyAny>> {
        if let Some(object) = self.object.get(py) {
            return Some(object.bind(py));
        }
        let key = self.key.get_or_init(py, || PyString::intern(py, self.module).unbind());
        if MODULES.get(py).ok()?.contains(key).ok()? { self.get(py).ok() } else { None }
    }

    /// Whether an object is an instance of this class. `false` if the class is not known.
    pub fn has(&self, object: &Bound<'_, PyAny>) -> bool {
        self.get(object.py()).and_then(|class| object.is_instance(class)).unwrap_or(false)
    }
}
