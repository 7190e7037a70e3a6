//! Owns opening connections and what is set on each. The only caller of `rusqlite::Connection::open*`.

use std::cell::Cell;
use std::ffi::c_int;
use std::ops::{Deref, RangeInclusive};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::{FileControl, OpenFlags};

use crate::sqlite::files::with_suffix;
use crate::sqlite::unopened::stamp_unless_open;
use crate::system::error::{Error, Result};
use crate::system::files::{self, Identity};
use crate::system::sentinel::{self, Sentinel};
use crate::value::settings::Settings;

/// What a connection is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reading and writing a store that exists.
    Write,
    /// The same, making the store first if there is none. The caller holds the writer lock.
    Create,
    /// Reading only, also from a read-only mount.
    Read,
}

/// A connection with the marks that the pool needs.
pub(crate) struct Connection {
    /// None once it was given up.
    raw: Option<rusqlite::Connection>,
    /// Says whether the connection's descriptors are still its own.
    sentinel: Option<Arc<Sentinel>>,
    /// The pool's version when it was opened: one of an older version is closed, not reused.
    pub pool_version: u64,
    /// Whether this connection has seen that all our tables are there.
    pub has_schema: Cell<bool>,
    /// Whether the handle knows which log it has open.
    pub is_known: Cell<bool>,
    /// How many settings the transaction in progress has stored.
    pub saved: Cell<usize>,
    /// Reads before it gets all of the page cache, and the setting that says how much that is.
    unread: Cell<i64>,
    cache_size: i64,
    /// Bytes of page cache that it was granted.
    granted: Cell<i64>,
    /// The files as they were when a connection was opened that takes them for immutable, and so neither locks
    /// nor looks at them.
    frozen: Option<FileStamp>,
    /// The last field, because it says that the others are gone.
    _open: Option<OpenMark>,
}

/// The databases to which this process has connections, as often as it has.
static OPEN: Mutex<Vec<Identity>> = Mutex::new(Vec::new());

/// Says that a connection is open.
struct OpenMark(Identity);

impl OpenMark {
    /// Before the database is opened. `None` if it is not there.
    fn of(path: &Path) -> Option<Self> {
        let identity = files::identity(path)?;
        open_databases().push(identity);
        Some(Self(identity))
    }
}

impl Drop for OpenMark {
    fn drop(&mut self) {
        let mut open = open_databases();
        if let Some(at) = open.iter().position(|identity| *identity == self.0) {
            open.swap_remove(at);
        }
    }
}

fn open_databases() -> std::sync::MutexGuard<'static, Vec<Identity>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `f`, which opens the file of a database and closes it, while this process has no connection to it and gets none.
/// Closing any descriptor of a file lets go of all locks that the process has on that.
pub(crate) fn while_closed<T>(path: &Path, f: impl FnOnce() -> T) -> Option<T> {
    let open = open_databases();
    let is_open = files::identity(path).is_none_or(|identity| open.contains(&identity));
    (!is_open && !sentinel::is_severed(path)).then(f)
}

/// The parts of a store's state that change with a write: the stamp of the database and the length of its log.
type FileStamp = (Option<files::Stamp>, u64);

fn stamp(database: &Path) -> FileStamp {
    (files::stamp(database), files::length(&with_suffix(database, "-wal")))
}

impl Deref for Connection {
    type Target = rusqlite::Connection;

    fn deref(&self) -> &Self::Target {
        self.raw.as_ref().expect("a connection is given up only when it is dropped")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        GRANTED.fetch_sub(self.granted.take(), Ordering::Relaxed);
        if self.is_severed()
            && let Some(raw) = self.raw.take()
        {
            raw.path().map(Path::new).into_iter().for_each(sentinel::sever);
            // Closing it would close files of the program.
            std::mem::forget(raw);
        }
    }
}

/// Statements that stay prepared on each connection: more than the engine has.
const STATEMENTS: usize = 64;

