//! The tier that the last process leaves is that of the next one, as long as the database vouches for it.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test plays the other programs itself")]

use std::path::Path;
use std::time::Duration;

use dolium::{Cache, Counter, Number, PutOptions, Value};

/// So few that hardly ever nine of them share a bucket.
const KEYS: i64 = 100;

fn open(directory: &Path) -> Cache {
    Cache::builder(directory).setting("hot_size", 64 << 10).open().unwrap()
}

/// Opens a cache as the first process does that writes: it attaches.
fn reopen(directory: &Path) -> Cache {
    let cache = open(directory);
    cache.set("of the next", 1).unwrap();
    cache
}

/// A cache that was filled and closed.
fn left(directory: &Path) {
    let cache = open(directory);
    // Again and again, for a tier that is worth its place on the disk.
    for key in (0..KEYS).cycle().take(400) {
        cache.set(key, key).unwrap();
    }
    cache.delete(0).unwrap();
    cache.close().unwrap();
    assert!(directory.join("cache.hot").exists());
}

fn fills(cache: &Cache) -> u64 {
    cache.hot_tier().unwrap().stats.unwrap().counted(Counter::Fills)
}

/// How many keys the tier knows.
fn hot(cache: &Cache) -> u64 {
    cache.hot_tier().unwrap().stats.unwrap().keys
}

const ALL: u64 = KEYS.unsigned_abs();

fn values(cache: &Cache) -> Vec<Option<Value>> {
    (0..KEYS).map(|key| cache.get(key).unwrap()).collect()
}

fn expected() -> Vec<Option<Value>> {
    (0..KEYS).map(|key| (key > 0).then(|| key.into())).collect()
}

/// Runs a statement as another program.
fn foreign(directory: &Path, statement: &str) {
    let connection = rusqlite::Connection::open(directory.join("cache.db")).unwrap();
    connection.execute_batch(statement).unwrap();
}

/// The next process finds `key` changed to -1, and so nothing in the tier.
fn is_doubted(directory: &Path, key: i64) {
    let cache = reopen(directory);
    assert_eq!(hot(&cache), 1, "the key that the next one has set");
    assert_eq!(cache.get(key).unwrap(), Some((-1).into()));
    assert_eq!(cache.get(key + 1).unwrap(), Some((key + 1).into()));
}

#[test]
fn next_process_reads_what_the_last_one_left() {
    let directory = tempfile::tempdir().unwrap();
    left(directory.path());
    for _ in 0..3 {
        let cache = reopen(directory.path());
        assert!(hot(&cache) >= ALL - 1);
        assert_eq!(values(&cache), expected());
        assert_eq!(fills(&cache), 0);
        cache.close().unwrap();
    }
}

/// Bytes of `cache.hot` that the process has mapped pages of.
fn mapped(directory: &Path) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let name = directory.join("cache.hot").canonicalize().unwrap();
    let mut lines = maps.lines().skip_while(|line| !line.ends_with(name.to_str().unwrap()));
    let line = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn what_the_last_process_wrote_is_mapped_when_it_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Cache::builder(directory.path()).setting("hot_size", 16 << 20).open().unwrap();
    let cache = open();
    let value = [7; 8000];
    for key in 0..1000 {
        cache.set(key, &value[..]).unwrap();
    }
    cache.close().unwrap();
    let cache = open();
    cache.set("of the next", 1).unwrap();
    // The housekeeper maps twice what was written between two of its rounds.
    std::thread::sleep(Duration::from_millis(200));
    let bytes = mapped(directory.path());
    assert!(bytes < 4 << 20, "{bytes} bytes, of which 3 MiB lie before the log");
    assert_eq!(cache.get(7).unwrap(), Some(value[..].into()));
}

#[test]
fn changes_of_the_next_process_are_found_by_the_one_after() {
    let directory = tempfile::tempdir().unwrap();
    left(directory.path());
    for round in 1..5 {
        let cache = reopen(directory.path());
        for key in 1..KEYS {
            assert_eq!(cache.incr(key, 1, None, &PutOptions::new()).unwrap(), Number::Int(key + round));
        }
        cache.close().unwrap();
    }
    foreign(directory.path(), "UPDATE Cache SET value = value WHERE key = 1");
    let cache = reopen(directory.path());
    assert!((1..KEYS).all(|key| cache.get(key).unwrap() == Some((key + 4).into())));
}

