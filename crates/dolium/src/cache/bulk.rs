//! Owns operations on many keys: one transaction and, for Python, one crossing each.

use dolium_hot::{Counter, Kind};

use crate::sqlite::Connection;
use crate::sqlite::statements::{self, is_alive};
use crate::sqlite::tier::CULLS;
use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::value::key::Key;
use crate::value::{Payload, Row, Value};

use super::hot::{self, Change, NewRow};
use super::prepare::Prepared;
use super::{Cache, Put};

impl Cache {
    /// The values of many keys, in their order, all of one moment. Each is as `get` would give it.
    pub fn get_many(&self, keys: &[Key<'_>]) -> Result<Vec<Option<Value>>> {
        let now = self.clock.now();
        let rows = match self.look_up_many(keys, now)? {
            Some(rows) => rows,
            None => self.handle.read(self.patience, |connection| find_many(connection, keys, now))?,
        };
        let found = keys.iter().zip(rows.into_iter().chain(std::iter::repeat_with(|| None)));
        found.map(|(key, row)| self.value_of_row(key, row, now)).collect()
    }

    /// Stores many values, all or none of them. Returns how many were stored: all but those refused for
    /// being larger than the whole cache may be.
    pub fn set_many<'k, 'v>(
        &self,
        items: impl IntoIterator<Item = (impl Into<Key<'k>>, impl Into<Payload<'v>>)>,
        put: &Put,
    ) -> Result<usize> {
        self.store_many(items, put, true).map(|stored| stored.len())
    }

    /// Stores those of many values whose keys have none, all or none of them. Returns the positions of
    /// those that were stored.
    pub fn add_many<'k, 'v>(
        &self,
        items: impl IntoIterator<Item = (impl Into<Key<'k>>, impl Into<Payload<'v>>)>,
        put: &Put,
    ) -> Result<Vec<usize>> {
        self.store_many(items, put, false)
    }

    fn store_many<'k, 'v>(
        &self,
        items: impl IntoIterator<Item = (impl Into<Key<'k>>, impl Into<Payload<'v>>)>,
        put: &Put,
        replace: bool,
    ) -> Result<Vec<usize>> {
        self.know_settings()?;
        let mut prepared = Vec::new();
        let mut bytes = 0;
        for (position, (key, payload)) in items.into_iter().enumerate() {
            let (key, mut value) = (key.into(), Prepared::new(&self.handle, payload.into())?);
            // A signature is the last of a file: as long as it is missing, the file is open.
            value.finish(&key)?;
            if !self.refuses(value.size()) {
                bytes += key.len() as u64 + value.size();
                prepared.push((position, key, value));
            }
        }
        let now = self.clock.now();
        let (expire, time) = (put.expire.at(now), put.time(now));
        if replace && !prepared.is_empty() && self.store_many_hot(&mut prepared, put, now)? {
            if let Some((_, key, _)) = prepared.last() {
                self.wrote(key, bytes)?;
            }
            return Ok(prepared.into_iter().map(|(position, ..)| position).collect());
        }
        if !replace && let Some(added) = self.add_many_hot(&mut prepared, put, now)? {
            if let Some((_, key, _)) = prepared.last() {
                self.wrote(key, bytes)?;
            }
            return Ok(added);
        }
        let stored = self.handle.write(self.patience, |write| {
            write.changes(prepared.iter().map(|(_, key, _)| key.borrowed()));
            let mut stored = Vec::with_capacity(prepared.len());
            for (position, key, value) in &mut prepared {
                let head = write.head(key)?;
                if !replace && head.as_ref().is_some_and(|head| is_alive(head.expire_time, now)) {
                    continue;
                }
                let columns = value.finish(key)?;
                match head {
                    Some(head) => write.update(&head, columns, expire, &put.tag, time)?,
                    None => write.insert(key, columns, expire, &put.tag, time)?,
                }
                write.adopt(value.file());
                stored.push(*position);
            }
            self.remove_expired(write, now)?;
            Ok(stored)
        })?;
        if let Some((_, key, _)) = prepared.last() {
            self.wrote(key, bytes)?;
        }
        Ok(stored)
    }

    /// Stores all in the hot tier, if they fit there together.
    fn store_many_hot(
        &self,
        prepared: &mut [(usize, Key<'_>, Prepared)],
        put: &Put,
        now: Timestamp,
    ) -> Result<bool> {
        let expire_time = put.expire.at(now);
        let staged = prepared.iter_mut().map(|(_, key, value)| {
            Ok(hot::staged(Kind::Set, key, value.finish(key)?, expire_time, &put.tag, put.time(now), CULLS))
        });
        let mut records = staged.collect::<Result<Vec<_>>>()?;
        let stored = self.set_hot(&mut records)?.is_some();
        if stored {
            for (_, _, value) in prepared.iter() {
                self.left_to_tier(value);
            }
        }
        Ok(stored)
    }

    /// Stores those whose keys have no entry in the hot tier. Returns their positions.
    fn add_many_hot(
        &self,
        prepared: &mut [(usize, Key<'_>, Prepared)],
        put: &Put,
        now: Timestamp,
    ) -> Result<Option<Vec<usize>>> {
        let keys: Vec<_> = prepared.iter().map(|(_, key, _)| key.clone()).collect();
        let added = self.change_many_hot(&keys, Counter::Sets, |at, row| {
            if row.is_some_and(|row| is_alive(row.expire_time, now)) {
                return Ok(Change::Leave(()));
            }
            let (_, key, value) = &mut prepared[at];
            Ok(Change::Set(NewRow::of(value.finish(key)?.clone(), put, now), ()))
        })?;
        let Some(added) = added else { return Ok(None) };
        let added = added.into_iter().map(|at| {
            let (position, _, value) = &prepared[at];
            self.left_to_tier(value);
            *position
        });
        Ok(Some(added.collect()))
    }

    /// Removes many entries, all or none of them. Returns how many there were.
    pub fn delete_many(&self, keys: &[Key<'_>]) -> Result<usize> {
        let now = self.clock.now();
        let mut lives = vec![false; keys.len()];
        let removed = self.change_many_hot(keys, Counter::Deletes, |at, row| {
            lives[at] = row.as_ref().is_some_and(|row| is_alive(row.expire_time, now));
            Ok(if row.is_some() { Change::Delete(()) } else { Change::Leave(()) })
        })?;
        if removed.is_some() {
            return Ok(lives.into_iter().filter(|lives| *lives).count());
        }
        self.handle.write(self.patience, |write| {
            write.changes(keys.iter().map(Key::borrowed));
            let mut count = 0;
            for key in keys {
                if let Some(head) = write.head(key)? {
                    count += usize::from(is_alive(head.expire_time, now));
                    write.remove(&head)?;
                }
            }
            Ok(count)
        })
    }
}

/// The rows of many keys, all of one moment; expired ones are not there.
pub(super) fn find_many<'k>(
    connection: &Connection,
    keys: impl IntoIterator<Item = &'k Key<'k>>,
    now: Timestamp,
) -> Result<Vec<Option<Row>>> {
    // Inside a transaction of the thread's own it is one moment anyway.
    let begins = connection.is_autocommit();
    if begins {
        connection.execute_batch("BEGIN")?;
    }
    let rows = keys.into_iter().map(|key| statements::find(connection, key, now));
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>();
    connection.count_reads(rows.as_ref().map_or(0, Vec::len));
    if begins {
        connection.execute_batch("COMMIT")?;
    }
    Ok(rows?)
}
