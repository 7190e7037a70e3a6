//! Indexes of a user's own make SQLite refuse what the hot tier has taken. That must cost the entry, and nothing else.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test plays the other processes itself")]

use std::path::Path;
use std::process::{Command, Stdio};

use dolium::{Cache, Counter, Expiry, PutOptions, Value, Warning, raw};

const UNIQUE: &str = "CREATE UNIQUE INDEX mine ON Cache (tag)";
const JSON: &str = "CREATE INDEX mine ON Cache (json_extract(value, '$.n')) WHERE typeof(value) = 'text'";
const LARGE: usize = 3000;

fn open(directory: &Path) -> Cache {
    Cache::builder(directory).setting("disk_min_file_size", 2000).open().unwrap()
}

fn tagged(tag: &str) -> PutOptions {
    PutOptions::new().tag(tag)
}

fn get(cache: &Cache, key: &str) -> Option<Value> {
    cache.get(key).unwrap()
}

fn refused(cache: &Cache) -> u64 {
    cache.hot_tier().unwrap().stats.unwrap().counted(Counter::Refused)
}

fn value_files(directory: &Path) -> usize {
    let count = |path: &Path| {
        if path.is_dir() {
            value_files(path)
        } else {
            usize::from(path.extension().is_some_and(|end| end == "val"))
        }
    };
    directory.read_dir().unwrap().map(|entry| count(&entry.unwrap().path())).sum()
}

fn is_told(cache: &Cache, said: &str) {
    let warnings = cache.take_warnings();
    assert!(
        matches!(&warnings[..], [Warning::Refused { reason, .. }] if reason.contains(said)),
        "{warnings:?}"
    );
}

#[test]
fn a_record_that_sqlite_refuses_does_not_wedge_the_ring() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    cache.set_with("first", 1, &tagged("t")).unwrap();
    raw::sql(&cache, UNIQUE, &[]).unwrap();
    cache.set_with("second", 2, &tagged("t")).unwrap();
    for key in 0..10 {
        cache.set(key, key).unwrap();
    }
    assert_eq!(cache.len().unwrap(), 11);
    assert_eq!((get(&cache, "first"), get(&cache, "second")), (Some(1.into()), None));
    is_told(&cache, "unique index");
    assert_eq!(refused(&cache), 1);
    cache.set_with("third", 3, &tagged("t")).unwrap();
    cache.flush().unwrap();
    assert_eq!(cache.take_warnings(), [], "once is enough");
    assert_eq!(refused(&cache), 2);
    assert_eq!(cache.check(true).unwrap(), []);
    cache.set_with("fourth", 4, &tagged("t")).unwrap();
    assert_eq!(cache.clear().unwrap(), 11);
    cache.close().unwrap();
    assert_eq!(open(directory.path()).len().unwrap(), 0);
}

