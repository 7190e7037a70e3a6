//! Owns queues: keys that count up or down from the middle of their range, per prefix, as diskcache
//! names them; and looking at the ends of the order of insertion.

pub use crate::sqlite::queue::Side;
use crate::sqlite::queue::{Pick, at, end_key};
use crate::sqlite::{Head, Write};
use crate::system::clock::Timestamp;
use crate::system::error::{Error, Result};
use crate::value::key::{Key, QUEUE_LAST};
use crate::value::put_options::is_alive;
use crate::value::scalar::Scalar;
use crate::value::{Entry, Payload, Row, Value};

use super::Cache;
use super::hot_queue::{Answer, item_key};
use super::prepare::Prepared;
use crate::value::put_options::PutOptions;

/// The number of the first item of an empty queue.
pub(super) const MIDDLE: i64 = 500_000_000_000_000;

impl Cache {
    /// Adds a value at one end of a queue. Returns its key: a number without a prefix, else
    /// `prefix-number`.
    pub fn push<'v>(
        &self,
        value: impl Into<Payload<'v>>,
        prefix: Option<&str>,
        side: Side,
        options: &PutOptions,
    ) -> Result<Key<'static>> {
        self.know_settings()?;
        let mut prepared = Prepared::new(&self.handle, value.into())?;
        let now = self.clock.now();
        if let Some(key) = self.push_hot(&prepared, prefix, side, options, now)? {
            return Ok(key);
        }
        self.handle.write(self.wait, |write| {
            let end = end_key(write.connection(), prefix, side)?;
            let number = end.as_ref().and_then(|end| beside(end, side)).unwrap_or(MIDDLE);
            if number <= 0 || number >= QUEUE_LAST {
                let queue = prefix.map_or(String::new(), |prefix| format!(" '{prefix}'"));
                return Err(Error::Invalid(format!(
                    "the queue{queue} has no number left at its {}; take items off it first",
                    side.name()
                )));
            }
            let key = item_key(prefix, number);
            write.changes([key.borrowed()]);
            write.insert(
                &key,
                prepared.finish(&key)?,
                options.expire.at(now),
                &options.tag,
                options.time(now),
            )?;
            write.adopt(prepared.file());
            self.remove_expired(write, now)?;
            Ok(key)
        })
    }

    /// Takes an item off one end of a queue. Expired and damaged ones are removed and passed over.
    pub fn pull(&self, prefix: Option<&str>, side: Side) -> Result<Option<(Key<'static>, Entry)>> {
        pull_if(self, prefix, side, |_| true)
    }

    /// Looks at one end of a queue. Expired and damaged items are removed and passed over.
    pub fn peek(&self, prefix: Option<&str>, side: Side) -> Result<Option<(Key<'static>, Entry)>> {
        let found = self.take_row(Pick::Queue(prefix, side), false, |key, row| self.value_of(key, row))?;
        Ok(found.map(|(key, row, value)| (key, Entry::of(row, value))))
    }

    /// Looks at the entry that was inserted last, or first. Expired and damaged ones are removed.
    pub fn peek_item(&self, last: bool) -> Result<Option<(Key<'static>, Entry)>> {
        let found = self.take_row(Pick::Order { last }, false, |key, row| self.value_of(key, row))?;
        Ok(found.map(|(key, row, value)| (key, Entry::of(row, value))))
    }

    fn take_row<T>(
        &self,
        place: Pick<'_>,
        remove: bool,
        mut fetch: impl FnMut(&Key<'_>, &Row) -> Result<Option<T>>,
    ) -> Result<Option<(Key<'static>, Row, T)>> {
        let now = self.clock.now();
        let known = match place {
            Pick::Queue(prefix, side) if remove => self.pull_hot(prefix, side, now, &mut fetch)?,
            Pick::Queue(prefix, side) => self.peek_hot(prefix, side, now, &mut fetch)?,
            Pick::Order { .. } => Answer::Unknown,
        };
        match known {
            Answer::Item(item) => return Ok(Some(item)),
            Answer::Empty => return Ok(None),
            Answer::Unknown => {}
        }
        if !remove {
            // Looking writes only if there is something to remove.
            let seen = self.handle.read(self.wait, |connection| Ok(at(connection, place)?))?;
            let Some((key, row)) = seen else {
                return Ok(None);
            };
            if let Some(key) = key
                && is_alive(row.expire_time, now)
                && let Some(value) = fetch(&key, &row)?
            {
                return Ok(Some((key, row, value)));
            }
        }
        self.handle.write(self.wait, |write| take(write, place, remove, now, &mut fetch))
    }

    /// The value of a row that a transaction holds: `None` if its file is gone or damaged.
    pub(crate) fn value_of(&self, key: &Key<'_>, row: &Row) -> Result<Option<Value>> {
        Ok(self.fetch(key, &mut row.clone())?.there())
    }
}

