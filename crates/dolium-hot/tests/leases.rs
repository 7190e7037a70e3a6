//! Leases between processes that compute, wait, die, fork, and find files that are no tables.

mod common;

use common::{KILLS, Other, assert_free_soon, listen, role, say};
use dolium_hot::{Access, Claim, Leases, Links, Outcome, Watch};
use std::path::Path;
use std::time::{Duration, Instant};

fn attach(directory: &Path) -> Leases {
    let leases = Leases::attach(directory, Access::private()).expect("attach");
    assert!(leases.is_table());
    leases
}

fn ours(leases: &Leases, mark: u128) -> Watch {
    match leases.claim(mark) {
        Claim::Ours(lease) => lease,
        other => panic!("{other:?}"),
    }
}

fn theirs(leases: &Leases, mark: u128) -> Watch {
    match leases.claim(mark) {
        Claim::Theirs(watch) => watch,
        other => panic!("{other:?}"),
    }
}

/// Says for what the owner of a lease waits.
fn links(leases: &Leases, lease: Watch, goals: &[Watch]) -> bool {
    leases.link(|| Links { waits: vec![(lease, goals.to_vec())], goals: goals.to_vec() })
}

/// As the thread of an engine waits.
fn wait(leases: &Leases, watch: Watch) -> Outcome {
    let end = Instant::now() + common::LONG;
    loop {
        let seen = leases.bell();
        if let Some(outcome) = leases.outcome(watch) {
            return outcome;
        }
        assert!(Instant::now() < end, "it hangs");
        leases.sleep(seen, Duration::from_millis(50));
        leases.probe(watch);
    }
}

#[test]
fn child() {
    let Some((role, directory, extra)) = role() else { return };
    let leases = attach(&directory);
    match role.as_str() {
        "own" => {
            let lease = ours(&leases, extra.parse().expect("a number"));
            say("mine");
            listen();
            leases.release(lease, Outcome::Kept);
            say("released");
            listen();
        }
        "circle" => {
            let lease = ours(&leases, 2);
            say("mine");
            listen();
            let watch = theirs(&leases, 1);
            let is_linked = links(&leases, lease, &[watch]);
            say(if is_linked { "waits" } else { "circle" });
            listen();
        }
        other => panic!("no role {other}"),
    }
    std::process::exit(0);
}

#[test]
fn a_waiter_is_woken_when_the_owner_releases() {
    let directory = tempfile::tempdir().expect("directory");
    let leases = attach(directory.path());
    let mut owner = Other::start("own", directory.path(), "7");
    owner.expect("mine");
    let watch = theirs(&leases, 7);
    assert_eq!(leases.outcome(watch), None);
    owner.tell();
    assert_eq!(wait(&leases, watch), Outcome::Kept);
    let lease = ours(&leases, 7);
    // The place is taken again: what was watched is over all the same.
    assert_eq!(leases.outcome(watch), Some(Outcome::Left));
    leases.release(lease, Outcome::Unkept);
    assert_eq!(leases.outcome(lease), Some(Outcome::Unkept));
}

#[test]
fn a_killed_owners_lease_is_free_within_a_moment() {
    let directory = tempfile::tempdir().expect("directory");
    let leases = attach(directory.path());
    let mut figures = Vec::new();
    for _ in 0..KILLS {
        let mut owner = Other::start("own", directory.path(), "7");
        owner.expect("mine");
        let watch = theirs(&leases, 7);
        let waiting = {
            let leases = leases.clone();
            std::thread::spawn(move || {
                assert_eq!(wait(&leases, watch), Outcome::Left);
                Instant::now()
            })
        };
        std::thread::sleep(Duration::from_millis(20));
        owner.kill();
        let gone = Instant::now();
        figures.push(waiting.join().expect("no panic").saturating_duration_since(gone));
        leases.release(ours(&leases, 7), Outcome::Kept);
    }
    assert_free_soon("a lease", figures);
}

#[test]
fn a_stopped_owner_keeps_its_lease() {
    let directory = tempfile::tempdir().expect("directory");
    let leases = attach(directory.path());
    let mut owner = Other::start("own", directory.path(), "7");
    owner.expect("mine");
    owner.signal(libc::SIGSTOP);
    let watch = theirs(&leases, 7);
    std::thread::sleep(Duration::from_millis(60));
    leases.probe(watch);
    assert_eq!(leases.outcome(watch), None);
    owner.signal(libc::SIGCONT);
    owner.tell();
    assert_eq!(wait(&leases, watch), Outcome::Kept);
}

