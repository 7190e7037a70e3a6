//! Walking over keys and entries, in batches: an iterator holds no connection and no lock between two of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::sqlite::Connection;
pub use crate::sqlite::keys::Order;
use crate::sqlite::keys::{Batch, FIRST, MOST, Place, Walk};
use crate::sqlite::read;
use crate::system::error::{Error, Result};
use crate::system::wait::may_continue;
use crate::value::key::Key;
use crate::value::scalar::Scalar;
use crate::value::{Row, Value};

use super::Cache;
use super::read::Fetched;

/// How often a walk that finds nothing asks whether the caller still wants it.
const ASKING: Duration = Duration::from_millis(50);

/// An iterator over the keys of a cache, expired ones included. It meets each entry that is there during the whole walk
/// exactly once, and may meet entries that are stored or removed meanwhile.
pub struct Keys(Steps<Key<'static>>);

/// An iterator over the entries of a cache that have not expired, in the same way. Each value is one that the entry has
/// during the walk.
pub struct Items(Steps<(Key<'static>, Row)>);

impl Cache {
    /// The keys, in the given order.
    pub fn keys(&self, order: Order) -> Result<Keys> {
        self.keys_where(order, None, None)
    }

    /// The keys of entries with a tag, and text keys with a prefix, in the given order.
    ///
    /// An index finds the prefix in a sorted order, and the tag in the order of insertion if there is a tag index.
    /// Otherwise the walk looks at all entries.
    pub fn keys_where(&self, order: Order, tag: Option<Scalar>, prefix: Option<&str>) -> Result<Keys> {
        Ok(Keys(Steps::new(self, order, tag, prefix)?))
    }

    /// The entries, in the given order.
    pub fn items(&self, order: Order) -> Result<Items> {
        self.items_where(order, None, None)
    }

    /// The entries whose keys [`keys_where`](Self::keys_where) finds. One that has expired or whose value is damaged is
    /// left out. The walk counts as no read of its entries.
    pub fn items_where(&self, order: Order, tag: Option<Scalar>, prefix: Option<&str>) -> Result<Items> {
        Ok(Items(Steps::new(self, order, tag, prefix)?))
    }
}

/// A walk with what it has read ahead.
struct Steps<T> {
    cache: Cache,
    walk: Walk,
    place: Option<Place>,
    ahead: VecDeque<T>,
    size: usize,
    is_done: bool,
}

impl<T> Steps<T> {
    fn new(cache: &Cache, order: Order, tag: Option<Scalar>, prefix: Option<&str>) -> Result<Self> {
        let end = cache.handle.read(cache.wait, |connection| Ok(read::last_rowid(connection)?))?;
        Ok(Self {
            cache: cache.clone(),
            walk: Walk::new(order, tag, prefix, end),
            place: None,
            ahead: VecDeque::new(),
            size: FIRST,
            is_done: false,
        })
    }

    fn next(
        &mut self,
        mut read: impl FnMut(&Walk, &Connection, Option<&Place>, usize) -> rusqlite::Result<Batch<T>>,
    ) -> Option<Result<T>> {
        if let Some(next) = self.ahead.pop_front() {
            return Some(Ok(next));
        }
        let mut asked = Instant::now();
        while self.ahead.is_empty() && !self.is_done {
            let batch = self.cache.handle.read_on(self.cache.wait, |connection| {
                Ok(read(&self.walk, connection, self.place.as_ref(), self.size)?)
            });
            match batch {
                Ok(batch) => {
                    self.is_done = batch.place.is_none();
                    self.place = batch.place;
                    self.ahead = batch.found.into();
                    self.size = (4 * self.size).min(MOST);
                }
                Err(error) => {
                    self.is_done = true;
                    return Some(Err(error));
                }
            }
            if self.ahead.is_empty() && asked.elapsed() > ASKING {
                if !may_continue() {
                    return Some(Err(Error::Interrupted));
                }
                asked = Instant::now();
            }
        }
        self.ahead.pop_front().map(Ok)
    }
}

impl Iterator for Keys {
    type Item = Result<Key<'static>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(|walk, connection, place, most| walk.keys(connection, place, most))
    }
}

impl Iterator for Items {
    type Item = Result<(Key<'static>, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let now = self.0.cache.clock.now();
            let next =
                self.0.next(|walk, connection, place, most| walk.entries(connection, place, most, now))?;
            let valued =
                next.and_then(|(key, row)| Ok(value(&self.0.cache, &key, row)?.map(|value| (key, value))));
            if let Some(item) = valued.transpose() {
                return Some(item);
            }
        }
    }
}

/// The value of a row that a walk has read, or of the row that has taken its place if its value file is gone.
fn value(cache: &Cache, key: &Key<'_>, mut row: Row) -> Result<Option<Value>> {
    match cache.fetch(key, &mut row)? {
        Fetched::There(value) => Ok(Some(value)),
        Fetched::Damaged => Ok(None),
        Fetched::Gone => cache.get(key),
    }
}
