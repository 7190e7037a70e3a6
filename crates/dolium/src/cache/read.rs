//! Owns looking one key up: values, their companions in the row, streams.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;

use dolium_hot::{Counter, Tier};

use crate::sqlite::columns::UNREADABLE;
use crate::sqlite::read;
use crate::store::housekeeper;
use crate::system::clock::Timestamp;
use crate::system::error::{Error, Result};
use crate::system::files;
use crate::value::eviction_policy::ReadNotes;
use crate::value::key::{Key, recall};
use crate::value::put_options::{KEPT, is_alive};
use crate::value::scalar::Scalar;
use crate::value::sign::Verdict;
use crate::value::{Entry, Row, UNFILED, Value, mode};

use super::Cache;
use super::nonblocking::{Unanswered, try_get};
use super::prepare::signer;
use super::record::row_of;

/// Bytes that systems read in one call.
const AT_ONCE: usize = 1 << 30;

/// What is known of an entry beside its value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Info {
    /// When it was written.
    pub store_time: Timestamp,
    /// When it expires.
    pub expire_time: Option<Timestamp>,
    /// When it was read last, under a policy that records it; else when it was written.
    pub access_time: Timestamp,
    /// How often it was read since it was written, under a policy that records it.
    pub access_count: i64,
    /// Bytes of its key and its value.
    pub size: u64,
    /// Its tag.
    pub tag: Scalar,
    /// How its value is stored, see [`mode`](crate::value::mode).
    pub mode: i64,
    /// Its value file, if it has one.
    pub path: Option<PathBuf>,
}

/// A value that is read piece by piece.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stream {
    /// A value file. It stays readable even if the entry is overwritten meanwhile.
    File {
        /// The file, at its start.
        file: File,
        /// Where it lies.
        path: PathBuf,
    },
    /// A value that lies in the row.
    Memory(Cursor<Vec<u8>>),
}

/// A value as [`locate_after`] finds it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Located {
    /// It is here.
    Value(Value),
    /// It lies in a value file, which the caller reads to where it wants it.
    File {
        /// The file, at its start.
        file: File,
        /// The length that it should have. The caller finds out whether it has, as by asking for one byte more.
        size: usize,
        /// Bytes, UTF-8 text or a pickle, see [`mode`](crate::raw::mode).
        mode: i64,
    },
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File { file, .. } => file.read(buffer),
            Self::Memory(cursor) => cursor.read(buffer),
        }
    }
}

/// What became of a row's value file.
pub(super) enum Fetched<T> {
    There(T),
    /// It has another length than the row says, cannot be read, or is an exception: a miss.
    Damaged,
    /// It is gone: the row may have changed since it was read.
    Gone,
}

impl<T> Fetched<T> {
    pub fn there(self) -> Option<T> {
        if let Self::There(value) = self { Some(value) } else { None }
    }

    fn map<S>(self, f: impl FnOnce(T) -> S) -> Fetched<S> {
        match self {
            Self::There(value) => Fetched::There(f(value)),
            Self::Damaged => Fetched::Damaged,
            Self::Gone => Fetched::Gone,
        }
    }
}

