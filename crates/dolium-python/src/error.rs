//! Owns the mapping of the engine's errors and warnings to the classes of `dolium.errors`.

use dolium::{Error, Warning};
use pyo3::PyErrArguments;
use pyo3::exceptions::{PyKeyError, PyKeyboardInterrupt, PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::enter;
use crate::lazy::Lazy;

macro_rules! classes {
    ($($name:ident = $class:literal),* $(,)?) => {
        $(static $name: Lazy = Lazy::new("dolium.errors", $class);)*
    };
}

classes! {
    TIMEOUT = "Timeout",
    READ_ONLY = "ReadOnlyError",
    FULL = "StorageFullError",
    DAMAGED = "DamagedStoreError",
    DATABASE = "DatabaseError",
    STORAGE = "StorageError",
    FORKED = "ForkedError",
    INVALID = "InvalidArgumentError",
    UNSTORABLE = "UnstorableError",
    UNTRUSTED = "UntrustedValueError",
    DOLIUM = "DoliumError",
    DOLIUM_WARNING = "DoliumWarning",
    SET_ASIDE = "DamagedStoreWarning",
    REPLACED = "ReplacedStoreWarning",
    EVICTING = "EvictionWarning",
    TOO_LARGE = "ValueTooLargeWarning",
    SHARDS = "ShardCountWarning",
    REFUSED = "RefusedEntryWarning",
    NO_KEY = "SigningKeyWarning",
    UNTRUSTED_WARNING = "UntrustedValueWarning",
}

/// The exception for an error of the engine.
pub(crate) fn raise(py: Python<'_>, error: Error) -> PyErr {
    build(py, error).unwrap_or_else(|failed| failed)
}

fn build(py: Python<'_>, error: Error) -> PyResult<PyErr> {
    // An exception that Python code raised underneath comes through as it was.
    if let Error::Interrupted | Error::Io { .. } = error
        && let Some(raised) = enter::raised()
    {
        return Ok(raised);
    }
    let message = error.to_string();
    Ok(match error {
        Error::Timeout { .. } | Error::Neighbor { .. } => TIMEOUT.error(py, (message,))?,
        Error::Interrupted => PyKeyboardInterrupt::new_err(()),
        Error::Missing => PyKeyError::new_err(message),
        Error::NotANumber => PyTypeError::new_err(message),
        Error::Overflow => PyOverflowError::new_err(message),
        Error::ReadOnly { directory } => READ_ONLY.error(py, (EROFS, message, directory))?,
        Error::Full { path } => FULL.error(py, (ENOSPC, message, path))?,
        Error::Damaged { .. } => DAMAGED.error(py, (message,))?,
        Error::Io { path, source } => {
            let (number, why) = match source.raw_os_error() {
                // As Python words it, without Rust's number behind it.
                Some(number) => (number, py.import("os")?.call_method1("strerror", (number,))?.extract()?),
                None => (EIO, source.to_string()),
            };
            STORAGE.error(py, (number, why, path))?
        }
        Error::Lock { directory, detail } => STORAGE.error(py, (EIO, detail, directory))?,
        Error::Denied { path, detail } => STORAGE.error(py, (EACCES, detail, path))?,
        Error::Severed { directory } => STORAGE.error(py, (EBADF, message, directory))?,
        Error::Forked { .. } => FORKED.error(py, (message,))?,
        Error::Invalid(_) | Error::Layout { .. } => INVALID.error(py, (message,))?,
        Error::Type(_) => UNSTORABLE.error(py, (message,))?,
        Error::Sqlite { .. } | Error::RolledBack { .. } | Error::Orphaned { .. } => {
            DATABASE.error(py, (message,))?
        }
        _ => DOLIUM.error(py, (message,))?,
    })
}

// Numbers that are the same on every system that Python runs on.
const EIO: i32 = 5;
const EBADF: i32 = 9;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// A bulk removal that gave up waiting: `args[0]` is the number of entries that it had removed.
pub(crate) fn timeout(py: Python<'_>, done: usize, message: String) -> PyErr {
    TIMEOUT.error(py, (done, message)).unwrap_or_else(|failed| failed)
}

/// A timeout of a bulk removal that had not begun: it too says how many entries were removed.
pub(crate) fn counted(py: Python<'_>, error: PyErr) -> PyErr {
    if is_timeout(py, &error) { timeout(py, 0, error.value(py).to_string()) } else { error }
}

/// Whether an operation failed because of what other users of the database do.
pub(crate) fn is_contention(py: Python<'_>, error: &PyErr) -> bool {
    is_timeout(py, error) || DATABASE.get(py).is_ok_and(|class| error.is_instance(py, class))
}

/// Whether Python code refused to load something.
pub(crate) fn is_untrusted(py: Python<'_>, error: &PyErr) -> bool {
    UNTRUSTED.get(py).is_ok_and(|class| error.is_instance(py, class))
}

/// A key or a value that is not loaded.
pub(crate) fn untrusted(py: Python<'_>, message: String) -> PyErr {
    UNTRUSTED.error(py, (message,)).unwrap_or_else(|failed| failed)
}

/// Whether an operation gave up waiting.
pub(crate) fn is_timeout(py: Python<'_>, error: &PyErr) -> bool {
    TIMEOUT.get(py).is_ok_and(|class| error.is_instance(py, class))
}

/// Shows a warning of the engine as coming from the Python code that called.
pub(crate) fn warn(py: Python<'_>, warning: &Warning) -> PyResult<()> {
    let class = match warning {
        Warning::SetAside { .. } => &SET_ASIDE,
        Warning::Replaced { .. } => &REPLACED,
        Warning::Evicting { .. } => &EVICTING,
        Warning::TooLarge { .. } => &TOO_LARGE,
        Warning::Shards { .. } => &SHARDS,
        Warning::Refused { .. } => &REFUSED,
        Warning::NoSigningKey { .. } => &NO_KEY,
        _ => &DOLIUM_WARNING,
    };
    warn_with(py, class.get(py)?, &warning.to_string())
}

/// Warns that a value or a key was refused.
pub(crate) fn warn_untrusted(py: Python<'_>, message: &str) -> PyResult<()> {
    warn_with(py, UNTRUSTED_WARNING.get(py)?, message)
}

fn warn_with(py: Python<'_>, class: &Bound<'_, PyAny>, message: &str) -> PyResult<()> {
    py.import("warnings")?.call_method1("warn", (message, class))?;
    Ok(())
}

impl Lazy {
    fn error(&'static self, py: Python<'_>, arguments: impl PyErrArguments + 'static) -> PyResult<PyErr> {
        Ok(PyErr::from_type(self.get(py)?.cast::<PyType>()?.clone(), arguments))
    }
}
