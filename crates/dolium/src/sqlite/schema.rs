//! The tables: diskcache's, to the letter, and ours beside them; and the rows of `Settings`.

use rusqlite::{Connection, OptionalExtension, params};

use crate::system::error::{Result, is_empty_store};
use crate::value::scalar::Scalar;
use crate::value::settings::{METADATA, Settings};

use super::disguise::file_of_sql;

/// diskcache's schema. Part of the on-disk format: names and columns may not change. Its triggers keep
/// `count` and `size` when other programs write; our connections do not fire them.
const DISKCACHE: &str = r"
CREATE TABLE IF NOT EXISTS Settings (key TEXT NOT NULL UNIQUE, value);
CREATE TABLE IF NOT EXISTS Cache (
    rowid INTEGER PRIMARY KEY,
    key BLOB,
    raw INTEGER,
    store_time REAL,
    expire_time REAL,
    access_time REAL,
    access_count INTEGER DEFAULT 0,
    tag BLOB,
    size INTEGER DEFAULT 0,
    mode INTEGER DEFAULT 0,
    filename TEXT,
    value BLOB
);
CREATE UNIQUE INDEX IF NOT EXISTS Cache_key_raw ON Cache(key, raw);
CREATE INDEX IF NOT EXISTS Cache_expire_time ON Cache (expire_time);
CREATE TRIGGER IF NOT EXISTS Settings_count_insert AFTER INSERT ON Cache FOR EACH ROW BEGIN
    UPDATE Settings SET value = value + 1 WHERE key = 'count';
END;
CREATE TRIGGER IF NOT EXISTS Settings_count_delete AFTER DELETE ON Cache FOR EACH ROW BEGIN
    UPDATE Settings SET value = value - 1 WHERE key = 'count';
END;
CREATE TRIGGER IF NOT EXISTS Settings_size_insert AFTER INSERT ON Cache FOR EACH ROW BEGIN
    UPDATE Settings SET value = value + NEW.size WHERE key = 'size';
END;
CREATE TRIGGER IF NOT EXISTS Settings_size_update AFTER UPDATE ON Cache FOR EACH ROW BEGIN
    UPDATE Settings SET value = value + NEW.size - OLD.size WHERE key = 'size';
END;
CREATE TRIGGER IF NOT EXISTS Settings_size_delete AFTER DELETE ON Cache FOR EACH ROW BEGIN
    UPDATE Settings SET value = value - OLD.size WHERE key = 'size';
END;
";