impl Cache {
    /// The value of a key, or `None` if there is none, it has expired or it is damaged.
    pub fn get<'k>(&self, key: impl Into<Key<'k>>) -> Result<Option<Value>> {
        let key = key.into();
        match try_get(self, &key, |entry| Some(Value::from(entry.value))) {
            Ok(known) => Ok(known),
            Err(unanswered) => Ok(entry_after(self, &key, unanswered)?.map(|entry| entry.value)),
        }
    }

    /// The value of a key with its expiry, tag and time of writing.
    pub fn entry<'k>(&self, key: impl Into<Key<'k>>) -> Result<Option<Entry>> {
        let key = key.into();
        let known = try_get(self, &key, |entry| {
            Some(Entry {
                value: Value::from(entry.value),
                expire_time: entry.expire_time(),
                tag: entry.tag(),
                store_time: entry.store_time(),
            })
        });
        known.or_else(|unanswered| entry_after(self, &key, unanswered))
    }

    /// The value of a key as a stream of bytes: text and pickles as they are stored.
    pub fn open_value<'k>(&self, key: impl Into<Key<'k>>) -> Result<Option<Entry<Stream>>> {
        let key = key.into();
        let found = self.find(&key, None, |row| self.fetch_stream(row))?;
        let Some((row, stream)) = found else { return Ok(None) };
        if row.columns.size != UNFILED {
            return Ok(Some(Entry::of(row, stream)));
        }
        // The tier has the value itself. A stream is a file as soon as the value has one.
        self.handle.settle_order(self.wait)?;
        let stored = self.find_stored(&key)?.there().filter(|row| self.lives(row));
        let filed =
            stored.map(|stored| Ok::<_, Error>((self.fetch_stream(&stored)?.there(), stored))).transpose()?;
        Ok(Some(match filed {
            Some((Some(filed), stored)) => Entry::of(stored, filed),
            _ => Entry::of(row, stream),
        }))
    }

    /// Whether a key is there and has not expired.
    pub fn contains<'k>(&self, key: impl Into<Key<'k>>) -> Result<bool> {
        let key = key.into();
        self.is_there(&key)
    }

    /// What is known of an entry beside its value.
    pub fn info<'k>(&self, key: impl Into<Key<'k>>) -> Result<Option<Info>> {
        let now = self.clock.now();
        Ok(stored_info(self, key)?.filter(|info| is_alive(info.expire_time, now)))
    }

    /// The value file that a row names; none where a link leads elsewhere.
    fn path_of(&self, name: &str) -> Option<PathBuf> {
        let values = &self.handle.values;
        values.path(name).filter(|path| !values.is_led_away(path))
    }

    /// What is known of a row of the hot tier. `stored`: what the database says of the key, in which alone reads are
    /// counted.
    fn info_of(&self, key: &Key<'_>, row: Row, stored: Option<Info>) -> Result<Info> {
        let Row { store_time, expire_time, tag, columns, .. } = row;
        let in_row = self
            .handle
            .read_now(self.wait, |connection| Ok(read::size_in_row(connection, key, &columns.value)?))?;
        let never = (store_time, if store_time < KEPT { 0 } else { 1 << 62 });
        let same = stored.filter(|stored| stored.store_time.to_bits() == store_time.to_bits());
        let (access_time, access_count) =
            same.map_or(never, |stored| (stored.access_time, stored.access_count));
        Ok(Info {
            store_time,
            expire_time,
            access_time,
            access_count,
            size: u64::try_from(columns.size.max(0).saturating_add(in_row)).unwrap_or(0),
            tag,
            mode: columns.mode,
            path: columns.filename.and_then(|name| self.path_of(&name)),
        })
    }

    /// Finds a row and its value. A value file that is gone means that the row was overwritten after it
    /// was read, so it is read again: a miss only if it still names the missing file. `unanswered`: the tier was asked.
    pub(super) fn find<T>(
        &self,
        key: &Key<'_>,
        unanswered: Option<Unanswered>,
        fetch: impl Fn(&mut Row) -> Result<Fetched<T>>,
    ) -> Result<Option<(Row, T)>> {
        let mut missing: Option<String> = None;
        let mut unknown_to = unanswered.and_then(|unanswered| unanswered.unknown_to);
        let found = loop {
            let looked_up = self.look_up(key, unknown_to.take())?;
            let Some(mut row) = looked_up else { break None };
            if missing.is_some() && row.columns.filename == missing {
                break None;
            }
            match fetch(&mut row)? {
                Fetched::There(value) => break Some((row, value)),
                Fetched::Damaged => break None,
                Fetched::Gone => missing.clone_from(&row.columns.filename),
            }
        };
        self.record(found.as_ref().map(|(row, _)| row.rowid), || self.clock.now());
        Ok(found)
    }

    /// The value of a row that was read at `now`. If its file is gone by now, that of the row that took
    /// its place.
    pub(super) fn value_of_row(
        &self,
        key: &Key<'_>,
        mut row: Option<Row>,
        now: Timestamp,
    ) -> Result<Option<Value>> {
        let fetched = row.as_mut().map(|row| self.fetch(key, row)).transpose()?;
        if matches!(fetched, Some(Fetched::Gone)) {
            return self.get(key);
        }
        let value = fetched.and_then(Fetched::there);
        self.record(row.filter(|_| value.is_some()).map(|row| row.rowid), || now);
        Ok(value)
    }

    /// Counts a read that the hot tier has answered for `statistics`.
    #[inline]
    pub(super) fn count_read(&self, tier: &Tier, hit: bool) {
        if self.counts && self.handle.settings.counts_hits() {
            tier.count(if hit { Counter::SettledHits } else { Counter::SettledMisses }, 1);
            if self.handle.reads.pending.count(hit) && !self.is_read_only() {
                housekeeper::wake(&self.handle);
            }
        }
    }

    /// The same for many reads, of which so many found something.
    pub(super) fn count_reads(&self, tier: &Tier, reads: usize, hits: usize) {
        if self.counts && self.handle.settings.counts_hits() {
            (0..hits).for_each(|_| self.count_read(tier, true));
            (hits..reads).for_each(|_| self.count_read(tier, false));
        }
    }

    /// Notes a hit or a miss for statistics and for the policies that ask.
    fn record(&self, hit: Option<i64>, now: impl FnOnce() -> Timestamp) {
        if !self.counts {
            return;
        }
        let mut wake = self.handle.settings.counts_hits() && self.handle.reads.pending.count(hit.is_some());
        // The hot tier has noted its own.
        let cold = hit.filter(|rowid| *rowid != Row::HOT);
        if let Some(rowid) = cold.filter(|_| self.handle.settings.noted_reads() != ReadNotes::Nothing) {
            wake |= self.handle.reads.pending.record_read(rowid, now());
        }
        if wake && !self.is_read_only() {
            housekeeper::wake(&self.handle);
        }
    }

    /// Decodes the value of a row, which is taken out of it, or reads its file.
    pub(super) fn fetch(&self, key: &Key<'_>, row: &mut Row) -> Result<Fetched<Value>> {
        if row.columns.mode == UNREADABLE {
            return Ok(Fetched::Damaged);
        }
        if row.columns.mode == mode::FRAME {
            return Ok(match self.framed_row(key, &row.columns)? {
                Fetched::There(framed) if framed.raised => Fetched::Damaged,
                Fetched::There(framed) => Fetched::There(framed.value),
                Fetched::Damaged => Fetched::Damaged,
                Fetched::Gone => Fetched::Gone,
            });
        }
        let Some(filename) = &row.columns.filename else {
            let value = std::mem::take(&mut row.columns.value);
            return Ok(Fetched::There(self.decode(key, row.columns.mode, value)?));
        };
        Ok(match self.read_file(filename, row.columns.size)? {
            Fetched::There(bytes) => match self.decode(key, row.columns.mode, Scalar::Blob(bytes))? {
                Value::Bytes(bytes) if row.columns.mode == mode::TEXT => String::from_utf8(bytes)
                    .map_or(Fetched::Damaged, |text| Fetched::There(Value::Text(text))),
                value => Fetched::There(value),
            },
            Fetched::Damaged => Fetched::Damaged,
            Fetched::Gone => Fetched::Gone,
        })
    }

    /// All bytes of a value file.
    pub(super) fn read_file(&self, filename: &str, size: i64) -> Result<Fetched<Vec<u8>>> {
        let Some(path) = self.handle.values.path(filename) else {
            return Ok(Fetched::Damaged);
        };
        match self.handle.values.read_at(&path, size) {
            Ok(Some(bytes)) => Ok(Fetched::There(bytes)),
            Ok(None) => Ok(Fetched::Damaged),
            Err(error) => missing_or(error, path),
        }
    }

    /// The value of a row, or the open value file of bytes or text.
    pub(super) fn located(&self, key: &Key<'_>, row: &Row) -> Result<Option<Located>> {
        Ok(self.locate(key, &mut row.clone(), &[mode::BINARY, mode::TEXT])?.there())
    }

    /// As [`fetch`](Self::fetch), but opens the value file of a value of these modes.
    fn locate(&self, key: &Key<'_>, row: &mut Row, modes: &[i64]) -> Result<Fetched<Located>> {
        let columns = &row.columns;
        let is_of_file = modes.contains(&columns.mode);
        let size = usize::try_from(columns.size).ok().filter(|size| is_of_file && *size <= AT_ONCE);
        let (Some(filename), Some(size)) = (&columns.filename, size) else {
            return Ok(self.fetch(key, row)?.map(Located::Value));
        };
        let Some(path) = self.handle.values.path(filename) else { return Ok(Fetched::Damaged) };
        match self.handle.values.open_at(&path) {
            Ok(file) => Ok(Fetched::There(Located::File { file, size, mode: columns.mode })),
            Err(error) => missing_or(error, path),
        }
    }

    /// A value file as long as its row says, and its path.
    fn open_file(&self, filename: &str, size: i64) -> Result<Fetched<(File, PathBuf)>> {
        let Some(path) = self.handle.values.path(filename) else {
            return Ok(Fetched::Damaged);
        };
        match self.handle.values.open_at(&path) {
            Ok(file) => {
                let length = file.metadata().map_err(Error::io(&path))?.len();
                let is_sound = i64::try_from(length) == Ok(size);
                Ok(if is_sound { Fetched::There((file, path)) } else { Fetched::Damaged })
            }
            Err(error) => missing_or(error, path),
        }
    }

    fn decode(&self, key: &Key<'_>, mode: i64, value: Scalar) -> Result<Value> {
        Ok(match (mode, value) {
            (_, Scalar::Null) => Value::Null,
            (_, Scalar::Int(value)) => Value::Int(value),
            (_, Scalar::Real(value)) => Value::Float(value),
            (_, Scalar::Text(value)) => Value::Text(value),
            (mode::PICKLE, Scalar::Blob(bytes)) => verify_pickle(self, key, bytes)?,
            (mode::PACKED, Scalar::Blob(bytes)) => Value::Packed(bytes),
            (mode::RAW | mode::BINARY | mode::TEXT, Scalar::Blob(bytes)) => Value::Bytes(bytes),
            (mode, Scalar::Blob(bytes)) => Value::Unknown { mode, bytes },
        })
    }

    fn fetch_stream(&self, row: &Row) -> Result<Fetched<Stream>> {
        let columns = &row.columns;
        let Some(filename) = &columns.filename else {
            let bytes = match columns.value.clone() {
                Scalar::Blob(bytes) => bytes,
                Scalar::Text(text) => text.into_bytes(),
                _ => {
                    return Err(Error::Type("only bytes, text and files can be read as a stream".into()));
                }
            };
            return Ok(Fetched::There(Stream::Memory(Cursor::new(bytes))));
        };
        Ok(self.open_file(filename, columns.size)?.map(|(file, path)| Stream::File { file, path }))
    }
}

