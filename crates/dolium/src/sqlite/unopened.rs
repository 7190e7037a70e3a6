//! Reads a database that no process has open, straight from its file, without SQLite.
//!
//! SQLite reads and compiles the whole schema first, and an ordinary connection makes a log and removes it again. Each takes
//! several times as long as all else that opening a cache does, or a program that reads a few keys and ends. So this
//! reads rows as <https://www.sqlite.org/fileformat2.html> says. `None` is the answer to anything unusual, and the caller
//! asks SQLite then: here lies no truth that SQLite would not tell as well.
//!
//! A database whose changes go to a log is whole as long as there is no log: each process that uses it has one. The file
//! counts if its stamp is the same afterwards, and old enough that a second change would have another.

use std::cell::Cell;
use std::cmp::Ordering;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::types::{FromSql, ValueRef};

use crate::sqlite::columns;
use crate::sqlite::connection::while_closed;
use crate::sqlite::files::with_suffix;
use crate::sqlite::read::Found;
use crate::system::clock::Clock;
use crate::system::files::{self, Stamp};
use crate::value::Row;
use crate::value::key::Key;
use crate::value::scalar::Scalar;
use crate::value::settings::{METADATA, Settings};

const MAGIC: &[u8] = b"SQLite format 3\0";

/// Bytes that are read at first: the header, and in a store of ours the whole first page.
const FIRST: usize = 4096;

/// Where the node of the first page begins.
const HEADER: usize = 100;

/// How deep a tree may be, how many rows of a table are read, and how long one may be. SQLite reads what is larger.
const DEPTH: usize = 16;
const ROWS: usize = 1000;
const LONGEST: usize = 16 << 20;

/// How many pages are read in all: those of a damaged file may name each other.
const PAGES: u32 = 16 << 10;

/// Seconds after which the time of a file tells one change from the next, whatever the file system.
const SETTLED: f64 = 0.05;

/// The columns of the table of entries, in their order. More may come behind.
const COLUMNS: [&str; 12] = [
    "rowid",
    "key",
    "raw",
    "store_time",
    "expire_time",
    "access_time",
    "access_count",
    "tag",
    "size",
    "mode",
    "filename",
    "value",
];

/// The kinds of nodes: of an index and of a table, with others below or without.
const INDEX: u8 = 2;
const TABLE: u8 = 5;
const INDEX_LEAF: u8 = 10;
const TABLE_LEAF: u8 = 13;

/// A database that no process has open.
pub(crate) struct Unopened {
    file: File,
    pages: u32,
    /// Bytes of a page, and those of them that have rows.
    page: usize,
    usable: usize,
    /// How many pages may still be read.
    left: Cell<u32>,
    schema: Vec<Named>,
}

/// A table or an index.
struct Named {
    name: String,
    root: u32,
    sql: String,
}

/// A page of a tree.
struct Node {
    bytes: Vec<u8>,
    /// Where it begins in the page.
    start: usize,
    kind: u8,
    cells: usize,
}

/// Shows `f` a database, unless a process has it open, even this one, or has opened it meanwhile.
pub(crate) fn look<T>(path: &Path, f: impl FnOnce(&Unopened) -> Option<T>) -> Option<T> {
    let before = stamp_unless_open(path)?;
    if before.age(Clock::System.now()) < SETTLED {
        return None;
    }
    // Closing the file would let go of the locks that a connection of this process has on it.
    let found = while_closed(path, || f(&Unopened::open(path, &before)?))??;
    (stamp_unless_open(path)? == before).then_some(found)
}

/// The stamp of a database beside which no process has a log or a journal.
pub(crate) fn stamp_unless_open(path: &Path) -> Option<Stamp> {
    let is_alone = || ["-wal", "-journal"].iter().all(|suffix| !files::exists(&with_suffix(path, suffix)));
    let stamp = files::stamp(path)?;
    is_alone().then_some(stamp)
}

