//! Owns the statements that change rows, inside a transaction that the caller has begun. Triggers do not run here:
//! `Write` itself keeps `count`, `size` and the trash.

use std::cell::{RefCell, RefMut};
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::system::value_files::NewFile;
use crate::value::key::Key;
use crate::value::scalar::{Scalar, Stored};
use crate::value::{Columns, Row, UNFILED, mode};

use super::columns::{SIZES, filename, int, real};
use super::disguise;
use super::filed::LongValues;
use super::read;

/// What a change must know of the row that it replaces.
#[derive(Debug)]
pub(crate) struct Head {
    pub rowid: i64,
    pub expire_time: Option<Timestamp>,
    pub size: i64,
    pub filename: Option<String>,
}

impl Head {
    pub fn of(row: &Row) -> Self {
        Self {
            rowid: row.rowid,
            expire_time: row.expire_time,
            size: row.columns.size,
            filename: row.columns.filename.clone(),
        }
    }
}

/// What a commit brings about beside the database.
pub(crate) struct Finished {
    /// New value files, which stay from then on.
    pub files: Vec<Arc<NewFile>>,
    /// Whether the trash has grown.
    pub has_trash: bool,
}

/// A transaction in progress, or one operation inside a longer one.
pub(crate) struct Write<'c> {
    connection: &'c Connection,
    pub(super) long_values: Option<LongValues>,
    pub(super) rows: Rows<'c>,
    count: i64,
    size: i64,
    pub(super) has_trash: bool,
    /// Value files that rows of this transaction name: removed again unless it commits.
    pub(super) files: Vec<Arc<NewFile>>,
    /// Keys whose rows are changed.
    named: Vec<Key<'static>>,
    /// The transaction changes rows whose keys it does not name.
    is_anonymous: bool,
    /// The caller vouches that all keys are named.
    is_vouched: bool,
    /// Whether proofs of keys lie beside the rows, once that was asked.
    has_proofs: Option<bool>,
}

/// What a transaction remembers from row to row: statements, since taking them from the cache each time would cost a
/// tenth.
#[derive(Default)]
pub(super) struct Rows<'c> {
    /// The key that was looked for last had no row. New keys come in runs, and are inserted without looking.
    pub are_new: bool,
    /// A key was added that is no integer.
    pub has_other_keys: bool,
    head: Once<'c>,
    insert: Once<'c>,
    update: Once<'c>,
    update_plain: Once<'c>,
    delete: Once<'c>,
}

#[derive(Default)]
struct Once<'c>(RefCell<Option<CachedStatement<'c>>>);

impl<'c> Once<'c> {
    fn get(
        &self,
        connection: &'c Connection,
        sql: &str,
    ) -> rusqlite::Result<RefMut<'_, CachedStatement<'c>>> {
        let mut kept = self.0.borrow_mut();
        if kept.is_none() {
            *kept = Some(connection.prepare_cached(sql)?);
        }
        Ok(RefMut::map(kept, |kept| kept.as_mut().expect("it has just been put there")))
    }
}