/// Goes on with a lookup to which [`try_get`](super::host::try_get) had no answer. It may wait, and read the disk.
pub fn entry_after(cache: &Cache, key: &Key<'_>, unanswered: Unanswered) -> Result<Option<Entry>> {
    let found = cache.find(key, Some(unanswered), |row| cache.fetch(key, row))?;
    Ok(found.map(|(row, value)| Entry::of(row, value)))
}

/// The same for a host with a better place for a large value than the heap, such as an object of its language. It reads
/// the value file itself, without the lock of its interpreter. A file that is shorter or longer than the entry says is
/// damaged, which is a miss.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use std::io::Read;
///
/// use dolium::Cache;
/// use dolium::host::{self, Located};
///
/// let cache = Cache::open(dir.path())?;
/// cache.set("large", &vec![7; 1 << 20])?;
/// let unanswered = host::try_get(&cache, &"large".into(), |_| Some(())).expect_err("it lies in a file");
/// let entry = host::locate_after(&cache, &"large".into(), unanswered)?.expect("there");
/// let Located::File { mut file, size, .. } = entry.value else { panic!("not in a file") };
/// let mut place = vec![0; size];
/// file.read_exact(&mut place).expect("read");
/// assert_eq!(place, vec![7; 1 << 20]);
/// # Ok::<(), dolium::Error>(())
/// ```
pub fn locate_after(cache: &Cache, key: &Key<'_>, unanswered: Unanswered) -> Result<Option<Entry<Located>>> {
    let modes = [mode::BINARY, mode::TEXT, mode::PICKLE];
    let found = cache.find(key, Some(unanswered), |row| cache.locate(key, row, &modes))?;
    Ok(found.map(|(row, value)| Entry::of(row, value)))
}

