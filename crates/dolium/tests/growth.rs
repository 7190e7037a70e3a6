//! A tier that lets go of keys which are asked for again grows, and takes along what it has.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]

use std::path::Path;
use std::time::{Duration, Instant};

use dolium::{Cache, Counter, SizeReason};

const KEYS: i64 = 10_000;
/// Writing lets the tier grow to a sixteenth of it, and reading to a quarter.
const LIMIT: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_mins(1);

fn open(directory: &Path) -> Cache {
    Cache::builder(directory).size_limit(Some(LIMIT)).open().unwrap()
}

fn value(key: i64) -> String {
    format!("{key:0100}")
}

fn filled(directory: &Path) -> Cache {
    let cache = open(directory);
    for key in 0..KEYS {
        cache.set(key, value(key).as_str()).unwrap();
    }
    cache.flush().unwrap();
    cache
}

fn read_all(cache: &Cache) {
    for key in 0..KEYS {
        assert_eq!(cache.get(key).unwrap(), Some(value(key).as_str().into()));
    }
}

fn capacity(cache: &Cache) -> u64 {
    cache.hot_tier().unwrap().stats.unwrap().capacity
}

/// Reads until the tier has so many bytes.
fn grow(cache: &Cache, bytes: u64) {
    let until = Instant::now() + PATIENCE;
    while cache.hot_tier().unwrap().stats.map_or(0, |stats| stats.capacity) < bytes {
        assert!(Instant::now() < until, "it does not grow");
        read_all(cache);
    }
}

/// How many keys the tier knows. Of many keys a few find their bucket full.
fn hot(cache: &Cache) -> u64 {
    cache.hot_tier().unwrap().stats.unwrap().keys
}

const NEARLY_ALL: u64 = KEYS.unsigned_abs() * 99 / 100;

#[test]
fn tier_grows_until_what_is_read_fits() {
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    assert!(capacity(&cache) <= LIMIT / 16);
    grow(&cache, LIMIT / 4);
    assert_eq!(cache.hot_tier().unwrap().stats.unwrap().sized, SizeReason::Returns);
    for _ in 0..2 {
        read_all(&cache);
    }
    assert!(hot(&cache) > NEARLY_ALL);
    let fills = || cache.hot_tier().unwrap().stats.unwrap().counted(Counter::Fills);
    let before = fills();
    read_all(&cache);
    assert!(fills() - before < 100, "nothing is let go of any more");
    assert_eq!(capacity(&cache), LIMIT / 4, "no larger than it may become");
}

#[test]
fn keys_that_are_read_once_let_nothing_grow() {
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    let before = capacity(&cache);
    read_all(&cache);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(capacity(&cache), before);
}

#[test]
fn size_that_was_asked_for_stays() {
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    drop(cache);
    let cache = Cache::builder(directory.path()).setting("hot_size", 1 << 20).open().unwrap();
    for _ in 0..5 {
        read_all(&cache);
    }
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(capacity(&cache), 1 << 20);
}

#[test]
fn larger_tier_takes_along_what_the_smaller_one_had() {
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    grow(&cache, LIMIT / 4);
    // Reads have brought the rest, since the tier grew during them.
    let stats = cache.hot_tier().unwrap().stats.unwrap();
    let (keys, read) = (stats.keys, stats.counted(Counter::Fills));
    assert!(keys > read + 1000, "{keys} keys, of which reads brought {read}");
}

#[test]
fn next_process_finds_the_grown_tier() {
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    grow(&cache, LIMIT / 4);
    read_all(&cache);
    cache.close().unwrap();
    let cache = open(directory.path());
    cache.set("of the next", 1).unwrap();
    assert_eq!(capacity(&cache), LIMIT / 4);
    assert!(hot(&cache) > NEARLY_ALL);
}

#[test]
fn writers_go_on_while_the_tier_grows() {
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let cache = open(directory.path());
                scope.spawn(move || {
                    let mut written = 0;
                    let until = Instant::now() + Duration::from_secs(3);
                    while Instant::now() < until {
                        written += 1;
                        cache.set(format!("writer{writer}"), written).unwrap();
                    }
                    (writer, written)
                })
            })
            .collect();
        grow(&cache, LIMIT / 4);
        for writer in writers {
            let (writer, written) = writer.join().unwrap();
            assert_eq!(cache.get(format!("writer{writer}")).unwrap(), Some(written.into()));
        }
    });
    read_all(&cache);
}
