//! A damaged entry is a miss; a damaged store is quarantined and started afresh.

#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test damages files itself")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dolium::{Cache, Error, Problem, Value, Warning, raw};

fn filled(directory: &Path) -> Cache {
    let cache = Cache::open(directory).unwrap();
    for key in 0..200 {
        cache.set(key, &vec![7; 1000]).unwrap();
    }
    cache.set("file", &vec![7; 100_000]).unwrap();
    cache.close().unwrap();
    cache
}

fn value_file(cache: &Cache) -> PathBuf {
    cache.info("file").unwrap().unwrap().path.unwrap()
}

fn torture() -> bool {
    std::env::var_os("DOLIUM_TORTURE").is_some()
}

/// Names in the directory that show that a store was quarantined.
fn set_aside(directory: &Path) -> usize {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("cache.db.corrupt-")).count()
}

#[test]
fn a_store_of_noise_is_set_aside_by_a_read() {
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    fs::write(directory.path().join("cache.db"), vec![0x5a; 100_000]).unwrap();
    assert_eq!(cache.get(1).unwrap(), None);
    assert!(matches!(cache.take_warnings()[..], [Warning::SetAside { .. }, ..]));
    assert_eq!(set_aside(directory.path()), 1);
    assert!(cache.set(1, 2).unwrap());
    assert_eq!(cache.get(1).unwrap(), Some(Value::Int(2)));
}

#[test]
fn a_store_of_noise_is_set_aside_by_a_write() {
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    fs::write(directory.path().join("cache.db"), vec![0x5a; 100_000]).unwrap();
    assert!(cache.set(1, 2).unwrap());
    assert_eq!(cache.get(1).unwrap(), Some(Value::Int(2)));
    assert_eq!(set_aside(directory.path()), 1);
}