impl Unopened {
    fn open(path: &Path, stamp: &Stamp) -> Option<Self> {
        let file = files::open_to_read(path).ok()?;
        let length = stamp.length();
        let mut first = vec![0; FIRST.min(usize::try_from(length).ok()?)];
        file.read_exact_at(&mut first, 0).ok()?;
        let page = match number::<2>(&first, 16)? {
            1 => 1 << 16,
            bytes => bytes,
        };
        // Its changes go to a log, and its text is UTF-8.
        let is_usual =
            first.starts_with(MAGIC) && first.get(18..20)? == [2, 2] && number::<4>(&first, 56)? == 1;
        let usable = page.checked_sub(usize::from(*first.get(20)?)).filter(|usable| *usable >= 480)?;
        if !is_usual || !page.is_power_of_two() {
            return None;
        }
        let pages = u32::try_from(length / page as u64).ok()?;
        let left = Cell::new(PAGES);
        let mut unopened = Self { file, pages, page, usable, left, schema: Vec::new() };
        if first.len() >= page {
            first.truncate(page);
        } else {
            first = unopened.page(1)?;
        }
        let mut rows = Vec::new();
        unopened.rows(&Node::new(first, HEADER)?, DEPTH, &mut rows)?;
        unopened.schema = rows.iter().map(|row| Named::of(row)).collect::<Option<_>>()?;
        Some(unopened)
    }

    /// The stored settings over the defaults.
    pub fn settings(&self) -> Option<Settings> {
        let mut rows = Vec::new();
        let table = self.named("Settings").filter(|table| has_columns(&table.sql, &["key", "value"]))?;
        self.rows(&self.node(table.root)?, DEPTH, &mut rows)?;
        let mut settings = Settings::defaults();
        for row in &rows {
            let [name, value] = fields(row)?[..] else { return None };
            if let Scalar::Text(name) = scalar(name)?
                && !METADATA.contains(&name.as_str())
            {
                settings.set(&name, scalar(value)?);
            }
        }
        Some(settings)
    }

    /// What the table `Dolium` says under a name, if anything.
    pub fn noted(&self, name: &str) -> Option<Found<Scalar>> {
        let (Some(table), Some(index)) = (self.named("Dolium"), self.named("sqlite_autoindex_Dolium_1"))
        else {
            return Some(Found::Absent);
        };
        let Found::There(rowid) = self.entry(index.root, &[ValueRef::Text(name.as_bytes())])? else {
            return Some(Found::Absent);
        };
        let row = self.row(table.root, rowid)?;
        let value = *fields(&row)?.get(1)?;
        scalar(value).map(Found::There)
    }

    /// The row of a key, expired or not.
    pub fn find(&self, key: &Key<'_>) -> Option<Found<Row>> {
        let table = self.named("Cache").filter(|table| has_columns(&table.sql, &COLUMNS))?;
        let index = self.named("Cache_key_raw").filter(|index| has_columns(&index.sql, &["key", "raw"]))?;
        let Found::There(rowid) =
            self.entry(index.root, &[key.column(), ValueRef::Integer(key.raw().into())])?
        else {
            return Some(Found::Absent);
        };
        let row = self.row(table.root, rowid)?;
        let mut fields = fields(&row)?.into_iter().skip(3).map(scalar);
        let mut next = || fields.next().flatten();
        let times = [next()?, next()?];
        let _reads = [next()?, next()?];
        let [tag, size, mode, filename, value] = [next()?, next()?, next()?, next()?, next()?];
        let [store_time, expire_time] = times;
        Some(Found::There(columns::assemble(
            rowid,
            [store_time, expire_time, tag, size, mode, filename, value],
        )))
    }

    /// A table or an index.
    fn named(&self, name: &str) -> Option<&Named> {
        self.schema.iter().find(|named| named.name == name)
    }

    fn page(&self, number: u32) -> Option<Vec<u8>> {
        if !(1..=self.pages).contains(&number) {
            return None;
        }
        self.left.set(self.left.get().checked_sub(1)?);
        let mut bytes = vec![0; self.page];
        self.file.read_exact_at(&mut bytes, u64::from(number - 1) * self.page as u64).ok()?;
        Some(bytes)
    }

    fn node(&self, page: u32) -> Option<Node> {
        Node::new(self.page(page)?, if page == 1 { HEADER } else { 0 })
    }

    /// Adds all rows of a small table.
    fn rows(&self, node: &Node, depth: usize, rows: &mut Vec<Vec<u8>>) -> Option<()> {
        for cell in 0..node.cells {
            let mut cell = node.cell(cell)?;
            match node.kind {
                TABLE_LEAF if rows.len() < ROWS => {
                    let length = varint(&mut cell)?;
                    varint(&mut cell)?;
                    rows.push(self.payload(cell, length, self.usable - 35)?);
                }
                TABLE => self.rows(&self.node(page_at(cell, 0)?)?, depth.checked_sub(1)?, rows)?,
                _ => return None,
            }
        }
        match node.kind {
            TABLE => self.rows(&self.node(node.last()?)?, depth.checked_sub(1)?, rows),
            kind => (kind == TABLE_LEAF).then_some(()),
        }
    }

