//! What a hostile review broke: each test is named after the promise that did not hold.

#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test plays the other programs itself")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use dolium::{Cache, Error, Expiry, Number, Payload, PutOptions, Scalar, Value, host, raw};

const LARGE: usize = 50_000;

fn open(directory: &tempfile::TempDir) -> Cache {
    Cache::open(directory.path()).unwrap()
}

fn value_files(directory: &Path) -> usize {
    let entries = directory.read_dir().unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            if path.is_dir() {
                value_files(&path)
            } else {
                path.extension().map_or(0, |end| usize::from(end == "val"))
            }
        })
        .sum()
}

/// A process that makes a store may be killed right after the file is there.
#[test]
fn a_store_that_was_left_empty_gets_its_journal() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("cache.db"), b"").unwrap();
    let cache = open(&directory);
    assert_eq!(cache.get("key").unwrap(), None);
    cache.set("key", 1).unwrap();
    assert_eq!(raw::journal_mode(&cache).unwrap().as_deref(), Some("wal"));
}

#[test]
fn transactions_respect_the_size_limit() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::builder(directory.path()).size_limit(Some(1 << 20)).open().unwrap();
    for key in 0..60 {
        let transaction = cache.transact().unwrap();
        cache.set(key, &vec![1; LARGE]).unwrap();
        transaction.commit().unwrap();
    }
    assert!(cache.volume().unwrap() <= 1 << 20);
}

#[test]
fn a_rolled_back_overwrite_leaves_the_old_value_even_after_a_flush() {
    for journal in ["wal", "delete"] {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::builder(directory.path()).setting("sqlite_journal_mode", journal).open().unwrap();
        cache.set("key", &vec![1; LARGE]).unwrap();
        let transaction = cache.transact().unwrap();
        cache.set("key", &vec![2; LARGE]).unwrap();
        cache.flush().unwrap();
        assert_eq!(cache.check(true).unwrap(), []);
        drop(transaction);
        assert_eq!(cache.get("key").unwrap(), Some(Value::Bytes(vec![1; LARGE])), "{journal}");
    }
}

#[test]
fn a_sum_that_is_no_number_is_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    cache.set_with("key", f64::INFINITY, &PutOptions::new().tag("tag")).unwrap();
    let sum = cache.incr("key", f64::NEG_INFINITY, None, &PutOptions::new()).unwrap();
    assert!(matches!(sum, Number::Float(sum) if sum.is_nan()));
    let entry = cache.entry("key").unwrap().unwrap();
    assert!(matches!(entry.value, Value::Pickle { .. }));
    assert_eq!(entry.tag, Scalar::from("tag"));
}

#[test]
fn many_large_pickles_need_no_descriptor_each() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    let pickle = vec![b'.'; 40_000];
    let mut most = 0;
    let items = (0..200).map(|key| {
        most = most.max(fs::read_dir("/proc/self/fd").unwrap().count());
        (key, Payload::Pickle(&pickle))
    });
    cache.set_many(items, &PutOptions::new()).unwrap();
    assert!(most < 150, "{most}");
}

#[test]
fn closing_leaves_no_value_file_that_nothing_names() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::builder(directory.path()).setting("disk_min_file_size", 10).open().unwrap();
    let value = vec![1; 20];
    cache.set_many((0..2500).map(|key| (key, &value)), &PutOptions::new()).unwrap();
    cache.clear().unwrap();
    cache.close().unwrap();
    assert_eq!(value_files(directory.path()), 0);
}

/// A reader of an older state keeps a checkpoint from finishing, and so the trash from being emptied.
#[test]
fn closing_waits_a_little_for_readers() {
    const SLOW: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
        SELECT count(*) FROM n, Cache";
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    for _ in 0..10 {
        cache.set("key", &vec![1; LARGE]).unwrap();
        thread::scope(|scope| {
            let reader = cache.clone();
            let (begun, wait) = channel();
            scope.spawn(move || {
                begun.send(()).unwrap();
                raw::sql(&reader, SLOW, &[]).unwrap();
            });
            wait.recv().unwrap();
            thread::sleep(Duration::from_millis(1));
            cache.set("key", &vec![2; LARGE]).unwrap();
            cache.close().unwrap();
        });
        assert_eq!(value_files(directory.path()), 1);
    }
}

