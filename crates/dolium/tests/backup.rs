//! Backups: what they hold, what they refuse, and what they leave behind.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test looks at the files itself")]

use std::fs;
use std::path::{Path, PathBuf};

use dolium::{Cache, Error, PutOptions, ShardedCache, Value, raw};
use tempfile::TempDir;

const LARGE: usize = 100_000;

fn world() -> (TempDir, PathBuf, PathBuf) {
    let world = tempfile::tempdir().unwrap();
    let (cache, copy) = (world.path().join("cache"), world.path().join("copy"));
    (world, cache, copy)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn filled(directory: &Path) -> Cache {
    let cache = Cache::open(directory).unwrap();
    cache.set("small", 1).unwrap();
    cache.set("large", &vec![7; LARGE]).unwrap();
    cache.set_with("tagged", "text", &PutOptions::new().tag("t")).unwrap();
    cache
}

#[test]
fn a_backup_is_a_cache_of_its_own() {
    let (_world, directory, copy) = world();
    let cache = filled(&directory);
    cache.set("replaced", &vec![8; LARGE]).unwrap();
    cache.set("replaced", &vec![9; LARGE]).unwrap();
    let made = cache.backup(&copy).unwrap();
    assert_eq!((made.entries, made.files, made.left_out), (4, 2, 0));
    let again = Cache::open(&copy).unwrap();
    assert!(again.check(false).unwrap().is_empty());
    assert_eq!(again.len().unwrap(), 4);
    for key in ["small", "large", "tagged", "replaced"] {
        assert_eq!(again.get(key).unwrap(), cache.get(key).unwrap(), "{key}");
    }
    // Neither changes the other.
    again.clear().unwrap();
    assert_eq!(cache.get("large").unwrap(), Some(Value::Bytes(vec![7; LARGE])));
    cache.set("large", 0).unwrap();
    again.close().unwrap();
    cache.close().unwrap();
    assert!(Cache::open(&directory).unwrap().check(false).unwrap().is_empty());
}

#[test]
fn a_backup_knows_nothing_of_the_tier_and_the_trash_of_its_original() {
    let (_world, directory, copy) = world();
    let cache = filled(&directory);
    cache.set("large", 0).unwrap();
    cache.backup(&copy).unwrap();
    assert_eq!(names(&copy), ["cache.db"]);
    let again = Cache::builder(&copy).read_only(true).open().unwrap();
    for sql in ["SELECT count(*) FROM Dolium WHERE key = 'tier'", "SELECT count(*) FROM DoliumTrash"] {
        assert_eq!(raw::sql(&again, sql, &[]).unwrap().rows, [[0.into()]], "{sql}");
    }
}

#[test]
fn a_backup_of_a_cache_without_entries_is_an_empty_directory() {
    let (_world, directory, copy) = world();
    assert_eq!(Cache::open(&directory).unwrap().backup(&copy).unwrap().entries, 0);
    assert!(names(&copy).is_empty());
}

#[test]
fn who_may_only_read_can_make_a_backup() {
    let (_world, directory, copy) = world();
    filled(&directory).close().unwrap();
    let before = names(&directory);
    let cache = Cache::builder(&directory).read_only(true).open().unwrap();
    assert_eq!(cache.backup(&copy).unwrap().entries, 3);
    assert!(Cache::open(&copy).unwrap().check(false).unwrap().is_empty());
    cache.close().unwrap();
    assert_eq!(names(&directory), before);
}

#[test]
fn entries_without_a_sound_value_file_are_left_out() {
    let (_world, directory, copy) = world();
    let cache = filled(&directory);
    cache.set("short", &vec![1; LARGE]).unwrap();
    let path = |key: &str| cache.info(key).unwrap().unwrap().path.unwrap();
    fs::remove_file(path("large")).unwrap();
    fs::write(path("short"), "cut off").unwrap();
    let made = cache.backup(&copy).unwrap();
    assert_eq!((made.entries, made.files, made.left_out), (2, 0, 2));
    let again = Cache::open(&copy).unwrap();
    let found = again.check(false).unwrap();
    // The file that was cut off is not there, either.
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(again.len().unwrap(), 2);
}

#[test]
fn an_interrupted_backup_leaves_nothing() {
    let (world, directory, copy) = world();
    let cache = filled(&directory);
    for calls in [0, 1] {
        let mut left = calls;
        let mut watch = |_, _| {
            left -= 1;
            left >= 0
        };
        match cache.backup_with(&copy, false, &mut watch) {
            Err(Error::Interrupted) => assert_eq!(names(world.path()), ["cache"]),
            // It was done before any thread asked a second time.
            made => assert!(calls > 0 && made.is_ok()),
        }
    }
}

#[test]
fn what_is_there_is_replaced_only_on_demand() {
    let (world, directory, copy) = world();
    let cache = filled(&directory);
    cache.backup(&copy).unwrap();
    cache.set("more", 1).unwrap();
    assert!(matches!(cache.backup(&copy), Err(Error::Invalid(_))));
    assert_eq!(Cache::builder(&copy).read_only(true).open().unwrap().len().unwrap(), 3);
    let used = Cache::open(&copy).unwrap();
    used.set("used", 1).unwrap();
    assert!(matches!(cache.backup_with(&copy, true, &mut |_, _| true), Err(Error::Invalid(_))), "in use");
    used.close().unwrap();
    assert_eq!(cache.backup_with(&copy, true, &mut |_, _| true).unwrap().entries, 4);
    assert_eq!(Cache::open(&copy).unwrap().len().unwrap(), 4);
    assert_eq!(names(world.path()), ["cache", "copy"]);
}

#[test]
fn a_destination_that_a_copy_cannot_have_is_refused() {
    let (world, directory, copy) = world();
    let cache = filled(&directory);
    fs::write(world.path().join("file"), "").unwrap();
    fs::create_dir(&copy).unwrap();
    fs::write(copy.join("letter"), "").unwrap();
    let destinations = [
        directory.clone(),
        directory.join("inside"),
        world.path().to_path_buf(),
        world.path().join("file"),
        PathBuf::from("/proc"),
        PathBuf::from("/"),
        copy.clone(),
    ];
    for destination in destinations {
        let refused = cache.backup_with(&destination, true, &mut |_, _| true);
        assert!(matches!(refused, Err(Error::Invalid(_))), "{}: {refused:?}", destination.display());
    }
    assert_eq!(names(&copy), ["letter"]);
    let transaction = cache.transact().unwrap();
    assert!(matches!(cache.backup(world.path().join("other")), Err(Error::Invalid(_))));
    transaction.commit().unwrap();
    assert_eq!(names(world.path()), ["cache", "copy", "file"]);
}

#[test]
fn a_sharded_cache_is_copied_with_what_lies_below_it() {
    let (_world, directory, copy) = world();
    let cache = ShardedCache::open(&directory, 3).unwrap();
    for key in 0..30 {
        cache.shard(key).set(key, &vec![1; if key % 10 == 0 { LARGE } else { 1 }]).unwrap();
    }
    let below = cache.named("pages/old").open().unwrap();
    below.set("page", 1).unwrap();
    let made = cache.backup(&copy).unwrap();
    assert_eq!((made.entries, made.files), (31, 3));
    let again = ShardedCache::open(&copy, 8).unwrap();
    assert_eq!((again.shards().len(), again.len().unwrap()), (3, 30));
    assert_eq!(again.named("pages/old").open().unwrap().get("page").unwrap(), Some(Value::Int(1)));
    for shard in again.shards() {
        assert!(shard.check(false).unwrap().is_empty());
    }
}
