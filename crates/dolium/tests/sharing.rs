//! Threads, several caches on one directory, transactions, closing: what sharing one handle must not break.

#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use dolium::{Cache, Error, Expiry, Key, Number, Order, Payload, PutOptions, Scalar, Value};

fn open(directory: &tempfile::TempDir) -> Cache {
    Cache::open(directory.path()).unwrap()
}

#[test]
fn every_increment_of_every_thread_counts() {
    let directory = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let cache = open(&directory);
                for _ in 0..250 {
                    cache.incr("counter", 1, Some(Number::Int(0)), &PutOptions::new()).unwrap();
                }
            });
        }
    });
    assert_eq!(open(&directory).get("counter").unwrap(), Some(Value::Int(2000)));
}

#[test]
fn one_of_many_adds_wins() {
    let directory = tempfile::tempdir().unwrap();
    let barrier = Barrier::new(8);
    let winners: usize = thread::scope(|scope| {
        let adds: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let cache = open(&directory);
                    (0..50).filter(|key| cache.add(*key, 1, &PutOptions::new()).unwrap()).count()
                })
            })
            .collect();
        adds.into_iter().map(|add| add.join().unwrap()).sum()
    });
    assert_eq!(winners, 50);
}

#[test]
fn one_of_many_bulk_calls_wins_each_key() {
    const KEYS: i64 = 100;
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    for round in 0..20 {
        // A third is known before; in every other round the database has it, too.
        cache.set_many((0..KEYS / 3).map(|key| (key, key)), &PutOptions::new()).unwrap();
        if round % 2 == 0 {
            assert_eq!(cache.len().unwrap(), 33);
        }
        let together = |work: &(dyn Fn() -> usize + Sync)| -> usize {
            let barrier = Barrier::new(4);
            let run = || {
                barrier.wait();
                work()
            };
            thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            })
        };
        let add = || cache.add_many((0..KEYS).map(|key| (key, -key)), &PutOptions::new()).unwrap().len();
        assert_eq!(together(&add), 67);
        let keys: Vec<_> = (0..KEYS).map(Key::from).collect();
        assert_eq!(together(&|| cache.delete_many(&keys).unwrap()), 100);
        assert_eq!(cache.len().unwrap(), 0);
    }
}

#[test]
fn an_overwritten_large_value_is_never_missing_nor_mixed() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    let value = |byte: u8| vec![byte; 300_000];
    cache.set("large", &value(0)).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let Some(Value::Bytes(bytes)) = cache.get("large").unwrap() else {
                            panic!("a spurious miss");
                        };
                        assert!(bytes.len() == 300_000 && bytes.iter().all(|byte| *byte == bytes[0]));
                    }
                })
            })
            .collect();
        for byte in 0..200 {
            cache.set("large", &value(byte)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    cache.flush().unwrap();
    assert_eq!(cache.check(false).unwrap(), []);
}

#[test]
fn a_transaction_is_seen_whole_by_other_threads() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    cache.set_many([("a", 0), ("b", 0)], &PutOptions::new()).unwrap();
    let transaction = cache.transact().unwrap();
    cache.set("a", 1).unwrap();
    cache.set("b", 1).unwrap();
    let other = open(&directory);
    let impatient = other.with_wait(dolium::Wait::AtMost(Duration::from_millis(20)));
    thread::scope(|scope| {
        let seen = scope.spawn(|| {
            assert!(matches!(impatient.set("c", 1), Err(Error::Timeout { .. })));
            (other.get("a").unwrap(), other.get("b").unwrap())
        });
        assert_eq!(seen.join().unwrap(), (Some(Value::Int(0)), Some(Value::Int(0))));
    });
    // The same thread, through another cache on the directory, is inside.
    assert_eq!(other.get("a").unwrap(), Some(Value::Int(1)));
    transaction.commit().unwrap();
    assert_eq!(cache.get("b").unwrap(), Some(Value::Int(1)));
}

#[test]
fn a_failed_operation_in_a_transaction_leaves_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    cache.set("text", "x").unwrap();
    let transaction = cache.transact().unwrap();
    cache.set("before", 1).unwrap();
    assert!(matches!(cache.incr("text", 1, None, &PutOptions::new()), Err(Error::NotANumber)));
    cache.set("after", &vec![1; 100_000]).unwrap();
    transaction.commit().unwrap();
    assert_eq!(cache.len().unwrap(), 3);
    assert_eq!(cache.check(false).unwrap(), []);
}

