//! The statement that walks over keys, a batch at a time.

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, ToSql};

use crate::value::key::Key;
use crate::value::scalar::{Scalar, Stored};

/// In which order keys are walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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
pub(crate) const BATCH: usize = 256;

/// A row that was met. Its key and `raw` may be anything, because one spoilt row must not end the walk.
#[derive(Clone)]
pub(crate) struct Met {
    pub rowid: i64,
    pub key: Stored,
    pub raw: Scalar,
}

/// The columns of a key behind which a walk goes on.
#[derive(Debug)]
pub(crate) struct Place(Stored, Scalar);

/// Shows `f` the keys behind a place, as the database sorts them, at most so many rows. Reads the index alone. Returns the
/// place of the last row, or `None` if there are no more.
pub(crate) fn after(
    connection: &Connection,
    place: Option<&Place>,
    rows: u16,
    mut f: impl FnMut(Key<'_>),
) -> rusqlite::Result<Option<Place>> {
    // Nothing comes before or after NULL, and no lookup finds it.
    const FIRST: &str = "SELECT key, raw FROM Cache WHERE key IS NOT NULL AND raw IS NOT NULL
        ORDER BY key, raw LIMIT ?1";
    const NEXT: &str = "SELECT key, raw FROM Cache WHERE (key, raw) > (?2, ?3) AND raw IS NOT NULL
        ORDER BY key, raw LIMIT ?1";
    let mut select = connection.prepare_cached(if place.is_some() { NEXT } else { FIRST })?;
    let mut found = match place {
        Some(Place(key, raw)) => select.query((rows, key, raw))?,
        None => select.query([rows])?,
    };
    let (mut count, mut last) = (0, None);
    while let Some(row) = found.next()? {
        count += 1;
        let (key, raw): (Stored, Scalar) = (row.get(0)?, row.get(1)?);
        if count == rows {
            last = Some(Place(key.clone(), raw.clone()));
        }
        Key::from_columns(key, &raw).into_iter().for_each(&mut f);
    }
    Ok(last)
}

/// Which keys are walked, and how far the walk has come.
pub(crate) struct Walk {
    pub order: Order,
    pub tag: Option<Scalar>,
    pub prefix: Option<String>,
    /// Insertion order walks no further than what was there at the start.
    pub end: i64,
    /// The last row met, whatever its key.
    pub after: Option<Met>,
}

impl Walk {
    /// The keys of the next batch.
    pub fn next(&self, connection: &Connection) -> rusqlite::Result<Vec<Met>> {
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
        rows.collect()
    }
}

/// Returns the least text after all that start with `prefix`, as SQLite compares (by bytes), or `None` if there is
/// none.
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
