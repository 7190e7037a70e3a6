//! What a transaction leaves to do for the `Disk` of a user when it ends: the files of entries that went are removed after
//! the commit, those of new entries after a rollback.
//!
//! It belongs to a transaction, whatever objects are used inside it and whichever thread ends it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dolium::{Cache, host};
use pyo3::prelude::*;

/// When a file is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Commit,
    Rollback,
}

struct Removal {
    when: After,
    disk: Py<PyAny>,
    filename: String,
}

/// By the number of the transaction. Nothing is waited for, and no Python code runs, while it is locked.
static DEFERRED: Mutex<Option<HashMap<u64, Vec<Removal>>>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<HashMap<u64, Vec<Removal>>>> {
    DEFERRED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes a value file through its `Disk` when the caller's transaction has ended like that; without a
/// transaction, which is as good as a commit, at once or never.
pub(crate) fn remove(
    cache: &Cache,
    disk: &Bound<'_, PyAny>,
    filename: Option<&str>,
    when: After,
) -> PyResult<()> {
    let Some(filename) = filename else {
        return Ok(());
    };
    if let Some(transaction) = host::transaction_id(cache) {
        let removal = Removal { when, disk: disk.clone().unbind(), filename: filename.to_owned() };
        lock().get_or_insert_default().entry(transaction).or_default().push(removal);
    } else if when == After::Commit {
        disk.call_method1("remove", (filename,))?;
    }
    Ok(())
}

/// In a forked child: the transactions are the parent's, and so are the files.
pub(crate) fn forget() {
    drop(lock().take());
}

/// Does what was left for the end that a transaction has come to; None: it is open still.
pub(crate) fn ended(py: Python<'_>, transaction: u64, how: Option<After>) -> PyResult<()> {
    let Some(how) = how else {
        return Ok(());
    };
    // Taken out first: a `Disk` may use the cache.
    let removals = lock().as_mut().and_then(|deferred| deferred.remove(&transaction));
    for removal in removals.into_iter().flatten().filter(|removal| removal.when == how) {
        removal.disk.bind(py).call_method1("remove", (&removal.filename,))?;
    }
    Ok(())
}
