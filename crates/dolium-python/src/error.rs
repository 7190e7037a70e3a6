//! How errors and warnings of the engine become the classes of `dolium.errors`.
//!
//! Invariant: nothing between an error of the engine and the exception can fail for a reason of its own. All classes
//! are looked up when this module is imported, and an exception is made at once, of plain texts and numbers: no
//! import, no descriptor, no Python code.

use std::io;
use std::path::Path;

use dolium::{Error, Warning};
use pyo3::exceptions::{
    PyAttributeError, PyKeyError, PyKeyboardInterrupt, PyOverflowError, PyTypeError, PyWarning,
};
use pyo3::prelude::*;
use pyo3::types::{PyDelta, PyMapping};

use crate::lazy::Lazy;
use crate::signals;

macro_rules! classes {
    ($($name:ident = $class:literal),* $(,)?) => {
        $(pub(crate) static $name: Lazy = Lazy::new("dolium.errors", $class);)*
        const ALL: &[&Lazy] = &[$(&$name),*];
    };
}

classes! {
    TIMEOUT = "Timeout",
    READ_ONLY = "ReadOnlyError",
    DENIED = "AccessDeniedError",
    FULL = "StorageFullError",
    DAMAGED = "DamagedStoreError",
    DATABASE = "DatabaseError",
    STORAGE = "StorageError",
    FORKED = "ForkedError",
    INVALID = "InvalidArgumentError",
    UNSTORABLE = "UnstorableError",
    UNPICKLABLE = "UnpicklableError",
    UNKEYABLE = "UnkeyableError",
    UNTRUSTED = "UntrustedValueError",
    UNREADABLE = "UnreadableValueError",
    DOLIUM = "DoliumError",
    DOLIUM_WARNING = "DoliumWarning",
    SET_ASIDE = "DamagedStoreWarning",
    REPLACED = "ReplacedStoreWarning",
    EVICTING = "EvictionWarning",
    TOO_LARGE = "ValueTooLargeWarning",
    SHARDS = "ShardCountWarning",
    MIXED = "MixedDirectoryWarning",
    COPIED = "CopiedCacheWarning",
    DISTURBED = "DiscardedWritesWarning",
    LEFT = "UnsavedWritesWarning",
    WAITING = "HiddenWritesWarning",
    REFUSED = "RefusedEntryWarning",
    NO_KEY = "SigningKeyWarning",
    UNTRUSTED_WARNING = "UntrustedValueWarning",
    UNKNOWN_SETTING = "UnknownSettingWarning",
    SHOW = "show",
    PICKLING = "PicklingError",
}

/// Looks up everything that an error or a warning will need.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    ALL.iter().try_for_each(|class| class.get(py).map(drop))?;
    // Asking whether an object is a date imports `datetime`, which must not fail later.
    let _ = py.get_type::<PyDelta>();
    // Asking whether it is a mapping imports `collections.abc` into a cell of PyO3. See the trap in `lazy::filled`.
    let _ = module.is_instance_of::<PyMapping>();
    module.add_function(wrap_pyfunction!(warn, module)?)
}

/// The exception for an error of the engine.
pub(crate) fn raise(py: Python<'_>, error: Error) -> PyErr {
    // An exception that Python code raised underneath comes through as it was.
    if let Error::Interrupted | Error::Io { .. } = error
        && let Some(raised) = signals::raised()
    {
        return raised;
    }
    let message = error.to_string();
    match error {
        Error::Timeout { .. } | Error::Neighbor { .. } => TIMEOUT.error(py, (message,)),
        Error::Interrupted => PyKeyboardInterrupt::new_err(()),
        Error::Missing => PyKeyError::new_err(message),
        Error::NotANumber => PyTypeError::new_err(message),
        Error::Overflow => PyOverflowError::new_err(message),
        Error::ReadOnly { directory } => READ_ONLY.at(py, EROFS, &message, &directory),
        Error::Denied { path, .. } => DENIED.at(py, EACCES, &message, &path),
        Error::Severed { directory } => STORAGE.at(py, EBADF, &message, &directory),
        Error::NotADirectory { path, source, .. } => STORAGE.at(py, number(&source), &message, &path),
        Error::Full { path } => FULL.at(py, ENOSPC, &message, &path),
        Error::Damaged { .. } => DAMAGED.error(py, (message,)),
        Error::Io { path, source } => STORAGE.at(py, number(&source), &reason(&source), &path),
        Error::Lock { directory, .. } => STORAGE.at(py, EBUSY, &message, &directory),
        Error::Forked { .. } => FORKED.error(py, (message,)),
        Error::Invalid(_) | Error::Layout { .. } => INVALID.error(py, (message,)),
        Error::Type(_) => UNSTORABLE.error(py, (message,)),
        Error::Sqlite { .. } | Error::RolledBack { .. } | Error::Orphaned { .. } => {
            DATABASE.error(py, (message,))
        }
        _ => DOLIUM.error(py, (message,)),
    }
}

/// The system's number of an error. Those that Rust made have a kind only.
fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(match error.kind() {
        io::ErrorKind::NotFound => ENOENT,
        io::ErrorKind::PermissionDenied => EACCES,
        io::ErrorKind::AlreadyExists => EEXIST,
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => EINVAL,
        io::ErrorKind::OutOfMemory => ENOMEM,
        _ => EIO,
    })
}

/// What the system says of an error, without the number that Rust adds.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error().and_then(|number| text.strip_suffix(&format!(" (os error {number})"))) {
        Some(text) => text.to_owned(),
        None => text,
    }
}

