//! Changing a key only if it is as the caller has seen it, and naming the process that did so: what locks are made of.

use super::Cache;
use super::change::{Change, NewRow};
use super::prepare::Prepared;
use super::write::with_value;
use crate::store::housekeeper;
use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::value::key::Key;
use crate::value::put_options::PutOptions;
use crate::value::{Columns, Payload};

/// What a key must have for [`swap`] to change it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Expected<'v> {
    /// Anything or nothing.
    Anything,
    /// No value.
    Nothing,
    /// Exactly this value.
    Value(Payload<'v>),
    /// A value that expires at that very time.
    Expiring(Timestamp),
}

/// The same, ready to be compared.
enum Basis {
    Anything,
    Columns(Option<Columns>),
    Expiring(Timestamp),
}

/// Puts `new` in the place of what a key has, if that is `old`; without `new`, deletes the entry. Returns whether it did,
/// and when the new entry expires.
///
/// `takes` says that the caller takes a lock. Returns `None` if another program uses the directory, see
/// [`is_shared`]: it sees nothing that waits in the hot tier, so the caller must do the same in a transaction. A caller
/// that takes asks the database for that, and a caller that gives back remembers what this or another process was told.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::host::{Expected, swap};
/// use dolium::{Cache, PutOptions};
///
/// let cache = Cache::open(dir.path())?;
/// let (key, none) = ("places".into(), PutOptions::new());
/// assert_eq!(swap(&cache, &key, Expected::Nothing, Some(2.into()), &none, true)?, Some((true, None)));
/// assert_eq!(swap(&cache, &key, Expected::Value(3.into()), Some(1.into()), &none, true)?, Some((false, None)));
/// assert_eq!(swap(&cache, &key, Expected::Value(2.into()), Some(1.into()), &none, true)?, Some((true, None)));
/// assert_eq!(cache.get("places")?, Some(1.into()));
/// assert_eq!(swap(&cache, &key, Expected::Anything, None, &none, false)?, Some((true, None)));
/// assert_eq!(cache.get("places")?, None);
/// # Ok::<(), dolium::Error>(())
/// ```
pub fn swap(
    cache: &Cache,
    key: &Key<'_>,
    old: Expected<'_>,
    new: Option<Payload<'_>>,
    options: &PutOptions,
    takes: bool,
) -> Result<Option<(bool, Option<Timestamp>)>> {
    if cache.in_transaction() || cache.handle.tier.is_shared() {
        return Ok(None);
    }
    cache.know_settings()?;
    let basis = match old {
        Expected::Anything => Basis::Anything,
        Expected::Nothing => Basis::Columns(None),
        Expected::Value(value) => {
            Basis::Columns(Some(Prepared::new(&cache.handle, value)?.finish(key)?.clone()))
        }
        Expected::Expiring(at) => Basis::Expiring(at),
    };
    let mut new = new.map(|value| Prepared::new(&cache.handle, value)).transpose()?;
    let now = cache.clock.now();
    let swapped = cache.change(key, now, |row| {
        let found = with_value(row, now);
        let is_expected = match &basis {
            Basis::Anything => true,
            Basis::Columns(columns) => found.as_ref().map(|row| &row.columns) == columns.as_ref(),
            Basis::Expiring(at) => found.as_ref().is_some_and(|row| row.expire_time == Some(*at)),
        };
        // After the look at the row and as late as can be: a program that comes later finds the lock in the database, unless
        // it opens the directory and asks for the lock before the housekeeper has looked and drained.
        let needs_transaction = takes && is_expected && is_shared(cache)?;
        Ok(match &mut new {
            _ if needs_transaction => Change::Leave(None),
            _ if !is_expected => Change::Leave(Some(false)),
            Some(new) => Change::Put(NewRow::of(new, key, options, now)?, Some(true)),
            None if found.is_some() => Change::Delete(Some(true)),
            None => Change::Leave(Some(true)),
        })
    })?;
    if swapped == Some(true) {
        housekeeper::look_often(&cache.handle);
    }
    Ok(swapped.map(|swapped| (swapped, options.expire.at(now))))
}

/// Whether another program uses the directory, so that locks and items go to the database at once.
///
/// It does for a day after it was seen to open the directory or to change entries, and as long as the processes share a hot
/// tier that has seen it. The answer holds for what was committed before the call. Costs one load if the answer is yes, and
/// else a question to the database. Without a hot tier nothing waits, and the answer is no.
pub fn is_shared(cache: &Cache) -> Result<bool> {
    let Some(tier) = cache.tier_to_change()? else { return Ok(false) };
    cache.handle.has_foreign(&tier, cache.wait)
}

/// A number for this process that no other process has or had. It lives until the process ends: see [`is_alive_owner`].
/// A forked child is another process.
pub fn owner(cache: &Cache) -> Result<u64> {
    cache.handle.owner()
}

/// Whether the process with that [`owner`] number lives. A process that is stopped does.
pub fn is_alive_owner(cache: &Cache, number: u64) -> Result<bool> {
    cache.handle.is_alive_owner(number)
}
