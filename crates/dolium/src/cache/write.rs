//! Owns changing one key: set, add, touch, incr, delete, pop.

use dolium_hot::{Counter, Kind};

use crate::sqlite::Write;
use crate::sqlite::tier::CULLS;
use crate::system::clock::Timestamp;
use crate::system::error::{Error, Result};
use crate::system::warning::Warning;
use crate::value::eviction_policy::Policy;
use crate::value::key::Key;
use crate::value::number::{Number, number};
use crate::value::put_options::{Expiry, PutOptions, is_alive};
use crate::value::{Entry, Payload, Row, Value, mode};

use super::Cache;
use super::change::{Change, NewRow};
use super::frame::is_raised;
use super::prepare::Prepared;
use super::read::Located;
use super::record;

impl Cache {
    /// Stores a value. Returns `false` if it was refused, being larger than the whole cache may be.
    pub fn set<'k, 'v>(&self, key: impl Into<Key<'k>>, value: impl Into<Payload<'v>>) -> Result<bool> {
        self.set_with(key, value, &PutOptions::default())
    }

    /// Stores a value with expiry and tag.
    pub fn set_with<'k, 'v>(
        &self,
        key: impl Into<Key<'k>>,
        value: impl Into<Payload<'v>>,
        options: &PutOptions,
    ) -> Result<bool> {
        self.store(&key.into(), value.into(), options, Timestamp::INFINITY)
    }

    /// Stores a value unless the key has one. Returns whether it was stored.
    pub fn add<'k, 'v>(
        &self,
        key: impl Into<Key<'k>>,
        value: impl Into<Payload<'v>>,
        options: &PutOptions,
    ) -> Result<bool> {
        add_since(self, key, value, options, Timestamp::NEG_INFINITY)
    }

    /// Stores a value unless the key has one that was stored after `since`.
    fn store(
        &self,
        key: &Key<'_>,
        value: Payload<'_>,
        options: &PutOptions,
        since: Timestamp,
    ) -> Result<bool> {
        self.know_settings()?;
        let mut prepared = if self.in_transaction() {
            Prepared::new(&self.handle, value)?
        } else {
            Prepared::waiting(&self.handle, value)?
        };
        if self.refuses(prepared.size()) {
            return Ok(false);
        }
        let now = self.clock.now();
        if since == Timestamp::INFINITY {
            self.put(key, &mut prepared, options, now)?;
            return Ok(true);
        }
        self.change(key, now, |row| {
            let is_add = since == Timestamp::NEG_INFINITY;
            let known = if is_add { with_value(row, now) } else { alive(row, now) };
            if known.is_some_and(|row| row.store_time > since) {
                return Ok(Change::Leave(false));
            }
            Ok(Change::Put(NewRow::of(&mut prepared, key, options, now)?, true))
        })
    }

    /// Stores a row whatever was there: there is nothing to decide, so the tier need not look.
    fn put(
        &self,
        key: &Key<'_>,
        prepared: &mut Prepared,
        options: &PutOptions,
        now: Timestamp,
    ) -> Result<()> {
        let (expire_time, time) = (options.expire.at(now), options.time(now));
        let mut record = record::pending_record(
            Kind::Set,
            key,
            prepared.finish(key)?,
            expire_time,
            &options.tag,
            time,
            CULLS,
        );
        if self.in_transaction() {
            if prepared.file().is_none() && self.handle.push_small(record) {
                return Ok(());
            }
        } else if self.set_hot(std::slice::from_mut(&mut record))?.is_some() {
            if let Some(file) = prepared.file() {
                self.handle.keep_file(&file, self.wait)?;
            }
            return Ok(());
        }
        self.handle.write(self.wait, |write| {
            write.changes([key.borrowed()]);
            let head = write.head(key)?;
            write.put_over(head.as_ref(), key, prepared.finish(key)?, expire_time, &options.tag, time)?;
            write.adopt(prepared.file());
            self.remove_expired(write, now)
        })
    }

    /// Whether a value is larger than the whole cache may be, and so would only drive out all others.
    pub(crate) fn refuses(&self, size: u64) -> bool {
        let settings = self.handle.settings.current();
        let limit = self.handle.total_limit(&settings).filter(|_| settings.policy != Policy::None);
        let Some(size_limit) = limit.filter(|limit| size > *limit) else {
            return false;
        };
        self.handle.warnings.add(Warning::TooLarge {
            directory: self.handle.directory.clone(),
            size,
            size_limit,
        });
        self.handle.volume.count_refused();
        true
    }