impl<'c> Write<'c> {
    pub fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            long_values: None,
            rows: Rows::default(),
            count: 0,
            size: 0,
            has_trash: false,
            files: Vec::new(),
            named: Vec::new(),
            is_anonymous: false,
            is_vouched: false,
            has_proofs: None,
        }
    }

    /// Names keys whose rows the transaction changes, beside those that it names itself. Without this call, a change of
    /// unnamed rows turns all that is hot cold.
    pub fn changes<'k>(&mut self, keys: impl IntoIterator<Item = Key<'k>>) {
        self.named.extend(keys.into_iter().map(Key::into_owned));
        self.is_vouched = true;
    }

    /// Whether the caller has named what it changes, as all that store entries do.
    pub fn is_vouched(&self) -> bool {
        self.is_vouched
    }

    /// Any row may be changed.
    pub fn changes_any(&mut self) {
        self.is_anonymous = true;
    }

    /// Takes the keys whose rows are changed, or `None` if any row may be.
    pub fn take_changed(&mut self) -> Option<Vec<Key<'static>>> {
        let named = std::mem::take(&mut self.named);
        (self.is_vouched || !self.is_anonymous).then_some(named)
    }

    /// Takes over what a longer transaction has changed.
    pub fn restore_changed(&mut self, changed: Option<Vec<Key<'static>>>) {
        self.is_anonymous |= changed.is_none();
        self.named.extend(changed.into_iter().flatten());
    }

    /// Makes the hot tier forget what becomes wrong, and stores the announced sequence number, before a direct commit.
    pub fn publish(&mut self, writing: &mut dolium_hot::Writing) -> Result<()> {
        let changed = self.take_changed();
        let adds = changed.as_ref().is_none_or(|keys| !keys.is_empty());
        super::forget::forget(writing, changed);
        self.set_applied(writing.epoch(), writing.next_seq(adds))
    }

    pub fn connection(&self) -> &'c Connection {
        self.connection
    }

    /// The row of a key, expired or not.
    pub fn head(&self, key: &Key<'_>) -> Result<Option<Head>> {
        const SELECT: &str =
            "SELECT rowid, expire_time, size, filename FROM Cache WHERE key = ?1 AND raw = ?2";
        let mut select = self.rows.head.get(self.connection, SELECT)?;
        let found = select.query_row((key, key.raw()), |row| {
            Ok(Head {
                rowid: row.get(0)?,
                expire_time: real(row, 1)?,
                size: int(row, 2)?,
                filename: filename(row, 3)?,
            })
        });
        Ok(found.optional()?)
    }

    /// The row of a key, unless it has expired.
    pub fn row(&self, key: &Key<'_>, now: Timestamp) -> Result<Option<Row>> {
        Ok(read::find(self.connection, key, now)?)
    }

    /// Adds a row at the end of the order of insertion, for a key that has none.
    pub fn insert(
        &mut self,
        key: &Key<'_>,
        columns: &Columns,
        expire: Option<Timestamp>,
        tag: &Scalar,
        now: Timestamp,
    ) -> Result<()> {
        if self.insert_unless_there(key, columns, expire, tag, now)? {
            Ok(())
        } else {
            Err(rusqlite::Error::StatementChangedRows(0).into())
        }
    }

    /// The same, unless the key has one. Returns whether it was added.
    pub fn insert_unless_there(
        &mut self,
        key: &Key<'_>,
        columns: &Columns,
        expire: Option<Timestamp>,
        tag: &Scalar,
        now: Timestamp,
    ) -> Result<bool> {
        const INSERT: &str =
            "INSERT INTO Cache (key, raw, store_time, expire_time, access_time, access_count,
            tag, size, mode, filename, value)
            VALUES (?1, ?2, ?3, ?4, ?3, (?3 = 253402300799) << 62, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";
        let columns = &*self.filed(columns)?;
        let (mode, filename) = disguise::worn(columns);
        let added = self.rows.insert.get(self.connection, INSERT)?.execute(params![
            key,
            key.raw(),
            now,
            expire,
            tag,
            columns.size,
            mode,
            filename,
            columns.value,
        ])?;
        if added > 0 {
            self.count += 1;
            self.is_anonymous = true;
            self.grow(columns.size);
            self.added_key(key)?;
        }
        Ok(added > 0)
    }

    /// Gives a row a new value. It keeps its place in the order of insertion.
    pub fn update(
        &mut self,
        head: &Head,
        columns: &Columns,
        expire: Option<Timestamp>,
        tag: &Scalar,
        now: Timestamp,
    ) -> Result<()> {
        // A column that is named is written to its index even if it stays the same: a page more to log.
        const SAME_EXPIRY: &str = "UPDATE Cache SET store_time = ?2, access_time = ?2,
            access_count = (?2 = 253402300799) << 62, tag = ?3, size = ?4, mode = ?5, filename = ?6, value = ?7 WHERE rowid = ?1";
        const NEW_EXPIRY: &str = "UPDATE Cache SET store_time = ?2, access_time = ?2,
            access_count = (?2 = 253402300799) << 62, tag = ?3, size = ?4, mode = ?5, filename = ?6, value = ?7,
            expire_time = ?8 WHERE rowid = ?1";
        self.is_anonymous = true;
        let columns = &*self.filed(columns)?;
        let Columns { size, value, .. } = columns;
        let (mode, filename) = disguise::worn(columns);
        if expire == head.expire_time {
            let mut update = self.rows.update.get(self.connection, SAME_EXPIRY)?;
            update.execute(params![head.rowid, now, tag, size, mode, filename, value])?;
        } else {
            let mut update = self.connection.prepare_cached(NEW_EXPIRY)?;
            update.execute(params![head.rowid, now, tag, size, mode, filename, value, expire])?;
        }
        self.grow(columns.size.saturating_sub(head.size));
        self.trash(head.filename.as_deref())
    }

    /// Gives the row of a key a new value, if neither the old nor the new one expires or lies in a file: then nothing of
    /// the old row need be known. Returns whether there was such a row.
    pub fn update_plain(
        &mut self,
        key: &Key<'_>,
        columns: &Columns,
        tag: &Scalar,
        now: Timestamp,
    ) -> Result<bool> {
        const UPDATE: &str = "UPDATE Cache SET store_time = ?3, access_time = ?3,
            access_count = (?3 = 253402300799) << 62, tag = ?4, mode = ?5, value = ?6
            WHERE key = ?1 AND raw = ?2 AND expire_time IS NULL AND filename IS NULL AND size = 0";
        if columns.mode == mode::FRAME || columns.size == UNFILED {
            // Its row has to name a file.
            return Ok(false);
        }
        let mut update = self.rows.update_plain.get(self.connection, UPDATE)?;
        let updated = update.execute(params![key, key.raw(), now, tag, columns.mode, columns.value])?;
        self.is_anonymous |= updated > 0;
        Ok(updated > 0)
    }

    /// Inserts or updates.
    pub fn put(
        &mut self,
        key: &Key<'_>,
        columns: &Columns,
        expire: Option<Timestamp>,
        tag: &Scalar,
        now: Timestamp,
    ) -> Result<()> {
        let head = self.head(key)?;
        self.put_over(head.as_ref(), key, columns, expire, tag, now)
    }

    /// The same, where the row that is there has been read. What proves the key is kept beside it.
    pub fn put_over(
        &mut self,
        head: Option<&Head>,
        key: &Key<'_>,
        columns: &Columns,
        expire: Option<Timestamp>,
        tag: &Scalar,
        now: Timestamp,
    ) -> Result<()> {
        match head {
            Some(head) => self.update(head, columns, expire, tag, now)?,
            None => self.insert(key, columns, expire, tag, now)?,
        }
        key.proof().map_or(Ok(()), |proof| self.prove(key, &proof))
    }

    /// Changes when a row expires.
    pub fn set_expiry(&mut self, rowid: i64, expire: Option<Timestamp>) -> Result<()> {
        self.is_anonymous = true;
        let mut update =
            self.connection.prepare_cached("UPDATE Cache SET expire_time = ?2 WHERE rowid = ?1")?;
        update.execute(params![rowid, expire])?;
        Ok(())
    }

    /// Corrects the length of a row's value file.
    pub fn set_size(&mut self, head: &Head, size: i64) -> Result<()> {
        self.is_anonymous = true;
        let mut update = self.connection.prepare_cached("UPDATE Cache SET size = ?2 WHERE rowid = ?1")?;
        update.execute(params![head.rowid, size])?;
        self.grow(size.saturating_sub(head.size));
        Ok(())
    }

    /// Whatever number a spoilt row holds, adding it must not end the process.
    fn grow(&mut self, size: i64) {
        self.size = self.size.saturating_add(size);
    }

    /// What this transaction will add to a counter when it finishes.
    pub fn delta(&self, name: &str) -> i64 {
        match name {
            "count" => self.count,
            "size" => self.size,
            _ => 0,
        }
    }

    /// Changes a number in place: everything else in the row but its times stays.
    pub fn set_number(&mut self, rowid: i64, value: &Scalar, now: Timestamp) -> Result<()> {
        const UPDATE: &str = "UPDATE Cache SET store_time = ?2, access_time = ?2,
            access_count = access_count + 1, value = ?3 WHERE rowid = ?1";
        self.is_anonymous = true;
        self.connection.prepare_cached(UPDATE)?.execute(params![rowid, now, value])?;
        Ok(())
    }

    /// Removes a row.
    pub fn remove(&mut self, head: &Head) -> Result<()> {
        self.is_anonymous = true;
        self.remove_named(head, None)
    }

    /// Removes a row with this key, unless that cannot be read.
    pub fn remove_named(&mut self, head: &Head, key: Option<Key<'static>>) -> Result<()> {
        const DELETE: &str = "DELETE FROM Cache WHERE rowid = ?1";
        self.rows.delete.get(self.connection, DELETE)?.execute([head.rowid])?;
        self.named.extend(key);
        self.removed(head)
    }

    /// Keeps what proves a key beside its row.
    pub fn prove(&mut self, key: &Key<'_>, proof: &[u8]) -> Result<()> {
        const UPSERT: &str =
            "INSERT INTO DoliumKeys (rowid, proof) SELECT rowid, ?2 FROM Cache WHERE key = ?1 AND raw = 0
            ON CONFLICT (rowid) DO UPDATE SET proof = excluded.proof WHERE proof IS NOT excluded.proof";
        self.connection.prepare_cached(UPSERT)?.execute(params![key, proof])?;
        self.has_proofs = Some(true);
        Ok(())
    }

    /// A proof goes with its row. Where there are none, that costs one look for a transaction.
    fn remove_proof(&mut self, rowid: i64) -> Result<()> {
        let has_proofs = match self.has_proofs {
            Some(known) => known,
            None => self
                .connection
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM DoliumKeys)")?
                .query_row([], |row| row.get(0))?,
        };
        self.has_proofs = Some(has_proofs);
        if has_proofs {
            self.connection.prepare_cached("DELETE FROM DoliumKeys WHERE rowid = ?1")?.execute([rowid])?;
        }
        Ok(())
    }

    fn removed(&mut self, head: &Head) -> Result<()> {
        self.remove_proof(head.rowid)?;
        self.count -= 1;
        self.grow(head.size.saturating_neg());
        self.trash(head.filename.as_deref())
    }

    /// Removes a row whose key the caller does not know, and says which it was.
    pub fn remove_and_name(&mut self, head: &Head) -> Result<()> {
        const DELETE: &str = "DELETE FROM Cache WHERE rowid = ?1 RETURNING key, raw";
        let mut delete = self.connection.prepare_cached(DELETE)?;
        let key =
            delete.query_row([head.rowid], |row| Ok((row.get::<_, Stored>(0)?, row.get::<_, Scalar>(1)?)));
        let Some((key, raw)) = key.optional()? else { return Ok(()) };
        drop(delete);
        self.named.extend(Key::from_columns(key, &raw));
        self.removed(head)
    }

    /// Removes every row. Without triggers SQLite drops whole pages instead of walking the rows.
    pub fn remove_all(&mut self) -> Result<usize> {
        self.is_anonymous = true;
        let sums = format!("SELECT count(*), {SIZES}, count(filename) FROM Cache");
        let (count, size, files): (i64, i64, i64) =
            self.connection.query_row(&sums, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        if files > 0 {
            self.connection.execute_batch(concat!(
                "INSERT INTO DoliumTrash (filename) SELECT ",
                disguise::file_of_sql!("filename"),
                " FROM Cache WHERE typeof(filename) = 'text' AND filename != '.dolium'",
            ))?;
            self.has_trash = true;
        }
        self.connection.execute_batch("DELETE FROM Cache; DELETE FROM DoliumKeys")?;
        self.count -= count;
        self.grow(size.saturating_neg());
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Credits a row with reads that happened before.
    pub fn record_reads(&mut self, rowid: i64, time: Timestamp, count: i64) -> Result<()> {
        const UPDATE: &str = "UPDATE Cache SET access_time = max(access_time, ?2),
            access_count = access_count + ?3 WHERE rowid = ?1";
        self.connection.prepare_cached(UPDATE)?.execute(params![rowid, time, count])?;
        Ok(())
    }

    /// Credits the row of a key in the same way, if there is one.
    pub fn record_reads_of(&mut self, key: &Key<'_>, time: Timestamp, count: i64) -> Result<()> {
        const UPDATE: &str = "UPDATE Cache SET access_time = max(access_time, ?3),
            access_count = access_count + ?4 WHERE key = ?1 AND raw = ?2";
        self.connection.prepare_cached(UPDATE)?.execute(params![key, key.raw(), time, count])?;
        Ok(())
    }

    /// Adds to a counter of the table `Settings`.
    pub fn add_to_counter(&mut self, name: &str, delta: i64) -> Result<()> {
        if delta != 0 {
            const UPDATE: &str = "UPDATE Settings SET value = value + ?2 WHERE key = ?1";
            self.connection.prepare_cached(UPDATE)?.execute(params![name, delta])?;
        }
        Ok(())
    }

    /// Runs `f`, whose changes are undone if it fails; those before it stay.
    pub fn attempt<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let (before, files) = ((self.count, self.size), self.files.len());
        self.connection.prepare_cached("SAVEPOINT attempt")?.execute([])?;
        let done = f(self);
        if self.connection.is_autocommit() {
            // SQLite has undone the whole transaction.
            return done;
        }
        if done.is_err() {
            (self.count, self.size) = before;
            self.files.truncate(files);
            self.rows.has_other_keys = false;
            self.connection.prepare_cached("ROLLBACK TO attempt")?.execute([])?;
        }
        self.connection.prepare_cached("RELEASE attempt")?.execute([])?;
        done
    }

    /// Writes the counters. Returns what is left to do after the commit.
    pub fn finish(mut self) -> Result<Finished> {
        let (count, size) = (std::mem::take(&mut self.count), std::mem::take(&mut self.size));
        self.add_to_counter("count", count)?;
        self.add_to_counter("size", size)?;
        Ok(Finished { files: std::mem::take(&mut self.files), has_trash: self.has_trash })
    }
}
