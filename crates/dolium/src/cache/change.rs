//! One decision, two roads. An operation decides what becomes of the row of a key; the hot tier appends that decision as
//! a record, or SQLite applies it. Does not know why an operation decides as it does.

use std::sync::Arc;

use dolium_hot::{Counter, Kind, PendingRecord};

use crate::sqlite::tier::CULLS;
use crate::sqlite::{Head, Write};
use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::system::value_files::NewFile;
use crate::value::key::Key;
use crate::value::put_options::{KEPT, PutOptions};
use crate::value::scalar::Scalar;
use crate::value::{Columns, Row, mode};

use super::Cache;
use super::prepare::Prepared;
use super::record::pending_record;

/// What becomes of the row of a key, and the operation's answer.
pub(super) enum Change<T> {
    /// The row stays, if there is one.
    Leave(T),
    /// A row takes the place of the one that is there, and takes expired entries along.
    Put(NewRow, T),
    /// The row has another number or value; its expiry and tag stay.
    Value(Row, T),
    /// The row has another expiry, and nothing else changes.
    Expire(Row, T),
    /// The row goes, if there is one.
    Delete(T),
}

/// A decision as the hot tier takes it.
pub(super) struct Decided<T> {
    pub record: PendingRecord,
    pub counter: Counter,
    /// The value file that the operation has made, which stays once the record waits in the tier.
    pub file: Option<Arc<NewFile>>,
    pub answer: T,
}

impl<T> Change<T> {
    /// The row with another value. The mark of an entry that is evicted last stays.
    pub fn value(row: Row, columns: Columns, now: Timestamp, answer: T) -> Self {
        let store_time = if row.store_time < KEPT { now } else { KEPT };
        Self::Value(Row { store_time, columns, ..row }, answer)
    }

    /// The record that says so; `Err` has the answer of an operation that changes nothing.
    pub fn decided(self, key: &Key<'_>) -> std::result::Result<Decided<T>, T> {
        let (record, counter, answer) = match self {
            Self::Leave(answer) => return Err(answer),
            Self::Put(row, answer) => {
                let record = row.pending_record(key);
                return Ok(Decided { record, counter: Counter::Sets, file: row.file, answer });
            }
            Self::Value(row, answer) | Self::Expire(row, answer) => {
                let Row { columns, expire_time, tag, store_time, .. } = &row;
                (
                    pending_record(Kind::Set, key, columns, *expire_time, tag, *store_time, 0),
                    Counter::Sets,
                    answer,
                )
            }
            Self::Delete(answer) => (key.with_hot(PendingRecord::delete), Counter::Deletes, answer),
        };
        Ok(Decided { record, counter, file: None, answer })
    }

    /// Applies the decision to a row of SQLite, of which `head` was read in the same transaction.
    fn apply(self, write: &mut Write<'_>, key: &Key<'_>, head: Option<&Head>) -> Result<T> {
        match (self, head) {
            (Self::Put(row, answer), head) => {
                let NewRow { columns, expire_time, tag, store_time, file } = row;
                write.put_over(head, key, &columns, expire_time, &tag, store_time)?;
                write.adopt(file);
                Ok(answer)
            }
            (Self::Value(row, answer), Some(head)) => {
                let Row { columns, expire_time, tag, store_time, .. } = &row;
                if columns.mode == mode::RAW {
                    write.set_number(head.rowid, &columns.value, *store_time)?;
                } else {
                    write.update(head, columns, *expire_time, tag, *store_time)?;
                }
                Ok(answer)
            }
            (Self::Expire(row, answer), Some(head)) => {
                write.set_expiry(head.rowid, row.expire_time)?;
                Ok(answer)
            }
            (Self::Delete(answer), Some(head)) => {
                write.remove(head)?;
                Ok(answer)
            }
            (
                Self::Leave(answer) | Self::Value(_, answer) | Self::Expire(_, answer) | Self::Delete(answer),
                _,
            ) => Ok(answer),
        }
    }
}

/// A row as `set`, `add` and the like write it.
pub(super) struct NewRow {
    columns: Columns,
    expire_time: Option<Timestamp>,
    tag: Scalar,
    store_time: Timestamp,
    file: Option<Arc<NewFile>>,
}

impl NewRow {
    pub fn of(prepared: &mut Prepared, key: &Key<'_>, options: &PutOptions, now: Timestamp) -> Result<Self> {
        let columns = prepared.finish(key)?.clone();
        let (expire_time, store_time) = (options.expire.at(now), options.time(now));
        Ok(Self { columns, expire_time, tag: options.tag.clone(), store_time, file: prepared.file() })
    }

    fn pending_record(&self, key: &Key<'_>) -> PendingRecord {
        let Self { columns, expire_time, tag, store_time, .. } = self;
        pending_record(Kind::Set, key, columns, *expire_time, tag, *store_time, CULLS)
    }
}

impl Cache {
    /// Changes a key as `decide` says about its row, expired or not. `decide` runs again if other writers are faster.
    pub(super) fn change<T>(
        &self,
        key: &Key<'_>,
        now: Timestamp,
        mut decide: impl FnMut(Option<Row>) -> Result<Change<T>>,
    ) -> Result<T> {
        let changed = if self.in_transaction() {
            self.change_inside(key, &mut decide)?
        } else {
            self.change_hot(key, &mut decide)?
        };
        if let Some(answer) = changed {
            return Ok(answer);
        }
        self.handle.write(self.wait, |write| {
            write.changes([key.borrowed()]);
            let (answer, culls) = change_row(write, key, &mut decide)?;
            if culls {
                self.remove_expired(write, now)?;
            }
            Ok(answer)
        })
    }
}

/// The direct road. Returns whether the change takes expired entries along.
fn change_row<T>(
    write: &mut Write<'_>,
    key: &Key<'_>,
    decide: &mut impl FnMut(Option<Row>) -> Result<Change<T>>,
) -> Result<(T, bool)> {
    let row = write.row(key, Timestamp::NEG_INFINITY)?;
    let head = row.as_ref().map(Head::of);
    let change = decide(row)?;
    let culls = matches!(change, Change::Put(..));
    Ok((change.apply(write, key, head.as_ref())?, culls))
}
