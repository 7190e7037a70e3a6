//! Owns changing one key: set, add, touch, incr, delete, pop.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use dolium_hot::{Counter, Kind};

use crate::sqlite::tier::CULLS;
use crate::sqlite::{Head, KEPT, Write, statements};
use crate::system::clock::{self, Timestamp};
use crate::system::error::{Error, Result};
use crate::system::warning::Warning;
use crate::value::key::Key;
use crate::value::policy::Policy;
use crate::value::scalar::Scalar;
use crate::value::{Columns, Entry, Payload, Row, Value, mode};

use super::Cache;
use super::hot::{self, Change, NewRow};
use super::prepare::Prepared;

/// What is stored beside a value.
///
/// ```
/// use dolium::Put;
/// use std::time::Duration;
///
/// let put = Put::new().expire_in(Duration::from_secs(60)).tag("reports");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Put {
    /// When the entry expires.
    pub expire: Expiry,
    /// The tag, by which entries can be evicted and listed.
    pub tag: Scalar,
    /// Whether the entry is evicted last, whatever the policy: for locks and counters.
    pub keep: bool,
}

/// When an entry expires.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Expiry {
    /// Never.
    #[default]
    Never,
    /// So many seconds after it is written; it may be negative, which makes it expired at once.
    After(f64),
    /// At that time.
    At(Timestamp),
}

impl Expiry {
    pub(crate) fn at(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::After(seconds) => Some(now + seconds),
            Self::At(time) => Some(time),
        }
    }
}

impl From<Duration> for Expiry {
    fn from(after: Duration) -> Self {
        Self::After(after.as_secs_f64())
    }
}

impl From<SystemTime> for Expiry {
    fn from(time: SystemTime) -> Self {
        Self::At(clock::timestamp(time))
    }
}

impl Put {
    /// No expiry, no tag.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Expires the entry after a time.
    #[must_use]
    pub fn expire_in(mut self, after: Duration) -> Self {
        self.expire = after.into();
        self
    }

    /// Expires the entry at a time.
    #[must_use]
    pub fn expire_at(mut self, time: SystemTime) -> Self {
        self.expire = time.into();
        self
    }

    /// Tags the entry.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Scalar>) -> Self {
        self.tag = tag.into();
        self
    }

    /// Has the entry evicted last, whatever the policy. Its time of writing is then the end of the year 9999.
    #[must_use]
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// The time of writing that is stored.
    pub(crate) fn time(&self, now: Timestamp) -> Timestamp {
        if self.keep { KEPT } else { now }
    }
}

/// What `incr` adds and returns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A 64-bit integer.
    Int(i64),
    /// A float.
    Float(f64),
}