/// [`Cache::pull`], if `accept` agrees to the value; else the item stays, with [`Error::Refused`].
pub fn pull_if(
    cache: &Cache,
    prefix: Option<&str>,
    side: Side,
    accept: impl Fn(&Value) -> bool,
) -> Result<Option<(Key<'static>, Entry)>> {
    let fetch = |key: &Key<'_>, row: &Row| match cache.value_of(key, row)? {
        Some(value) if !accept(&value) => Err(Error::Refused),
        value => Ok(value),
    };
    let found = cache.take_row(Pick::Queue(prefix, side), true, fetch)?;
    Ok(found.map(|(key, row, value)| (key, Entry::of(row, value))))
}

/// [`Cache::peek`] for callers that decode values themselves: `fetch` returns `None` where the
/// value file is gone or damaged.
pub fn queue_row<T>(
    cache: &Cache,
    prefix: Option<&str>,
    side: Side,
    fetch: impl FnMut(&Key<'_>, &Row) -> Result<Option<T>>,
) -> Result<Option<(Key<'static>, Row, T)>> {
    cache.take_row(Pick::Queue(prefix, side), false, fetch)
}

/// [`Cache::peek_item`] for callers that decode values themselves.
pub fn peek_row<T>(
    cache: &Cache,
    last: bool,
    fetch: impl FnMut(&Key<'_>, &Row) -> Result<Option<T>>,
) -> Result<Option<(Key<'static>, Row, T)>> {
    cache.take_row(Pick::Order { last }, false, fetch)
}

fn take<T>(
    write: &mut Write<'_>,
    place: Pick<'_>,
    remove: bool,
    now: Timestamp,
    fetch: &mut impl FnMut(&Key<'_>, &Row) -> Result<Option<T>>,
) -> Result<Option<(Key<'static>, Row, T)>> {
    loop {
        let Some((key, row)) = at(write.connection(), place)? else {
            return Ok(None);
        };
        let found = match key.filter(|_| is_alive(row.expire_time, now)) {
            Some(key) => fetch(&key, &row)?.map(|value| (key, value)),
            None => None,
        };
        if remove || found.is_none() {
            write.remove_and_name(&Head::of(&row))?;
        }
        if let Some((key, value)) = found {
            return Ok(Some((key, row, value)));
        }
    }
}

/// The number of the place beside the last item of a queue.
fn beside(end: &Scalar, side: Side) -> Option<i64> {
    let step = if side == Side::Back { 1 } else { -1 };
    match end {
        Scalar::Int(number) => Some(number + step),
        #[expect(clippy::cast_possible_truncation, reason = "the keys of a queue are below 1e15")]
        Scalar::Real(number) if side == Side::Back => Some(number.floor() as i64 + step),
        #[expect(clippy::cast_possible_truncation, reason = "the same")]
        Scalar::Real(number) => Some(number.ceil() as i64 + step),
        Scalar::Text(text) => Some(text.rsplit('-').next()?.parse::<i64>().ok()?.saturating_add(step)),
        _ => None,
    }
}