#[test]
fn value_files_of_an_undone_transaction_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    cache.set("old", &vec![1; 100_000]).unwrap();
    let transaction = cache.transact().unwrap();
    cache.set("old", &vec![2; 100_000]).unwrap();
    cache.set("new", &vec![2; 100_000]).unwrap();
    drop(transaction);
    assert_eq!(cache.get("old").unwrap(), Some(Value::Bytes(vec![1; 100_000])));
    cache.close().unwrap();
    let files = walk(directory.path()).into_iter().filter(|path| path.contains(".val")).count();
    assert_eq!(files, 1);
}

fn walk(directory: &Path) -> Vec<String> {
    let entries = directory.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let nested = entries
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path.to_string_lossy().into_owned()] });
    nested.collect()
}

#[test]
fn closing_in_one_thread_does_not_disturb_readers() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    cache.set("key", 1).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(cache.get("key").unwrap(), Some(Value::Int(1)));
                }
            });
        }
        for _ in 0..100 {
            cache.close().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn descriptors_do_not_grow_with_threads() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    cache.set("key", 1).unwrap();
    let count = || "/proc/self/fd".parse::<std::path::PathBuf>().unwrap().read_dir().unwrap().count();
    let barrier = Barrier::new(32);
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..50 {
                    open(&directory).get("key").unwrap();
                }
            });
        }
    });
    let after = count();
    cache.close().unwrap();
    // Other tests of this process come and go, so only what this cache lets go of is certain.
    assert!(after - count() <= 16, "{after} descriptors with 32 threads");
}

#[test]
fn opening_a_store_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::builder(directory.path()).setting("cull_limit", 20).open().unwrap();
    cache.set("key", 1).unwrap();
    cache.close().unwrap();
    drop(cache);
    let state = || {
        let metadata = directory.path().join("cache.db").metadata().unwrap();
        (metadata.modified().unwrap(), metadata.len())
    };
    let before = state();
    let cache = Cache::builder(directory.path()).setting("cull_limit", 20).open().unwrap();
    assert_eq!(cache.get("key").unwrap(), Some(Value::Int(1)));
    assert_eq!(cache.len().unwrap(), 1);
    cache.close().unwrap();
    assert_eq!(state(), before);
}

#[test]
fn passed_settings_outlive_the_process_and_others_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let first =
        Cache::builder(directory.path()).setting("cull_limit", 3).setting("mine", "x").open().unwrap();
    first.set(1, 1).unwrap();
    first.close().unwrap();
    drop(first);
    let second = Cache::builder(directory.path()).setting("statistics", 1).open().unwrap();
    let setting = |name| second.setting(name).unwrap().unwrap();
    assert_eq!((setting("cull_limit"), setting("statistics")), (3.into(), 1.into()));
    assert_eq!(setting("mine"), "x".into());
}

#[test]
fn keys_come_in_every_order() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    let keys: Vec<Key<'static>> =
        vec![5.into(), 1.into(), "b".to_owned().into(), 2.5.into(), "a".to_owned().into()];
    for key in &keys {
        cache.set_with(key, Payload::Int(1), &PutOptions::new().tag("t")).unwrap();
    }
    let walk = |order| cache.keys(order).unwrap().map(Result::unwrap).collect::<Vec<_>>();
    let reversed = |keys: &[Key<'static>]| keys.iter().rev().cloned().collect::<Vec<_>>();
    let sorted: Vec<Key<'static>> =
        vec![1.into(), 2.5.into(), 5.into(), "a".to_owned().into(), "b".to_owned().into()];
    assert_eq!(walk(Order::Insertion), keys);
    assert_eq!(walk(Order::InsertionReversed), reversed(&keys));
    assert_eq!(walk(Order::Sorted), sorted);
    assert_eq!(walk(Order::SortedReversed), reversed(&sorted));
    let of = |tag: Option<&str>, prefix| {
        cache.keys_where(Order::Sorted, tag.map(Into::into), prefix).unwrap().count()
    };
    assert_eq!((of(Some("t"), None), of(Some("u"), None), of(None, Some("a"))), (5, 0, 1));
}

