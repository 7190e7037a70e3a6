//! Owns what the database says of the hot tier in front of it, and how records become rows.

use std::sync::OnceLock;

use dolium_hot::{Batch, Cell, Kind, PendingRecord, View};
use rusqlite::{Connection, OptionalExtension, params};

use crate::system::clock::{Timestamp, seconds};
use crate::system::error::Result;
use crate::value::key::Key;
use crate::value::scalar::Scalar;
use crate::value::{Columns, Row, UNFILED};

use super::Write;
use super::columns::UNREADABLE;
use super::rejection::{ApplyMode, Rejected};
use crate::value::put_options::KEPT;

/// The row of the table `Dolium` with this key: 24 bytes, little-endian: the epoch of the tier, the sequence number of
/// the last change in it that the database has, and the value that `foreign` had then.
const TIER: &str = "tier";

/// The row of the table `Dolium` with this key: 16 bytes, little-endian: the sum that `foreign` and `opened` had when dolium
/// last saw it move, and the time of that in whole seconds.
const SHARED: &str = "shared";

/// For how many seconds after its last change another program counts as one that uses the directory.
const SHARED_FOR: u64 = 24 * 60 * 60;

/// The row of the table `Dolium` about the tier that the last process left: its epoch, the sequence number that it had
/// reached, the value that `foreign` had then, and a mark of the running system. After a restart of that, the file may be
/// older in some pages than in others.
const REST: &str = "rest";

/// The note of records that take expired entries along.
pub(crate) const CULLS: u8 = 1;

/// The note of records that bring the proof of their key.
pub(crate) const PROVES: u8 = 2;

const UPSERT: &str =
    "INSERT INTO Dolium VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// Expired entries that one drain removes at most.
const AT_ONCE: u32 = 1000;

/// What the database has of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub epoch: u64,
    pub seq: u64,
    /// Whether others than dolium have changed entries since.
    pub is_disturbed: bool,
    /// Whether others than dolium have changed entries, or opened the directory, within a day before that.
    pub is_shared: bool,
}

impl Applied {
    /// What the row `tier` of the table `Dolium` says, and the counts of other programs.
    pub(super) fn of(ours: &Scalar, others: &Others) -> Option<Self> {
        let (epoch, seq, foreign) = (word(ours, 0)?, word(ours, 8)?, word(ours, 16)?);
        Some(Self {
            epoch,
            seq,
            is_disturbed: others.foreign != Some(foreign),
            is_shared: others.is_shared(),
        })
    }
}

/// What the table `Dolium` says of other programs.
pub(super) struct Others {
    /// How often they have changed entries. `None` if the count was taken away.
    foreign: Option<u64>,
    /// How often they have changed entries or settings. Opening a directory makes nothing stale that the tier knows.
    signs: u64,
    /// The number of signs that dolium knows, and when it learned it.
    known: Option<(u64, u64)>,
}

impl Others {
    pub(super) fn of(foreign: &Scalar, opened: &Scalar, known: &Scalar) -> Self {
        let [foreign, opened] = [foreign, opened].map(|count| count.as_int().map(i64::cast_unsigned));
        let signs = foreign.unwrap_or(0).wrapping_add(opened.unwrap_or(0));
        Self { foreign, signs, known: word(known, 0).zip(word(known, 8)) }
    }

    /// The number of signs, if dolium has not noted it yet.
    fn news(&self) -> Option<u64> {
        (self.known.map_or(0, |(signs, _)| signs) != self.signs).then_some(self.signs)
    }

    fn is_shared(&self) -> bool {
        self.news().is_some() || self.known.is_some_and(|(_, time)| seconds().abs_diff(time) < SHARED_FOR)
    }
}

/// A word of a row of the table `Dolium`.
fn word(bytes: &Scalar, at: usize) -> Option<u64> {
    let Scalar::Blob(bytes) = bytes else { return None };
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
}

