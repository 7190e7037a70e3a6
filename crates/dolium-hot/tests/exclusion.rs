//! One owner at a time, of whatever kind: threads, processes, stopped ones, on the word and on the file.

mod common;

use common::{Counter, LONG, Other, attach, listen, role, say, take};
use dolium_hot::{Access, Acquired, AttachError, FileLock, Guard, LockError, Shared};
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn child() {
    let Some((role, directory, extra)) = role() else {
        return;
    };
    match role.as_str() {
        "count" => {
            let (kind, rounds) = extra.split_once(' ').expect("two words");
            let rounds = rounds.parse().expect("a number");
            let worst = count(kind, &directory, rounds);
            say(&worst.as_micros().to_string());
        }
        "hog" => {
            let (threads, micros) = extra.split_once(' ').expect("two words");
            let (done, worst) =
                hog(&directory, threads.parse().expect("a number"), micros.parse().expect("a number"));
            say(&format!("{done} {}", worst.as_micros()));
        }
        "hold" => {
            let shared = attach(&directory);
            let guard = take(&shared);
            say("held");
            listen();
            drop(guard);
            say("released");
            listen();
        }
        other => panic!("no role {other}"),
    }
    std::process::exit(0);
}

enum Either {
    Word(Shared),
    File(FileLock),
}

impl Either {
    fn attach(kind: &str, directory: &Path) -> Self {
        match kind {
            "word" => Self::Word(attach(directory)),
            _ => Self::File(FileLock::attach(directory, Access::private()).expect("attach")),
        }
    }

    fn acquire(&self, timeout: Option<Duration>, tick: &mut dyn FnMut() -> bool) -> Result<Guard, LockError> {
        match self {
            Self::Word(shared) => shared.lock().acquire(timeout, tick),
            Self::File(lock) => lock.acquire(timeout, tick),
        }
    }
}

/// Two threads that count; the longest wait of either.
fn count(kind: &str, directory: &Path, rounds: u32) -> Duration {
    let lock = Either::attach(kind, directory);
    std::thread::scope(|scope| {
        let counting = || {
            let counter = Counter::open(directory);
            let mut worst = Duration::ZERO;
            for _ in 0..rounds {
                let start = Instant::now();
                let guard = lock.acquire(None, &mut || true).expect("acquire");
                worst = worst.max(start.elapsed());
                counter.increment();
                drop(guard);
            }
            worst
        };
        let threads = [scope.spawn(counting), scope.spawn(counting)];
        threads.into_iter().map(|thread| thread.join().expect("no panic")).max().unwrap_or_default()
    })
}

fn nothing_is_lost(kind: &str, rounds: u32) {
    let directory = tempfile::tempdir().expect("directory");
    let start = Instant::now();
    let extra = format!("{kind} {rounds}");
    let mut others: Vec<Other> = (0..4).map(|_| Other::start("count", directory.path(), &extra)).collect();
    let worst: Vec<String> = others.iter_mut().map(|other| other.hear().expect("a figure")).collect();
    for other in &mut others {
        other.succeed();
    }
    let total = 4 * 2 * u64::from(rounds);
    println!("{kind}: {total} increments in {:?}, longest waits {worst:?} µs", start.elapsed());
    assert_eq!(Counter::open(directory.path()).get(), total);
}

#[test]
fn processes_and_threads_exclude_each_other_on_the_word() {
    nothing_is_lost("word", 5000);
}

#[test]
fn processes_and_threads_exclude_each_other_on_the_file() {
    nothing_is_lost("file", 250);
}

/// For two seconds takes the lock again at once, as a loop of writes does. How often in the least lucky thread, and its
/// longest wait.
fn hog(directory: &Path, threads: usize, micros: u64) -> (u64, Duration) {
    let shared = attach(directory);
    say("ready");
    listen();
    let end = Instant::now() + Duration::from_secs(2);
    std::thread::scope(|scope| {
        let work = || {
            let (mut done, mut worst) = (0, Duration::ZERO);
            while Instant::now() < end {
                let start = Instant::now();
                let guard = take(&shared);
                let got = Instant::now();
                worst = worst.max(got - start);
                done += 1;
                while got.elapsed() < Duration::from_micros(micros) {}
                drop(guard);
            }
            (done, worst)
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let all: Vec<(u64, Duration)> =
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        (
            all.iter().map(|one| one.0).min().unwrap_or_default(),
            all.iter().map(|one| one.1).max().unwrap_or_default(),
        )
    })
}

/// An owner that takes the lock again at once leaves a turn to the others. `make torture` tries more crowds of them.
#[test]
fn how_fair() {
    let crowds: &[(u32, u32, u32)] = if std::env::var_os("DOLIUM_TORTURE").is_some() {
        &[(2, 1, 5), (2, 1, 50), (4, 1, 50), (4, 1, 500), (8, 1, 50), (1, 4, 50), (4, 2, 50)]
    } else {
        &[(2, 2, 50)]
    };
    for (processes, threads, micros) in crowds {
        let directory = tempfile::tempdir().expect("directory");
        let mut others: Vec<Other> = (0..*processes)
            .map(|_| Other::start("hog", directory.path(), &format!("{threads} {micros}")))
            .collect();
        for other in &mut others {
            other.expect("ready");
        }
        for other in &mut others {
            other.tell();
        }
        let figures: Vec<String> = others.iter_mut().map(|other| other.hear().expect("a figure")).collect();
        println!("{processes} processes × {threads} threads, {micros} µs: {figures:?} (times, worst µs)");
        for figure in figures {
            let turns: u64 =
                figure.split_whitespace().next().and_then(|turns| turns.parse().ok()).expect("a number");
            assert!(turns > 10, "a thread had {turns} turns in two seconds");
        }
    }
}

#[test]
fn a_stopped_owner_is_a_timeout_and_goes_on_afterwards() {
    let directory = tempfile::tempdir().expect("directory");
    let mut owner = Other::start("hold", directory.path(), "");
    owner.expect("held");
    owner.signal(libc::SIGSTOP);
    let shared = attach(directory.path());
    let (waited, worked) = (Instant::now(), processor_time());
    let refused = shared.lock().acquire(Some(Duration::from_millis(400)), &mut || true);
    let (waited, worked) = (waited.elapsed(), processor_time().saturating_sub(worked));
    println!("gave up on a stopped owner after {waited:?} of 400 ms, {worked:?} of them awake");
    assert!(worked < waited / 4, "the waiter does not sleep");
    assert!(matches!(refused, Err(LockError::Timeout)), "{refused:?}");
    owner.signal(libc::SIGCONT);
    let refused = shared.lock().acquire(Some(Duration::ZERO), &mut || true);
    assert!(matches!(refused, Err(LockError::Timeout)), "{refused:?}");
    owner.tell();
    owner.expect("released");
    let guard = take(&shared);
    assert_eq!(guard.acquired(), Acquired::Free);
    owner.tell();
    owner.succeed();
}

/// What this thread has used of a processor.
fn processor_time() -> Duration {
    // SAFETY: plain integers, for which zero is valid.
    let mut used: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the structure lives through the call.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut used) }, 0);
    Duration::new(
        used.tv_sec.try_into().expect("not negative"),
        used.tv_nsec.try_into().expect("below a second"),
    )
}