#[test]
fn more_keys_than_a_batch_are_met_once_each() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    cache.set_many((0..1000).map(|key| (key, key)), &PutOptions::new()).unwrap();
    for order in [Order::Insertion, Order::InsertionReversed, Order::Sorted, Order::SortedReversed] {
        let mut keys: Vec<_> = cache.keys(order).unwrap().map(|key| key.unwrap().to_string()).collect();
        assert_eq!(keys.len(), 1000);
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 1000, "{order:?}");
    }
}

#[test]
fn a_new_directory_shows_nothing_of_one_whose_inode_it_got() {
    let parent = tempfile::tempdir().unwrap();
    let mut old = Vec::new();
    for round in 0..50 {
        let directory = parent.path().join(round.to_string());
        let cache = Cache::open(&directory).unwrap();
        assert_eq!(cache.len().unwrap(), 0, "round {round}");
        cache.set(1, 1).unwrap();
        cache.close().unwrap();
        #[expect(clippy::disallowed_methods, reason = "what a user does")]
        fs::remove_dir_all(&directory).unwrap();
        old.push(cache);
    }
}

/// While a cache is only read, one read transaction is held open: it must hide nothing, and let go.
#[test]
fn reads_in_a_row_see_every_write_and_let_the_log_start_over() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    cache.set("key", 0).unwrap();
    for round in 1..20 {
        for _ in 0..700 {
            assert_eq!(cache.get("key").unwrap(), Some(Value::Int(round - 1)));
        }
        thread::scope(|scope| {
            scope.spawn(|| open(&directory).set("key", round).unwrap());
        });
        assert_eq!(cache.get("key").unwrap(), Some(Value::Int(round)));
    }
    cache.flush().unwrap();
    cache.close().unwrap();
    assert!(!directory.path().join("cache.db-wal").exists());
}

/// The setting is the directory's, whatever the first operation of a process is.
#[test]
fn a_directory_without_a_hot_tier_stays_so() {
    let directory = tempfile::tempdir().unwrap();
    let hot = directory.path().join("cache.hot");
    let size = || hot.metadata().map_or(0, |found| found.len());
    let cache = Cache::builder(directory.path()).setting("hot_size", 0).open().unwrap();
    cache.set("a", 1).unwrap();
    assert_eq!(size(), 4096, "the locks alone");
    cache.close().unwrap();
    drop(cache);
    let cache = Cache::open(directory.path()).unwrap();
    cache.push(1, None, dolium::Side::Back, &PutOptions::new()).unwrap();
    assert_eq!(size(), 4096);
    assert_eq!(cache.get("a").unwrap(), Some(Value::Int(1)));
}

/// Passed settings are compared with the stored ones, wherever these are: in a log that a killed process left, too.
#[test]
fn settings_that_lie_in_a_log_alone_are_found_on_opening() {
    let (living, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = Cache::builder(living.path()).setting("hot_size", 0).open().unwrap();
    cache.set("a", 1).unwrap();
    cache.flush().unwrap();
    cache.change_setting("cull_limit", &Scalar::Int(77), true).unwrap();
    for name in ["cache.db", "cache.db-wal"] {
        fs::copy(living.path().join(name), killed.path().join(name)).unwrap();
    }
    let second = Cache::builder(killed.path()).setting("statistics", 1).open().unwrap();
    assert_eq!(second.setting("cull_limit").unwrap(), Some(Scalar::Int(77)));
    second.close().unwrap();
    drop(second);
    assert!(!killed.path().join("cache.db-wal").exists());
    let third = Cache::builder(killed.path()).setting("statistics", 1).open().unwrap();
    assert!(!killed.path().join("cache.db-wal").exists(), "no process has it open, so opening makes no log");
    assert_eq!(third.setting("cull_limit").unwrap(), Some(Scalar::Int(77)));
}

#[test]
fn new_and_old_keys_in_turn_give_the_rows_of_single_writes() {
    let rows = |hot_size: i64| {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::builder(directory.path()).setting("hot_size", hot_size).open().unwrap();
        let keys = || {
            let keys = cache.keys(Order::Insertion).unwrap().map(Result::unwrap);
            keys.map(|key| (cache.get(&key).unwrap(), key)).collect::<Vec<_>>()
        };
        for key in 1..=5_i64 {
            cache.set(key, key).unwrap();
        }
        assert_eq!(keys().len(), 5);
        for (value, key) in [6_i64, 2, 7, 3, 8, 6, 1, 9, 10].into_iter().enumerate() {
            if key == 3 {
                cache.delete(3).unwrap();
            }
            cache.set(key, i64::try_from(value).unwrap()).unwrap();
        }
        let found = keys();
        assert_eq!(cache.len().unwrap(), found.len());
        assert_eq!(cache.check(false).unwrap(), []);
        found
    };
    assert_eq!(rows(-1), rows(0));
}

#[test]
fn who_may_only_read_counts_and_lists_all_that_was_written_before() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    let reader = Cache::builder(directory.path()).read_only(true).open().unwrap();
    for number in 0..5_i64 {
        cache.set(number, number).unwrap();
        let keys: Vec<_> = reader.keys(Order::Insertion).unwrap().map(Result::unwrap).collect();
        assert_eq!(keys, (0..=number).map(Key::from).collect::<Vec<_>>());
        cache.set("again", number).unwrap();
        assert_eq!(reader.len().unwrap(), keys.len() + 1);
        cache.delete("again").unwrap();
    }
}