    /// The row of a table with this number.
    fn row(&self, root: u32, rowid: i64) -> Option<Vec<u8>> {
        let mut node = self.node(root)?;
        for _ in 0..DEPTH {
            let is_leaf = node.kind == TABLE_LEAF;
            let (at, found) = node.search(|mut cell| {
                if is_leaf {
                    varint(&mut cell)?;
                } else {
                    cell = cell.get(4..)?;
                }
                Some(varint(&mut cell)?.cast_signed().cmp(&rowid))
            })?;
            match node.kind {
                TABLE_LEAF if found => {
                    let mut cell = node.cell(at)?;
                    let length = varint(&mut cell)?;
                    varint(&mut cell)?;
                    return self.payload(cell, length, self.usable - 35);
                }
                TABLE => node = self.node(node.child(at)?)?,
                _ => return None,
            }
        }
        None
    }

    /// The number of the row to which an index leads from these values, which no two rows have.
    fn entry(&self, root: u32, values: &[ValueRef<'_>]) -> Option<Found<i64>> {
        let mut node = self.node(root)?;
        for _ in 0..DEPTH {
            let skipped = match node.kind {
                INDEX => 4,
                INDEX_LEAF => 0,
                _ => return None,
            };
            let entry = |cell: &[u8]| {
                let mut cell = cell.get(skipped..)?;
                let length = varint(&mut cell)?;
                self.payload(cell, length, (self.usable - 12) * 64 / 255 - 23)
            };
            let (at, found) = node.search(|cell| {
                let entry = entry(cell)?;
                let fields = fields(&entry)?;
                values.iter().zip(&fields).try_fold(Ordering::Equal, |order, (value, field)| {
                    if order.is_eq() { compare(*field, *value) } else { Some(order) }
                })
            })?;
            if found {
                let entry = entry(node.cell(at)?)?;
                let ValueRef::Integer(rowid) = *fields(&entry)?.get(values.len())? else { return None };
                return Some(Found::There(rowid));
            }
            if node.kind == INDEX_LEAF {
                return Some(Found::Absent);
            }
            node = self.node(node.child(at)?)?;
        }
        None
    }

    /// A row, of which so many bytes at most lie in the page itself.
    fn payload(&self, cell: &[u8], length: u64, most: usize) -> Option<Vec<u8>> {
        let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST)?;
        if length <= most {
            return cell.get(..length).map(<[u8]>::to_vec);
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let here = least + (length - least) % (self.usable - 4);
        let here = if here <= most { here } else { least };
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(cell.get(..here)?);
        let mut next = page_at(cell, here)?;
        while bytes.len() < length {
            let page = self.page(next)?;
            next = page_at(&page, 0)?;
            bytes.extend_from_slice(page.get(4..self.usable.min(4 + length - bytes.len()))?);
        }
        Some(bytes)
    }
}

impl Named {
    /// As a row of the schema says: type, name, table, root page, SQL.
    fn of(row: &[u8]) -> Option<Self> {
        let [_, name, _, root, sql] = fields(row)?[..] else { return None };
        let root = if let ValueRef::Integer(root) = root { u32::try_from(root).ok()? } else { 0 };
        let sql =
            if let ValueRef::Text(sql) = sql { String::from_utf8(sql.to_vec()).ok()? } else { String::new() };
        let Scalar::Text(name) = scalar(name)? else { return None };
        Some(Self { name, root, sql })
    }
}

impl Node {
    fn new(bytes: Vec<u8>, start: usize) -> Option<Self> {
        let kind = *bytes.get(start)?;
        let cells = number::<2>(&bytes, start + 3)?;
        Some(Self { bytes, start, kind, cells })
    }

    fn has_children(&self) -> bool {
        matches!(self.kind, INDEX | TABLE)
    }

    /// The bytes from a cell on.
    fn cell(&self, at: usize) -> Option<&[u8]> {
        let places = self.start + if self.has_children() { 12 } else { 8 };
        self.bytes.get(number::<2>(&self.bytes, places + 2 * at)?..)
    }

