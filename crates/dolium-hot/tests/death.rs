//! Owners, waiters and heirs that are killed.

mod common;

use common::{Counter, KILLS, LONG, Other, assert_free_soon, attach, listen, role, say, take, until};
use dolium_hot::Acquired;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn child() {
    let Some((role, directory, extra)) = role() else { return };
    match role.as_str() {
        "own" => {
            let shared = attach(&directory);
            let guard = take(&shared);
            say(&shared.slot().to_string());
            listen();
            drop(guard);
        }
        "wait" => {
            let shared = attach(&directory);
            say("waiting");
            let guard = take(&shared);
            say(if guard.acquired() == Acquired::Free { "free" } else { "inherited" });
            listen();
        }
        "work" => work(&directory, &extra),
        other => panic!("no role {other}"),
    }
    std::process::exit(0);
}

#[test]
fn a_killed_owners_lock_is_free_within_a_moment() {
    let directory = tempfile::tempdir().expect("directory");
    let shared = attach(directory.path());
    let mut figures = Vec::new();
    for _ in 0..KILLS {
        let mut owner = Other::start("own", directory.path(), "");
        owner.hear().expect("a slot");
        let waiter = {
            let lock = shared.lock();
            std::thread::spawn(move || {
                let guard = lock.acquire(Some(LONG), &mut || true).expect("acquire");
                (Instant::now(), guard.acquired())
            })
        };
        // Long enough that pauses which went on doubling would be longer than what is promised.
        std::thread::sleep(Duration::from_millis(130));
        owner.kill();
        let gone = Instant::now();
        let (got, acquired) = waiter.join().expect("no panic");
        assert_eq!(acquired, Acquired::Inherited);
        figures.push(got.saturating_duration_since(gone));
    }
    assert_free_soon("D", figures);
}

#[test]
fn even_the_shortest_timeout_takes_over() {
    let directory = tempfile::tempdir().expect("directory");
    let shared = attach(directory.path());
    let mut owner = Other::start("own", directory.path(), "");
    owner.hear().expect("a slot");
    owner.kill();
    let guard = shared.lock().acquire(Some(Duration::ZERO), &mut || true).expect("acquire");
    assert_eq!(guard.acquired(), Acquired::Inherited);
    drop(guard);
    assert_eq!(take(&shared).acquired(), Acquired::Free);
}

#[test]
fn killed_waiters_do_not_take_the_wake_up_with_them() {
    let directory = tempfile::tempdir().expect("directory");
    let shared = attach(directory.path());
    for round in 0..10 {
        let guard = take(&shared);
        let mut waiters: Vec<Other> = (0..4).map(|_| Other::start("wait", directory.path(), "")).collect();
        for waiter in &mut waiters {
            waiter.expect("waiting");
        }
        std::thread::sleep(Duration::from_millis(5 * round));
        // Stopped, they are woken by the release and cannot act on it; then they die of it.
        for waiter in &waiters[..3] {
            waiter.signal(libc::SIGSTOP);
        }
        drop(guard);
        for waiter in &mut waiters[..3] {
            waiter.kill();
        }
        let said = waiters[3].hear();
        assert!(matches!(said.as_deref(), Some("free" | "inherited")), "{said:?}");
        waiters[3].kill();
    }
}

#[test]
fn who_takes_a_dead_owners_slot_is_the_heir() {
    let directory = tempfile::tempdir().expect("directory");
    let mut owner = Other::start("own", directory.path(), "");
    let slot: u32 = owner.hear().expect("a slot").parse().expect("a number");
    // All slots but the owner's are taken, so that the next one has no choice.
    let blocker = std::fs::File::options()
        .read(true)
        .write(true)
        .open(directory.path().join("cache.lock"))
        .expect("open");
    lock_bytes(&blocker, 0, slot);
    lock_bytes(&blocker, slot + 1, 4095 - slot);
    owner.kill();
    let heir = attach(directory.path());
    assert_eq!(heir.slot(), slot);
    assert!(heir.inherited());
    let guard = heir.lock().acquire(Some(Duration::ZERO), &mut || true).expect("free already");
    assert_eq!(guard.acquired(), Acquired::Free);
    drop(guard);
    drop(heir);
    assert!(!attach(directory.path()).inherited());
}

fn lock_bytes(file: &std::fs::File, first: u32, count: u32) {
    use std::os::fd::AsRawFd;
    if count == 0 {
        // To the kernel a length of zero means all.
        return;
    }
    // SAFETY: plain integers, for which zero is valid.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = i16::try_from(libc::F_WRLCK).expect("small");
    range.l_start = first.into();
    range.l_len = count.into();
    // SAFETY: the descriptor is open and the structure lives through the call.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) }, 0);
}

/// Takes the lock again and again, and looks whether a living worker is inside already.
fn work(directory: &Path, rounds: &str) {
    let rounds: u64 = rounds.parse().expect("a number");
    let shared = attach(directory);
    let inside =
        std::fs::File::options().read(true).write(true).open(directory.join("inside")).expect("open");
    let counter = Counter::open(directory);
    for _ in 0..rounds {
        let guard = take(&shared);
        let mut other = [0; 4];
        inside.read_exact_at(&mut other, 0).expect("read");
        let other = u32::from_le_bytes(other);
        if other != 0 {
            assert!(!alive(other), "{other} is inside, too");
        }
        inside.write_all_at(&std::process::id().to_le_bytes(), 0).expect("write");
        counter.increment();
        inside.write_all_at(&0u32.to_le_bytes(), 0).expect("write");
        drop(guard);
    }
    say("done");
}

/// Neither gone nor a zombie, nor about to be one: a process that was sent SIGKILL runs nothing any more.
fn alive(pid: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim().to_owned())
            .unwrap_or_default()
    };
    let pending = u64::from_str_radix(&field("ShdPnd:"), 16).unwrap_or(0)
        | u64::from_str_radix(&field("SigPnd:"), 16).unwrap_or(0);
    !matches!(field("State:").chars().next(), Some('Z' | 'X')) && pending & (1 << (libc::SIGKILL - 1)) == 0
}

#[test]
fn nobody_is_let_in_beside_a_living_owner_while_others_are_killed() {
    let directory = tempfile::tempdir().expect("directory");
    std::fs::write(directory.path().join("inside"), [0; 4]).expect("write");
    let mut workers: Vec<Other> =
        (0..4).map(|_| Other::start("work", directory.path(), "1000000000")).collect();
    let counter = Counter::open(directory.path());
    until("work", || counter.get() > 0);
    let mut kills = 0;
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        let victim = kills % workers.len();
        std::thread::sleep(Duration::from_millis(5 + u64::try_from(kills % 7).expect("small")));
        assert!(
            workers[victim].process.try_wait().expect("wait").is_none(),
            "a worker found another worker inside"
        );
        workers[victim].kill();
        workers[victim] = Other::start("work", directory.path(), "1000000000");
        kills += 1;
    }
    let before = counter.get();
    until("work after the kills", || counter.get() > before + 100);
    for worker in &mut workers {
        assert!(worker.process.try_wait().expect("wait").is_none(), "a worker found another worker inside");
    }
    println!("{kills} kills among {before} turns");
}