/// Kibibytes of a log of 16 MiB, the last of the directory's hot tier, that this process has mapped. What lies before was
/// written when the tier was made, and the kernel may map all of that at the first touch.
#[expect(clippy::disallowed_methods, reason = "no file of the cache's")]
fn mapped(directory: &Path) -> usize {
    let name = directory.join("cache.hot").display().to_string();
    let maps = fs::read_to_string("/proc/self/maps").expect("maps");
    let line = maps.lines().find(|line| line.ends_with(&name)).expect("a tier");
    let end = line.split(['-', ' ']).nth(1).expect("the end of the mapping");
    let end = u64::from_str_radix(end, 16).expect("a number");
    // A word for each page, whose highest bit says whether it is there.
    let mut words = vec![0; (16 << 20) / 4096 * 8];
    let pages = fs::File::open("/proc/self/pagemap").expect("pagemap");
    pages.read_exact_at(&mut words, (end - (16 << 20)) / 4096 * 8).expect("a whole log");
    4 * words.chunks(8).filter(|word| word[7] >> 7 == 1).count()
}

#[test]
fn what_is_written_next_is_mapped_before() {
    let directory = tempfile::tempdir().expect("directory");
    let cache = Cache::builder(directory.path()).setting("hot_size", 16 << 20).open().expect("open");
    // A mebibyte.
    for _ in 0..1024 {
        cache.set("again", [7; 900].as_slice()).expect("set");
    }
    let most = (0..200)
        .map(|_| {
            thread::sleep(Duration::from_millis(20));
            mapped(directory.path())
        })
        .find(|most| *most > 1280);
    // As much again, or twice, beside it: a cache that is hardly used takes hardly any memory.
    assert!(most.expect("mapped ahead") < 4096, "{most:?} KiB");
}

#[test]
fn who_may_only_read_is_told_of_an_entry_that_waits_in_the_tier() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    cache.set("changed", 1).unwrap();
    cache.set("deleted", 1).unwrap();
    cache.flush().unwrap();
    let reader = Cache::builder(directory.path()).read_only(true).open().unwrap();
    for round in 0..20 {
        let put = PutOptions::new().expire(Expiry::After(1000.0)).keep(round % 2 == 0).tag("tag");
        let keys = ["new", "changed", "large"];
        cache.set_with("new", "value", &put).unwrap();
        cache.set_with("changed", round, &put).unwrap();
        cache.set_with("large", &vec![1; 100_000], &put).unwrap();
        cache.delete("deleted").unwrap();
        let waiting = keys.map(|key| reader.info(key).unwrap().expect("get finds it, too"));
        assert_eq!(reader.info("deleted").unwrap(), None);
        let known = keys.map(|key| cache.info(key).unwrap().unwrap());
        assert_eq!(waiting, known, "drained");
        cache.set("deleted", 1).unwrap();
    }
}
