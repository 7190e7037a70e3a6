//! Owns walking over keys, in batches: an iterator holds no connection and no lock between two keys.

use std::collections::VecDeque;

pub use crate::sqlite::keys::Order;
use crate::sqlite::keys::{BATCH, Met, Walk};
use crate::sqlite::read;
use crate::system::error::Result;
use crate::value::key::Key;
use crate::value::scalar::Scalar;

use super::Cache;

/// An iterator over the keys of a cache, expired ones included. Keys that are inserted or removed
/// meanwhile may or may not be met; no other key is missed or met twice.
pub struct Keys {
    cache: Cache,
    walk: Walk,
    batch: VecDeque<Met>,
    done: bool,
}

impl Cache {
    /// The keys, in the given order.
    pub fn keys(&self, order: Order) -> Result<Keys> {
        self.keys_where(order, None, None)
    }

    /// The keys of entries with a tag, and text keys with a prefix, in the given order. Both conditions
    /// walk all keys unless there is a tag index, or the order is sorted and there is a prefix.
    pub fn keys_where(&self, order: Order, tag: Option<Scalar>, prefix: Option<&str>) -> Result<Keys> {
        let end = self.handle.read(self.wait, |connection| Ok(read::last_rowid(connection)?))?;
        Ok(Keys {
            cache: self.clone(),
            walk: Walk { order, tag, prefix: prefix.map(str::to_owned), end, after: None },
            batch: VecDeque::new(),
            done: false,
        })
    }
}

impl Keys {
    fn fill(&mut self) -> Result<()> {
        let cache = self.cache.clone();
        let batch = cache.handle.read_on(cache.wait, |connection| Ok(self.walk.next(connection)?))?;
        self.done = batch.len() < BATCH;
        if let Some(last) = batch.last() {
            self.walk.after = Some(last.clone());
        }
        self.batch = batch.into();
        Ok(())
    }
}

impl Iterator for Keys {
    type Item = Result<Key<'static>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(Met { key, raw, .. }) = self.batch.pop_front() {
                if let Some(key) = Key::from_columns(key, &raw) {
                    return Some(Ok(key));
                }
                continue;
            }
            if self.done {
                return None;
            }
            if let Err(error) = self.fill() {
                self.done = true;
                return Some(Err(error));
            }
        }
    }
}
