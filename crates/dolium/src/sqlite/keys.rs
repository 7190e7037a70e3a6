//! The statement that walks over keys or entries, a batch at a time.

use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, ToSql};

use crate::system::clock::Timestamp;
use crate::value::Row;
use crate::value::key::Key;
use crate::value::put_options::is_alive;
use crate::value::scalar::{Scalar, Stored};

use super::columns;

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

impl Order {
    fn is_descending(self) -> bool {
        matches!(self, Self::InsertionReversed | Self::SortedReversed)
    }

    fn is_by_rowid(self) -> bool {
        matches!(self, Self::Insertion | Self::InsertionReversed)
    }
}

/// Rows that are brought at once: few at first, for a caller that wants no more than the first keys...
pub(crate) const FIRST: usize = 64;

/// ...and later so many at most.
pub(crate) const MOST: usize = 1024;

/// Rows that are looked at for one batch where no index has the condition, so that a batch takes milliseconds.
const SCAN: usize = 8192;

/// Bytes of keys and values after which a batch ends.
const BYTES: usize = 1 << 20;

/// Where a walk has come to, whatever the key there.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Row(i64),
    Key(Stored, Scalar),
}

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
        Some(Place::Key(key, raw)) => select.query((rows, key, raw))?,
        _ => select.query([rows])?,
    };
    let (mut count, mut last) = (0, None);
    while let Some(row) = found.next()? {
        count += 1;
        let (key, raw): (Stored, Scalar) = (row.get(0)?, row.get(1)?);
        if count == rows {
            last = Some(Place::Key(key.clone(), raw.clone()));
        }
        Key::from_columns(key, &raw).into_iter().for_each(&mut f);
    }
    Ok(last)
}

/// Which entries are walked over.
pub(crate) struct Walk {
    order: Order,
    tag: Option<Scalar>,
    /// Text keys from the first up to the second, which is none of them.
    range: Option<(String, SqlValue)>,
    /// Insertion order walks no further than what was there at the start.
    end: i64,
}

/// What one read has brought.
pub(crate) struct Batch<T> {
    pub found: Vec<T>,
    /// The last row that was looked at; `None` if none is left.
    pub place: Option<Place>,
}

// Derived, it would ask that of `T`.
impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { found: Vec::new(), place: None }
    }
}

/// A statement in the making.
#[derive(Default)]
struct Query<'a> {
    /// What an index finds.
    conditions: Vec<String>,
    /// What is asked of each row.
    filters: Vec<String>,
    arguments: Vec<&'a dyn ToSql>,
}

impl<'a> Query<'a> {
    fn argument(&mut self, argument: &'a dyn ToSql) -> String {
        self.arguments.push(argument);
        format!("?{}", self.arguments.len())
    }
}

impl Walk {
    pub fn new(order: Order, tag: Option<Scalar>, prefix: Option<&str>, end: i64) -> Self {
        // All blobs come after all texts.
        let upper = |prefix| after_prefix(prefix).unwrap_or(SqlValue::Blob(Vec::new()));
        Self { order, tag, range: prefix.map(|prefix| (prefix.to_owned(), upper(prefix))), end }
    }