/// How often a database that another process replaces meanwhile is opened.
const OPENINGS: u32 = 5;

/// The write-ahead log's length in bytes above which it is checkpointed.
pub(crate) const LOG: u64 = 16 << 20;

/// Pages of cache that a new connection has, or KiB where the setting counts those.
const FRESH: RangeInclusive<i64> = -512..=256;
const FRESH_BYTES: i64 = 512 << 10;

/// Pages, or KiB, that a transaction changes before it writes some into the log, unless its connection has more.
const SPILL: RangeInclusive<i64> = -8192..=4096;

/// Bytes of page cache that all connections of the process share beyond those of a new one. Else four connections to each
/// of eight shards would have half a gigabyte. A cache whose setting asks for more has it beside them.
const SHARED: i64 = 16 << 20;

static GRANTED: AtomicI64 = AtomicI64::new(0);

/// Bytes of a page of a new store. Each set logs three to five of them whole, so that half of SQLite's
/// default costs it 15 % less processor time and half the log; diskcache asks SQLite for the size.
const PAGE: u32 = 2048;

impl Connection {
    /// Opens the database. `Ok(None)`: there is none, and `access` does not ask to make one.
    pub fn open(
        path: &Path,
        access: Access,
        network: bool,
        settings: &Settings,
        pool_version: u64,
    ) -> Result<Option<Self>> {
        for _ in 1..OPENINGS {
            match Self::open_once(path, access, network, settings, pool_version)? {
                // SQLite has opened the log by its name: it may be that of the database which has the name now.
                Some(connection) if connection.has_moved() => connection.close_quickly(),
                opened => return Ok(opened),
            }
        }
        Self::open_once(path, access, network, settings, pool_version)
    }

