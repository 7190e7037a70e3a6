//! A tier begins small, and grows at once when more is written than it takes.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test looks at files itself")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dolium::{Cache, Counter, PutOptions, ShardedCache, SizeReason, TierStats, Value};

const FIRST: u64 = 256 << 10;
const WRITTEN: u64 = 16 << 20;

fn open(directory: &Path) -> Cache {
    Cache::builder(directory).open().unwrap()
}

fn stats(cache: &Cache) -> TierStats {
    cache.hot_tier().unwrap().stats.unwrap()
}

fn value(key: i64) -> String {
    format!("{key:0100}")
}

fn set_many(cache: &Cache, count: i64) {
    let values: Vec<_> = (0..count).map(|key| (key, value(key))).collect();
    cache.set_many(values.iter().map(|(key, value)| (*key, value.as_str())), &PutOptions::new()).unwrap();
}

/// Bytes of blocks that the tier takes of the disk, and the length of its file.
fn blocks(directory: &Path) -> (u64, u64) {
    let found = std::fs::metadata(directory.join("cache.hot")).unwrap();
    (512 * found.blocks(), found.len())
}

#[test]
fn tier_begins_small_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    cache.set("key", 1).unwrap();
    assert_eq!((stats(&cache).capacity, stats(&cache).sized), (FIRST, SizeReason::Asked));
    assert_eq!(cache.hot_tier().unwrap().size_reason(), "as it began");
    assert!(blocks(directory.path()).0 < 400 << 10);
}

#[test]
fn shards_share_what_one_tier_has() {
    let directory = tempfile::tempdir().unwrap();
    let cache = ShardedCache::open(directory.path(), 4).unwrap();
    for key in 0..100_i64 {
        cache.shard(key).set(key, key).unwrap();
    }
    let tiers: Vec<_> = cache.shards().iter().map(|shard| stats(shard).capacity).collect();
    assert_eq!(tiers, [FIRST / 4; 4]);
    assert_eq!(cache.hot_tier().unwrap().stats.unwrap().capacity, FIRST);
}

#[test]
fn bulk_that_is_too_large_finds_a_larger_tier() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    cache.set("key", 1).unwrap();
    set_many(&cache, 3000);
    let stats = stats(&cache);
    assert_eq!((stats.capacity, stats.sized), (WRITTEN, SizeReason::Writes));
    assert_eq!(stats.counted(Counter::Direct), 0, "it went through the tier");
    assert_eq!(cache.hot_tier().unwrap().size_reason(), "more was written than it took");
    assert!((0..3000).all(|key| cache.get(key).unwrap() == Some(value(key).as_str().into())));
    assert_eq!(cache.get("key").unwrap(), Some(1.into()));
}

#[test]
fn value_that_is_too_long_finds_a_larger_tier() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::builder(directory.path()).setting("disk_min_file_size", 1 << 20).open().unwrap();
    cache.set("key", 1).unwrap();
    let long = vec![7; 100 << 10];
    cache.set("long", &long[..]).unwrap();
    assert_eq!(stats(&cache).capacity, WRITTEN);
    assert_eq!(stats(&cache).counted(Counter::Direct), 0);
    assert_eq!(cache.get("long").unwrap(), Some(Value::Bytes(long)));
}

#[test]
fn value_that_is_too_long_for_any_tier_lets_none_grow() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::builder(directory.path()).setting("disk_min_file_size", 8 << 20).open().unwrap();
    cache.set("long", &vec![7; 4 << 20][..]).unwrap();
    assert_eq!(stats(&cache).capacity, FIRST);
}

#[test]
fn writers_that_outrun_the_tier_let_it_grow_and_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                for key in (writer * 10_000)..(writer * 10_000 + 5000) {
                    cache.set(key, value(key).as_str()).unwrap();
                }
            });
        }
    });
    assert_eq!(stats(&cache).capacity, WRITTEN);
    for writer in 0..4 {
        for key in (writer * 10_000)..(writer * 10_000 + 5000) {
            assert_eq!(cache.get(key).unwrap(), Some(value(key).as_str().into()));
        }
    }
    assert_eq!(cache.len().unwrap(), 20_000);
}

#[test]
fn small_limit_keeps_the_tier_small() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::builder(directory.path()).size_limit(Some(2 << 20)).open().unwrap();
    for key in 0..5000 {
        cache.set(key, value(key).as_str()).unwrap();
    }
    assert!(stats(&cache).capacity <= 128 << 10, "a sixteenth of the limit");
}

#[test]
fn resting_tier_takes_what_is_in_it_of_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    cache.set("key", 1).unwrap();
    set_many(&cache, 3000);
    for key in 0..30_000 {
        cache.set(key % 20_000, value(key % 20_000).as_str()).unwrap();
    }
    let (before, length) = blocks(directory.path());
    assert!(before >= length, "all is reserved");
    let written = 30_000 * 160;
    cache.close().unwrap();
    let (resting, _) = blocks(directory.path());
    let (_, name) = dolium_hot::filesystem(directory.path()).unwrap();
    let may_have_holes = ["ext4", "xfs", "btrfs"].contains(&name.as_str());
    assert!(resting > written && (resting < length * 3 / 4) == may_have_holes, "{resting} of {length}");
    let cache = open(directory.path());
    cache.set("key", 1).unwrap();
    assert_eq!(stats(&cache).counted(Counter::Fills), 0);
    assert!(stats(&cache).keys > 19_000, "it is warm");
    assert!(blocks(directory.path()).0 >= length, "all is reserved again");
    assert!((0..20_000).all(|key| cache.get(key).unwrap() == Some(value(key).as_str().into())));
}
