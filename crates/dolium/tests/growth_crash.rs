//! A process ends at each step of a tier's growth, of its rest and of its waking. What it was told was done is done.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test plays the other processes itself")]

use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dolium::{Cache, PutOptions, SizeReason};

/// What a crash point exits with.
const CRASHED: i32 = 77;
/// The signal of [`std::process::abort`].
const SIGABRT: i32 = 6;
/// Enough for a tier to grow.
const MANY: i64 = 3000;
/// Enough for a tier to grow that is read.
const MORE: i64 = 10_000;
const LIMIT: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_mins(1);

fn open(directory: &Path) -> Cache {
    Cache::builder(directory.join("cache")).setting("hot_size", -1).open().unwrap()
}

fn value(key: i64) -> String {
    format!("{key:0100}")
}

/// With less in the tier than it is read for: writing lets it grow to a sixteenth of the limit, and reading to a quarter.
fn open_small(directory: &Path) -> Cache {
    Cache::builder(directory.join("cache")).size_limit(Some(LIMIT)).open().unwrap()
}

fn set_many(cache: &Cache) {
    set_below(cache, MANY);
}

fn set_below(cache: &Cache, most: i64) {
    let values: Vec<_> = (1..most).map(|key| (key, value(key))).collect();
    cache.set_many(values.iter().map(|(key, value)| (*key, value.as_str())), &PutOptions::new()).unwrap();
}

fn count(cache: &Cache) -> i64 {
    count_below(cache, MANY)
}

fn count_below(cache: &Cache, most: i64) -> i64 {
    (1..most).map(|key| i64::from(cache.get(key).unwrap() == Some(value(key).as_str().into()))).sum()
}

/// In a child: lets a tier grow, and says how far it has come.
#[test]
fn grower() {
    let Some(directory) = std::env::var_os("DOLIUM_TEST_DIRECTORY") else { return };
    let directory = Path::new(&directory);
    let cache = open(directory);
    cache.set(0, 1).unwrap();
    std::fs::write(directory.join("one"), "").unwrap();
    set_many(&cache);
    std::fs::write(directory.join("many"), "").unwrap();
    cache.close().unwrap();
}

/// In a child: wakes a tier, changes a key, and lets it rest.
#[test]
fn waker() {
    let Some(directory) = std::env::var_os("DOLIUM_TEST_DIRECTORY") else { return };
    let directory = Path::new(&directory);
    let cache = open(directory);
    cache.set(0, 2).unwrap();
    std::fs::write(directory.join("two"), "").unwrap();
    cache.close().unwrap();
}

/// In a child: reads until the tier grows, and ends there at the step that is named.
#[test]
fn reader() {
    let Some(directory) = std::env::var_os("DOLIUM_TEST_DIRECTORY") else { return };
    dolium_hot::on_crash_point(|name| {
        if std::env::var("DOLIUM_TEST_STEP").is_ok_and(|step| step == name) {
            // Without what an exit does, which would wait for this very thread.
            std::process::abort();
        }
    });
    let cache = open_small(Path::new(&directory));
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && !has_grown_for_reads(&cache) {
        assert_eq!(count_below(&cache, MORE), MORE - 1);
    }
}

fn has_grown_for_reads(cache: &Cache) -> bool {
    let stats = cache.hot_tier().unwrap().stats;
    stats.is_ok_and(|stats| stats.sized == SizeReason::Returns)
}

/// The steps of a growth whose file is ready before the tier ends.
const SUCCESSION: [&str; 6] =
    ["successor made", "successor entered", "next size stored", "outgrown", "handed over", "file made"];

#[test]
fn a_file_that_was_ready_is_used_or_gone_wherever_its_process_ends() {
    for (step, has_witness) in SUCCESSION.iter().flat_map(|step| [(step, false), (step, true)]) {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let cache = open_small(directory);
        set_below(&cache, MORE);
        cache.close().unwrap();
        let witness = has_witness.then(|| {
            let cache = open_small(directory);
            cache.set("witness", 1).unwrap();
            cache
        });
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "reader", "--nocapture"])
            .env("DOLIUM_TEST_DIRECTORY", directory)
            .env("DOLIUM_TEST_STEP", step)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(SIGABRT), "{step}");
        let cache = witness.unwrap_or_else(|| open_small(directory));
        cache.set("after", 1).unwrap();
        assert_eq!(count_below(&cache, MORE), MORE - 1, "{step}");
        assert_eq!(cache.check(false).unwrap(), [], "{step}");
        let names: HashSet<_> = std::fs::read_dir(directory.join("cache"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("cache.") && !name.starts_with("cache.db"))
            .collect();
        assert_eq!(names, ["cache.hot", "cache.lock"].map(String::from).into(), "{step}");
    }
}

