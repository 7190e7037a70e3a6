//! Transactions: those of `transact()`, and those in which this crate calls Python code.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dolium::host::OwnedTransaction;
use dolium::{Error, host};
use pyo3::prelude::*;

use super::deferred::{self, After};
use super::{Flag, Shard, Store, on_as};
use crate::{context, error};

impl Shard {
    /// Runs `f` in a transaction. Unlike an operation of the engine, `f` may run Python code: between the
    /// calls that make up a transaction, the engine holds nothing that a fork or the GIL waits for.
    pub fn transact<T>(&self, py: Python<'_>, retry: bool, f: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
        let transaction = self.begin(py, retry)?;
        match f() {
            Ok(result) => {
                self.commit(py, transaction)?;
                Ok(result)
            }
            Err(error) => {
                self.roll_back(py, transaction)?;
                Err(error)
            }
        }
    }

    fn begin(&self, py: Python<'_>, retry: bool) -> PyResult<OwnedTransaction> {
        self.wait_turn(py, retry)?;
        let context = context::register(py)?;
        let number = context.as_ref().map_or(0, |context| context.number());
        on_as(py, number, self.cache(retry), |cache| host::transact_owned(cache, context))?
            .map_err(|error| error::raise(py, error))
    }

    fn commit(&self, py: Python<'_>, transaction: OwnedTransaction) -> PyResult<()> {
        let id = transaction.id();
        let mut end = Some(After::Rollback);
        let committed = self.enter(py, true, |_| {
            end = transaction.commit()?.then_some(After::Commit);
            Ok(())
        });
        deferred::ended(py, id, end)?;
        committed
    }

    fn roll_back(&self, py: Python<'_>, transaction: OwnedTransaction) -> PyResult<()> {
        let id = transaction.id();
        let is_over = self.enter(py, true, |_| Ok(transaction.rollback()))?;
        deferred::ended(py, id, is_over.then_some(After::Rollback))
    }
}

#[pymethods]
impl Store {
    /// Whether this thread, greenlet or task is inside a transaction of this cache.
    fn _in_transaction(&self) -> PyResult<bool> {
        Ok(self.inner()?.shared.shards[0].cache(false).in_transaction())
    }
}

/// A level of the transaction of each shard.
type Level = Vec<OwnedTransaction>;

/// The `with` block of a transaction. It is native, because a signal may raise between two lines of Python. After the
/// transaction had begun, that would leave it open, and all other writers waiting, for ever.
///
/// It holds the transaction, so any thread may leave the block. If it is collected before that, all changes are undone.
#[pyclass(frozen, subclass, module = "dolium._dolium")]
pub(crate) struct Transaction {
    store: Py<Store>,
    retry: bool,
    /// More than one if the object was entered again inside its own block.
    entered: Mutex<Vec<Level>>,
}

#[pymethods]
impl Transaction {
    #[new]
    #[pyo3(signature = (store, retry=Flag(false)), text_signature = "(store, retry=False)")]
    fn new(store: Py<Store>, retry: Flag) -> Self {
        Self { store, retry: retry.0, entered: Mutex::default() }
    }

    /// Another one of the same kind, for another run of what it decorates.
    fn _again(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let Self { store, retry, .. } = slf.get();
        Ok(slf.get_type().call1((store, *retry))?.unbind())
    }

    /// Begins.
    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        let shards = &self.store.get().inner()?.shared.shards;
        let mut level = Vec::with_capacity(shards.len());
        for shard in shards {
            match shard.begin(py, self.retry) {
                Ok(transaction) => level.push(transaction),
                Err(error) => {
                    self.end(py, level, Shard::roll_back)?;
                    return Err(error);
                }
            }
        }
        self.entered().push(level);
        Ok(())
    }

    /// Commits, or undoes all if the block has raised.
    #[pyo3(signature = (kind, error, trace, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (error, trace);
        let how = if kind.is_none() { Shard::commit } else { Shard::roll_back };
        self.end(py, self.leave(py)?, how)
    }
}

impl Transaction {
    fn entered(&self) -> MutexGuard<'_, Vec<Level>> {
        self.entered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The level to end: the last, or the last of the caller's own if others have entered the same object.
    fn leave(&self, py: Python<'_>) -> PyResult<Level> {
        let mine = host::transaction_id(self.store.get().inner()?.shared.shards[0].cache(false));
        let mut entered = self.entered();
        let is_mine = |level: &Level| level.first().map(OwnedTransaction::id) == mine;
        let last = entered.iter().rposition(is_mine).or_else(|| entered.len().checked_sub(1));
        last.map(|last| entered.remove(last)).ok_or_else(|| {
            error::raise(py, Error::Invalid("transact() was left without having been entered".into()))
        })
    }

    /// Ends all shards, whatever happens to some of them; raises what went wrong first.
    fn end(
        &self,
        py: Python<'_>,
        level: Level,
        how: impl Fn(&Shard, Python<'_>, OwnedTransaction) -> PyResult<()>,
    ) -> PyResult<()> {
        let shards = &self.store.get().inner()?.shared.shards;
        let both = shards.iter().zip(level).rev();
        let ended: Vec<PyResult<()>> = both.map(|(shard, transaction)| how(shard, py, transaction)).collect();
        ended.into_iter().collect()
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let entered = std::mem::take(&mut *self.entered());
        if entered.is_empty() {
            return;
        }
        Python::try_attach(|py| {
            // What is being raised while this is collected goes on.
            let raised = PyErr::take(py);
            for level in entered.into_iter().rev() {
                if let Err(error) = self.end(py, level, Shard::roll_back) {
                    error.write_unraisable(py, None);
                }
            }
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
    }
}