    /// The page behind all cells.
    fn last(&self) -> Option<u32> {
        page_at(&self.bytes, self.start + 8)
    }

    /// The page before a cell.
    fn child(&self, at: usize) -> Option<u32> {
        if at == self.cells { self.last() } else { page_at(self.cell(at)?, 0) }
    }

    /// The first cell that is not less, and whether it is equal.
    fn search(&self, order: impl Fn(&[u8]) -> Option<Ordering>) -> Option<(usize, bool)> {
        let (mut from, mut to, mut is_equal) = (0, self.cells, false);
        while from < to {
            let middle = usize::midpoint(from, to);
            match order(self.cell(middle)?)? {
                Ordering::Less => from = middle + 1,
                other => (to, is_equal) = (middle, other.is_eq()),
            }
        }
        Some((from, is_equal))
    }
}

/// A number of so many bytes, the highest first.
fn number<const BYTES: usize>(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes: &[u8; BYTES] = bytes.get(at..)?.first_chunk()?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

fn page_at(bytes: &[u8], at: usize) -> Option<u32> {
    u32::try_from(number::<4>(bytes, at)?).ok()
}

/// Takes a number of variable length off the front.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for at in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if at == 8 {
            return Some(value << 8 | u64::from(*byte));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(value)
}

/// The columns of a row.
fn fields(row: &[u8]) -> Option<Vec<ValueRef<'_>>> {
    let mut kinds = row;
    let header = usize::try_from(varint(&mut kinds)?).ok()?;
    let mut body = row.get(header..)?;
    kinds = row.get(row.len() - kinds.len()..header)?;
    let mut fields = Vec::with_capacity(COLUMNS.len());
    while !kinds.is_empty() {
        let kind = varint(&mut kinds)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => (kind - 12) / 2,
        };
        let (bytes, rest) = body.split_at_checked(usize::try_from(length).ok()?)?;
        body = rest;
        let integer = || {
            let is_negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
            bytes.iter().fold(-i64::from(is_negative), |value, byte| value << 8 | i64::from(*byte))
        };
        fields.push(match kind {
            0 => ValueRef::Null,
            1..=6 => ValueRef::Integer(integer()),
            7 => ValueRef::Real(f64::from_be_bytes(bytes.try_into().ok()?)),
            8 => ValueRef::Integer(0),
            9 => ValueRef::Integer(1),
            _ if kind % 2 == 0 => ValueRef::Blob(bytes),
            _ => ValueRef::Text(bytes),
        });
    }
    Some(fields)
}

fn scalar(value: ValueRef<'_>) -> Option<Scalar> {
    Scalar::column_result(value).ok()
}

/// The order of two values in an index. SQLite compares an integer with a float more carefully than this does.
fn compare(one: ValueRef<'_>, other: ValueRef<'_>) -> Option<Ordering> {
    use ValueRef::{Blob, Integer, Null, Real, Text};
    let class = |value| match value {
        Null => 0,
        Integer(_) | Real(_) => 1,
        Text(_) => 2,
        Blob(_) => 3,
    };
    match (one, other) {
        (Integer(one), Integer(other)) => Some(one.cmp(&other)),
        (Real(one), Real(other)) => one.partial_cmp(&other),
        (Integer(_), Real(_)) | (Real(_), Integer(_)) => None,
        (Text(one), Text(other)) | (Blob(one), Blob(other)) => Some(one.cmp(other)),
        _ => Some(class(one).cmp(&class(other))),
    }
}

