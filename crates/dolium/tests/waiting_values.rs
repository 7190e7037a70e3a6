//! Values that are long enough for a file, and short enough to wait in the hot tier for it.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test looks at the files itself")]

use std::path::{Path, PathBuf};

use dolium::raw::mode;
use dolium::{Cache, Expiry, Payload, PutOptions, Stream, Value};

const LONG: usize = 40_000;

fn open(directory: &Path) -> Cache {
    // As large as a tier in use: one that begins has to grow for such values, and cannot while the database is busy.
    let cache = Cache::builder(directory).setting("hot_size", 16 << 20).open().unwrap();
    cache.set("first", 1).unwrap();
    cache.flush().unwrap();
    cache
}

/// Another program, which lets no drain begin.
fn busy(directory: &Path) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(directory.join("cache.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

fn value_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            found.extend(value_files(&entry.path()));
        } else if entry.path().extension().is_some_and(|ending| ending == "val") {
            found.push(entry.path());
        }
    }
    found
}

fn row(directory: &Path, key: &str) -> (i64, i64, Option<String>, rusqlite::types::Value) {
    let other = rusqlite::Connection::open(directory.join("cache.db")).unwrap();
    let select = "SELECT mode, size, filename, value FROM Cache WHERE key = ?1";
    other.query_row(select, [key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap()
}

#[test]
fn a_long_value_waits_in_the_tier_and_becomes_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let cache = open(directory);
    let (bytes, text, pickle) =
        (vec![7; LONG], "ü".repeat(LONG / 2), [b"N.".to_vec(), vec![b' '; LONG]].concat());
    let options = PutOptions::new();
    let other = busy(directory);
    cache.set("bytes", &bytes).unwrap();
    assert!(cache.add("text", text.as_str(), &options).unwrap());
    cache.set("pickle", Payload::Pickle(&pickle)).unwrap();
    assert_eq!(value_files(directory), Vec::<PathBuf>::new());
    let expect = |cache: &Cache| {
        assert_eq!(cache.get("bytes").unwrap(), Some(Value::Bytes(bytes.clone())));
        assert_eq!(cache.get("text").unwrap(), Some(Value::Text(text.clone())));
        let signed = Value::Pickle { bytes: pickle.clone(), signed: true };
        assert_eq!(cache.get("pickle").unwrap(), Some(signed));
    };
    expect(&cache);
    other.execute_batch("ROLLBACK").unwrap();
    cache.flush().unwrap();
    expect(&cache);
    for (key, kind, length) in
        [("bytes", mode::BINARY, LONG), ("text", mode::TEXT, LONG), ("pickle", mode::PICKLE, LONG + 2)]
    {
        let (found, size, filename, value) = row(directory, key);
        assert_eq!((found, value), (kind, rusqlite::types::Value::Null), "{key}");
        let stored = std::fs::read(directory.join(filename.unwrap())).unwrap();
        assert_eq!(stored.len(), usize::try_from(size).unwrap(), "{key}");
        assert!(stored.len() >= length, "{key}");
    }
    assert_eq!(value_files(directory).len(), 3);
    cache.close().unwrap();
    let cache = Cache::open(directory).unwrap();
    expect(&cache);
    assert_eq!(cache.check(false).unwrap(), []);
}

#[test]
fn a_value_that_is_overwritten_while_it_waits_makes_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    let other = busy(directory.path());
    for number in 0..50 {
        cache.set("key", &vec![number; LONG]).unwrap();
    }
    other.execute_batch("ROLLBACK").unwrap();
    cache.flush().unwrap();
    let files = value_files(directory.path());
    assert_eq!(files.len(), 1);
    assert_eq!(std::fs::read(&files[0]).unwrap(), vec![49; LONG]);
}

#[test]
fn a_value_that_is_too_long_to_wait_gets_its_file_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    let other = busy(directory.path());
    cache.set("key", &vec![1; (64 << 10) + 1]).unwrap();
    assert_eq!(value_files(directory.path()).len(), 1);
    cache.set("other", &vec![1; 64 << 10]).unwrap();
    assert_eq!(value_files(directory.path()).len(), 1);
    other.execute_batch("ROLLBACK").unwrap();
}

#[test]
fn a_touched_value_stays_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    cache.set("key", &vec![1; LONG]).unwrap();
    cache.flush().unwrap();
    assert!(cache.touch("key", Expiry::After(3600.0)).unwrap());
    cache.flush().unwrap();
    let (found, size, filename, _) = row(directory.path(), "key");
    assert_eq!((found, size), (mode::BINARY, 40_000));
    assert_eq!(std::fs::read(directory.path().join(filename.unwrap())).unwrap(), vec![1; LONG]);
    assert_eq!(cache.get("key").unwrap(), Some(Value::Bytes(vec![1; LONG])));
    assert_eq!(cache.check(false).unwrap(), []);
}

#[test]
fn a_stream_of_a_waiting_value_is_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    cache.set("key", &vec![1; LONG]).unwrap();
    let stream = cache.open_value("key").unwrap().unwrap().value;
    assert!(matches!(stream, Stream::File { .. }), "{stream:?}");
    assert!(cache.info("key").unwrap().unwrap().path.unwrap().exists());
}

#[test]
fn a_transaction_makes_the_file_of_a_long_value() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    cache.set("waits", &vec![1; LONG]).unwrap();
    let transaction = cache.transact().unwrap();
    cache.set("key", &vec![2; LONG]).unwrap();
    assert!(cache.touch("waits", Expiry::After(3600.0)).unwrap());
    transaction.commit().unwrap();
    for (key, byte) in [("waits", 1), ("key", 2)] {
        let (_, _, filename, _) = row(directory.path(), key);
        assert_eq!(std::fs::read(directory.path().join(filename.unwrap())).unwrap(), vec![byte; LONG]);
    }
}

#[test]
fn a_value_that_can_get_no_file_stays_in_its_row() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    for name in 0..256 {
        std::fs::write(directory.path().join(format!("{name:02x}")), "in the way").unwrap();
    }
    cache.set("key", &vec![1; LONG]).unwrap();
    cache.set("after", 1).unwrap();
    cache.flush().unwrap();
    let (found, size, filename, value) = row(directory.path(), "key");
    assert_eq!((found, size, filename), (mode::RAW, 0, None));
    assert_eq!(value, rusqlite::types::Value::Blob(vec![1; LONG]));
    assert_eq!(cache.get("after").unwrap(), Some(Value::Int(1)));
}
