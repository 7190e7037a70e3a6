//! The first reads of a process that finds a cache closed neither open the database nor make anything beside it.

#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test plays another program")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use dolium::{Cache, Value};

/// After which a file counts as one that is not being written.
const SETTLED: Duration = Duration::from_millis(60);

fn names(directory: &Path) -> BTreeSet<String> {
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// A closed cache without a hot tier.
fn closed(directory: &Path) {
    let cache = Cache::builder(directory).setting("hot_size", 0).open().unwrap();
    for key in 0..1000 {
        cache.set(key, format!("value {key}").as_str()).unwrap();
    }
    cache.close().unwrap();
    std::thread::sleep(SETTLED);
}

fn sql(directory: &Path, statements: &str) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(directory.join("cache.db")).unwrap();
    connection.execute_batch(statements).unwrap();
    connection
}

#[test]
fn first_reads_of_a_closed_cache_make_nothing() {
    let directory = tempfile::tempdir().unwrap();
    closed(directory.path());
    let before = names(directory.path());
    let cache = Cache::open(directory.path()).unwrap();
    for key in 0..100 {
        assert_eq!(cache.get(key).unwrap(), Some(format!("value {key}").as_str().into()));
    }
    assert_eq!(cache.get("absent").unwrap(), None);
    assert_eq!(names(directory.path()), before);
    // All that comes later takes the usual way.
    assert_eq!(cache.len().unwrap(), 1000);
    assert!((0..1000).all(|key| cache.get(key).unwrap().is_some()));
}

#[test]
fn first_reads_see_what_other_programs_write() {
    let directory = tempfile::tempdir().unwrap();
    closed(directory.path());
    let cache = Cache::open(directory.path()).unwrap();
    let update = |value: i64| format!("UPDATE Cache SET value = {value} WHERE key = 7");
    assert_eq!(cache.get(7).unwrap(), Some("value 7".into()));
    sql(directory.path(), &update(1)).close().unwrap();
    assert_eq!(cache.get(7).unwrap(), Some(Value::Int(1)));
    cache.close().unwrap();
    std::thread::sleep(SETTLED);
    assert_eq!(cache.get(7).unwrap(), Some(Value::Int(1)));
    // One that stays keeps its changes in a log.
    let other = sql(directory.path(), &update(2));
    assert_eq!(cache.get(7).unwrap(), Some(Value::Int(2)));
    drop(other);
}

#[test]
fn first_reads_count_for_statistics_and_policies() {
    let directory = tempfile::tempdir().unwrap();
    closed(directory.path());
    let open = || {
        Cache::builder(directory.path())
            .setting("statistics", 1)
            .policy(dolium::Policy::LeastFrequentlyUsed)
            .open()
            .unwrap()
    };
    open().close().unwrap();
    std::thread::sleep(SETTLED);
    let cache = open();
    for _ in 0..3 {
        assert!(cache.get(7).unwrap().is_some());
    }
    assert!(cache.get("absent").unwrap().is_none());
    cache.close().unwrap();
    let stats = cache.stats().unwrap();
    assert_eq!((stats.hits, stats.misses), (3, 1));
    assert_eq!(cache.info(7).unwrap().unwrap().access_count, 3);
}
