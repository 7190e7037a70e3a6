//! Evicting by tag in the hot tier, beside a cache without one, beside other writers, and where only SQLite can tell.

#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use dolium::{Cache, Counter, Expiry, PutOptions, Scalar};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Set(i64, usize, bool),
    Delete(i64),
    Evict(usize),
    /// What is dirty becomes rows.
    Drain,
    Reopen,
}

/// Tags that are alike in one way or the other.
fn tags() -> [Scalar; 7] {
    [
        Scalar::Null,
        1.into(),
        1.0.into(),
        2.into(),
        "1".into(),
        Scalar::Blob(b"1".to_vec()),
        Scalar::Real(f64::INFINITY),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let tag = 0..tags().len();
    prop_oneof![
        6 => (0..30i64, tag.clone(), any::<bool>()).prop_map(|(key, tag, is_large)| Op::Set(key, tag, is_large)),
        2 => (0..30i64).prop_map(Op::Delete),
        3 => tag.prop_map(Op::Evict),
        1 => Just(Op::Drain),
        1 => Just(Op::Reopen),
    ]
}

fn open(directory: &Path, hot_size: i64) -> Cache {
    let builder = Cache::builder(directory).setting("hot_size", hot_size);
    builder.setting("disk_min_file_size", 64).open().unwrap()
}

fn tagged(tag: &Scalar) -> PutOptions {
    PutOptions::new().tag(tag.clone())
}

fn apply(cache: &mut Cache, directory: &Path, hot_size: i64, op: &Op) -> (usize, Vec<String>) {
    let mut removed = 0;
    match op {
        Op::Set(key, tag, is_large) => {
            let value = vec![7; if *is_large { 100 } else { 10 }];
            cache.set_with(*key, &value, &tagged(&tags()[*tag])).unwrap();
        }
        Op::Delete(key) => removed = usize::from(cache.delete(*key).unwrap()),
        Op::Evict(tag) => removed = cache.evict(&tags()[*tag]).unwrap(),
        Op::Drain => cache.flush().unwrap(),
        Op::Reopen => {
            cache.close().unwrap();
            *cache = open(directory, hot_size);
        }
    }
    let mut keys: Vec<_> = (0..30i64).filter(|key| cache.contains(*key).unwrap()).collect();
    keys.sort_unstable();
    (removed, keys.iter().map(i64::to_string).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn evicting_by_tag_removes_what_it_removes_without_a_tier(
        ops in prop::collection::vec(op(), 1..40),
    ) {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let paths = [directories[0].path(), directories[1].path()];
        let sizes = [0, 64 << 10];
        let mut caches = [open(paths[0], sizes[0]), open(paths[1], sizes[1])];
        for op in &ops {
            let [cold, hot] = [0, 1].map(|at| apply(&mut caches[at], paths[at], sizes[at], op));
            prop_assert_eq!(cold, hot, "{:?}", op);
        }
        for cache in &caches {
            prop_assert_eq!(cache.check(false).unwrap(), []);
        }
    }
}

#[test]
fn evicting_few_entries_drains_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path(), -1);
    for key in 0..10 {
        cache.set_with(key, 1, &tagged(&"tag".into())).unwrap();
    }
    cache.flush().unwrap();
    cache.set(3, 1).unwrap();
    cache.set_with(20, 1, &tagged(&"tag".into())).unwrap();
    let counted = |counter| cache.hot_tier().unwrap().stats.unwrap().counted(counter);
    let direct = counted(Counter::Direct);
    assert_eq!(cache.evict(&"tag".into()).unwrap(), 10);
    assert_eq!(counted(Counter::Direct), direct, "it went past the tier");
    assert_eq!(cache.len().unwrap(), 1);
}

#[test]
fn an_expired_entry_is_counted_as_without_a_tier() {
    let counts = [0, -1].map(|hot_size| {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(directory.path(), hot_size);
        cache.set_with(1, 1, &tagged(&"tag".into()).expire(Expiry::After(-1.0))).unwrap();
        cache.set_with(2, 1, &tagged(&"tag".into())).unwrap();
        (cache.evict(&"tag".into()).unwrap(), cache.len().unwrap())
    });
    assert_eq!(counts[0], counts[1]);
}

#[test]
fn evicting_beside_writers_leaves_none_that_was_there_before() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path(), 1 << 20);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let writer = open(directory.path(), 1 << 20);
            for key in (100_000i64..).take_while(|_| !is_over.load(Ordering::Relaxed)) {
                writer.set_with(key % 7, key, &tagged(&"other".into())).unwrap();
            }
        });
        for round in 0..200 {
            for key in 10..14 {
                cache.set_with(key, round, &tagged(&"mine".into())).unwrap();
            }
            assert_eq!(cache.evict(&"mine".into()).unwrap(), 4, "round {round}");
            assert!((10..14).all(|key| !cache.contains(key).unwrap()), "round {round}");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(cache.contains(0).unwrap());
}
