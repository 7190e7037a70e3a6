//! The statements of queues, and of the ends of the order of insertion.

use rusqlite::{Connection, OptionalExtension};

use crate::value::Row;
use crate::value::key::Key;
use crate::value::scalar::{Scalar, Stored};

use super::columns;

/// An end of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a queue has two ends")]
pub enum Side {
    /// Where `pull` takes from by default.
    Front,
    /// Where `push` adds by default.
    Back,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Back => "back",
        }
    }
}

/// The numbers of a queue lie strictly between 0 and this.
pub(crate) const LAST: i64 = 999_999_999_999_999;

/// The keys between which those of a queue lie.
fn bounds(prefix: Option<&str>) -> (Scalar, Scalar) {
    match prefix {
        None => (Scalar::Int(0), Scalar::Int(LAST)),
        Some(prefix) => {
            (Scalar::Text(format!("{prefix}-{:015}", 0)), Scalar::Text(format!("{prefix}-{LAST}")))
        }
    }
}

fn end_of_queue(side: Side) -> &'static str {
    match side {
        Side::Front => {
            "SELECT key, raw, rowid, store_time, expire_time, tag, size, mode, filename, value FROM Cache
             WHERE ?1 < key AND key < ?2 AND raw = 1 ORDER BY key ASC LIMIT 1"
        }
        Side::Back => {
            "SELECT key, raw, rowid, store_time, expire_time, tag, size, mode, filename, value FROM Cache
             WHERE ?1 < key AND key < ?2 AND raw = 1 ORDER BY key DESC LIMIT 1"
        }
    }
}

const FIRST: &str =
    "SELECT key, raw, rowid, store_time, expire_time, tag, size, mode, filename, value FROM Cache
    ORDER BY rowid ASC LIMIT 1";
const FINAL: &str =
    "SELECT key, raw, rowid, store_time, expire_time, tag, size, mode, filename, value FROM Cache
    ORDER BY rowid DESC LIMIT 1";

/// Which row, and whether it leaves.
#[derive(Clone, Copy)]
pub(crate) enum Pick<'p> {
    Queue(Option<&'p str>, Side),
    Order { last: bool },
}

/// The key at an end of a queue, in whichever form it is stored.
pub(crate) fn end_key(
    connection: &Connection,
    prefix: Option<&str>,
    side: Side,
) -> rusqlite::Result<Option<Scalar>> {
    let mut select = connection.prepare_cached(end_of_queue(side))?;
    select.query_row(bounds(prefix), |row| row.get(0)).optional()
}

/// The row at a place, without a key if another program has spoilt that: then it is as damaged as one whose file is gone.
pub(crate) fn at(
    connection: &Connection,
    place: Pick<'_>,
) -> rusqlite::Result<Option<(Option<Key<'static>>, Row)>> {
    let read = |row: &rusqlite::Row<'_>| {
        let (key, raw): (Stored, Scalar) = (row.get(0)?, row.get(1)?);
        Ok((Key::from_columns(key, &raw), columns::row(row, 2)?))
    };
    let found = match place {
        Pick::Queue(prefix, side) => {
            connection.prepare_cached(end_of_queue(side))?.query_row(bounds(prefix), read)
        }
        Pick::Order { last } => {
            connection.prepare_cached(if last { FINAL } else { FIRST })?.query_row([], read)
        }
    };
    found.optional()
}