/// Whether this user's key signed a stored pickle, for this key of the cache: then returns the pickle without the
/// signature.
pub fn verified<'b>(cache: &Cache, key: &Key<'_>, bytes: &'b [u8]) -> Result<Option<&'b [u8]>> {
    let (kind, form) = key.signed_form();
    let is_ours = signer(&cache.handle)?.verify(bytes, kind, &form, mode::PICKLE) == Verdict::Ours;
    Ok(is_ours.then(|| &bytes[..bytes.len() - crate::value::sign::TRAILER_LEN]))
}

/// The row of a key as it is stored, for callers that decode values themselves. Its value file, if it
/// has one, may be gone: then ask again, and if the row is the same, the entry is damaged.
pub fn row<'k>(cache: &Cache, key: impl Into<Key<'k>>) -> Result<Option<Row>> {
    let key = key.into();
    Ok(cache.find(&key, None, |_| Ok(Fetched::There(())))?.map(|(row, ())| row))
}

/// [`Cache::info`], also for an entry that has expired and is still stored.
pub fn stored_info<'k>(cache: &Cache, key: impl Into<Key<'k>>) -> Result<Option<Info>> {
    let key = key.into();
    cache.write_pending_quietly();
    let is_beside = cache.is_read_only() && !cache.in_transaction();
    let observed = if is_beside { cache.observe(&key, row_of)? } else { None };
    let facts = cache.handle.read_on(cache.wait, |connection| Ok(read::facts(connection, &key)?))?;
    let stored = facts.map(|facts| Info {
        store_time: facts.store_time,
        expire_time: facts.expire_time,
        access_time: facts.access_time,
        access_count: facts.access_count,
        size: u64::try_from(facts.size).unwrap_or(0),
        tag: facts.tag,
        mode: facts.mode,
        path: facts.filename.and_then(|name| cache.path_of(&name)),
    });
    match observed {
        None => Ok(stored),
        Some(None) => Ok(None),
        Some(Some(row)) => cache.info_of(&key, row, stored).map(Some),
    }
}