#[test]
fn the_next_caller_need_not_wait_for_a_dead_owner() {
    let directory = tempfile::tempdir().expect("directory");
    let leases = attach(directory.path());
    let mut owner = Other::start("own", directory.path(), "7");
    owner.expect("mine");
    owner.kill();
    ours(&leases, 7);
}

#[test]
fn a_process_that_would_close_a_circle_is_told() {
    let directory = tempfile::tempdir().expect("directory");
    let leases = attach(directory.path());
    let mut other = Other::start("circle", directory.path(), "");
    other.expect("mine");
    let lease = ours(&leases, 1);
    let watch = theirs(&leases, 2);
    assert!(links(&leases, lease, &[watch]), "no caller waits yet");
    other.tell();
    other.expect("circle");
    // A wait that is over closes no circle.
    assert!(links(&leases, lease, &[]));
    other.kill();
    let mut again = Other::start("circle", directory.path(), "");
    again.expect("mine");
    again.tell();
    again.expect("waits");
}

#[test]
fn a_full_table_has_no_lease_and_counts_that() {
    let directory = tempfile::tempdir().expect("directory");
    let leases = attach(directory.path());
    let all: Vec<Watch> = (0..4096).map(|mark| ours(&leases, mark)).collect();
    assert_eq!(leases.claim(5000), Claim::Full);
    assert_eq!(leases.overflows(), 1);
    leases.release(all[77], Outcome::Kept);
    ours(&leases, 5000);
    // What the dead had is room.
    drop(leases);
    let others = attach(directory.path());
    ours(&others, 9999);
}

#[test]
fn a_forked_child_releases_nothing_of_its_parent() {
    let directory = tempfile::tempdir().expect("directory");
    let leases = attach(directory.path());
    let lease = ours(&leases, 7);
    // SAFETY: the child calls nothing that needs another thread, and ends at once.
    let child = unsafe { libc::fork() };
    if child == 0 {
        leases.release(lease, Outcome::Kept);
        let is_refused = leases.claim(8) == Claim::Lost && leases.is_stale();
        // SAFETY: ends the child without running the parent's destructors.
        unsafe { libc::_exit(i32::from(!is_refused)) };
    }
    let mut status = 0;
    // SAFETY: waits for our child and writes a plain integer.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0);
    let others = attach(directory.path());
    assert_eq!(theirs(&others, 7), lease);
    leases.release(lease, Outcome::Kept);
    ours(&others, 7);
}

#[test]
fn a_file_that_is_no_table_is_replaced() {
    for bytes in [&b""[..], b"nothing", b"dolium\0\x17\x09\0\0\0", &vec![0; 300_000]] {
        let directory = tempfile::tempdir().expect("directory");
        std::fs::write(directory.path().join("cache.lease"), bytes).expect("written");
        ours(&attach(directory.path()), 7);
    }
}

#[test]
fn any_bytes_in_the_table_neither_hang_nor_crash() {
    let directory = tempfile::tempdir().expect("directory");
    drop(attach(directory.path()));
    let path = directory.path().join("cache.lease");
    let mut bytes = std::fs::read(&path).expect("read");
    for seed in 1..20u64 {
        let mut random = seed;
        for byte in &mut bytes[24..] {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            *byte = random.to_le_bytes()[0];
        }
        std::fs::write(&path, &bytes).expect("written");
        let leases = attach(directory.path());
        for mark in 0..20 {
            if let Claim::Ours(lease) = leases.claim(mark) {
                let _ = links(&leases, lease, &[lease]);
                leases.release(lease, Outcome::Kept);
                assert_eq!(leases.outcome(lease), Some(Outcome::Kept));
            }
        }
    }
}

#[test]
fn a_table_that_lost_its_name_is_given_up() {
    let directory = tempfile::tempdir().expect("directory");
    let leases = attach(directory.path());
    std::fs::remove_file(directory.path().join("cache.lease")).expect("removed");
    assert_eq!(leases.claim(7), Claim::Lost);
    ours(&attach(directory.path()), 7);
}
