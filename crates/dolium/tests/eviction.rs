//! Eviction is honest: only as much as needed, nothing for a value that cannot fit, and never in silence.

#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]

use std::sync::atomic::Ordering;
use std::time::Duration;

use dolium::{Cache, Clock, Order, Policy, PutOptions, ShardedCache, Warning, raw};

const KIB: usize = 1 << 10;

fn open(limit: usize, policy: Policy) -> (tempfile::TempDir, Cache, Clock) {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1000.0);
    let cache = Cache::builder(directory.path())
        .clock(clock.clone())
        .size_limit(Some(limit as u64))
        .policy(policy)
        .open()
        .unwrap();
    (directory, cache, clock)
}

/// Stores `count` values of 50 kB, a second apart.
fn fill(cache: &Cache, clock: &Clock, count: i64) {
    for key in 1..=count {
        clock.advance(Duration::from_secs(1));
        assert!(cache.set(key, &vec![7; 50_000]).unwrap());
    }
}

fn keys(cache: &Cache) -> Vec<i64> {
    let keys = cache.keys(Order::Sorted).unwrap().map(Result::unwrap);
    keys.map(|key| if let dolium::Key::Int(key) = key { key } else { panic!("{key:?}") }).collect()
}

#[test]
fn no_more_is_evicted_than_needed() {
    let (_directory, cache, clock) = open(2 << 20, Policy::LeastRecentlyStored);
    fill(&cache, &clock, 60);
    let volume = usize::try_from(cache.volume().unwrap()).unwrap();
    assert!(volume <= 2 << 20, "{volume}");
    assert!(volume > (2 << 20) - (2 << 20) / 64 - 60_000, "{volume} is far below the low-water mark");
    let left = keys(&cache);
    assert_eq!(left, (61 - i64::try_from(left.len()).unwrap()..=60).collect::<Vec<_>>(), "oldest first");
    assert_eq!(usize::try_from(cache.stats().unwrap().evicted).unwrap(), 60 - left.len());
    assert_eq!(cache.check(false).unwrap(), []);
}

#[test]
fn values_in_files_count_before_they_are_drained() {
    const LIMIT: usize = 2 << 20;
    let (_directory, cache, clock) = open(LIMIT, Policy::LeastRecentlyStored);
    fill(&cache, &clock, 80);
    // Small ones last, because their writes look at the limit.
    for n in 0..100 {
        cache.set(format!("small {n}"), &vec![7; 100]).unwrap();
    }
    let volume = usize::try_from(cache.volume().unwrap()).unwrap();
    assert!(volume <= LIMIT + 20_000, "{volume}");
}

#[test]
fn a_value_that_cannot_fit_drives_nothing_out() {
    let (_directory, cache, clock) = open(1 << 20, Policy::LeastRecentlyStored);
    fill(&cache, &clock, 3);
    assert!(!cache.set(1, &vec![7; 1500 * KIB]).unwrap());
    assert_eq!(keys(&cache), [1, 2, 3]);
    assert_eq!(cache.get(1).unwrap(), Some(dolium::Value::Bytes(vec![7; 50_000])), "the old value stays");
    assert!(matches!(cache.take_warnings()[..], [Warning::TooLarge { .. }]));
}

#[test]
fn only_the_first_eviction_at_the_default_limit_warns() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::builder(directory.path()).setting("hot_size", 0).open().unwrap();
    let evict = |cache: &Cache| {
        cache.set("a", 1).unwrap();
        cache.set("b", 1).unwrap();
        // As if value files of two GiB were there.
        raw::sql(cache, "UPDATE Settings SET value = 2147483648 WHERE key = 'size'", &[]).unwrap();
        assert!(cache.cull().unwrap() > 0);
        cache.take_warnings()
    };
    assert!(matches!(evict(&cache)[..], [Warning::Evicting { size_limit: 1_073_741_824, .. }]));
    assert_eq!(evict(&cache), []);
}

#[test]
fn eviction_at_a_limit_that_was_passed_warns_of_nothing() {
    let (_directory, cache, clock) = open(1 << 20, Policy::LeastRecentlyStored);
    fill(&cache, &clock, 60);
    assert!(cache.len().unwrap() < 60);
    assert_eq!(cache.take_warnings(), []);
}

#[test]
fn expired_entries_go_before_live_ones() {
    let (_directory, cache, clock) = open(1 << 20, Policy::LeastRecentlyStored);
    cache.set("live", &vec![7; 400_000]).unwrap();
    for key in 0..12 {
        let put = PutOptions::new().expire_in(Duration::from_secs(5));
        cache.set_with(key, &vec![7; 40_000], &put).unwrap();
    }
    assert_eq!(cache.len().unwrap(), 13, "all are drained");
    clock.advance(Duration::from_secs(10));
    cache.set("new", &vec![7; 400_000]).unwrap();
    assert!(cache.contains("live").unwrap());
    assert_eq!(cache.len().unwrap(), 2 + 12 - 10, "a write removes cull_limit expired entries");
}

#[test]
fn least_recently_used_keeps_what_is_read() {
    let (_directory, cache, clock) = open(1 << 20, Policy::LeastRecentlyUsed);
    fill(&cache, &clock, 15);
    clock.advance(Duration::from_secs(1));
    assert!(cache.get(1).unwrap().is_some());
    fill_from(&cache, &clock, 100, 10);
    assert!(cache.len().unwrap() < 25);
    assert!(cache.contains(1).unwrap());
    assert!(!cache.contains(2).unwrap());
}