/// Returns what the database has of a tier, or `None` if nothing is in front of it.
pub(crate) fn applied(connection: &Connection) -> rusqlite::Result<Option<Applied>> {
    const SELECT: &str = "SELECT ours.value, theirs.value, opened.value, known.value FROM Dolium AS ours
        LEFT JOIN Dolium AS theirs ON theirs.key = 'foreign'
        LEFT JOIN Dolium AS opened ON opened.key = 'opened'
        LEFT JOIN Dolium AS known ON known.key = ?2 WHERE ours.key = ?1";
    let found: rusqlite::Result<Option<(Scalar, Others)>> =
        connection.prepare_cached(SELECT).and_then(|mut select| {
            let row = select.query_row([TIER, SHARED], |row| {
                Ok((row.get(0)?, Others::of(&row.get(1)?, &row.get(2)?, &row.get(3)?)))
            });
            row.optional()
        });
    let (ours, others) = match found {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(None),
        // A store of diskcache has no such table.
        Err(error) if crate::system::error::is_empty_store(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Applied::of(&ours, &others))
}

impl Write<'_> {
    /// Stores in this transaction which sequence number it applies, and what other programs have done until now.
    pub fn set_applied(&mut self, epoch: u64, seq: u64) -> Result<()> {
        const SELECT: &str = "SELECT theirs.value, opened.value, known.value FROM Dolium AS theirs
            LEFT JOIN Dolium AS opened ON opened.key = 'opened'
            LEFT JOIN Dolium AS known ON known.key = ?1 WHERE theirs.key = 'foreign'";
        let others = self
            .connection()
            .prepare_cached(SELECT)?
            .query_row([SHARED], |row| Ok(Others::of(&row.get(0)?, &row.get(1)?, &row.get(2)?)))
            .optional()?;
        if let Some(signs) = others.as_ref().and_then(Others::news) {
            let bytes = [signs, seconds()].map(u64::to_le_bytes).concat();
            self.connection().prepare_cached(UPSERT)?.execute(params![SHARED, bytes])?;
        }
        let foreign = others.and_then(|others| others.foreign).unwrap_or(0);
        let bytes = [epoch, seq, foreign].map(u64::to_le_bytes).concat();
        self.connection().prepare_cached(UPSERT)?.execute(params![TIER, bytes])?;
        Ok(())
    }

    /// Writes the row about the tier once more. SQLite leaves a page alone if nothing on it changes, so this changes the
    /// row and changes it back.
    pub fn rewrite_tier(&mut self) -> Result<()> {
        const UPDATE: &str = "UPDATE Dolium SET value = ?2 WHERE key = ?1";
        let mut select = self.connection().prepare_cached("SELECT value FROM Dolium WHERE key = ?1")?;
        let value: Option<Scalar> = select.query_row([TIER], |row| row.get(0)).optional()?;
        if let Some(value) = value {
            let mut update = self.connection().prepare_cached(UPDATE)?;
            update.execute(params![TIER, Scalar::Null])?;
            update.execute(params![TIER, value])?;
        }
        Ok(())
    }

    /// Vouches for the tier that the last process leaves. Returns `false` where the system cannot be told from one that
    /// was started again.
    pub fn begin_rest(&mut self, epoch: u64, seq: u64) -> Result<bool> {
        let Some(system) = boot_mark() else { return Ok(false) };
        let foreign = self.foreign()?;
        let bytes = [epoch, seq, foreign, system].map(u64::to_le_bytes).concat();
        self.connection().prepare_cached(UPSERT)?.execute(params![REST, bytes])?;
        Ok(true)
    }

    /// Takes back what [`begin_rest`](Self::begin_rest) has said, and returns whether it still held.
    pub fn end_rest(&mut self, epoch: u64, seq: u64) -> Result<bool> {
        const TAKE: &str = "DELETE FROM Dolium WHERE key = ?1 AND value = ?2";
        let Some(system) = boot_mark() else { return Ok(false) };
        let expected = [epoch, seq, self.foreign()?, system].map(u64::to_le_bytes).concat();
        Ok(self.connection().prepare_cached(TAKE)?.execute(params![REST, expected])? == 1)
    }

    /// Vouches for no resting tier any more.
    pub fn forget_rest(&mut self) -> Result<()> {
        self.connection().prepare_cached("DELETE FROM Dolium WHERE key = ?1")?.execute([REST])?;
        Ok(())
    }

    /// How many changes other programs have made.
    fn foreign(&self) -> Result<u64> {
        let found = self
            .connection()
            .prepare_cached("SELECT value FROM Dolium WHERE key = 'foreign'")?
            .query_row([], |row| row.get::<_, Scalar>(0))
            .optional()?;
        Ok(found.and_then(|value| value.as_int()).unwrap_or(0).cast_unsigned())
    }

    /// Says that there is no tier.
    pub fn end_tier(&mut self) -> Result<()> {
        self.connection().prepare_cached("DELETE FROM Dolium WHERE key = ?1")?.execute([TIER])?;
        Ok(())
    }

    /// Makes rows of a batch, in the places that they would have if each record had been applied alone.
    pub fn apply(&mut self, batch: &Batch, mode: ApplyMode) -> Result<Rejected> {
        if mode == ApplyMode::PerChunk {
            return self.apply_each(batch.records(), mode);
        }
        for change in batch.changes() {
            let Some(key) = Key::from_hot(change.key) else { continue };
            if change.replaces
                && change.newest.kind() == Kind::Set
                && let Some(head) = self.head(&key)?
            {
                self.remove(&head)?;
            }
            self.apply_record(&key, &change.newest)?;
            for filename in change.superseded {
                self.trash(Some(filename))?;
            }
        }
        Ok(Rejected::default())
    }

    /// Removes entries that had expired when one of these records was written that takes them along, as if it had
    /// done so itself: at most `limit` each, and none that was changed after. Returns when the latest of these was written,
    /// and how many have gone.
    ///
    /// The times need not grow: clocks of processes differ, and a test sets its own. The latest record counts, and what was
    /// written after it by an earlier clock stays.
    pub fn remove_expired_after(
        &mut self,
        records: &[View<'_>],
        limit: u32,
    ) -> Result<(Option<Timestamp>, usize)> {
        let culling = |view: &View<'_>| {
            let culls = view.kind() == Kind::Set && view.note() & CULLS != 0 && view.store_time() < KEPT;
            culls.then(|| view.store_time())
        };
        let times: Vec<(usize, f64)> =
            records.iter().enumerate().filter_map(|(at, view)| Some((at, culling(view)?))).collect();
        let latest = times.iter().copied().max_by(|(_, one), (_, other)| one.total_cmp(other));
        let Some((last, now)) = latest.filter(|_| limit > 0) else {
            return Ok((latest.map(|(_, now)| now), 0));
        };
        let mut changed = Vec::new();
        for key in records[last + 1..].iter().filter_map(key_of) {
            changed.extend(self.head(&key)?.map(|head| head.rowid));
        }
        let limit = limit.saturating_mul(u32::try_from(times.len()).unwrap_or(u32::MAX));
        let removed = self.remove_expired_but(now, limit.min(AT_ONCE), &changed)?;
        Ok((Some(now), removed))
    }

    /// Makes a row of one record.
    pub fn apply_record(&mut self, key: &Key<'_>, view: &View<'_>) -> Result<()> {
        self.apply_row(key, view)?;
        self.prove_as(key, view)
    }

    /// Makes a new row of one record, if the keys before were new as well and this one is. Returns whether it has.
    pub fn insert_record(&mut self, key: &Key<'_>, view: &View<'_>) -> Result<bool> {
        self.rows.are_new = self.rows.are_new && self.insert_row(key, view)?;
        if self.rows.are_new {
            self.prove_as(key, view)?;
        }
        Ok(self.rows.are_new)
    }

    fn insert_row(&mut self, key: &Key<'_>, view: &View<'_>) -> Result<bool> {
        let Some(row) = view.row() else { return Ok(false) };
        let (columns, tag) = (self.filed_of(&row)?, scalar(&row.tag));
        self.insert_unless_there(key, &columns, row.expire_time, &tag, row.store_time)
    }

    fn prove_as(&mut self, key: &Key<'_>, view: &View<'_>) -> Result<()> {
        match view.extra().filter(|_| view.note() & PROVES != 0) {
            Some(proof) => self.prove(key, proof),
            None => Ok(()),
        }
    }

    fn filed_of(&mut self, row: &dolium_hot::Row<'_>) -> Result<Columns> {
        let columns = columns_of(row);
        Ok(if columns.size == UNFILED { self.filed(&columns)?.into_owned() } else { columns })
    }

    fn apply_row(&mut self, key: &Key<'_>, view: &View<'_>) -> Result<()> {
        let Some(row) = view.row() else {
            return self.head(key)?.map_or(Ok(()), |head| self.remove(&head));
        };
        let columns = self.filed_of(&row)?;
        let tag = scalar(&row.tag);
        if self.rows.are_new
            && self.insert_unless_there(key, &columns, row.expire_time, &tag, row.store_time)?
        {
            return Ok(());
        }
        let is_plain = row.expire_time.is_none() && columns.filename.is_none() && columns.size == 0;
        if is_plain && self.update_plain(key, &columns, &tag, row.store_time)? {
            self.rows.are_new = false;
            return Ok(());
        }
        let head = self.head(key)?;
        self.rows.are_new = head.is_none();
        match head {
            Some(mut head) => {
                if head.filename == columns.filename {
                    // Only what is beside the value changed: the file stays in use.
                    head.filename = None;
                }
                self.update(&head, &columns, row.expire_time, &tag, row.store_time)
            }
            None => self.insert(key, &columns, row.expire_time, &tag, row.store_time),
        }
    }
}