// Numbers that are the same on every system that Python runs on.
const ENOENT: i32 = 2;
const EIO: i32 = 5;
const EBADF: i32 = 9;
const ENOMEM: i32 = 12;
const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// A bulk removal that gave up waiting: `args[0]` is the number of entries that it had removed.
pub(crate) fn timeout(py: Python<'_>, done: usize, message: String) -> PyErr {
    TIMEOUT.error(py, (done, message))
}

/// A timeout of a bulk removal that had not begun: it too says how many entries were removed.
pub(crate) fn counted(py: Python<'_>, error: PyErr) -> PyErr {
    if is_timeout(py, &error) { timeout(py, 0, error.value(py).to_string()) } else { error }
}

/// Whether an operation failed because of what other users of the database do.
pub(crate) fn is_contention(py: Python<'_>, error: &PyErr) -> bool {
    is_timeout(py, error) || DATABASE.has(error.value(py))
}

/// Whether Python code refused to load something.
pub(crate) fn is_untrusted(py: Python<'_>, error: &PyErr) -> bool {
    UNTRUSTED.has(error.value(py))
}

/// Whether a value is damaged, or needs what is not here.
pub(crate) fn is_unreadable(py: Python<'_>, error: &PyErr) -> bool {
    UNREADABLE.has(error.value(py))
}

/// A key or a value that is not loaded.
pub(crate) fn untrusted(py: Python<'_>, message: String) -> PyErr {
    UNTRUSTED.error(py, (message,))
}

/// Whether an operation gave up waiting.
pub(crate) fn is_timeout(py: Python<'_>, error: &PyErr) -> bool {
    TIMEOUT.has(error.value(py))
}

/// Whether an exception is how `pickle` and `Disk` classes refuse an object.
fn is_unpicklable(py: Python<'_>, error: &PyErr) -> bool {
    let refusal = error.value(py);
    error.is_instance_of::<PyTypeError>(py)
        || error.is_instance_of::<PyAttributeError>(py)
        || PICKLING.has(refusal)
}

/// A value that cannot be pickled: an error that names its key, or an exception of other code as it is.
pub(crate) fn unstorable(key: Option<&Bound<'_, PyAny>>, py: Python<'_>, error: PyErr) -> PyErr {
    let what =
        || key.map_or_else(|| "the value".to_owned(), |key| format!("the value of key {}", shown(key)));
    refused(py, what, error)
}

/// The same for a key.
pub(crate) fn unusable(key: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    refused(key.py(), || format!("the key {}", shown(key)), error)
}

fn refused(py: Python<'_>, what: impl FnOnce() -> String, error: PyErr) -> PyErr {
    if !is_unpicklable(py, &error) || DOLIUM.has(error.value(py)) {
        return error;
    }
    let why = error.value(py).to_string();
    let message = format!(
        "{} cannot be stored: {why}; store data, not functions, open files or other objects of this process",
        what()
    );
    let refusal = UNPICKLABLE.error(py, (message,));
    refusal.set_cause(py, Some(error));
    refusal
}

/// An object as messages show it: its repr, as far as a line holds it.
pub(crate) fn shown(object: &Bound<'_, PyAny>) -> String {
    let Ok(text) = object.repr() else {
        return format!("of type {}", object.get_type());
    };
    let text = text.to_string_lossy();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

/// Characters of an object that messages show.
const SHOWN: usize = 100;

/// Shows a warning of the engine as coming from the Python code that called.
pub(crate) fn tell(py: Python<'_>, warning: &Warning) -> PyResult<()> {
    let class = match warning {
        Warning::SetAside { .. } => &SET_ASIDE,
        Warning::Replaced { .. } => &REPLACED,
        Warning::Evicting { .. } => &EVICTING,
        Warning::TooLarge { .. } => &TOO_LARGE,
        Warning::Shards { .. } => &SHARDS,
        Warning::Mixed { .. } => &MIXED,
        Warning::Copied { .. } => &COPIED,
        Warning::Disturbed { .. } => &DISTURBED,
        Warning::Left { .. } => &LEFT,
        Warning::Waiting { .. } => &WAITING,
        Warning::Refused { .. } => &REFUSED,
        Warning::NoSigningKey { .. } => &NO_KEY,
        _ => &DOLIUM_WARNING,
    };
    warn(class.get(py)?, &warning.to_string())
}

/// Warns that a value or a key was refused.
pub(crate) fn warn_untrusted(py: Python<'_>, message: &str) -> PyResult<()> {
    warn(UNTRUSTED_WARNING.get(py)?, message)
}

/// Warn, and log it. A warning that a filter turns into an exception never changes what the caller does: it goes to
/// `sys.unraisablehook`.
#[pyfunction]
#[pyo3(signature = (kind, message, /))]
pub(crate) fn warn(kind: &Bound<'_, PyAny>, message: &str) -> PyResult<()> {
    let py = kind.py();
    match SHOW.get(py)?.call1((kind, message)) {
        // What else is raised here is of a signal handler, and meant for the caller.
        Err(error) if error.is_instance_of::<PyWarning>(py) => {
            error.write_unraisable(py, None);
            Ok(())
        }
        shown => shown.map(drop),
    }
}

impl Lazy {
    /// An exception of this class, made at once. What cannot be made raises what stood in the way.
    pub fn error<'py>(&self, py: Python<'py>, arguments: impl pyo3::call::PyCallArgs<'py>) -> PyErr {
        self.get(py).and_then(|class| class.call1(arguments)).map_or_else(|failed| failed, PyErr::from_value)
    }

    /// An `OSError` of this class. The message does not repeat the path, which Python adds.
    fn at(&self, py: Python<'_>, number: i32, message: &str, path: &Path) -> PyErr {
        let beginning = format!("{}: ", path.display());
        let why = message.strip_prefix(&beginning).unwrap_or(message);
        self.error(py, (number, why, path.as_os_str()))
    }
}