    /// The keys after a place, at most so many.
    pub fn keys(
        &self,
        connection: &Connection,
        after: Option<&Place>,
        most: usize,
    ) -> rusqlite::Result<Batch<Key<'static>>> {
        self.next(connection, after, most, "", |key, _| Ok(Some((key, 0))))
    }

    /// The entries after a place that have not expired, at most so many.
    pub fn entries(
        &self,
        connection: &Connection,
        after: Option<&Place>,
        most: usize,
        now: Timestamp,
    ) -> rusqlite::Result<Batch<(Key<'static>, Row)>> {
        const COLUMNS: &str = ", rowid, store_time, expire_time, tag, size, mode, filename, value";
        self.next(connection, after, most, COLUMNS, |key, row| {
            let row = columns::row(row, 4)?;
            let length = row.columns.value.len();
            Ok(is_alive(row.expire_time, now).then_some(((key, row), length)))
        })
    }

    /// Reads on after a place. `make` returns what is found of a row, and how many bytes beside those of its key; `None`
    /// if the row does not count.
    fn next<T>(
        &self,
        connection: &Connection,
        after: Option<&Place>,
        most: usize,
        further: &str,
        make: impl Fn(Key<'static>, &SqlRow<'_>) -> rusqlite::Result<Option<(T, usize)>>,
    ) -> rusqlite::Result<Batch<T>> {
        let query = self.query(connection, after)?;
        let is_scan = !query.filters.is_empty();
        let rows = if is_scan { SCAN } else { most };
        let direction = if self.order.is_descending() { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT rowid, key, raw, {}{further} FROM Cache WHERE {} ORDER BY {} LIMIT {rows}",
            if is_scan { query.filters.join(" AND ") } else { "1".into() },
            query.conditions.join(" AND "),
            if self.order.is_by_rowid() {
                format!("rowid {direction}")
            } else {
                format!("key {direction}, raw {direction}")
            },
        );
        let mut select = connection.prepare_cached(&sql)?;
        let mut answer = select.query(query.arguments.as_slice())?;
        let mut batch = Batch::default();
        let (mut seen, mut bytes) = (0, 0);
        while let Some(row) = answer.next()? {
            seen += 1;
            // NULL is no match either.
            if row.get_ref(3)? == ValueRef::Integer(1)
                && let Some((key, length)) = key(row)?
                && let Some((found, further)) = make(key, row)?
            {
                bytes += length + further;
                batch.found.push(found);
            }
            if seen == rows || batch.found.len() == most || bytes >= BYTES {
                batch.place = Some(self.place(row)?);
                break;
            }
        }
        Ok(batch)
    }

    fn place(&self, row: &SqlRow<'_>) -> rusqlite::Result<Place> {
        let by_rowid = self.order.is_by_rowid();
        Ok(if by_rowid { Place::Row(row.get(0)?) } else { Place::Key(row.get(1)?, row.get(2)?) })
    }

    fn query<'a>(&'a self, connection: &Connection, after: Option<&'a Place>) -> rusqlite::Result<Query<'a>> {
        let mut query = Query::default();
        let beyond = if self.order.is_descending() { '<' } else { '>' };
        let by_rowid = self.order.is_by_rowid();
        if by_rowid {
            let end = query.argument(&self.end);
            query.conditions.push(format!("rowid <= {end}"));
        } else {
            // Nothing comes before or after NULL.
            query.conditions.push("key IS NOT NULL AND raw IS NOT NULL".into());
        }
        match after {
            Some(Place::Row(rowid)) => {
                let rowid = query.argument(rowid);
                query.conditions.push(format!("rowid {beyond} {rowid}"));
            }
            Some(Place::Key(key, raw)) => {
                let (key, raw) = (query.argument(key), query.argument(raw));
                query.conditions.push(format!("(key, raw) {beyond} ({key}, {raw})"));
            }
            None => {}
        }
        if let Some(tag) = &self.tag {
            let tag = format!("tag = {}", query.argument(tag));
            let is_indexed = by_rowid && has_tag_index(connection)?;
            let place = if is_indexed { &mut query.conditions } else { &mut query.filters };
            place.push(tag);
        }
        if let Some((lower, upper)) = &self.range {
            let (lower, upper) = (query.argument(lower), query.argument(upper));
            let range = format!("key >= {lower} AND key < {upper} AND raw = 1 AND typeof(key) = 'text'");
            let place = if by_rowid { &mut query.filters } else { &mut query.conditions };
            place.push(range);
        }
        Ok(query)
    }
}

fn has_tag_index(connection: &Connection) -> rusqlite::Result<bool> {
    const FIND: &str = "SELECT 1 FROM sqlite_master WHERE name = 'Cache_tag_rowid' AND type = 'index'";
    Ok(connection.prepare_cached(FIND)?.query_row([], |_| Ok(())).optional()?.is_some())
}

/// The key of a row, with its length. `None`: one that is spoilt, which must not end the walk.
fn key(row: &SqlRow<'_>) -> rusqlite::Result<Option<(Key<'static>, usize)>> {
    let is_raw = match row.get_ref(2)? {
        ValueRef::Integer(raw @ (0 | 1)) => raw == 1,
        _ => return Ok(None),
    };
    Ok(match row.get_ref(1)? {
        ValueRef::Integer(value) if is_raw => Some((Key::Int(value), 8)),
        ValueRef::Real(value) if is_raw => Some((Key::Float(value), 8)),
        ValueRef::Text(bytes) if is_raw => {
            std::str::from_utf8(bytes).ok().map(|text| (Key::Text(text.to_owned().into()), bytes.len()))
        }
        ValueRef::Blob(bytes) if is_raw => Some((Key::Bytes(bytes.to_vec().into()), bytes.len())),
        ValueRef::Blob(bytes) => Some((Key::Pickle(bytes.to_vec().into()), bytes.len())),
        _ => None,
    })
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