/// A mark of the running system, another after each start of it; `None` if the kernel does not say.
fn boot_mark() -> Option<u64> {
    static MARK: OnceLock<Option<u64>> = OnceLock::new();
    *MARK.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        u64::from_str_radix(&digits, 16).ok()
    })
}

/// The key of a record as its caller spelt it.
fn key_of(view: &View<'_>) -> Option<Key<'static>> {
    Key::from_hot(view.key())
}

fn columns_of(row: &dolium_hot::Row<'_>) -> Columns {
    Columns {
        size: row.size,
        mode: row.mode,
        filename: row.filename.map(str::to_owned),
        value: scalar(&row.value),
    }
}

/// Bytes of a value up to which its row is repeated in the tier when it is read.
const FILLED: usize = 64 << 10;

/// A record that repeats the row of a key; `None` if the row is long or cannot be read.
pub(crate) fn fill(key: &Key<'_>, row: &Row) -> Option<PendingRecord> {
    let columns = &row.columns;
    if columns.value.len() > FILLED || columns.mode == UNREADABLE {
        return None;
    }
    let row = dolium_hot::Row {
        store_time: row.store_time,
        expire_time: row.expire_time,
        tag: cell(&row.tag),
        size: columns.size,
        mode: columns.mode,
        filename: columns.filename.as_deref(),
        value: cell(&columns.value),
        note: 0,
    };
    Some(key.with_hot(|key| PendingRecord::row(Kind::Fill, key, &row)))
}

/// A column of a record.
pub(crate) fn scalar(cell: &Cell<'_>) -> Scalar {
    match *cell {
        Cell::Null => Scalar::Null,
        Cell::Int(value) => Scalar::Int(value),
        Cell::Real(value) => Scalar::Real(value),
        // What was text when it was written is text, or the record would have failed its checksum.
        Cell::Text(bytes) => Scalar::Text(String::from_utf8_lossy(bytes).into_owned()),
        Cell::Blob(bytes) => Scalar::Blob(bytes.to_vec()),
    }
}

/// A column for a record.
pub(crate) fn cell(scalar: &Scalar) -> Cell<'_> {
    match scalar {
        Scalar::Null => Cell::Null,
        Scalar::Int(value) => Cell::Int(*value),
        // As SQLite will have it.
        Scalar::Real(value) if value.is_nan() => Cell::Null,
        Scalar::Real(value) => Cell::Real(*value),
        Scalar::Text(text) => Cell::Text(text.as_bytes()),
        Scalar::Blob(bytes) => Cell::Blob(bytes),
    }
}