/// Four threads that store, each one key after the other, until `meanwhile` is done: the keys of each that were
/// acknowledged and are not there afterwards, by their place, and how many there were.
fn lost_of_writers(cache: &Cache, meanwhile: impl FnOnce()) -> Vec<(Vec<usize>, usize)> {
    let stop = AtomicBool::new(false);
    let key = |thread: usize, place: usize| format!("{thread}-{place}");
    let store = |thread: usize, place: usize| {
        // At first as fast as they come.
        thread::sleep(Duration::from_micros(if place < 200 { 0 } else { 200 }));
        cache.set(key(thread, place), &[7; 2000]).is_ok()
    };
    let write = |thread: usize| -> Vec<usize> {
        let mut acknowledged = Vec::new();
        for place in 0.. {
            // On a busy machine a writer may have no turn meanwhile. What it stores after that is not lost.
            let is_last = stop.load(Ordering::Relaxed);
            acknowledged.extend(store(thread, place).then_some(place));
            if is_last {
                break;
            }
        }
        acknowledged
    };
    let acknowledged: Vec<_> = thread::scope(|scope| {
        let write = &write;
        let writers: Vec<_> = (0..4).map(|thread| scope.spawn(move || write(thread))).collect();
        meanwhile();
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let lost = |(thread, places): (usize, Vec<usize>)| {
        let count = places.len();
        let is_lost = |place: &usize| cache.get(key(thread, *place)).unwrap().is_none();
        (places.into_iter().filter(is_lost).collect(), count)
    };
    acknowledged.into_iter().enumerate().map(lost).collect()
}

/// Whether only the first entries of a writer are lost, those before the loss was noticed.
fn is_of_the_beginning((lost, count): &(Vec<usize>, usize)) -> bool {
    lost.is_empty() || lost.iter().copied().eq(0..lost.len()) && lost.len() < *count
}

fn said(lost: &[(Vec<usize>, usize)]) -> String {
    let of_writer = |(lost, count): &(Vec<usize>, usize)| {
        format!("{} of {count}: {:?} to {:?}", lost.len(), lost.first(), lost.last())
    };
    lost.iter().map(of_writer).collect::<Vec<_>>().join("; ")
}

fn with_tier(directory: &Path) -> Cache {
    let cache = Cache::builder(directory).setting("hot_size", 16 << 20).open().unwrap();
    for key in 0..200 {
        cache.set(key, &[7; 1000]).unwrap();
    }
    cache
}

#[test]
fn nothing_is_lost_with_a_damaged_store_but_what_was_drained_to_it() {
    let mut aside = 0;
    for _ in 0..if torture() { 300 } else { 10 } {
        let directory = tempfile::tempdir().unwrap();
        let cache = with_tier(directory.path());
        cache.flush().unwrap();
        fs::write(directory.path().join("cache.db"), vec![0x5a; 100_000]).unwrap();
        let log = directory.path().join("cache.db-wal");
        let length = fs::metadata(&log).map_or(0, |log| usize::try_from(log.len()).unwrap());
        if length > 0 {
            let log = fs::OpenOptions::new().write(true).open(log).unwrap();
            log.write_all_at(&vec![0x5a; length - 32], 32).unwrap();
        }
        let lost = lost_of_writers(&cache, || {
            thread::sleep(Duration::from_millis(2));
            let _ = raw::sql(&cache, "DELETE FROM Cache WHERE 0", &[]);
            thread::sleep(Duration::from_millis(30));
        });
        assert!(lost.iter().all(is_of_the_beginning), "{}", said(&lost));
        aside += set_aside(directory.path());
    }
    // Not in every round: what SQLite has in its memory may do for the writers, and a checkpoint repairs the file.
    assert!(aside > 0);
}

#[test]
fn nothing_is_lost_with_a_log_but_what_was_drained_to_it() {
    for _ in 0..if torture() { 100 } else { 5 } {
        let directory = tempfile::tempdir().unwrap();
        let cache = with_tier(directory.path());
        cache.close().unwrap();
        cache.set("now", 1).unwrap();
        for suffix in ["-wal", "-shm"] {
            fs::remove_file(directory.path().join(format!("cache.db{suffix}"))).unwrap();
        }
        let lost = lost_of_writers(&cache, || thread::sleep(Duration::from_millis(250)));
        assert!(lost.iter().all(is_of_the_beginning), "{}", said(&lost));
    }
}

/// SQLite opens a file read-only whose header names a format newer than it knows.
#[test]
fn a_header_that_forbids_writing_is_damage() {
    for at in [18, 19] {
        let directory = tempfile::tempdir().unwrap();
        let cache = filled(directory.path());
        let path = directory.path().join("cache.db");
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 64;
        fs::write(&path, bytes).unwrap();
        assert!(cache.set(1, 2).unwrap());
        assert_eq!(cache.get(1).unwrap(), Some(Value::Int(2)));
        assert!(matches!(cache.take_warnings()[..], [Warning::SetAside { .. }, ..]));
        assert!(set_aside(directory.path()) > 0);
    }
}

#[test]
fn a_schema_that_is_not_ours_is_damage_and_a_wrong_statement_is_not() {
    let format: fn(&mut [u8]) = |bytes| bytes[47] ^= 8;
    // SQLite has left older copies of its schema on free places of its pages.
    let column: fn(&mut [u8]) = |bytes| {
        for at in 0..bytes.len() - 16 {
            if &bytes[at..at + 16] == b"access_time REAL" {
                bytes[at + 2] ^= 16;
            }
        }
    };
    for damage in [format, column] {
        let directory = tempfile::tempdir().unwrap();
        let cache = filled(directory.path());
        let path = directory.path().join("cache.db");
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        cache.get(1).unwrap();
        assert!(cache.set("new", 2).unwrap());
        // The database meets the damage at the latest when it is written to.
        cache.flush().unwrap();
        assert_eq!(cache.get("new").unwrap(), Some(Value::Int(2)));
        assert!(set_aside(directory.path()) > 0);
    }
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    for _ in 0..3 {
        raw::sql(&cache, "SELECT nonsense FROM Cache", &[]).unwrap_err();
        raw::sql(&cache, "UPDATE Cache SET nonsense = 1", &[]).unwrap_err();
    }
    assert_eq!(cache.len().unwrap(), 201);
    assert_eq!(set_aside(directory.path()), 0);
}

/// Wherever a store is cut off: reads and writes go on, and no value is wrong.
#[test]
fn a_truncated_store_gives_no_wrong_value() {
    for length in [0, 1, 99, 100, 4096, 8192, 50_000, 200_000] {
        let directory = tempfile::tempdir().unwrap();
        let cache = filled(directory.path());
        let path = directory.path().join("cache.db");
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        for key in 0..200 {
            let value = cache.get(key).unwrap();
            assert!(value.is_none() || value == Some(Value::Bytes(vec![7; 1000])), "cut at {length}");
        }
        assert!(cache.set("after", 1).unwrap(), "cut at {length}");
        assert_eq!(cache.get("after").unwrap(), Some(Value::Int(1)), "cut at {length}");
        assert_eq!(cache.check(true).map(drop).ok(), Some(()), "cut at {length}");
    }
}

#[test]
fn clear_works_on_a_damaged_store() {
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    fs::write(directory.path().join("cache.db"), vec![0x5a; 100_000]).unwrap();
    cache.clear().unwrap();
    assert_eq!(cache.len().unwrap(), 0);
    assert!(cache.set(1, 2).unwrap());
}

#[test]
fn a_read_only_cache_reports_damage() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    fs::write(directory.path().join("cache.db"), vec![0x5a; 100_000]).unwrap();
    let cache = Cache::builder(directory.path()).read_only(true).open().unwrap();
    assert!(matches!(cache.get(1), Err(Error::Damaged { .. })));
    assert_eq!(set_aside(directory.path()), 0);
}

#[test]
fn a_missing_or_shortened_value_file_is_a_miss_that_check_mends() {
    for shorten in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let cache = filled(directory.path());
        let path = value_file(&cache);
        if shorten {
            fs::write(&path, b"short").unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        assert_eq!(cache.get("file").unwrap(), None);
        let problems = cache.check(true).unwrap();
        assert!(
            matches!(problems[..], [Problem::WrongSize { found: 5, .. } | Problem::Missing(_), ..]),
            "{problems:?}"
        );
        assert_eq!(cache.check(false).unwrap(), []);
    }
}

#[test]
fn a_row_cannot_name_a_file_outside_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, b"secret").unwrap();
    let cache = Cache::open(directory.path().join("cache")).unwrap();
    cache.set("key", &vec![7; 100_000]).unwrap();
    for name in ["../secret", secret.to_str().unwrap()] {
        let arguments = [name.into(), dolium::Scalar::Int(6)];
        raw::sql(&cache, "UPDATE Cache SET filename = ?, size = ?", &arguments).unwrap();
        assert_eq!(cache.get("key").unwrap(), None, "{name}");
    }
    cache.delete("key").unwrap();
    cache.close().unwrap();
    assert!(secret.exists());
}

#[test]
fn a_store_that_vanishes_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    assert!(cache.get(1).unwrap().is_some());
    for name in ["cache.db", "cache.db-wal", "cache.db-shm"] {
        let _ = fs::remove_file(directory.path().join(name));
    }
    // A process looks ten times a second whether its database is still there.
    let until = Instant::now() + Duration::from_secs(10);
    while cache.get(1).unwrap().is_some() {
        assert!(Instant::now() < until, "the old store is read");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(cache.set("after", 1).unwrap());
    assert_eq!(cache.get("after").unwrap(), Some(Value::Int(1)));
    assert!(matches!(cache.take_warnings()[..], [Warning::Replaced { .. }]));
    fs::remove_dir_all(directory.path()).unwrap();
    assert!(cache.set("again", 1).unwrap());
    assert_eq!(cache.get("again").unwrap(), Some(Value::Int(1)));
}