#[test]
fn the_tick_comes_often_holds_nothing_and_can_stop_the_waiting() {
    let directory = tempfile::tempdir().expect("directory");
    let mut owner = Other::start("hold", directory.path(), "");
    owner.expect("held");
    let shared = attach(directory.path());
    let lock = shared.lock();
    let (mut ticks, mut nested) = (0, false);
    let refused = lock.acquire(Some(LONG), &mut || {
        ticks += 1;
        // Were anything held here, this would end in a deadlock of the thread with itself, or in its own timeout only.
        let inner = lock.acquire(Some(Duration::from_millis(1)), &mut || true);
        nested = matches!(inner, Err(LockError::Timeout));
        ticks < 5
    });
    assert!(matches!(refused, Err(LockError::Interrupted)), "{refused:?}");
    assert!(nested);

    let mut last = Instant::now();
    let mut longest = Duration::ZERO;
    let refused = lock.acquire(Some(Duration::from_millis(500)), &mut || {
        longest = longest.max(last.elapsed());
        last = Instant::now();
        ticks += 1;
        true
    });
    assert!(matches!(refused, Err(LockError::Timeout)), "{refused:?}");
    println!("longest pause between ticks {longest:?}, {} ticks in 500 ms", ticks - 5);
    assert!(ticks >= 10 && longest < Duration::from_secs(2));

    // The lock comes free while the tick runs, and the tick takes it.
    let mut had = false;
    let guard = lock
        .acquire(Some(LONG), &mut || {
            if !had {
                owner.tell();
                owner.expect("released");
                had = lock.acquire(Some(LONG), &mut || true).is_ok();
            }
            true
        })
        .expect("free by now");
    assert!(had);
    drop(guard);
    owner.tell();
    owner.succeed();
}

#[test]
fn a_guard_may_be_dropped_in_another_thread() {
    let directory = tempfile::tempdir().expect("directory");
    let shared = attach(directory.path());
    let guard = take(&shared);
    std::thread::spawn(move || drop(guard)).join().expect("no panic");
    drop(take(&shared));
}

#[test]
fn the_word_and_the_file_keep_each_other_out() {
    let directory = tempfile::tempdir().expect("directory");
    let shared = attach(directory.path());
    let refused = FileLock::attach(directory.path(), Access::private());
    assert!(matches!(refused, Err(AttachError::Mixed { .. })), "{refused:?}");
    drop(shared);
    let file = FileLock::attach(directory.path(), Access::private()).expect("attach");
    let second = FileLock::attach(directory.path(), Access::private()).expect("several file locks");
    let refused = Shared::attach(directory.path(), Access::private());
    assert!(matches!(refused, Err(AttachError::Mixed { .. })), "{refused:?}");
    drop((file, second));
    attach(directory.path());
}

#[test]
fn a_file_lock_times_out_and_ticks_like_the_word() {
    let directory = tempfile::tempdir().expect("directory");
    let one = FileLock::attach(directory.path(), Access::private()).expect("attach");
    let two = FileLock::attach(directory.path(), Access::private()).expect("attach");
    let guard = one.acquire(None, &mut || true).expect("acquire");
    assert!(guard.is_held());
    let mut ticks = 0;
    let refused = two.acquire(Some(Duration::from_millis(200)), &mut || {
        ticks += 1;
        true
    });
    assert!(matches!(refused, Err(LockError::Timeout)), "{refused:?}");
    assert!(ticks > 0);
    let refused = two.acquire(None, &mut || false);
    assert!(matches!(refused, Err(LockError::Interrupted)), "{refused:?}");
    drop(guard);
    drop(two.acquire(Some(Duration::ZERO), &mut || true).expect("free"));
}