/// A stored pickle as a value that says whether we signed it, for this key.
pub fn verify_pickle(cache: &Cache, key: &Key<'_>, mut bytes: Vec<u8>) -> Result<Value> {
    let length = verified(cache, key, &bytes)?.map(<[u8]>::len);
    bytes.truncate(length.unwrap_or(bytes.len()));
    Ok(Value::Pickle { bytes, signed: length.is_some() })
}

/// The pickle of a stored key, as a value that says whether this user's key signed it. A long key comes back whole; one
/// whose whole pickle is not there, or is not what its digest stands for, is [`Value::Null`]. So are keys that are no
/// pickles.
pub fn whole_key(cache: &Cache, key: &Key<'_>) -> Result<Value> {
    let Some(stored) = key.pickle() else { return Ok(Value::Null) };
    let proof = proof(cache, key)?.unwrap_or_default();
    let signer = signer(&cache.handle)?;
    Ok(recall(stored, &proof, Some(&signer))
        .map_or(Value::Null, |(bytes, signed)| Value::Pickle { bytes, signed }))
}

/// What lies beside the row of a key, so that it can go to another store with it: see [`Object::carried`](crate::raw::Object::carried).
pub fn proof(cache: &Cache, key: &Key<'_>) -> Result<Option<Vec<u8>>> {
    cache.handle.read_now(cache.wait, |connection| Ok(read::proof(connection, key)?))
}

/// A value file that is gone may have been replaced; one that cannot be read is an error to report.
pub(super) fn missing_or<T>(error: io::Error, path: PathBuf) -> Result<Fetched<T>> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(Fetched::Gone),
        io::ErrorKind::PermissionDenied => Err(files::denied(&path)),
        _ => Err(Error::io(path)(error)),
    }
}
