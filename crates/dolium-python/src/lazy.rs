//! References to Python objects that are looked up when they are first needed, because this module is
//! imported before the package around it. What an error or a warning needs is looked up at import: see `error`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

/// Returns what a cell holds, which is made when it is first needed.
///
/// *Trap*: `PyOnceLock::get_or_init` lets go of the interpreter and then marks the cell as being filled. If another thread
/// forks before it goes on, the mark stays in the child, which waits for ever when it needs the cell. `set` marks and fills it
/// while this thread has the interpreter, so that no thread of Python forks meanwhile. On a build of Python without its lock
/// a fork may still come in the moment of the store.
pub(crate) fn filled<'c, T>(
    cell: &'c PyOnceLock<T>,
    py: Python<'_>,
    make: impl FnOnce() -> PyResult<T>,
) -> PyResult<&'c T> {
    if let Some(found) = cell.get(py) {
        return Ok(found);
    }
    // If another thread is faster, what that has made counts.
    let _ = cell.set(py, make()?);
    Ok(cell.get(py).expect("it was just filled"))
}

/// A string of Python that is made when it is first needed, and has its hash from then on.
pub(crate) struct Word(&'static str, PyOnceLock<Py<PyString>>);

impl Word {
    pub const fn new(text: &'static str) -> Self {
        Self(text, PyOnceLock::new())
    }

    #[inline]
    pub fn get<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        let word = filled(&self.1, py, || Ok(PyString::intern(py, self.0).unbind()));
        word.expect("making a string raises nothing").bind(py)
    }
}

/// A literal as a [`Word`]: `pyo3::intern!`, but for forks.
macro_rules! word {
    ($py:expr, $text:literal) => {{
        static WORD: $crate::lazy::Word = $crate::lazy::Word::new($text);
        WORD.get($py)
    }};
}
pub(crate) use word;

static MODULES: Lazy = Lazy::new("sys", "modules");

/// An attribute of a Python module.
pub(crate) struct Lazy {
    module: &'static str,
    name: &'static str,
    object: PyOnceLock<Py<PyAny>>,
    /// The name of the module.
    key: Word,
}

impl Lazy {
    pub const fn new(module: &'static str, name: &'static str) -> Self {
        Self { module, name, object: PyOnceLock::new(), key: Word::new(module) }
    }

    pub fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let object = filled(&self.object, py, || Ok(py.import(self.module)?.getattr(self.name)?.unbind()))?;
        Ok(object.bind(py))
    }

    /// The same, or None as long as the program has not imported the module.
    pub fn get_if_imported<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyAny>> {
        if let Some(object) = self.object.get(py) {
            return Some(object.bind(py));
        }
        if MODULES.get(py).ok()?.contains(self.key.get(py)).ok()? { self.get(py).ok() } else { None }
    }

    /// Whether an object is an instance of this class. `false` if the class is not known.
    pub fn has(&self, object: &Bound<'_, PyAny>) -> bool {
        self.get(object.py()).and_then(|class| object.is_instance(class)).unwrap_or(false)
    }
}