#[test]
fn what_a_function_of_an_index_refuses_is_left_out_alone() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    cache.set("known", r#"{"n": 1}"#).unwrap();
    raw::sql(&cache, JSON, &[]).unwrap();
    cache.set("known", "no json").unwrap();
    cache.set("other", "nor this").unwrap();
    cache.set("sound", r#"{"n": 2}"#).unwrap();
    cache.flush().unwrap();
    is_told(&cache, "malformed JSON");
    assert_eq!(get(&cache, "known"), Some(r#"{"n": 1}"#.into()), "what was there stays");
    assert_eq!(get(&cache, "other"), None);
    assert_eq!(get(&cache, "sound"), Some(r#"{"n": 2}"#.into()));
    assert_eq!(cache.check(false).unwrap(), []);
}

/// One change of a key is several statements where a delete came before a set.
#[test]
fn a_change_that_is_refused_leaves_no_half_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    cache.set_with("first", 1, &tagged("t")).unwrap();
    cache.set("key", &vec![1; LARGE]).unwrap();
    raw::sql(&cache, UNIQUE, &[]).unwrap();
    cache.delete("key").unwrap();
    cache.set_with("key", &vec![2; LARGE], &tagged("t")).unwrap();
    cache.set("key2", &vec![3; LARGE]).unwrap();
    cache.set_with("key2", &vec![4; LARGE], &tagged("t")).unwrap();
    assert_eq!(cache.len().unwrap(), 2, "each record counts alone: the delete is done, the set is not");
    assert_eq!(get(&cache, "key"), None);
    assert_eq!(get(&cache, "key2"), Some(Value::Bytes(vec![3; LARGE])));
    cache.close().unwrap();
    assert_eq!(value_files(directory.path()), 1);
    assert_eq!(open(directory.path()).check(false).unwrap(), []);
}

/// A record that changes the expiry names the file of the one before.
#[test]
fn the_value_file_of_what_was_refused_goes_unless_a_row_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    raw::sql(
        &cache,
        "CREATE UNIQUE INDEX mine ON Cache (ifnull(expire_time, 0)) WHERE filename IS NOT NULL",
        &[],
    )
    .unwrap();
    cache.set("first", &vec![1; LARGE]).unwrap();
    cache.set("touched", &vec![2; LARGE]).unwrap();
    cache.touch("touched", Expiry::After(1e6)).unwrap();
    cache.set("dropped", &vec![3; LARGE]).unwrap();
    cache.close().unwrap();
    assert_eq!(cache.len().unwrap(), 2);
    assert_eq!(get(&cache, "touched"), Some(Value::Bytes(vec![2; LARGE])));
    assert_eq!(value_files(directory.path()), 2);
    assert_eq!(cache.check(false).unwrap(), []);
}

#[test]
fn who_writes_directly_is_told_what_sqlite_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::builder(directory.path()).setting("disk_min_file_size", 64 << 20).open().unwrap();
    cache.set_with("first", 1, &tagged("t")).unwrap();
    raw::sql(&cache, UNIQUE, &[]).unwrap();
    let transaction = cache.transact().unwrap();
    // From here on it is one of SQLite's.
    assert_eq!(cache.len().unwrap(), 1);
    cache.set_with("second", 2, &tagged("t")).unwrap_err();
    cache.set("third", 3).unwrap();
    transaction.commit().unwrap();
    cache.set_with("large", &vec![1; 8 << 20], &tagged("t")).unwrap_err();
    assert_eq!(cache.take_warnings(), []);
    assert_eq!(cache.len().unwrap(), 2);
}

#[test]
fn a_transaction_of_which_sqlite_refuses_a_record_is_lost_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    cache.set_with("first", 1, &tagged("t")).unwrap();
    raw::sql(&cache, UNIQUE, &[]).unwrap();
    let transaction = cache.transact().unwrap();
    cache.set("before", 1).unwrap();
    cache.set_with("second", 2, &tagged("t")).unwrap();
    cache.delete("first").unwrap();
    cache.set("after", 1).unwrap();
    transaction.commit().unwrap();
    cache.set("alone", 1).unwrap();
    assert_eq!(cache.len().unwrap(), 2);
    assert_eq!((get(&cache, "first"), get(&cache, "alone")), (Some(1.into()), Some(1.into())));
    assert_eq!((get(&cache, "before"), get(&cache, "after")), (None, None));
    is_told(&cache, "unique index");
}

/// Nothing is wrong with the rows, and dropping them all would not repair it.
#[test]
fn nothing_is_dropped_for_an_index_that_no_row_satisfies() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    cache.set("first", 1).unwrap();
    raw::sql(&cache, "CREATE INDEX mine ON Cache (abs(tag))", &[]).unwrap();
    raw::sql(&cache, "PRAGMA writable_schema = ON", &[]).unwrap();
    let spoil = "UPDATE sqlite_master SET sql = replace(sql, 'abs(', 'mine(') WHERE name = 'mine'";
    raw::sql(&cache, spoil, &[]).unwrap();
    cache.close().unwrap();
    cache.set("second", 2).unwrap();
    cache.flush().unwrap_err();
    assert_eq!(get(&cache, "second"), Some(2.into()));
    assert_eq!(cache.take_warnings(), []);
}

#[test]
fn child() {
    let Some(directory) = std::env::var_os("DOLIUM_TEST_DIRECTORY") else { return };
    let cache = open(Path::new(&directory));
    // Attached, and the housekeeper has had its first tick.
    cache.set("zeroth", 0).unwrap();
    cache.flush().unwrap();
    cache.set_with("second", &vec![2; LARGE], &tagged("t")).unwrap();
    cache.set("third", 3).unwrap();
    std::process::abort();
}

#[test]
fn who_opens_next_leaves_out_what_sqlite_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    cache.set_with("first", 1, &tagged("t")).unwrap();
    raw::sql(&cache, UNIQUE, &[]).unwrap();
    cache.close().unwrap();
    let killed = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--quiet"])
        .env("DOLIUM_TEST_DIRECTORY", directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(!killed.unwrap().success());
    cache.set("fourth", 4).unwrap();
    assert_eq!(cache.len().unwrap(), 4);
    assert_eq!((get(&cache, "second"), get(&cache, "third")), (None, Some(3.into())));
    is_told(&cache, "unique index");
    cache.close().unwrap();
    assert_eq!(value_files(directory.path()), 0);
    assert_eq!(cache.check(false).unwrap(), []);
}
