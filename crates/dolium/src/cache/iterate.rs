//! Owns walking over keys, in batches: an iterator holds no connection and no lock between two keys.

use std::collections::VecDeque;

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, ToSql};

use crate::system::error::Result;
use crate::value::key::Key;
use crate::value::scalar::{Scalar, Stored};

use super::Cache;

/// In which order keys are walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As they were first inserted.
    #[default]
    Insertion,
    /// The last inserted first.
    InsertionReversed,
    /// As the database sorts them: numbers, text, then bytes.
    Sorted,
    /// The reverse of that.
    SortedReversed,
}

/// Keys that are read at once.
const BATCH: usize = 256;

/// An iterator over the keys of a cache, expired ones included. Keys that are inserted or removed
/// meanwhile may or may not be met; no other key is missed or met twice.
pub struct Keys {
    cache: Cache,
    order: Order,
    tag: Option<Scalar>,
    prefix: Option<String>,
    /// Insertion order walks no further than what was there at the start.
    end: i64,
    /// The last row met, whatever its key.
    after: Option<Met>,
    batch: VecDeque<Met>,
    done: bool,
}

/// A row that was met. Its key and `raw` may be anything: who spoilt one row must not end the walk.
#[derive(Clone)]
struct Met {
    rowid: i64,
    key: Stored,
    raw: Scalar,
}

impl Cache {
    /// The keys, in the given order.
    pub fn keys(&self, order: Order) -> Result<Keys> {
        self.keys_where(order, None, None)
    }

    /// The keys of entries with a tag, and text keys with a prefix, in the given order. Both conditions
    /// walk all keys unless there is a tag index, or the order is sorted and there is a prefix.
    pub fn keys_where(&self, order: Order, tag: Option<Scalar>, prefix: Option<&str>) -> Result<Keys> {
        let end = self.handle.read(self.wait, |connection| {
            let mut select = connection.prepare_cached("SELECT coalesce(max(rowid), 0) FROM Cache")?;
            Ok(select.query_row([], |row| row.get(0))?)
        })?;
        Ok(Keys {
            cache: self.clone(),
            order,
            tag,
            prefix: prefix.map(str::to_owned),
            end,
            after: None,
            batch: VecDeque::new(),
            done: false,
        })
    }
}

impl Keys {
    fn fill(&mut self) -> Result<()> {
        let cache = self.cache.clone();
        let batch = cache.handle.read_on(cache.wait, |connection| self.select(connection))?;
        self.done = batch.len() < BATCH;
        if let Some(last) = batch.last() {
            self.after = Some(last.clone());
        }
        self.batch = batch.into();
        Ok(())
    }

    fn select(&self, connection: &Connection) -> Result<Vec<Met>> {
        let mut arguments: Vec<&dyn ToSql> = Vec::new();
        let mut conditions = vec![String::from("1")];
        let upper = self.prefix.as_deref().and_then(after_prefix);
        let descending = matches!(self.order, Order::InsertionReversed | Order::SortedReversed);
        let beyond = if descending { '<' } else { '>' };
        let by_rowid = matches!(self.order, Order::Insertion | Order::InsertionReversed);
        if by_rowid {
            arguments.push(&self.end);
            conditions.push(format!("rowid <= ?{}", arguments.len()));
        } else {
            // Nothing comes before or after NULL.
            conditions.push("key IS NOT NULL AND raw IS NOT NULL".into());
        }
        if let Some(Met { rowid, key, raw }) = &self.after {
            if by_rowid {
                arguments.push(rowid);
                conditions.push(format!("rowid {beyond} ?{}", arguments.len()));
            } else {
                arguments.push(key);
                arguments.push(raw);
                let (k, r) = (arguments.len() - 1, arguments.len());
                conditions.push(format!("(key {beyond} ?{k} OR key = ?{k} AND raw {beyond} ?{r})"));
            }
        }
        if let Some(tag) = &self.tag {
            arguments.push(tag);
            conditions.push(format!("tag = ?{}", arguments.len()));
        }
        if let Some(prefix) = &self.prefix {
            arguments.push(prefix);
            conditions.push(format!("raw = 1 AND typeof(key) = 'text' AND key >= ?{}", arguments.len()));
            if let Some(upper) = &upper {
                arguments.push(upper);
                conditions.push(format!("key < ?{}", arguments.len()));
            }
        }
        let direction = if descending { "DESC" } else { "ASC" };
        let order =
            if by_rowid { format!("rowid {direction}") } else { format!("key {direction}, raw {direction}") };
        let sql = format!(
            "SELECT rowid, key, raw FROM Cache WHERE {} ORDER BY {order} LIMIT {BATCH}",
            conditions.join(" AND ")
        );
        let mut select = connection.prepare_cached(&sql)?;
        let rows = select.query_map(arguments.as_slice(), |row| {
            Ok(Met { rowid: row.get(0)?, key: row.get(1)?, raw: row.get(2)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

/// The least text after all that start with `prefix`, as SQLite compares (by bytes). `None`: there is none.
fn after_prefix(prefix: &str) -> Option<SqlValue> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(SqlValue::Text(chars.into_iter().collect()));
        }
    }
    None
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