/// Whether the SQL of a table or an index names these columns first, in this order.
fn has_columns(sql: &str, columns: &[&str]) -> bool {
    let named = sql.split_once('(').map(|(_, named)| named).unwrap_or_default();
    let mut named = named.split([',', ')']).map(|named| named.split_whitespace().next().unwrap_or_default());
    columns.iter().all(|column| named.next() == Some(column))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cache;
    use crate::sqlite::{read, schema};
    use crate::system::error::Result;

    /// Long after the last change.
    const LATER: std::time::Duration = std::time::Duration::from_millis(60);

    /// A closed store with keys and values of all kinds and lengths.
    fn store(entries: i64) -> Result<(tempfile::TempDir, Vec<Key<'static>>)> {
        let directory = tempfile::tempdir().expect("directory");
        let cache = Cache::builder(directory.path()).setting("hot_size", 0).open()?;
        let mut keys = Vec::new();
        let transaction = cache.transact()?;
        for at in 0..entries {
            let length = usize::try_from(at * 37 % 9000).expect("small");
            let text = format!("{at}").repeat(usize::try_from(1 + at * 7 % 300).expect("small"));
            let key: Key<'static> = match at % 4 {
                0 => (at << (at % 40)).into(),
                1 => text.into(),
                2 => text.into_bytes().into(),
                _ => Key::plain(&("key", at)),
            };
            match at % 3 {
                0 => cache.set(&key, at)?,
                1 => cache.set(&key, "é".repeat(length).as_str())?,
                _ => cache.set(&key, &vec![7; length][..])?,
            };
            keys.push(key);
        }
        transaction.commit()?;
        cache.close()?;
        std::thread::sleep(LATER);
        Ok((directory, keys))
    }

    #[test]
    fn rows_are_those_that_sqlite_reads() -> Result<()> {
        for entries in [0, 3, 40, 3000] {
            let (directory, keys) = store(entries)?;
            let path = directory.path().join("cache.db");
            let absent = [Key::from("absent"), Key::from(-5), Key::from(b"\xff\xff"), Key::from("")];
            look(&path, |unopened| {
                let settings = unopened.settings()?;
                assert_eq!(settings.int("hot_size"), Some(0));
                assert_eq!(unopened.noted("version")?.there(), Some(Scalar::Int(1)));
                assert!(unopened.noted("tier")?.is_absent());
                Some(())
            })
            .expect("no process has it open");
            let asked: Vec<_> = keys.iter().chain(&absent).collect();
            // No more at once than the pages allow that one look may read.
            let find = |keys: &[&Key<'static>]| {
                look(&path, |unopened| keys.iter().map(|key| unopened.find(key)).collect::<Option<Vec<_>>>())
                    .expect("a file that is as usual")
            };
            let found: Vec<Found<Row>> = asked.chunks(500).flat_map(find).collect();
            let handle = crate::store::Handle::of(directory.path(), false);
            let expected = handle.read_now(crate::system::wait::Wait::Forever, |connection| {
                let settings = schema::load_settings(connection)?;
                assert!(look(&path, |_| Some(())).is_none(), "this process has it open");
                let found =
                    keys.iter().chain(&absent).map(|key| read::find(connection, key, f64::NEG_INFINITY));
                Ok(Some((settings, found.collect::<rusqlite::Result<Vec<_>>>()?)))
            })?;
            let (settings, expected) = expected.expect("a store");
            handle.connections.close(false);
            let peeked = look(&path, Unopened::settings).expect("closed again");
            assert!(settings.has_values_of(&peeked));
            for (found, expected) in found.into_iter().zip(expected) {
                assert_eq!(format!("{:?}", found.there()), format!("{expected:?}"));
            }
        }
        Ok(())
    }

    #[test]
    fn file_that_was_just_written_is_left_to_sqlite() -> Result<()> {
        let (directory, _) = store(1)?;
        let path = directory.path().join("cache.db");
        assert!(look(&path, |_| Some(())).is_some());
        let file = File::options().write(true).open(&path).expect("opened");
        file.set_modified(std::time::SystemTime::now()).expect("touched");
        assert!(look(&path, |_| Some(())).is_none());
        Ok(())
    }

    #[test]
    fn damage_is_left_to_sqlite() -> Result<()> {
        let (directory, keys) = store(60)?;
        let path = directory.path().join("cache.db");
        let whole = files::open_to_read(&path).and_then(|file| {
            let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).expect("small")];
            file.read_exact_at(&mut bytes, 0).map(|()| bytes)
        });
        let whole = whole.expect("read");
        let damaged = directory.path().join("damaged.db");
        let mut seed = 1_u64;
        for _ in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..20 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = usize::try_from(seed >> 33).expect("small") % bytes.len();
                bytes[at] = seed.to_le_bytes()[3];
            }
            std::fs::write(&damaged, &bytes).expect("written");
            let stamp = files::stamp(&damaged).expect("there");
            // It neither panics nor runs for ever.
            let _ = Unopened::open(&damaged, &stamp).map(|unopened| {
                (unopened.settings().is_some(), keys.iter().filter_map(|key| unopened.find(key)).count())
            });
        }
        Ok(())
    }
}