#[test]
fn closing_does_not_fail_while_another_thread_is_in_a_transaction() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    cache.set("key", &vec![1; LARGE]).unwrap();
    cache.set("key", &vec![2; LARGE]).unwrap();
    let (begun, wait) = channel();
    let (closed, end) = channel();
    thread::scope(|scope| {
        let other = cache.clone();
        scope.spawn(move || {
            let transaction = other.transact().unwrap();
            other.set("key", &vec![3; LARGE]).unwrap();
            begun.send(()).unwrap();
            end.recv().unwrap();
            transaction.commit().unwrap();
        });
        wait.recv().unwrap();
        cache.close().unwrap();
        closed.send(()).unwrap();
    });
    assert_eq!(cache.get("key").unwrap(), Some(Value::Bytes(vec![3; LARGE])));
}

/// Bytes of a page of an index turn up only after the value's file was written.
#[test]
fn a_value_that_meets_damage_is_whole_in_the_fresh_store() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    for key in 0..3000 {
        let put = PutOptions::new().expire(Expiry::After(1e6 + f64::from(key)));
        cache.set_with(key, key, &put).unwrap();
    }
    let root = "SELECT rootpage FROM sqlite_master WHERE name = 'Cache_expire_time'";
    let root = raw::sql(&cache, root, &[]).unwrap().rows[0][0].as_int().unwrap();
    let page = raw::sql(&cache, "PRAGMA page_size", &[]).unwrap().rows[0][0].as_int().unwrap();
    cache.close().unwrap();
    let file = File::options().write(true).open(directory.path().join("cache.db")).unwrap();
    file.write_all_at(&[0xff; 200], u64::try_from((root - 1) * page).unwrap()).unwrap();
    assert!(cache.set("large", &vec![5; LARGE]).unwrap());
    assert_eq!(cache.get("large").unwrap(), Some(Value::Bytes(vec![5; LARGE])));
}

#[test]
fn a_log_that_has_grown_is_cut_again() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::builder(directory.path()).setting("disk_min_file_size", 1 << 30).open().unwrap();
    let log = || directory.path().join("cache.db-wal").metadata().unwrap().len();
    for key in 0..40 {
        cache.set(key, &vec![1; 1 << 20]).unwrap();
    }
    // Once all of it is in the database, a write starts the log over, and it is cut.
    for key in 0..100 {
        if log() <= 17 << 20 {
            return;
        }
        thread::sleep(Duration::from_millis(100));
        cache.set("small", key).unwrap();
    }
    panic!("the log still has {} bytes", log());
}

/// In a process of its own, since it changes what belongs to the whole process.
#[test]
fn neither_chdir_nor_a_lack_of_descriptors_breaks_a_cache() {
    if std::env::var_os("DOLIUM_TEST_ALONE").is_some() {
        return alone();
    }
    let directory = tempfile::tempdir().unwrap();
    let name = "neither_chdir_nor_a_lack_of_descriptors_breaks_a_cache";
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env("DOLIUM_TEST_ALONE", "1")
        .current_dir(directory.path())
        .status();
    assert!(status.unwrap().success());
}

fn alone() {
    let start = std::env::current_dir().unwrap();
    let cache = Cache::open("relative").unwrap();
    cache.set("key", &vec![1; LARGE]).unwrap();
    fs::create_dir("other").unwrap();
    std::env::set_current_dir("other").unwrap();
    assert!(cache.get("key").unwrap().is_some());
    cache.set("second", 1).unwrap();
    assert!(!start.join("other/relative").exists());
    cache.close().unwrap();

    let mut all = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        all.push(file);
    }
    // The engine or SQLite, whichever asks first, is told that there is no descriptor.
    assert!(matches!(cache.get("key"), Err(Error::Io { .. } | Error::Sqlite { .. })));
    drop(all);
    assert!(cache.set("key", 2).unwrap());
}

/// SQLite makes NULL of it, so an entry would change its tag when it leaves the hot tier.
#[test]
fn a_tag_that_is_not_a_number_is_no_tag_from_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    let put = PutOptions::new().tag(f64::NAN);
    let tags = || {
        let entries = ["stored", "quick", "many", "added"].map(|key| cache.entry(key).unwrap().unwrap());
        entries.map(|entry| entry.tag)
    };
    cache.set_with("stored", 1, &put).unwrap();
    host::try_set(&cache, &"quick".into(), 1, &put);
    cache.set_many([("many", 1)], &put).unwrap();
    cache.add("added", 1, &put).unwrap();
    assert_eq!(tags(), [const { Scalar::Null }; 4]);
    cache.close().unwrap();
    assert_eq!(tags(), [const { Scalar::Null }; 4]);
}