    fn open_once(
        path: &Path,
        access: Access,
        network: bool,
        settings: &Settings,
        pool_version: u64,
    ) -> Result<Option<Self>> {
        if access != Access::Create && !files::may_exist(path)? {
            return Ok(None);
        }
        let sentinel = Sentinel::current();
        if sentinel::is_severed(path) {
            return Err(Error::Severed { directory: path.parent().unwrap_or(path).to_path_buf() });
        }
        let mut frozen = None;
        if access == Access::Create {
            if !files::exists(path) {
                // A process that still has the old database open uses the old log.
                crate::sqlite::files::remove_log(path);
            }
            files::create_store(path)?;
        }
        let open = OpenMark::of(path);
        let raw = match access {
            Access::Read => {
                let (raw, snapshot) = open_for_reading(path)?;
                frozen = snapshot;
                raw
            }
            Access::Write => open_raw(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?,
            Access::Create => {
                let raw = open_raw(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
                init_empty(&raw, network, settings)?;
                raw
            }
        };
        let cache_size = settings.int("sqlite_cache_size").unwrap_or(1 << 13);
        configure(&raw, settings, cache_size)?;
        let is_whole = FRESH.contains(&cache_size);
        Ok(Some(Self {
            unread: Cell::new(if is_whole { 0 } else { cache_size.saturating_abs() }),
            cache_size,
            granted: Cell::new(0),
            sentinel,
            raw: Some(raw),
            pool_version,
            has_schema: Cell::new(false),
            is_known: Cell::new(false),
            saved: Cell::new(0),
            frozen,
            _open: open,
        }))
    }

    /// Before the first write: the file may be there and empty, if the process that made it was killed or disturbed.
    pub fn init_empty(&self, network: bool, settings: &Settings) -> Result<()> {
        if self.has_schema.get() { Ok(()) } else { init_empty(self, network, settings) }
    }

    /// Whether the database has no tables yet.
    pub fn is_empty(&self) -> Result<bool> {
        is_empty(self)
    }

    fn of(raw: rusqlite::Connection) -> Self {
        Self {
            raw: Some(raw),
            sentinel: None,
            pool_version: 0,
            has_schema: Cell::new(false),
            is_known: Cell::new(false),
            saved: Cell::new(0),
            unread: Cell::new(0),
            cache_size: 0,
            granted: Cell::new(0),
            frozen: None,
            _open: None,
        }
    }

    /// Counts reads of a row. After as many as its cache has pages, a connection gets the whole of it: memory that is
    /// touched for the first time costs more than a page that is read again, and only a connection that stays has it
    /// back.
    pub fn count_reads(&self, reads: usize) {
        let unread = self.unread.get();
        if unread > 0 {
            self.unread.set(unread.saturating_sub_unsigned(reads as u64));
            if self.unread.get() <= 0 {
                // A failure costs time, nothing else.
                let _ = self.grow_cache();
            }
        }
    }

    /// Gives the connection what the setting says, as far as others leave it.
    fn grow_cache(&self) -> rusqlite::Result<()> {
        let page: i64 = self.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let unit = if self.cache_size < 0 { 1024 } else { page };
        let wanted = self.cache_size.saturating_abs().saturating_mul(unit);
        if wanted > SHARED {
            return self.pragma_update(None, "cache_size", self.cache_size);
        }
        let before = GRANTED.fetch_add(wanted, Ordering::Relaxed);
        let granted = wanted.min(SHARED - before).max(0);
        GRANTED.fetch_sub(wanted - granted, Ordering::Relaxed);
        self.granted.set(granted);
        let size = if granted == wanted { self.cache_size } else { -(granted / 1024) };
        if granted == wanted || granted > FRESH_BYTES {
            self.pragma_update(None, "cache_size", size)?;
        }
        Ok(())
    }

    /// Whether the database file was renamed, replaced or removed since it was opened.
    pub fn has_moved(&self) -> bool {
        let mut moved: c_int = 0;
        let asked = self.file_control(Some("main"), FileControl::HasMoved(&mut moved));
        asked.is_ok() && moved != 0
    }

    /// Whether what was read is what is there, which SQLite does not see to on files it takes for immutable.
    pub fn is_current(&self, path: &Path) -> bool {
        self.frozen.as_ref().is_none_or(|frozen| *frozen == stamp(path))
    }

    /// Whether the program closed its descriptors, so that it must not be used.
    pub fn is_severed(&self) -> bool {
        self.sentinel.as_ref().is_some_and(|sentinel| !sentinel.is_intact())
    }

    /// Undoes what is not committed. A failure leaves that to the end of the connection.
    pub fn roll_back(&self) {
        if !self.is_severed() {
            let _ = self.execute_batch("ROLLBACK");
        }
    }

    /// Closing will neither checkpoint nor remove the write-ahead log, even if this is the last connection.
    pub fn close_quickly(self) {
        let _ = self.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }
}

/// Opens a new database that is about to become a copy, and that no other process uses yet.
pub(crate) fn create_copy(path: &Path) -> Result<rusqlite::Connection> {
    files::create_store(path)?;
    let raw = open_raw(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Alone with the file it needs no shared memory for its log. A copy that fails is removed, so nothing is undone in
    // it, and the whole directory is synced in the end.
    raw.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY",
    )?;
    Ok(raw)
}

/// Closes a copy that is complete: all is in the one file then.
pub(crate) fn finish_copy(raw: rusqlite::Connection, network: bool) -> Result<()> {
    if network {
        // Shared memory, which a write-ahead log needs, does not work across machines.
        raw.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    } else {
        raw.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    raw.close().map_err(|(_, error)| error.into())
}

fn open_raw(path: &Path, flags: OpenFlags) -> Result<rusqlite::Connection> {
    rusqlite::Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(Error::from)
}

/// A write-ahead log wants a writable directory even for reading. Where there is none and no log
/// either, the file is the whole truth and may be read as immutable.
///
/// Where the log could be made, SQLite would make it for a reader and leave it behind, empty. A connection
/// that may write but is told not to takes it away again when it closes.
fn open_for_reading(path: &Path) -> Result<(rusqlite::Connection, Option<FileStamp>)> {
    let before = stamp(path);
    let may_write = files::is_writable(path) && path.parent().is_some_and(files::is_writable);
    if may_write && files::length(&with_suffix(path, "-wal")) == 0 {
        let raw = open_raw(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        raw.pragma_update(None, "query_only", true)?;
        return Ok((raw, None));
    }
    let raw = open_raw(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    match raw.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(())) {
        Ok(()) => return Ok((raw, None)),
        Err(error) if crate::system::error::is_busy(&error) => return Ok((raw, None)),
        Err(error)
            if error.sqlite_error_code() != Some(rusqlite::ErrorCode::CannotOpen)
                && !crate::system::error::is_denied(&error) =>
        {
            return Err(error.into());
        }
        // With a log the file is not the whole truth.
        Err(error) if before.1 > 0 => return Err(error.into()),
        Err(_) => {}
    }
    Ok((open_immutable(path)?, Some(before)))
}

/// Shows `f` a database that no process has open. This takes no lock and makes no log, which is most of what opening
/// costs.
///
/// Returns `None` if a process has the database open or has opened it meanwhile, or if `f` failed. The usual way then
/// tells why.
pub(crate) fn read_unopened<T>(path: &Path, f: impl FnOnce(&Connection) -> Result<T>) -> Option<T> {
    let before = stamp_unless_open(path)?;
    let raw = open_immutable(path).ok()?;
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).ok()?;
    let result = f(&Connection::of(raw)).ok()?;
    (stamp_unless_open(path)? == before).then_some(result)
}

fn open_immutable(path: &Path) -> Result<rusqlite::Connection> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {
                uri.push(char::from(*byte));
            }
            _ => uri.extend(['%', hex(byte >> 4), hex(byte & 15)]),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    open_raw(Path::new(&uri), flags)
}

fn hex(digit: u8) -> char {
    char::from_digit(digit.into(), 16).unwrap_or('0')
}

fn is_empty(raw: &rusqlite::Connection) -> Result<bool> {
    let tables: i64 = raw.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    Ok(tables == 0)
}

/// In an empty database, chooses what cannot be changed once it has tables.
fn init_empty(raw: &rusqlite::Connection, network: bool, settings: &Settings) -> Result<()> {
    if is_empty(raw)? {
        let vacuum = settings.int("sqlite_auto_vacuum").unwrap_or(1);
        raw.pragma_update(None, "page_size", PAGE)?;
        raw.pragma_update(None, "auto_vacuum", vacuum)?;
        let wanted = settings.get("sqlite_journal_mode").and_then(|mode| mode.as_text()).unwrap_or("wal");
        // Shared memory, which a write-ahead log needs, does not work across machines.
        let journal = if network { "delete" } else { wanted };
        raw.pragma_update_and_check(None, "journal_mode", journal, |_| Ok(()))?;
    }
    Ok(())
}

fn configure(raw: &rusqlite::Connection, settings: &Settings, cache_size: i64) -> Result<()> {
    raw.busy_timeout(std::time::Duration::ZERO)?;
    raw.set_prepared_statement_cache_capacity(STATEMENTS);
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Else each new bound of a range (`expire_time <= ?`) has the statement planned anew: a quarter of a `set`.
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Double-quoted literals are in the triggers of diskcache, which `_sql` may fire.
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, true)?;
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, true)?;
    let fresh = cache_size.clamp(*FRESH.start(), *FRESH.end());
    // What a transaction may have before it has to write into the log.
    let spill = if cache_size == 0 { 1 } else { cache_size.clamp(*SPILL.start(), *SPILL.end()) };
    let synchronous = settings.int("sqlite_synchronous").unwrap_or(1);
    // Checkpoints are the housekeeper's, outside commits; a log that starts over is cut to what it tolerates. Reading
    // through a map would turn a truncated file into SIGBUS, so `sqlite_mmap_size` is kept for diskcache but not
    // applied.
    raw.execute_batch(&format!(
        "PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {LOG}; PRAGMA mmap_size = 0; PRAGMA cache_size = {fresh}; PRAGMA cache_spill = {spill};
         PRAGMA synchronous = {synchronous}; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;"
    ))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_page_cache_is_for_who_has_read_enough() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("cache.db");
        let opened = |cache_size: i64| {
            let mut settings = Settings::defaults();
            settings.set("sqlite_cache_size", cache_size.into());
            Connection::open(&path, Access::Create, false, &settings, 0).expect("opened").expect("made")
        };
        let pages = |connection: &Connection| -> i64 {
            connection.query_row("PRAGMA cache_size", [], |row| row.get(0)).expect("pages")
        };
        for (setting, fresh) in [(8192, 256), (-4096, -512), (100, 100), (-100, -100), (0, 0)] {
            let connection = opened(setting);
            assert_eq!(pages(&connection), fresh);
            for reads in [setting.unsigned_abs() - setting.unsigned_abs() / 2, setting.unsigned_abs() / 2] {
                assert_eq!(pages(&connection), fresh);
                connection.count_reads(usize::try_from(reads).expect("few"));
            }
            assert_eq!(pages(&connection), setting);
        }
    }

    /// As a process may get it that opens a store while another process sets it aside.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_connection_of_the_old_store_moves_no_log_of_the_new_one() -> Result<()> {
        let directory = tempfile::tempdir().expect("directory");
        let cache = crate::Cache::builder(directory.path()).setting("hot_size", 0).open()?;
        cache.set("before", 1)?;
        let handle = crate::store::Handle::of(directory.path(), false);
        let raw = open_raw(&handle.database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let held =
            handle.acquire(&mut crate::system::wait::Deadline::new(crate::system::wait::Wait::Forever))?;
        handle.quarantine_locked(held.tier(), true)?;
        drop(held);
        cache.set("after", 2)?;
        let pool = &handle.connections.pool;
        let sound = pool.take(|_| Ok(None))?.expect("it was used");
        assert!(!is_empty(&raw)?, "this opens the log");
        let mut mixed = Connection::of(raw);
        handle.connections.is_check_due();
        let lend = |pool_version| {
            mixed.pool_version = pool_version;
            Ok(Some(mixed))
        };
        let mixed = pool.take(lend)?.expect("it was given");
        handle.connections.give_back(mixed, &handle.database, None);
        let is_emptied = handle.checkpoint()?;
        handle.connections.give_back(sound, &handle.database, None);
        // A log of which all is in the database begins again.
        cache.set("later", 3)?;
        handle.connections.close(true);
        assert_eq!(cache.get("after")?, Some(crate::Value::Int(2)));
        assert!(!is_emptied);
        Ok(())
    }

    #[test]
    fn connections_share_the_bytes_of_their_page_caches() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("cache.db");
        let bytes = |connection: &Connection| -> i64 {
            let size: i64 = connection.query_row("PRAGMA cache_size", [], |row| row.get(0)).expect("size");
            if size < 0 { -1024 * size } else { i64::from(PAGE) * size }
        };
        let mut open = |_| {
            let opened = Connection::open(&path, Access::Create, false, &Settings::defaults(), 0);
            let connection = opened.expect("opened").expect("made");
            connection.count_reads(1 << 20);
            connection
        };
        let mut connections: Vec<Connection> = (0..8).map(&mut open).collect();
        let sum: i64 = connections.iter().map(bytes).sum();
        assert!(sum <= SHARED + 8 * FRESH_BYTES, "{sum}");
        assert_eq!(bytes(&connections[0]), 16 << 20);
        // What one gives back is the next one's.
        connections.clear();
        assert_eq!(bytes(&open(0)), 16 << 20);
    }
}