#[test]
fn reader_joins_what_was_left() {
    let directory = tempfile::tempdir().unwrap();
    left(directory.path());
    let cache = open(directory.path());
    for _ in 0..10 {
        assert_eq!(values(&cache), expected());
    }
    assert!(hot(&cache) >= ALL - 1);
    assert_eq!(fills(&cache), 0);
}

#[test]
fn change_of_another_program_is_found() {
    let directory = tempfile::tempdir().unwrap();
    left(directory.path());
    foreign(directory.path(), "UPDATE Cache SET value = -1 WHERE key = 7");
    is_doubted(directory.path(), 7);
}

#[test]
fn change_of_a_process_without_a_tier_is_found() {
    let directory = tempfile::tempdir().unwrap();
    left(directory.path());
    let cache = Cache::builder(directory.path()).setting("hot_size", 0).open().unwrap();
    cache.set(7, -1).unwrap();
    cache.close().unwrap();
    is_doubted(directory.path(), 7);
}

#[test]
fn tier_of_a_database_that_was_put_back_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    left(directory.path());
    let saved = tempfile::tempdir().unwrap();
    let cache = reopen(directory.path());
    cache.set(7, -1).unwrap();
    cache.close().unwrap();
    std::fs::copy(directory.path().join("cache.db"), saved.path().join("cache.db")).unwrap();
    let cache = reopen(directory.path());
    cache.set(7, -2).unwrap();
    cache.close().unwrap();
    std::fs::copy(saved.path().join("cache.db"), directory.path().join("cache.db")).unwrap();
    is_doubted(directory.path(), 7);
}

#[test]
fn tier_of_a_copied_directory_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    left(directory.path());
    for name in ["cache.db", "cache.lock", "cache.hot"] {
        std::fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
    }
    let cache = reopen(copy.path());
    assert_eq!(hot(&cache), 1, "the key that the next one has set");
    assert_eq!(values(&cache), expected());
}

#[test]
fn tier_from_before_a_restart_of_the_system_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    left(directory.path());
    foreign(
        directory.path(),
        "UPDATE Dolium SET value = CAST(substr(value, 1, 24) || x'0102030405060708' AS BLOB) WHERE key = 'rest'",
    );
    let cache = reopen(directory.path());
    assert_eq!(hot(&cache), 1, "the key that the next one has set");
    assert_eq!(values(&cache), expected());
}

#[test]
fn damaged_bytes_of_what_was_left_are_no_values() {
    let directory = tempfile::tempdir().unwrap();
    left(directory.path());
    let path = directory.path().join("cache.hot");
    let good = std::fs::read(&path).unwrap();
    let database = std::fs::read(directory.path().join("cache.db")).unwrap();
    for step in 0..60 {
        let mut bad = good.clone();
        let from = step * good.len() / 60;
        for byte in &mut bad[from..from + good.len() / 60] {
            *byte ^= 0x5a;
        }
        // In place, so that it is no copy.
        std::fs::write(&path, &bad).unwrap();
        std::fs::write(directory.path().join("cache.db"), &database).unwrap();
        let cache = reopen(directory.path());
        assert_eq!(values(&cache), expected(), "step {step}");
        cache.close().unwrap();
        std::fs::write(&path, &good).unwrap();
    }
}

#[test]
fn another_size_starts_anew() {
    let directory = tempfile::tempdir().unwrap();
    left(directory.path());
    let cache = Cache::builder(directory.path()).setting("hot_size", 128 << 10).open().unwrap();
    assert_eq!(values(&cache), expected());
    cache.set(7, -1).unwrap();
    cache.close().unwrap();
    assert_eq!(open(directory.path()).get(7).unwrap(), Some((-1).into()));
}

#[test]
fn tier_with_little_in_it_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::builder(directory.path()).setting("hot_size", 1 << 20).open().unwrap();
    cache.set("key", 1).unwrap();
    cache.close().unwrap();
    assert!(!directory.path().join("cache.hot").exists());
}