impl Number {
    pub(super) fn plus(self, other: Self) -> Result<Self> {
        #[expect(clippy::cast_precision_loss, reason = "adding a float makes a float, as everywhere")]
        let float = |number| match number {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        };
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.checked_add(b).map(Self::Int).ok_or(Error::Overflow),
            (a, b) => Ok(Self::Float(float(a) + float(b))),
        }
    }

    fn scalar(self) -> Scalar {
        match self {
            Self::Int(value) => Scalar::Int(value),
            Self::Float(value) => Scalar::Real(value),
        }
    }

    /// The columns that are this number; `None` for what SQLite would make NULL of.
    pub(super) fn columns(self) -> Option<Columns> {
        let is_nan = matches!(self, Self::Float(value) if value.is_nan());
        (!is_nan).then(|| Columns { size: 0, mode: mode::RAW, filename: None, value: self.scalar() })
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Number {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl Cache {
    /// Stores a value. Returns `false` if it was refused, being larger than the whole cache may be.
    pub fn set<'k, 'v>(&self, key: impl Into<Key<'k>>, value: impl Into<Payload<'v>>) -> Result<bool> {
        self.set_with(key, value, &Put::default())
    }

    /// Stores a value with expiry and tag.
    pub fn set_with<'k, 'v>(
        &self,
        key: impl Into<Key<'k>>,
        value: impl Into<Payload<'v>>,
        put: &Put,
    ) -> Result<bool> {
        self.store(&key.into(), value.into(), put, true)
    }

    /// Stores a value unless the key has one. Returns whether it was stored.
    pub fn add<'k, 'v>(
        &self,
        key: impl Into<Key<'k>>,
        value: impl Into<Payload<'v>>,
        put: &Put,
    ) -> Result<bool> {
        self.store(&key.into(), value.into(), put, false)
    }

    fn store(&self, key: &Key<'_>, value: Payload<'_>, put: &Put, replace: bool) -> Result<bool> {
        self.know_settings()?;
        let mut prepared = Prepared::new(&self.handle, value)?;
        if self.refuses(prepared.size()) {
            return Ok(false);
        }
        let now = self.clock.now();
        let stored = match self.store_hot(key, &mut prepared, put, replace, now)? {
            Some(stored) => stored,
            None => self.store_directly(key, &mut prepared, put, replace, now)?,
        };
        if stored {
            self.wrote(key, key.len() as u64 + prepared.size())?;
        }
        Ok(stored)
    }

    fn store_hot(
        &self,
        key: &Key<'_>,
        prepared: &mut Prepared,
        put: &Put,
        replace: bool,
        now: Timestamp,
    ) -> Result<Option<bool>> {
        let expire_time = put.expire.at(now);
        let stored = if replace {
            let columns = prepared.finish(key)?;
            let mut record =
                hot::staged(Kind::Set, key, columns, expire_time, &put.tag, put.time(now), CULLS);
            self.set_hot(std::slice::from_mut(&mut record))?.map(|()| true)
        } else {
            self.change_hot(key, |row| {
                if row.is_some_and(|row| statements::is_alive(row.expire_time, now)) {
                    return Ok(Change::Leave(false));
                }
                Ok(Change::Set(NewRow::of(prepared.finish(key)?.clone(), put, now), true))
            })?
        };
        if stored == Some(true) {
            self.left_to_tier(prepared);
        }
        Ok(stored)
    }

    /// A value waits in the tier now, which names its file.
    pub(super) fn left_to_tier(&self, prepared: &Prepared) {
        if prepared.is_filed() {
            self.handle.files_wait.store(true, Ordering::Relaxed);
        }
        if let Some(file) = prepared.file() {
            file.keep();
        }
    }

    fn store_directly(
        &self,
        key: &Key<'_>,
        prepared: &mut Prepared,
        put: &Put,
        replace: bool,
        now: Timestamp,
    ) -> Result<bool> {
        self.handle.write(self.patience, |write| {
            write.changes([key.borrowed()]);
            let head = write.head(key)?;
            if !replace && head.as_ref().is_some_and(|head| statements::is_alive(head.expire_time, now)) {
                return Ok(false);
            }
            let columns = prepared.finish(key)?;
            write.put_over(head.as_ref(), key, columns, put.expire.at(now), &put.tag, put.time(now))?;
            write.adopt(prepared.file());
            self.remove_expired(write, now)?;
            Ok(true)
        })
    }

    /// Whether a value is larger than the whole cache may be, and so would only drive out all others.
    pub(crate) fn refuses(&self, size: u64) -> bool {
        let settings = self.handle.settings();
        let limit = self.total_limit(&settings).filter(|_| settings.policy != Policy::None);
        let Some(size_limit) = limit.filter(|limit| size > *limit) else {
            return false;
        };
        self.handle.warnings.add(Warning::TooLarge {
            directory: self.handle.directory.clone(),
            size,
            size_limit,
        });
        self.handle.evictions.refused.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Changes when an entry expires. Returns whether there is one.
    pub fn touch<'k>(&self, key: impl Into<Key<'k>>, expire: impl Into<Expiry>) -> Result<bool> {
        let (key, expire) = (key.into(), expire.into());
        let now = self.clock.now();
        let touched = self.change_hot(&key, |row| {
            let Some(row) = row.filter(|row| statements::is_alive(row.expire_time, now)) else {
                return Ok(Change::Leave(false));
            };
            let Row { columns, tag, store_time, .. } = row;
            Ok(Change::Set(
                NewRow { columns, tag, store_time, expire_time: expire.at(now), culls: false },
                true,
            ))
        })?;
        if let Some(touched) = touched {
            return Ok(touched);
        }
        self.handle.write(self.patience, |write| {
            write.changes([key.borrowed()]);
            let Some(head) = alive(write.head(&key)?, now) else {
                return Ok(false);
            };
            write.set_expiry(head.rowid, expire.at(now))?;
            Ok(true)
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
        put: &Put,
    ) -> Result<Number> {
        let (key, delta) = (key.into(), delta.into());
        let now = self.clock.now();
        let hot = self.change_hot(&key, |row| self.incremented(&key, row, delta, default, put, now))?;
        if let Some((sum, is_new)) = hot {
            if is_new {
                self.wrote(&key, key.len() as u64)?;
            }
            return Ok(sum);
        }
        let sum = self.handle.write(self.patience, |write| {
            write.changes([key.borrowed()]);
            if let Some(row) = write.row(&key, now)? {
                let sum = number(&row)?.plus(delta)?;
                if matches!(sum, Number::Float(sum) if sum.is_nan()) {
                    // SQLite would make NULL of it.
                    let mut prepared = Prepared::number(&self.handle, sum)?;
                    write.update(&Head::of(&row), prepared.finish(&key)?, row.expire_time, &row.tag, now)?;
                    return Ok((sum, false));
                }
                write.set_number(row.rowid, &sum.scalar(), now)?;
                return Ok((sum, false));
            }
            let sum = default.ok_or(Error::Missing)?.plus(delta)?;
            let mut prepared = Prepared::number(&self.handle, sum)?;
            write.put(&key, prepared.finish(&key)?, put.expire.at(now), &put.tag, put.time(now))?;
            self.remove_expired(write, now)?;
            Ok((sum, true))
        });
        let (sum, is_new) = sum?;
        if is_new {
            self.wrote(&key, key.len() as u64)?;
        }
        Ok(sum)
    }

    fn incremented(
        &self,
        key: &Key<'_>,
        row: Option<Row>,
        delta: Number,
        default: Option<Number>,
        put: &Put,
        now: Timestamp,
    ) -> Result<Change<(Number, bool)>> {
        let row = row.filter(|row| statements::is_alive(row.expire_time, now));
        let is_new = row.is_none();
        let before = row.as_ref().map_or_else(|| default.ok_or(Error::Missing), number)?;
        let sum = before.plus(delta)?;
        let columns = Prepared::number(&self.handle, sum)?.finish(key)?.clone();
        let row = match row {
            Some(row) => NewRow::with(row, columns, now),
            None => NewRow {
                columns,
                expire_time: put.expire.at(now),
                tag: put.tag.clone(),
                store_time: put.time(now),
                culls: true,
            },
        };
        Ok(Change::Set(row, (sum, is_new)))
    }

    /// Removes an entry. Returns whether there was one.
    pub fn delete<'k>(&self, key: impl Into<Key<'k>>) -> Result<bool> {
        let key = key.into();
        let now = self.clock.now();
        let deleted = self.change_hot(&key, |row| {
            let is_there = row.is_some_and(|row| statements::is_alive(row.expire_time, now));
            Ok(if is_there { Change::Delete(true) } else { Change::Leave(false) })
        })?;
        if let Some(deleted) = deleted {
            return Ok(deleted);
        }
        self.handle.write(self.patience, |write| {
            write.changes([key.borrowed()]);
            let Some(head) = alive(write.head(&key)?, now) else {
                return Ok(false);
            };
            write.remove(&head)?;
            Ok(true)
        })
    }

    /// Removes an entry and returns it. `None` if there is none, or if it is damaged.
    pub fn pop<'k>(&self, key: impl Into<Key<'k>>) -> Result<Option<Entry>> {
        self.pop_if(key, |_| true)
    }

    /// `pop`, if `accept` agrees to the value; else the entry stays, with [`Error::Refused`].
    pub fn pop_if<'k>(
        &self,
        key: impl Into<Key<'k>>,
        accept: impl Fn(&Value) -> bool,
    ) -> Result<Option<Entry>> {
        let key = key.into();
        let now = self.clock.now();
        let popped = self.change_hot(&key, |row| {
            let Some(row) = row.filter(|row| statements::is_alive(row.expire_time, now)) else {
                return Ok(Change::Leave(None));
            };
            match self.value_of(&key, &row)? {
                Some(value) if !accept(&value) => Err(Error::Refused),
                value => Ok(Change::Delete(value.map(|value| (row, value)))),
            }
        })?;
        if let Some(popped) = popped {
            return Ok(popped.map(|(row, value)| Entry::of(row, value)));
        }
        let popped = self.handle.write(self.patience, |write| {
            write.changes([key.borrowed()]);
            let Some(row) = write.row(&key, now)? else {
                return Ok(None);
            };
            write.remove(&Head::of(&row))?;
            // Before the commit: afterwards any keeper may unlink the file.
            match self.value_of(&key, &row)? {
                Some(value) if !accept(&value) => Err(Error::Refused),
                value => Ok(value.map(|value| (row, value))),
            }
        })?;
        Ok(popped.map(|(row, value)| Entry::of(row, value)))
    }

    /// Removes an entry and returns its row, after `fetch` has read its value file inside the transaction.
    pub fn pop_row<'k, T>(
        &self,
        key: impl Into<Key<'k>>,
        mut fetch: impl FnMut(&Row) -> Result<T>,
    ) -> Result<Option<(Row, T)>> {
        let key = key.into();
        let now = self.clock.now();
        let popped = self.change_hot(&key, |row| {
            let Some(row) = row.filter(|row| statements::is_alive(row.expire_time, now)) else {
                return Ok(Change::Leave(None));
            };
            let value = fetch(&row)?;
            Ok(Change::Delete(Some((row, value))))
        })?;
        if let Some(popped) = popped {
            return Ok(popped);
        }
        self.handle.write(self.patience, |write| {
            write.changes([key.borrowed()]);
            let Some(row) = write.row(&key, now)? else {
                return Ok(None);
            };
            write.remove(&Head::of(&row))?;
            let value = fetch(&row)?;
            Ok(Some((row, value)))
        })
    }

    /// `remove_expired` for every write: at most `cull_limit` entries.
    pub(crate) fn remove_expired(&self, write: &mut Write<'_>, now: Timestamp) -> Result<()> {
        let limit = self.handle.settings().cull_limit;
        if limit > 0 {
            let removed = write.remove_expired(now, limit)?;
            self.handle.count(Counter::Expirations, removed as u64);
        }
        Ok(())
    }
}

fn alive(head: Option<Head>, now: Timestamp) -> Option<Head> {
    head.filter(|head| statements::is_alive(head.expire_time, now))
}

pub(super) fn number(row: &Row) -> Result<Number> {
    match row.columns.value {
        Scalar::Int(value) if row.columns.mode == mode::RAW => Ok(Number::Int(value)),
        Scalar::Real(value) if row.columns.mode == mode::RAW => Ok(Number::Float(value)),
        _ => Err(Error::NotANumber),
    }
}

impl PartialEq<i64> for Value {
    fn eq(&self, other: &i64) -> bool {
        *self == Self::Int(*other)
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        matches!(self, Self::Text(text) if text == other)
    }
}