/// What was written in the future, as the clock now sees it, is none the worse for being read.
#[test]
fn reads_after_the_clock_was_put_back_do_not_make_an_entry_the_next_to_go() {
    let (_directory, cache, clock) = open(1 << 20, Policy::LeastRecentlyUsed);
    fill(&cache, &clock, 10);
    let Clock::Manual(bits) = &clock else { panic!("it is manual") };
    let now = clock.now();
    bits.store((now - 500.0).to_bits(), Ordering::SeqCst);
    assert!(cache.get(9).unwrap().is_some());
    cache.flush().unwrap();
    assert!(cache.info(9).unwrap().unwrap().access_time > now - 10.0);
    bits.store(now.to_bits(), Ordering::SeqCst);
    fill_from(&cache, &clock, 100, 15);
    assert!(cache.len().unwrap() < 25);
    assert!(cache.contains(9).unwrap() && !cache.contains(1).unwrap());
}

#[test]
fn least_frequently_used_keeps_what_is_read_often_and_what_is_new() {
    let (_directory, cache, clock) = open(1 << 20, Policy::LeastFrequentlyUsed);
    fill(&cache, &clock, 15);
    for _ in 0..3 {
        assert!(cache.get(7).unwrap().is_some());
    }
    fill_from(&cache, &clock, 100, 10);
    assert!(cache.contains(7).unwrap());
    assert!(cache.contains(109).unwrap(), "the entry just written");
}

fn fill_from(cache: &Cache, clock: &Clock, first: i64, count: i64) {
    for key in first..first + count {
        clock.advance(Duration::from_secs(1));
        assert!(cache.set(key, &vec![7; 50_000]).unwrap());
    }
}

#[test]
fn without_a_limit_or_a_policy_nothing_is_evicted() {
    let directory = tempfile::tempdir().unwrap();
    let unbounded = Cache::builder(directory.path().join("a")).size_limit(None).open().unwrap();
    let (_directory, kept, _) = open(1 << 20, Policy::None);
    for cache in [unbounded, kept] {
        for key in 0..40 {
            assert!(cache.set(key, &vec![7; 50_000]).unwrap());
        }
        assert_eq!(cache.len().unwrap(), 40);
    }
}

#[test]
fn shards_share_one_limit() {
    let directory = tempfile::tempdir().unwrap();
    let builder = Cache::builder(directory.path()).size_limit(Some(8 << 20));
    let cache = ShardedCache::open_with(&builder, 8).unwrap();
    // More than an eighth, less than the whole.
    assert!(cache.shard("large").set("large", &vec![7; 1500 * KIB]).unwrap());
    assert_eq!(cache.len().unwrap(), 1, "what fits the whole cache fits a shard");
    for key in 0..400 {
        assert!(cache.shard(key).set(key, &vec![7; 50_000]).unwrap());
    }
    // A shard whose writer lock was not free is emptied by the housekeeper, a moment later.
    let settled = (0..500).map(|_| cache.volume().unwrap()).find(|volume| {
        std::thread::sleep(Duration::from_millis(10));
        *volume <= 8 << 20
    });
    let volume = settled.unwrap_or_else(|| panic!("{}", cache.volume().unwrap()));
    assert!(volume > 7 << 20, "{volume} is far below the limit");
}

/// Rows of locks: evicting one would free the lock.
#[test]
fn what_is_kept_is_evicted_last() {
    for policy in [Policy::LeastRecentlyStored, Policy::LeastRecentlyUsed, Policy::LeastFrequentlyUsed] {
        let (_directory, cache, clock) = open(1 << 20, policy);
        let kept = PutOptions::new().keep(true);
        cache.set_with(-1, "set", &kept).unwrap();
        cache.set(-2, "set before").unwrap();
        cache.set_with(-2, "overwritten", &kept.clone().expire_in(Duration::from_secs(5000))).unwrap();
        assert!(cache.add(-3, "added", &kept).unwrap());
        assert_eq!(cache.set_many([(-4, "one of many")], &kept).unwrap(), 1);
        fill(&cache, &clock, 100);
        for _ in 0..3 {
            assert!(cache.get(100).unwrap().is_some());
        }
        fill_from(&cache, &clock, 200, 50);
        assert_eq!(keys(&cache)[..4], [-4, -3, -2, -1], "{policy:?}");
        assert_eq!(cache.info(-2).unwrap().unwrap().expire_time, Some(6000.0));
    }
}

#[test]
fn a_kept_counter_stays_kept_when_it_counts() {
    for hot_size in [0, -1] {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::builder(directory.path()).setting("hot_size", hot_size).open().unwrap();
        let put = PutOptions::new().keep(true);
        for sum in 1..=3 {
            assert_eq!(cache.incr("held", 1, Some(0.into()), &put).unwrap(), sum.into());
        }
        let stored = cache.info("held").unwrap().unwrap();
        assert!(
            stored.store_time > 253_402_300_000.0,
            "with hot_size {hot_size} it was stored at {}",
            stored.store_time
        );
    }
}
