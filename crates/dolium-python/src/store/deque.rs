//! Owns what a `Deque` asks its cache by position. Where the engine declines, `Deque` goes the slow way.

use dolium::host::{self, Position};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;

use super::queue::side;
use super::{Inner, Shard, Store};
use crate::error;
use crate::value::Outgoing;

fn outside() -> PyErr {
    PyIndexError::new_err("deque index out of range")
}

impl Inner {
    /// The only shard, if its keys and values need no class of the user's.
    fn plain_shard(&self) -> Option<&Shard> {
        self.only().ok().filter(|shard| shard.custom.is_none())
    }

    /// Runs `change` with a value as it is stored.
    fn with_value<T: Send>(
        &self,
        shard: &Shard,
        value: &Bound<'_, PyAny>,
        change: impl FnOnce(&dolium::Cache, dolium::Payload<'_>) -> dolium::Result<T> + Send,
    ) -> PyResult<T> {
        let py = value.py();
        let codec = self.codec(py, None)?;
        let codec = codec.as_ref().map(|codec| (codec, self.peers("")));
        let outgoing = Outgoing::by(codec, value, || self.protocol(py))
            .map_err(|error| error::unstorable(None, py, error))?;
        let loan = outgoing.lend()?;
        shard.change(py, true, |cache| change(cache, loan.payload()))
    }
}

#[pymethods]
impl Store {
    /// How many entries there are, None if that must be counted.
    fn _deque_len(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        let Some(shard) = self.inner()?.plain_shard() else { return Ok(None) };
        shard.enter(py, true, host::deque_len)
    }

    /// The key of the first item if the keys are integers without a gap, else None.
    fn _deque_first(&self, py: Python<'_>) -> PyResult<Option<i64>> {
        let Some(shard) = self.inner()?.plain_shard() else { return Ok(None) };
        shard.enter(py, true, host::first_number)
    }

    /// The item at a position, `default` if that must be searched for.
    ///
    /// Raises:
    ///     IndexError: There are not so many.
    #[pyo3(signature = (position, default, /))]
    fn _deque_item<'py>(
        &self,
        position: &Bound<'py, PyAny>,
        default: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, inner) = (position.py(), self.inner()?);
        let (Some(shard), Ok(position)) = (inner.plain_shard(), position.extract()) else {
            return Ok(default);
        };
        match shard.enter(py, true, |cache| host::item_at(cache, position))? {
            Position::Item(entry) => inner.load(py, entry.value),
            Position::Outside => Err(outside()),
            Position::Unknown => Ok(default),
        }
    }

    /// Replace the item at a position; return whether that was possible without a transaction.
    ///
    /// Raises:
    ///     IndexError: There are not so many.
    #[pyo3(signature = (position, value, /))]
    fn _deque_replace(&self, position: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let inner = self.inner()?;
        let (Some(shard), Ok(position)) = (inner.plain_shard(), position.extract()) else {
            return Ok(false);
        };
        match inner.with_value(shard, value, |cache, value| host::replace_at(cache, position, value))? {
            Position::Item(()) => Ok(true),
            Position::Outside => Err(outside()),
            Position::Unknown => Ok(false),
        }
    }

    /// Add an item to at most `most`, so that the one at the other end may go; return whether that was possible.
    #[pyo3(signature = (value, side, most, /))]
    fn _deque_push(&self, value: &Bound<'_, PyAny>, side: &str, most: u64) -> PyResult<bool> {
        let inner = self.inner()?;
        let Some(shard) = inner.plain_shard() else { return Ok(false) };
        let side = self::side(side)?;
        inner.with_value(shard, value, |cache, value| host::push_within(cache, value, side, most))
    }
}