    /// Changes when an entry expires. Returns whether there is one.
    pub fn touch<'k>(&self, key: impl Into<Key<'k>>, expire: impl Into<Expiry>) -> Result<bool> {
        let (key, expire) = (key.into(), expire.into());
        let now = self.clock.now();
        self.change(&key, now, |row| {
            Ok(alive(row, now).map_or(Change::Leave(false), |row| {
                Change::Expire(Row { expire_time: expire.at(now), ..row }, true)
            }))
        })
    }

    /// Adds `delta` to a number, atomically. A key that is not there counts as `default` and is stored
    /// with `put`; one that is there keeps its expiry and tag.
    ///
    /// Fails with [`Error::Missing`] if the key is not there and `default` is `None`, with
    /// [`Error::NotANumber`] and [`Error::Overflow`] if the sum is not a 64-bit integer or a float.
    pub fn incr<'k>(
        &self,
        key: impl Into<Key<'k>>,
        delta: impl Into<Number>,
        default: Option<Number>,
        options: &PutOptions,
    ) -> Result<Number> {
        let (key, delta) = (key.into(), delta.into());
        let now = self.clock.now();
        let prepare = |number: Number| Prepared::number(&self.handle, number);
        self.change(&key, now, |row| {
            if let Some(row) = with_value(row, now) {
                let sum = number(&row)?.plus(delta)?;
                let columns = prepare(sum)?.finish(&key)?.clone();
                return Ok(Change::value(row, columns, now, sum));
            }
            let sum = default.ok_or(Error::Missing)?.plus(delta)?;
            Ok(Change::Put(NewRow::of(&mut prepare(sum)?, &key, options, now)?, sum))
        })
    }

    /// Removes an entry. Returns whether there was one.
    pub fn delete<'k>(&self, key: impl Into<Key<'k>>) -> Result<bool> {
        let key = key.into();
        let now = self.clock.now();
        self.change(&key, now, |row| {
            Ok(alive(row, now).map_or(Change::Leave(false), |_| Change::Delete(true)))
        })
    }

    /// Removes an entry and returns it. `None` if there is none, or if it is damaged.
    pub fn pop<'k>(&self, key: impl Into<Key<'k>>) -> Result<Option<Entry>> {
        self.pop_as(&key.into(), |key, row| self.value_of(key, row))
    }

    fn pop_as<T>(
        &self,
        key: &Key<'_>,
        fetch: impl Fn(&Key<'_>, &Row) -> Result<Option<T>>,
    ) -> Result<Option<Entry<T>>> {
        let now = self.clock.now();
        let popped = self.change(key, now, |row| {
            let Some(row) = alive(row, now) else { return Ok(Change::Leave(None)) };
            Ok(Change::Delete(fetch(key, &row)?.map(|value| (row, value))))
        })?;
        Ok(popped.map(|(row, value)| Entry::of(row, value)))
    }

    /// `remove_expired` for every write: at most `cull_limit` entries.
    pub(crate) fn remove_expired(&self, write: &mut Write<'_>, now: Timestamp) -> Result<()> {
        self.handle.volume.note_time(now);
        let limit = self.handle.settings.current().cull_limit;
        if limit > 0 {
            let removed = write.remove_expired(now, limit)?;
            self.handle.tier.count(Counter::Expirations, removed as u64);
        }
        Ok(())
    }
}

/// A row, unless it has expired or keeps an exception, which is no value.
pub(super) fn with_value(row: Option<Row>, now: Timestamp) -> Option<Row> {
    alive(row, now).filter(|row| row.columns.mode != mode::FRAME || !is_raised(&row.columns.value))
}

/// Stores a value unless the key has got one since a moment: of several callers that computed one at the same time,
/// the first counts. Returns whether it was stored.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::{Cache, PutOptions, host};
///
/// let cache = Cache::open(dir.path())?;
/// cache.set("answer", 41)?;
/// let begun = dolium::Clock::System.now();
/// assert!(host::add_since(&cache, "answer", 42, &PutOptions::new(), begun)?);
/// assert!(!host::add_since(&cache, "answer", 43, &PutOptions::new(), begun)?);
/// assert_eq!(cache.get("answer")?, Some(42.into()));
/// # Ok::<(), dolium::Error>(())
/// ```
pub fn add_since<'k, 'v>(
    cache: &Cache,
    key: impl Into<Key<'k>>,
    value: impl Into<Payload<'v>>,
    options: &PutOptions,
    since: Timestamp,
) -> Result<bool> {
    cache.store(&key.into(), value.into(), options, since)
}

/// [`Cache::pop`], if `accept` agrees to the value; else the entry stays, with [`Error::Refused`]. The caller reads bytes
/// and text from their value file itself, as after [`locate_after`](super::host::locate_after); these are not asked about.
pub fn pop_if<'k>(
    cache: &Cache,
    key: impl Into<Key<'k>>,
    accept: impl Fn(&Value) -> bool,
) -> Result<Option<Entry<Located>>> {
    cache.pop_as(&key.into(), |key, row| match cache.located(key, row)? {
        Some(Located::Value(value)) if !accept(&value) => Err(Error::Refused),
        located => Ok(located),
    })
}

/// A row, unless it has expired.
pub(super) fn alive(row: Option<Row>, now: Timestamp) -> Option<Row> {
    row.filter(|row| is_alive(row.expire_time, now))
}
