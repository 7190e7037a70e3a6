//! A directory that was copied with `cp` while entries waited in its hot tier.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test plays the other processes itself")]

use std::path::{Path, PathBuf};
use std::process::Command;

use dolium::{Cache, Value, Warning};

const WAITING: i64 = 50;

#[test]
fn child() {
    let Some(directory) = std::env::var_os("DOLIUM_TEST_DIRECTORY") else { return };
    let cache = Cache::open(directory).unwrap();
    cache.set("first", 1).unwrap();
    assert_eq!(cache.len().unwrap(), 1);
    for key in 0..WAITING {
        cache.set(key, key).unwrap();
    }
    std::process::abort();
}

/// A directory whose process died while entries waited, and a copy of it.
fn copied() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let world = tempfile::tempdir().unwrap();
    let (original, copy) = (world.path().join("original"), world.path().join("copy"));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--quiet", "--nocapture"]).env("DOLIUM_TEST_DIRECTORY", &original);
    assert!(!command.status().unwrap().success());
    assert!(Command::new("cp").arg("-a").args([&original, &copy]).status().unwrap().success());
    (world, original, copy)
}

fn use_it(directory: &Path) -> Vec<Warning> {
    let cache = Cache::open(directory).unwrap();
    cache.set("new", 1).unwrap();
    assert_eq!(cache.len().unwrap(), usize::try_from(WAITING).unwrap() + 2);
    let warnings = cache.take_warnings();
    cache.close().unwrap();
    warnings
}

#[test]
fn a_copy_stores_what_waits_and_says_that_it_is_one() {
    let (_world, _, copy) = copied();
    let warnings = use_it(&copy);
    let [Warning::Copied { directory, stored, is_whole: true }] = &warnings[..] else {
        panic!("{warnings:?}");
    };
    assert_eq!((directory, *stored), (&copy, usize::try_from(WAITING).ok()));
    assert!(warnings[0].to_string().contains("dolium backup"));
    assert_eq!(use_it(&copy), [], "a copy that was opened is like any other");
}

#[test]
fn an_original_whose_writers_died_is_not_called_a_copy() {
    let (_world, original, _) = copied();
    assert_eq!(use_it(&original), []);
}

#[test]
fn an_original_that_lost_its_lock_file_is_not_called_a_copy() {
    let (world, original, _) = copied();
    std::fs::rename(original.join("cache.lock"), world.path().join("elsewhere")).unwrap();
    assert_eq!(use_it(&original), []);
}

#[test]
fn a_copy_that_lacks_changes_says_so() {
    let (_world, original, copy) = copied();
    // As if the database had been copied before, and the log of the tier after its process had gone on.
    use_it(&original);
    let database = Cache::open(&original).unwrap();
    database.clear().unwrap();
    database.close().unwrap();
    std::fs::copy(original.join("cache.db"), copy.join("cache.db")).unwrap();
    for suffix in ["cache.db-wal", "cache.db-shm"] {
        let _ = std::fs::remove_file(copy.join(suffix));
    }
    let cache = Cache::open(&copy).unwrap();
    cache.set("new", 1).unwrap();
    let warnings = cache.take_warnings();
    assert!(
        matches!(warnings[..], [Warning::Copied { stored: Some(0), is_whole: false, .. }]),
        "{warnings:?}"
    );
}

#[test]
fn a_copy_opened_for_reading_is_told_from_dead_writers() {
    let (_world, original, copy) = copied();
    let warnings = |directory: &Path| {
        let cache = Cache::builder(directory).read_only(true).open().unwrap();
        assert_eq!(cache.len().unwrap(), 1);
        assert_eq!(cache.get(3).unwrap(), Some(Value::Int(3)));
        cache.take_warnings()
    };
    assert!(matches!(warnings(&copy)[..], [Warning::Copied { stored: None, .. }]));
    assert!(matches!(warnings(&original)[..], [Warning::Waiting { .. }]));
}
