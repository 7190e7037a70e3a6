//! The statements of queues, and of the ends of the order of insertion.

use rusqlite::{Connection, OptionalExtension};

use crate::value::Row;
use crate::value::key::{Key, QUEUE_LAST as LAST, QueuePlace};
use crate::value::scalar::{Scalar, Stored};

use super::columns;
use super::integers::are_integers;
use super::tier::{Applied, Others, applied};

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
    fn opposite(self) -> Self {
        match self {
            Self::Front => Self::Back,
            Self::Back => Self::Front,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Back => "back",
        }
    }
}

/// How often the ends are read while the database changes.
const WINDOW_TRIES: u32 = 4;

/// The ends of a queue in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Of the tier in front of the database.
    pub epoch: u64,
    /// The last change in the tier that the database has.
    pub seq: u64,
    /// The lowest number, and the highest. The first is above the other if there are none.
    pub front: i64,
    pub back: i64,
    /// Between these two, keys were not read.
    pub unread: Option<(i64, i64)>,
    /// How many keys at an end were read at once.
    pub depth: u16,
}

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

fn keys_of_queue(side: Side) -> &'static str {
    match side {
        Side::Front => {
            "SELECT key FROM Cache WHERE ?1 < key AND key < ?2 AND raw = 1 ORDER BY key ASC LIMIT ?3"
        }
        Side::Back => {
            "SELECT key FROM Cache WHERE ?1 < key AND key < ?2 AND raw = 1 ORDER BY key DESC LIMIT ?3"
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

/// Reads the ends of a queue, as far as its numbers lie in a range, at one moment: `depth` keys at one end, and the last key
/// at the other. Returns `None` if a key there is no number, if another program has changed rows, if no tier is in front of the
/// database, and if drains are too fast for that.
pub(crate) fn window(
    connection: &Connection,
    prefix: Option<&str>,
    side: Side,
    range: (i64, i64),
    depth: u16,
) -> rusqlite::Result<Option<Window>> {
    let mut before = applied(connection)?;
    for _ in 0..WINDOW_TRIES {
        let Some(Applied { epoch, seq, is_disturbed: false, .. }) = before else { return Ok(None) };
        let Some(near) = numbers(connection, prefix, side, range, depth)? else { return Ok(None) };
        let (mut ends, mut unread) = (near.first().copied().zip(near.last().copied()), None);
        if near.len() == usize::from(depth) {
            let Some(far) = numbers(connection, prefix, side.opposite(), range, 1)? else { return Ok(None) };
            unread = near.last().copied().zip(far.first().copied());
            ends = near.first().copied().zip(far.first().copied());
        }
        let after = applied(connection)?;
        if after == before {
            let in_order = |(one, other): (i64, i64)| (one.min(other), one.max(other));
            // Without an item the first is above the other.
            let (front, back) = ends.map_or((LAST, 0), in_order);
            return Ok(Some(Window { epoch, seq, front, back, unread: unread.map(in_order), depth }));
        }
        before = after;
    }
    Ok(None)
}

/// A database all of whose keys are numbers of the queue without a prefix, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// The first number, and the last. The first is above the other if there are none.
    pub front: i64,
    pub back: i64,
    /// The epoch of the tier in front of the database, and the last change in it that the database has. `None` if there is no
    /// tier, and if another program has changed rows since.
    pub applied: Option<(u64, u64)>,
    /// Whether an entry may expire.
    pub expires: bool,
    /// Whether the database says that all keys are integers. Otherwise each key was looked at.
    pub is_noted: bool,
}

/// Reads whether the database is one queue without holes. Returns `None` if it is not. Each key is looked at unless the
/// database says that all are integers.
///
/// *Trap*: the count of the entries and their first and last key are not enough. A number with a fraction may stand in for one
/// that is missing.
pub(crate) fn whole(connection: &Connection) -> rusqlite::Result<Option<Whole>> {
    // One statement, and so one moment: an eviction moves no sequence number.
    const SELECT: &str = concat!(
        "SELECT (SELECT value FROM Dolium WHERE key = 'tier'),
        (SELECT value FROM Dolium WHERE key = 'foreign'),
        (SELECT value FROM Dolium WHERE key = 'opened'),
        (SELECT value FROM Dolium WHERE key = 'shared'),
        (SELECT value FROM Settings WHERE key = 'count'),
        (SELECT key FROM Cache ORDER BY key, raw LIMIT 1),
        (SELECT key FROM Cache ORDER BY key DESC, raw DESC LIMIT 1),
        (SELECT max(expire_time) FROM Cache),
        (SELECT value FROM Dolium WHERE key = 'integers') = (SELECT value FROM Dolium WHERE key = 'foreign'),
        CASE WHEN ?1 THEN ",
        are_integers!(),
        " END"
    );
    let mut select = connection.prepare_cached(SELECT)?;
    let mut read = |looks: bool| {
        select.query_row([looks], |row| {
            let applied = Applied::of(&row.get(0)?, &Others::of(&row.get(1)?, &row.get(2)?, &row.get(3)?));
            let [count, first, last, expires]: [Scalar; 4] =
                [row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?];
            let [is_noted, is_seen]: [Option<bool>; 2] = [row.get(8)?, row.get(9)?];
            let (front, back) = match (first, last) {
                (Scalar::Null, Scalar::Null) => (LAST, LAST - 1),
                (Scalar::Int(front), Scalar::Int(back)) if 0 < front && back < LAST => (front, back),
                _ => return Ok(None),
            };
            let applied = applied.filter(|applied| !applied.is_disturbed);
            let is_noted = is_noted == Some(true);
            let found = Whole {
                front,
                back,
                applied: applied.map(|applied| (applied.epoch, applied.seq)),
                expires: expires != Scalar::Null,
                is_noted,
            };
            let are_integers = is_noted || is_seen == Some(true) || front > back;
            Ok((count.as_int() == Some(back - front + 1)).then_some((found, are_integers)))
        })
    };
    Ok(match read(false)? {
        Some((found, true)) => Some(found),
        Some((_, false)) => read(true)?.and_then(|(found, are_integers)| are_integers.then_some(found)),
        None => None,
    })
}

/// The numbers at one end of a queue in a range, outermost first. `None` if a key there is none.
fn numbers(
    connection: &Connection,
    prefix: Option<&str>,
    side: Side,
    (from, to): (i64, i64),
    depth: u16,
) -> rusqlite::Result<Option<Vec<i64>>> {
    let key = |number: i64| match prefix {
        None => Scalar::Int(number),
        Some(prefix) => Scalar::Text(format!("{prefix}-{number:015}")),
    };
    let mut select = connection.prepare_cached(keys_of_queue(side))?;
    let mut rows = select.query((key(from - 1), key(to + 1), depth))?;
    let mut numbers = Vec::new();
    while let Some(row) = rows.next()? {
        let key = Key::from_columns(row.get(0)?, &Scalar::Int(1));
        match key.and_then(|key| key.with_hot(|hot| Key::queue_place(hot, prefix))) {
            Some(QueuePlace::Number(number)) => numbers.push(number),
            Some(QueuePlace::Between) | None => return Ok(None),
        }
    }
    Ok(Some(numbers))
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
