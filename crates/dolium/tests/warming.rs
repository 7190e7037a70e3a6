//! A tier to which keys return grows at once to what all entries need, and gets them without being asked for each.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test removes files itself")]

use std::path::Path;
use std::time::{Duration, Instant};

use dolium::{Cache, PutOptions, SizeReason, TierStats};

const KEYS: i64 = 30_000;
/// What they need, with a slot for each.
const NEEDED: u64 = 8 << 20;
const PATIENCE: Duration = Duration::from_mins(1);

fn value(key: i64) -> String {
    format!("{key:0100}")
}

fn stats(cache: &Cache) -> TierStats {
    cache.hot_tier().unwrap().stats.unwrap()
}

/// A cache with entries, and nothing in memory.
fn filled(directory: &Path) -> Cache {
    let open = || Cache::builder(directory).setting("hot_size", -1).open().unwrap();
    let cache = open();
    let values: Vec<_> = (0..KEYS).map(|key| (key, value(key))).collect();
    cache.set_many(values.iter().map(|(key, value)| (*key, value.as_str())), &PutOptions::new()).unwrap();
    cache.close().unwrap();
    let _ = std::fs::remove_file(directory.join("cache.hot"));
    open()
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "it takes too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads a third of the keys until the tier has grown. Returns the sizes that it had.
fn grow(cache: &Cache) -> Vec<u64> {
    let mut sizes = Vec::new();
    wait_until(|| {
        for key in 0..KEYS / 3 {
            assert_eq!(cache.get(key).unwrap(), Some(value(key).as_str().into()));
        }
        sizes.push(cache.hot_tier().unwrap().stats.map_or(0, |stats| stats.capacity));
        sizes.last() >= Some(&NEEDED)
    });
    sizes.dedup();
    sizes
}

/// Whether the tier has all but the few keys whose bucket is full.
fn is_warm(cache: &Cache) -> bool {
    stats(cache).keys > KEYS.unsigned_abs() * 99 / 100
}

#[test]
fn tier_grows_at_once_to_what_all_entries_need() {
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    let sizes = grow(&cache);
    assert!(sizes.len() <= 2 && sizes.last() == Some(&NEEDED), "{sizes:?}");
    assert_eq!(stats(&cache).sized, SizeReason::Returns);
}

#[test]
fn tier_that_takes_all_entries_gets_them_unasked() {
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    grow(&cache);
    wait_until(|| is_warm(&cache));
    assert!((0..KEYS).all(|key| cache.get(key).unwrap() == Some(value(key).as_str().into())));
}

#[test]
fn what_is_written_while_a_tier_is_warmed_stays() {
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    grow(&cache);
    // In the order of the rows, so that they are read and written at the same time.
    for key in 0..KEYS {
        if key % 3 == 0 {
            cache.delete(key).unwrap();
        } else {
            cache.set(key, -key).unwrap();
        }
    }
    // Whether it has got all does not matter here: writes may let it grow once more, or fill its log.
    let until = Instant::now() + Duration::from_secs(5);
    while cache.flush().is_ok() && !is_warm(&cache) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    for key in 0..KEYS {
        let expected = (key % 3 > 0).then_some(dolium::Value::Int(-key));
        assert_eq!(cache.get(key).unwrap(), expected, "key {key}");
    }
}
