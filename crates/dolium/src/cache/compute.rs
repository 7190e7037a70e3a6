//! Computing what is missing, once for all who ask: `get_or_compute`, and the flights that it is made of.

use std::path::PathBuf;
use std::sync::Arc;

use dolium_hot::crash_point;

use crate::flight::{self, Asked, Ended, Flight, Joined, Place, Space, Waiter};
use crate::system::error::{Error, Result};
use crate::system::wait::may_continue;
use crate::value::key::Key;
use crate::value::put_options::PutOptions;
use crate::value::{Payload, Value};

use super::Cache;

impl Cache {
    /// The value of a key, computed and stored if there is none.
    ///
    /// Of all threads and processes that miss the key at the same time one computes, and the others wait for its result.
    /// If `compute` fails, the threads of this process that waited get the same error, and of each other process one tries.
    /// If the owner is killed, one of those who waited takes over. A call for the same key from inside `compute` computes,
    /// and so does one that would wait in a circle, or that is made inside a transaction of this cache.
    ///
    /// The value that was stored first is what all return. A value that the cache does not keep is returned as it is.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// use dolium::{Cache, PutOptions, Value};
    ///
    /// let cache = Cache::open(dir.path())?;
    /// let compute = || Ok::<_, std::io::Error>(Value::Int(6 * 7));
    /// assert_eq!(cache.get_or_compute("answer", &PutOptions::new(), compute)?, Value::Int(42));
    /// assert_eq!(cache.get("answer")?, Some(Value::Int(42)));
    /// # Ok::<(), dolium::Error>(())
    /// ```
    pub fn get_or_compute<'k, E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        &self,
        key: impl Into<Key<'k>>,
        put: &PutOptions,
        compute: impl FnOnce() -> std::result::Result<Value, E>,
    ) -> Result<Value> {
        let key = key.into();
        let mut after = None;
        loop {
            if let Some(value) = self.get(key.borrowed())? {
                return Ok(value);
            }
            if self.in_transaction() {
                return Ok(self.compute_and_keep(&key, put, compute)?.0);
            }
            match join_flight(self, &key, Asked::new().blocks(true).after(after.as_ref())) {
                Joined::Owner(flight) => return self.lead(flight, &key, put, compute),
                Joined::Waiter(waiter) if looks_again(&waiter)? => after = Some(waiter.after()),
                Joined::Waiter(_) | Joined::Alone => {
                    return Ok(self.compute_and_keep(&key, put, compute)?.0);
                }
            }
        }
    }

    fn lead<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        &self,
        flight: Flight,
        key: &Key<'_>,
        put: &PutOptions,
        compute: impl FnOnce() -> std::result::Result<Value, E>,
    ) -> Result<Value> {
        // Another may have stored it between the look and the flight.
        if let Some(value) = self.without_stats().get(key.borrowed())? {
            flight.end(Ended::Kept);
            return Ok(value);
        }
        crash_point("flight looked again");
        match self.compute_and_keep(key, put, compute) {
            Ok((value, is_kept)) => {
                flight.end(if is_kept { Ended::Kept } else { Ended::Unkept });
                Ok(value)
            }
            Err(Error::Computation(error)) => {
                flight.end(Ended::Failed(Arc::new(Failure(Arc::clone(&error)))));
                Err(Error::Computation(error))
            }
            Err(error) => Err(error),
        }
    }

    /// The value that a hit will return, and whether the cache keeps it.
    fn compute_and_keep<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        &self,
        key: &Key<'_>,
        put: &PutOptions,
        compute: impl FnOnce() -> std::result::Result<Value, E>,
    ) -> Result<(Value, bool)> {
        let value = compute().map_err(|error| Error::Computation(Arc::from(error.into())))?;
        crash_point("flight computed");
        let Some(payload) = payload(&value) else { return Ok((value, false)) };
        // A cache never fails a computation that has succeeded.
        if self.add(key.borrowed(), payload, put).is_err() {
            return Ok((value, false));
        }
        crash_point("flight kept");
        let found = self.without_stats().get(key.borrowed()).ok().flatten();
        Ok(found.map_or((value, false), |found| (found, true)))
    }

    /// The shards of one cache share the leases: a circle may lead over several.
    fn place(&self) -> &Place {
        &self.group.as_ref().map_or(&self.handle, |group| group.first()).shards.place
    }

    fn space(&self) -> Space<'_> {
        if self.is_read_only() {
            Space::of_place(self.place())
        } else {
            Space::of_cache(self.place(), self.root())
        }
    }

    fn root(&self) -> PathBuf {
        let directory = self.directory();
        let root = self.group.as_ref().and_then(|_| directory.parent()).unwrap_or(directory);
        root.to_path_buf()
    }

    fn mark(key: &Key<'_>) -> u128 {
        key.with_hot(|key| flight::mark(key.kind, key.bytes))
    }
}

/// Joins the flight of a key, or begins it: what [`Cache::get_or_compute`] is made of, for callers that
/// compute, store or wait in a way of their own. A cache that is read-only shares flights in this process only.
pub fn join_flight(cache: &Cache, key: &Key<'_>, asked: Asked<'_>) -> Joined {
    flight::join(&cache.space(), Cache::mark(key), asked)
}

/// Joins a flight that only the callers of this process share.
pub fn join_local_flight(cache: &Cache, key: &Key<'_>, asked: Asked<'_>) -> Joined {
    flight::join(&Space::of_place(cache.place()), Cache::mark(key), asked)
}

/// Waits for another's result. Whether to look again; else the caller computes.
fn looks_again(waiter: &Waiter) -> Result<bool> {
    match waiter.wait(None, Some(&mut may_continue))? {
        Some(Ended::Failed(failure)) => match failure.downcast::<Failure>() {
            Ok(failure) => Err(Error::Computation(Arc::clone(&failure.0))),
            // What a host language says of a flight of its own on this key.
            Err(_) => Ok(true),
        },
        Some(Ended::Kept | Ended::Left) => Ok(true),
        Some(Ended::Unkept) | None => Ok(false),
    }
}

/// What the owner of a flight tells the threads of its process.
struct Failure(Arc<dyn std::error::Error + Send + Sync>);

/// The value as something to store; `None` for what cannot be stored like that.
fn payload(value: &Value) -> Option<Payload<'_>> {
    Some(match value {
        Value::Int(value) => Payload::Int(*value),
        Value::Float(value) => Payload::Float(*value),
        Value::Text(value) => Payload::Text(value),
        Value::Bytes(value) => Payload::Bytes(value),
        Value::Pickle { bytes, .. } => Payload::Pickle(bytes),
        Value::Packed(value) => Payload::Packed(value),
        _ => return None,
    })
}
