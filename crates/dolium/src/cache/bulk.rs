//! Owns operations on many keys: one transaction and, for Python, one crossing each.

use dolium_hot::Kind;

use crate::sqlite::read;
use crate::sqlite::tier::CULLS;
use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::value::key::Key;
use crate::value::put_options::PutOptions;
use crate::value::{Payload, Value};

use super::Cache;
use super::change::{Change, NewRow};
use super::prepare::Prepared;
use super::record;
use super::write::{alive, with_value};

/// The position, key and value of an item.
type PreparedItem<'k> = (usize, Key<'k>, Prepared);

impl Cache {
    /// The values of many keys, in their order, all of one moment. Each is as `get` would give it.
    pub fn get_many(&self, keys: &[Key<'_>]) -> Result<Vec<Option<Value>>> {
        let now = self.clock.now();
        let rows = if let Some(rows) = self.look_up_many(keys, now)? {
            rows
        } else {
            let rows = self.handle.read(self.wait, |connection| read::find_many(connection, keys, now))?;
            self.count_alone(keys.len(), rows.iter().flatten().count());
            rows
        };
        let found = keys.iter().zip(rows.into_iter().chain(std::iter::repeat_with(|| None)));
        found.map(|(key, row)| self.value_of_row(key, row, now)).collect()
    }

    /// Stores many values, all or none of them. Returns how many were stored: all but those refused for
    /// being larger than the whole cache may be.
    pub fn set_many<'k, 'v>(
        &self,
        items: impl IntoIterator<Item = (impl Into<Key<'k>>, impl Into<Payload<'v>>)>,
        options: &PutOptions,
    ) -> Result<usize> {
        self.store_many(items, options, true).map(|stored| stored.len())
    }

    /// Stores those of many values whose keys have none, all or none of them. Returns the positions of
    /// those that were stored.
    pub fn add_many<'k, 'v>(
        &self,
        items: impl IntoIterator<Item = (impl Into<Key<'k>>, impl Into<Payload<'v>>)>,
        options: &PutOptions,
    ) -> Result<Vec<usize>> {
        self.store_many(items, options, false)
    }

    fn store_many<'k, 'v>(
        &self,
        items: impl IntoIterator<Item = (impl Into<Key<'k>>, impl Into<Payload<'v>>)>,
        options: &PutOptions,
        replace: bool,
    ) -> Result<Vec<usize>> {
        self.know_settings()?;
        let mut prepared: Vec<PreparedItem<'_>> = Vec::new();
        for (position, (key, payload)) in items.into_iter().enumerate() {
            let (key, mut value) = (key.into(), Prepared::new(&self.handle, payload.into())?);
            // A signature is the last of a file: as long as it is missing, the file is open.
            value.finish(&key)?;
            if !self.refuses(value.size()) {
                prepared.push((position, key, value));
            }
        }
        let now = self.clock.now();
        if replace {
            self.put_many(&mut prepared, options, now)?;
            return Ok(prepared.iter().map(|(position, ..)| *position).collect());
        }
        self.put_new(&mut prepared, options, now)
    }

    /// Stores rows whatever was there, in the hot tier if they fit there together.
    fn put_many(
        &self,
        prepared: &mut [PreparedItem<'_>],
        options: &PutOptions,
        now: Timestamp,
    ) -> Result<()> {
        let (expire, time) = (options.expire.at(now), options.time(now));
        let pending_record = prepared.iter_mut().map(|(_, key, value)| {
            Ok(record::pending_record(Kind::Set, key, value.finish(key)?, expire, &options.tag, time, CULLS))
        });
        let mut records = pending_record.collect::<Result<Vec<_>>>()?;
        if !records.is_empty() && self.set_hot(&mut records)?.is_some() {
            for (_, _, value) in prepared.iter() {
                if let Some(file) = value.file() {
                    self.handle.keep_file(&file, self.wait)?;
                }
            }
            return Ok(());
        }
        self.handle.write(self.wait, |write| {
            write.changes(prepared.iter().map(|(_, key, _)| key.borrowed()));
            for (_, key, value) in prepared.iter_mut() {
                let head = write.head(key)?;
                write.put_over(head.as_ref(), key, value.finish(key)?, expire, &options.tag, time)?;
                write.adopt(value.file());
            }
            self.remove_expired(write, now)
        })
    }

    /// Stores those whose keys have no entry. Returns their positions.
    fn put_new(
        &self,
        prepared: &mut [PreparedItem<'_>],
        options: &PutOptions,
        now: Timestamp,
    ) -> Result<Vec<usize>> {
        let keys: Vec<_> = prepared.iter().map(|(_, key, _)| key.clone()).collect();
        let stored = self.change_many(&keys, now, |at, row| {
            if with_value(row, now).is_some() {
                return Ok(Change::Leave(()));
            }
            let (_, key, value) = &mut prepared[at];
            Ok(Change::Put(NewRow::of(value, key, options, now)?, ()))
        })?;
        Ok(stored.into_iter().map(|at| prepared[at].0).collect())
    }

    /// Removes many entries, all or none of them. Returns how many there were.
    pub fn delete_many(&self, keys: &[Key<'_>]) -> Result<usize> {
        let now = self.clock.now();
        let mut lived = vec![false; keys.len()];
        self.change_many(keys, now, |at, row| {
            let is_there = row.is_some();
            lived[at] = alive(row, now).is_some();
            Ok(if is_there { Change::Delete(()) } else { Change::Leave(()) })
        })?;
        Ok(lived.into_iter().filter(|lived| *lived).count())
    }
}