/// Our own tables. Two rows of `Dolium` count what programs that are not dolium do: `foreign` the entries that they change,
/// and `opened` the settings that they insert, as diskcache does whenever it opens a directory. `DoliumTrash`
/// names value files that no row needs any more, until a checkpoint has made that durable; `DoliumKeys` has the proofs
/// of keys, by the `rowid` of their entries.
const DOLIUM: &str = r"
CREATE TABLE IF NOT EXISTS Dolium (key TEXT NOT NULL UNIQUE, value);
CREATE TABLE IF NOT EXISTS DoliumTrash (rowid INTEGER PRIMARY KEY AUTOINCREMENT, filename TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS DoliumKeys (rowid INTEGER PRIMARY KEY, proof BLOB NOT NULL);
CREATE TRIGGER IF NOT EXISTS Dolium_keys_delete AFTER DELETE ON Cache FOR EACH ROW BEGIN
    DELETE FROM DoliumKeys WHERE rowid = OLD.rowid;
END;
CREATE TRIGGER IF NOT EXISTS Dolium_foreign_insert AFTER INSERT ON Cache FOR EACH ROW BEGIN
    UPDATE Dolium SET value = value + 1 WHERE key = 'foreign';
END;
CREATE TRIGGER IF NOT EXISTS Dolium_foreign_update AFTER UPDATE ON Cache FOR EACH ROW BEGIN
    UPDATE Dolium SET value = value + 1 WHERE key = 'foreign';
END;
CREATE TRIGGER IF NOT EXISTS Dolium_foreign_delete AFTER DELETE ON Cache FOR EACH ROW BEGIN
    UPDATE Dolium SET value = value + 1 WHERE key = 'foreign';
END;
CREATE TRIGGER IF NOT EXISTS Dolium_opened AFTER INSERT ON Settings FOR EACH ROW BEGIN
    UPDATE Dolium SET value = value + 1 WHERE key = 'opened';
END;
INSERT OR IGNORE INTO Dolium VALUES ('version', 1), ('foreign', 0), ('opened', 0);
";

/// Another program that removes or replaces the row of a frame does not know the value file, so that we remove it.
const FRAMES: &str = concat!(
    "CREATE TRIGGER IF NOT EXISTS Dolium_foreign_frame_delete AFTER DELETE ON Cache FOR EACH ROW
    WHEN OLD.filename != '.dolium' AND substr(OLD.filename, -7) = '.dolium' BEGIN
        INSERT INTO DoliumTrash (filename) VALUES (", file_of_sql!("OLD.filename"), ");
    END;
    CREATE TRIGGER IF NOT EXISTS Dolium_foreign_frame_update AFTER UPDATE OF filename ON Cache FOR EACH ROW
    WHEN OLD.filename != '.dolium' AND substr(OLD.filename, -7) = '.dolium' AND OLD.filename IS NOT NEW.filename BEGIN
        INSERT INTO DoliumTrash (filename) VALUES (", file_of_sql!("OLD.filename"), ");
    END;"
);

/// Adds what is missing, inside the caller's transaction: everything to a new store, our tables to one
/// that diskcache made, the newest of them to one of an earlier version.
pub(crate) fn ensure(connection: &Connection, settings: &Settings) -> Result<()> {
    const HAS: &str = "SELECT 1 FROM sqlite_master WHERE name = ?1";
    let has = |name: &str| connection.query_row(HAS, [name], |_| Ok(())).optional();
    if has("Dolium_opened")?.is_some() {
        return Ok(());
    }
    // Without our tables the program that made the store may have it open, and our triggers have not seen that.
    let is_new = has("Cache")?.is_none();
    let is_theirs = !is_new && has("Dolium")?.is_none();
    connection.execute_batch(DISKCACHE)?;
    connection.execute_batch(DOLIUM)?;
    if is_theirs {
        connection.execute("UPDATE Dolium SET value = value + 1 WHERE key = 'opened'", [])?;
    }
    if is_new {
        connection.execute("INSERT OR IGNORE INTO Dolium VALUES ('integers', 0)", [])?;
    }
    connection.execute_batch(FRAMES)?;
    let mut insert = connection.prepare("INSERT OR IGNORE INTO Settings VALUES (?, ?)")?;
    for (name, value) in settings.iter() {
        insert.execute(params![name, value])?;
    }
    for name in METADATA {
        insert.execute(params![name, 0])?;
    }
    ensure_policy_index(connection, settings)?;
    if settings.int("tag_index").unwrap_or(0) != 0 {
        set_tag_index(connection, true)?;
    }
    Ok(())
}

/// Creates the index that the eviction policy reads.
pub(crate) fn ensure_policy_index(connection: &Connection, settings: &Settings) -> Result<()> {
    if let Some(sql) = settings.policy.plan().index {
        connection.execute_batch(sql)?;
    }
    Ok(())
}

/// Creates or drops the index on tags.
pub(crate) fn set_tag_index(connection: &Connection, wanted: bool) -> Result<()> {
    connection.execute_batch(if wanted {
        "CREATE INDEX IF NOT EXISTS Cache_tag_rowid ON Cache(tag, rowid)"
    } else {
        "DROP INDEX IF EXISTS Cache_tag_rowid"
    })?;
    Ok(())
}

/// The stored settings over the defaults.
pub(crate) fn load_settings(connection: &Connection) -> rusqlite::Result<Settings> {
    let mut settings = Settings::defaults();
    let mut select = connection.prepare_cached("SELECT key, value FROM Settings")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        // A setting without a name belongs to no cache.
        if let Some(name) = super::columns::text(row, 0)?.filter(|name| !METADATA.contains(&name.as_str())) {
            settings.set(&name, row.get(1)?);
        }
    }
    Ok(settings)
}

/// The stored value of one setting or counter.
pub(crate) fn load_setting(connection: &Connection, name: &str) -> rusqlite::Result<Option<Scalar>> {
    let mut select = connection.prepare_cached("SELECT value FROM Settings WHERE key = ?")?;
    select.query_row([name], |row| row.get(0)).optional()
}

/// A counter of the table `Settings`, 0 where it is missing.
pub(crate) fn counter(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    let value = load_setting(connection, name)?;
    Ok(value.as_ref().and_then(Scalar::as_int).unwrap_or(0))
}

/// Stores one setting or counter.
pub(crate) fn store_setting(connection: &Connection, name: &str, value: &Scalar) -> Result<()> {
    const UPSERT: &str = "INSERT INTO Settings VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET value = ?2 WHERE value IS NOT ?2";
    connection.prepare_cached(UPSERT)?.execute(params![name, value])?;
    Ok(())
}

/// Stores the number of shards, unless one is stored or there are none.
pub(crate) fn store_shards(connection: &Connection, shards: u64) -> Result<()> {
    if shards > 0 {
        let shards = i64::try_from(shards).unwrap_or(i64::MAX);
        connection.execute("INSERT OR IGNORE INTO Dolium VALUES ('shards', ?1)", [shards])?;
    }
    Ok(())
}

/// The stored number of shards. A store that dolium has not written to names none.
pub(crate) fn load_shards(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    const SELECT: &str = "SELECT value FROM Dolium WHERE key = 'shards'";
    match connection.query_row(SELECT, [], |row| super::columns::int(row, 0)).optional() {
        Err(error) if is_empty_store(&error) => Ok(None),
        found => found,
    }
}

/// Fails if the tables lack a column that we name.
pub(crate) fn verify(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare("SELECT key, value FROM Settings")?;
    connection.prepare(
        "SELECT rowid, key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename, value
         FROM Cache",
    )?;
    Ok(())
}