/// Runs a child that ends at a step. Returns the name of the step, if it has one of that number.
fn run(test: &str, directory: &Path, step: usize) -> Option<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("DOLIUM_TEST_DIRECTORY", directory)
        .env("DOLIUM_CRASH", step.to_string())
        .stdout(Stdio::null())
        .output()
        .unwrap();
    assert!(matches!(output.status.code(), Some(0 | CRASHED)), "step {step}: {output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    let name = told.lines().find_map(|line| line.strip_prefix("crashed at: ").map(str::to_owned));
    name.filter(|_| output.status.code() == Some(CRASHED))
}

fn is_told(directory: &Path, name: &str) -> bool {
    directory.join(name).exists()
}

/// What the growth of a tier is made of.
const GROWTH: [&str; 4] = ["next size stored", "outgrown", "handed over", "file made"];

/// Ends a process at a step of growth, and sees to what it leaves. Returns the name of the step.
fn end_growth_at(step: usize, has_witness: bool) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    // This process has the cache open, and lives on.
    let witness = has_witness.then(|| open(directory));
    if let Some(cache) = &witness {
        cache.set("witness", 1).unwrap();
    }
    let name = run("grower", directory, step)?;
    let cache = witness.unwrap_or_else(|| open(directory));
    let one = cache.get(0).unwrap();
    assert!(one == Some(1.into()) || !is_told(directory, "one"), "step {step}, {name}: {one:?}");
    cache.set("after", 1).unwrap();
    let (many, is_done) = (count(&cache), is_told(directory, "many"));
    assert!(many == MANY - 1 || (many == 0 && !is_done), "step {step}, {name}: {many}");
    assert_eq!(cache.check(false).unwrap(), [], "step {step}, {name}");
    Some(name)
}

#[test]
fn nothing_is_lost_whatever_step_of_growth_a_process_ends_at() {
    let mut seen = HashSet::new();
    // The housekeeper has steps of its own, at other times each time.
    for round in 0..6 {
        for step in 1_usize..100 {
            let Some(name) = end_growth_at(step, (step + round).is_multiple_of(2)) else { break };
            // The slots of the bulk call are thousands of steps of one kind.
            let is_end = name == "slot stored" && step > 24;
            seen.insert(name);
            if is_end {
                break;
            }
        }
        if GROWTH.iter().all(|name| seen.contains(*name)) {
            return;
        }
    }
    panic!("only {seen:?}");
}

#[test]
fn nothing_is_lost_whatever_step_of_waking_and_resting_a_process_ends_at() {
    let mut seen = HashSet::new();
    for step in 1_usize.. {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let cache = open(directory);
        cache.set(0, 1).unwrap();
        set_many(&cache);
        for key in (1..MANY).cycle().take(30_000) {
            cache.set(key, value(key).as_str()).unwrap();
        }
        cache.close().unwrap();
        let died = run("waker", directory, step);
        seen.extend(died.clone());
        for _ in 0..2 {
            let cache = open(directory);
            let found = cache.get(0).unwrap();
            let is_right = found == Some(2.into()) || !is_told(directory, "two") && found == Some(1.into());
            assert!(is_right, "step {step}, {died:?}: {found:?}");
            cache.set("after", 1).unwrap();
            assert_eq!(count(&cache), MANY - 1, "step {step}, {died:?}");
            assert_eq!(cache.check(false).unwrap(), [], "step {step}, {died:?}");
            cache.close().unwrap();
        }
        if died.is_none() {
            break;
        }
    }
    for name in ["reserved again", "resumed", "woken", "cleared", "resting"] {
        assert!(seen.contains(name), "{name} is none of {seen:?}");
    }
}
