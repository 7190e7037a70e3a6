//! Hits and misses are counted once: in the database, in the hot tier, or by the process that has no tier.

use std::io::ErrorKind;

use dolium::{Cache, Counter, ShardedCache};

fn lookups(cache: &Cache) -> (i64, i64) {
    let stats = cache.stats().expect("stats");
    (stats.hits, stats.misses)
}

fn read(cache: &Cache, times: usize) {
    for _ in 0..times {
        cache.get("there").expect("get");
        cache.get("missing").expect("get");
    }
}

#[test]
fn a_read_counts_once_whatever_counts_it() {
    for hot_size in [0, -1] {
        let directory = tempfile::tempdir().expect("directory");
        let cache = Cache::builder(directory.path()).setting("hot_size", hot_size).open().expect("cache");
        cache.set("there", 1).expect("set");
        let mut expected = 0;
        for statistics in [0, 1, 0, 1] {
            cache.change_setting("statistics", &statistics.into(), true).expect("setting");
            read(&cache, 5);
            cache.get_many(&["there".into(), "missing".into()]).expect("get_many");
            expected += 6;
            assert_eq!(lookups(&cache), (expected, expected), "hot_size {hot_size}, statistics {statistics}");
        }
        cache.reset_stats().expect("reset");
        assert_eq!(lookups(&cache), (0, 0));
        read(&cache, 1);
        assert_eq!(lookups(&cache), (1, 1));
    }
}

#[test]
fn a_reset_leaves_the_counters_of_the_tier() {
    let directory = tempfile::tempdir().expect("directory");
    let cache = Cache::open(directory.path()).expect("cache");
    cache.set("there", 1).expect("set");
    read(&cache, 3);
    cache.reset_stats().expect("reset");
    let stats = cache.hot_tier().expect("tier").stats.expect("stats");
    assert_eq!((stats.counted(Counter::Hits), stats.counted(Counter::Misses)), (3, 3));
    assert_eq!((stats.counted(Counter::SettledHits), stats.counted(Counter::SettledMisses)), (3, 3));
}

#[test]
fn reads_of_others_are_seen_by_those_that_only_read() {
    let directory = tempfile::tempdir().expect("directory");
    let cache = Cache::open(directory.path()).expect("cache");
    cache.set("there", 1).expect("set");
    read(&cache, 2);
    let reader = Cache::builder(directory.path()).read_only(true).open().expect("reader");
    assert_eq!(lookups(&reader), (2, 2));
}

#[test]
fn a_directory_needs_a_name() {
    let is_refused =
        |error| matches!(error, dolium::Error::Io { source, .. } if source.kind() == ErrorKind::NotFound);
    assert!(Cache::open("").is_err_and(is_refused));
    assert!(Cache::builder("").read_only(true).open().is_err_and(is_refused));
    assert!(ShardedCache::open("", 2).is_err_and(is_refused));
}

#[test]
fn a_thread_is_told_the_time() {
    let directory = tempfile::tempdir().expect("directory");
    let cache = Cache::open(directory.path()).expect("cache");
    cache
        .set_with("there", 1, &dolium::PutOptions::new().expire_in(std::time::Duration::from_mins(1)))
        .expect("set");
    let now = dolium::Clock::System.now();
    dolium::host::tell_time(Some(now + 3600.0));
    assert_eq!(cache.get("there").expect("get"), None);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| cache.get("there").expect("get"));
        assert!(other.join().expect("no panic").is_some(), "another thread has the system's clock");
    });
    dolium::host::tell_time(None);
    assert!(cache.get("there").expect("get").is_some());
}
