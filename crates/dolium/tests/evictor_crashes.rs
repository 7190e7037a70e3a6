//! A process ends at one of its steps, each in turn, while its writes make it evict. What is evicted stays away, what was
//! written last stays, and no value goes back.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test plays the other processes itself")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use dolium::{Cache, Value};

/// What a crash point exits with.
const CRASHED: i32 = 77;
const LIMIT: u64 = 256 << 10;
/// What the child writes, over and over, and what is there before.
const WRITTEN: i64 = 5;
const KEYS: i64 = 120;
const LONG: usize = 3000;

fn is_long() -> bool {
    std::env::var_os("DOLIUM_TORTURE").is_some()
}

/// The versions that the child writes.
fn versions() -> std::ops::RangeInclusive<i64> {
    1..=if is_long() { 40 } else { 8 }
}

/// The log still has the record of every key that is evicted.
fn open(directory: &Path) -> Cache {
    let builder = Cache::builder(directory.join("cache")).setting("hot_size", 1 << 20);
    builder.size_limit(Some(LIMIT)).open().unwrap()
}

fn set(cache: &Cache, key: i64, version: i64) {
    cache.set(key, &[version.to_le_bytes(); LONG / 8].concat()).unwrap();
}

/// The versions of what is there.
fn look(cache: &Cache) -> BTreeMap<i64, i64> {
    let version = |key| match cache.get(key).unwrap()? {
        Value::Bytes(bytes) => Some((key, i64::from_le_bytes(bytes[..8].try_into().unwrap()))),
        other => panic!("never stored: {other:?}"),
    };
    (0..KEYS).filter_map(version).collect()
}

#[test]
fn child() {
    let Some(directory) = std::env::var_os("DOLIUM_TEST_DIRECTORY") else { return };
    let directory = Path::new(&directory);
    let cache = open(directory);
    let mut done = OpenOptions::new().append(true).create(true).open(directory.join("done.txt")).unwrap();
    for version in versions() {
        set(&cache, version % WRITTEN, version);
        done.write_all(b".").unwrap();
    }
    cache.close().unwrap();
}

fn spawn(directory: &Path, step: usize) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--quiet", "--nocapture"]).env("DOLIUM_TEST_DIRECTORY", directory);
    command.env("DOLIUM_CRASH", step.to_string()).output().unwrap()
}

/// The newest version of each key that was written, after so many.
fn newest(done: i64) -> BTreeMap<i64, i64> {
    let old = (0..KEYS).map(|key| (key, 0));
    old.chain((1..=done).map(|version| (version % WRITTEN, version))).collect()
}

/// Ends a process at its step of that number, and sees to what it leaves. `has_witness`: this process has the cache open,
/// lives on, and recovers what it needs. Returns the name of the step, or `None` if
/// there is none.
fn crash_at(step: usize, has_witness: bool) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let cache = open(directory);
    (0..KEYS).for_each(|key| set(&cache, key, 0));
    cache.flush().unwrap();
    let before = look(&cache);
    assert!(
        before.len() > 20 && before.len() < usize::try_from(KEYS).unwrap(),
        "it evicts: {}",
        before.len()
    );
    if !has_witness {
        cache.close().unwrap();
    }
    let ended = spawn(directory, step);
    assert!(matches!(ended.status.code(), Some(0 | CRASHED)), "step {step}: {ended:?}");
    let done = i64::try_from(std::fs::read(directory.join("done.txt")).unwrap_or_default().len()).unwrap();
    let (acknowledged, begun) = (newest(done), newest(done + 1));
    let check = |found: &BTreeMap<i64, i64>, when: &str| {
        for (key, version) in found {
            let is_known = [acknowledged[key], begun[key]].contains(version);
            assert!(is_known, "{when}, step {step}, {done} done: {key} has {version}");
        }
        let last = done % WRITTEN;
        assert!(done == 0 || found.contains_key(&last), "{when}, step {step}: {last} was written last");
    };
    let seen = look(&cache);
    check(&seen, "at once");
    // The next writer recovers.
    set(&cache, KEYS, 0);
    cache.flush().unwrap();
    let recovered = look(&cache);
    check(&recovered, "recovered");
    for (key, version) in &recovered {
        let is_back = !seen.contains_key(key) && *version == acknowledged[key];
        assert!(!is_back, "step {step}, {done} done: {key} was evicted and is back");
    }
    assert_eq!(cache.check(false).unwrap(), [], "step {step}");
    assert!(cache.volume().unwrap() <= LIMIT, "step {step}");
    let said = String::from_utf8_lossy(&ended.stderr);
    said.lines().find_map(|line| line.strip_prefix("crashed at: ")).map(str::to_owned)
}

#[test]
fn whatever_step_an_evictor_ends_at_nothing_is_lost_but_what_it_evicted_and_that_stays_away() {
    let crashes = |has_witness| (1..).map_while(move |step| crash_at(step, has_witness));
    let names: Vec<String> = crashes(false).chain(crashes(true)).collect();
    let met: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    println!("{} crashes at {met:?}", names.len());
    let of_evictor = ["number announced", "committed beside", "commits counted after a commit beside"];
    assert!(of_evictor.iter().all(|name| met.contains(name)), "only {met:?}");
}
