//! Keys that are not there: the hot tier answers those that are missed again, and never when there is an entry.

#![cfg(target_os = "linux")]

use dolium::host::try_contains;
use dolium::{Cache, Counter};

fn cache(directory: &tempfile::TempDir) -> Cache {
    let cache = Cache::builder(directory.path()).setting("hot_size", 1 << 20).open().expect("cache");
    cache.set("other", 1).expect("set");
    cache
}

fn knows(cache: &Cache, key: &str) -> Option<bool> {
    try_contains(cache, &key.into())
}

/// Misses a key often enough for the tier to know that it is absent.
fn miss(cache: &Cache, key: &str) {
    for _ in 0..2 {
        assert_eq!(cache.get(key).expect("get"), None);
    }
    assert_eq!(knows(cache, key), Some(false), "the tier knows that {key} is absent");
}

fn fills(cache: &Cache) -> u64 {
    cache.hot_tier().expect("status").stats.expect("tier").counted(Counter::Fills)
}

#[test]
fn absent_key_is_hot_once_it_was_missed_twice() {
    let directory = tempfile::tempdir().expect("directory");
    let cache = cache(&directory);
    assert_eq!(cache.get("key").expect("get"), None);
    assert_eq!(knows(&cache, "key"), None);
    miss(&cache, "key");
    assert!(!cache.contains("key").expect("contains"));
    assert!(!cache.delete("key").expect("delete"));
    cache.set("key", 2).expect("set");
    assert_eq!(cache.get("key").expect("get"), Some(2.into()));
}

#[test]
fn contains_twice_makes_an_absent_key_hot() {
    let directory = tempfile::tempdir().expect("directory");
    let cache = cache(&directory);
    for _ in 0..2 {
        assert!(!cache.contains("key").expect("contains"));
    }
    assert_eq!(knows(&cache, "key"), Some(false));
}

#[test]
fn get_many_twice_makes_absent_keys_hot() {
    let directory = tempfile::tempdir().expect("directory");
    let cache = cache(&directory);
    let keys = ["key".into(), "other".into()];
    for _ in 0..3 {
        assert_eq!(cache.get_many(&keys).expect("get_many"), [None, Some(1.into())]);
    }
    assert_eq!(knows(&cache, "key"), Some(false));
}

#[test]
fn absent_key_is_found_once_a_transaction_stored_it() {
    let directory = tempfile::tempdir().expect("directory");
    let cache = cache(&directory);
    miss(&cache, "key");
    let transaction = cache.transact().expect("begin");
    cache.set("key", 2).expect("set");
    transaction.commit().expect("commit");
    assert_eq!(cache.get("key").expect("get"), Some(2.into()));
}

#[test]
fn absent_key_is_found_once_it_was_added_and_drained() {
    let directory = tempfile::tempdir().expect("directory");
    {
        let cache = cache(&directory);
        miss(&cache, "key");
        assert!(cache.add("key", 2, &dolium::PutOptions::new()).expect("add"));
        assert_eq!(cache.len().expect("drains"), 2);
        assert_eq!(cache.get("key").expect("get"), Some(2.into()));
    }
    let again = Cache::open(directory.path()).expect("cache");
    assert_eq!(again.get("key").expect("get"), Some(2.into()));
}

#[test]
fn drain_after_a_miss_removes_no_row() {
    let directory = tempfile::tempdir().expect("directory");
    let cache = cache(&directory);
    miss(&cache, "key");
    cache.set("another", 3).expect("set");
    assert_eq!(cache.len().expect("drains"), 2);
    miss(&cache, "key");
}

#[test]
fn scan_of_absent_keys_fills_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let cache = cache(&directory);
    let before = fills(&cache);
    for key in 0..3000_i64 {
        assert_eq!(cache.get(key).expect("get"), None);
    }
    assert_eq!(fills(&cache), before);
    assert_eq!(knows(&cache, "other"), Some(true));
}
