//! Forks: what a child must not keep, must not touch, and must be able to do.

mod common;

use common::{LONG, Other, attach, listen, role, say, take, until};
use dolium_hot::{Acquired, Health, LockError, Shared, generation, on_fork};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

// The harness has threads, so every fork is made in a role of its own process and its children only `_exit`.
#[test]
fn child() {
    let Some((role, directory, _)) = role() else { return };
    let shared = attach(&directory);
    match role.as_str() {
        "keep" => {
            let guard = take(&shared);
            let pid = fork(|| {
                // Lives longer than its parent, with everything it inherited.
                std::thread::sleep(Duration::from_secs(20));
                0
            });
            say(&pid.to_string());
            listen();
            drop(guard);
        }
        "drop" => {
            let before = generation();
            let guard = take(&shared);
            let inherited = std::cell::RefCell::new(Some((guard, shared.clone())));
            let status = wait(fork(|| {
                let Some((guard, shared)) = inherited.take() else { return 10 };
                let stale = generation() != before
                    && shared.is_stale()
                    && shared.check() == Health::Forked
                    && !guard.is_held()
                    && matches!(shared.lock().acquire(None, &mut || true), Err(LockError::Forked));
                drop(guard);
                drop(shared);
                // The parent still holds it.
                let anew = attach(&directory);
                let refused = anew.lock().acquire(Some(Duration::from_millis(100)), &mut || true);
                let excluded = matches!(refused, Err(LockError::Timeout));
                i32::from(!stale) + 2 * i32::from(!excluded)
            }));
            assert_eq!(status, 0);
            let (guard, _) = inherited.take().expect("still ours");
            assert!(guard.is_held() && generation() == before && shared.check() == Health::Sound);
            drop(guard);
            assert_eq!(take(&shared).acquired(), Acquired::Free);
        }
        "raw" => {
            let before = generation();
            let guard = take(&shared);
            let inherited = std::cell::RefCell::new(Some(guard));
            // SAFETY: a fork without the C library's handlers; the child uses only what this test is about and `_exit`.
            let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
            if pid == 0 {
                let noticed = generation() != before && shared.is_stale();
                drop(inherited.take());
                exit(i32::from(!noticed));
            }
            assert_eq!(wait(i32::try_from(pid).expect("a pid")), 0);
            let guard = inherited.take().expect("still ours");
            assert!(guard.is_held());
        }
        "again" => {
            // A child of a child, and a tick that forks: the child of that must not go on waiting.
            let before = generation();
            let status = wait(fork(|| {
                let first = generation();
                let status = wait(fork(|| i32::from(generation() == first || generation() == before)));
                status + 2 * i32::from(first == before) + 4 * i32::from(generation() != first)
            }));
            assert_eq!(status, 0);
            let guard = take(&shared);
            let other = attach(&directory);
            let mut forked = None;
            let result = other.lock().acquire(Some(Duration::from_millis(300)), &mut || {
                if forked.is_none() {
                    // SAFETY: the child returns through `acquire` and then only calls `_exit`.
                    forked = Some(unsafe { libc::fork() });
                }
                true
            });
            if forked == Some(0) {
                exit(i32::from(!matches!(result, Err(LockError::Forked))));
            }
            assert!(matches!(result, Err(LockError::Timeout)));
            assert_eq!(wait(forked.expect("it ticked")), 0);
            drop(guard);
        }
        "storm" => storm(&directory, &shared),
        "hooks" => hooks(),
        other => panic!("no role {other}"),
    }
    std::process::exit(0);
}

fn storm(directory: &Path, shared: &Shared) {
    // Forks while other threads attach, lock, and detach.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    drop(take(&attach(directory)));
                    drop(take(shared));
                }
            });
        }
        for _ in 0..200 {
            let status = wait(fork(|| {
                let anew = attach(directory);
                i32::from(anew.lock().acquire(Some(LONG), &mut || true).is_err())
            }));
            assert_eq!(status, 0);
        }
        stop.store(true, SeqCst);
    });
    say("survived");
}

static CALLS: AtomicU32 = AtomicU32::new(0);

fn hooks() {
    let first = on_fork(
        || {
            CALLS.fetch_add(1, SeqCst);
        },
        || {
            CALLS.fetch_add(10, SeqCst);
        },
        || {
            CALLS.fetch_add(100, SeqCst);
        },
    );
    assert!(first && !on_fork(|| {}, || {}, || {}));
    let status = wait(fork(|| i32::from(CALLS.load(SeqCst) != 101)));
    assert_eq!(status, 0);
    assert_eq!(CALLS.load(SeqCst), 11);
}

fn fork(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs `body` and ends without returning to the harness. The C library's allocator survives a
    // fork, and nothing else of the harness is used.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        exit(body());
    }
    pid
}

fn exit(status: i32) -> ! {
    // SAFETY: ends the process at once, which is all a forked child of a threaded process should do.
    unsafe { libc::_exit(status) }
}

fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 99 }
}

#[test]
fn a_child_does_not_keep_its_dead_parents_slot() {
    let directory = tempfile::tempdir().expect("directory");
    let shared = attach(directory.path());
    let mut parent = Other::start("keep", directory.path(), "");
    let orphan: i32 = parent.hear().expect("a pid").parse().expect("a pid");
    parent.kill();
    let guard =
        shared.lock().acquire(Some(Duration::from_secs(5)), &mut || true).expect("the parent is dead");
    assert_eq!(guard.acquired(), Acquired::Inherited);
    // SAFETY: plain system calls; the orphan was alive all the time, or this test proves nothing.
    assert_eq!(unsafe { libc::kill(orphan, 0) }, 0);
    // SAFETY: as above.
    unsafe { libc::kill(orphan, libc::SIGKILL) };
}

fn role_succeeds(role: &str) {
    let directory = tempfile::tempdir().expect("directory");
    Other::start(role, directory.path(), "").succeed();
}

#[test]
fn a_guard_dropped_in_the_child_leaves_the_parents_lock_alone() {
    role_succeeds("drop");
}

#[test]
fn a_fork_without_handlers_is_noticed_too() {
    role_succeeds("raw");
}

#[test]
fn every_descendant_has_a_generation_of_its_own() {
    role_succeeds("again");
}

#[test]
fn hooks_run_once_each_in_their_process() {
    role_succeeds("hooks");
}

#[test]
fn forks_amid_attaching_threads_leave_no_lock_behind() {
    let directory = tempfile::tempdir().expect("directory");
    let mut storm = Other::start("storm", directory.path(), "");
    let took = until("the end of the storm", || storm.process.try_wait().expect("wait").is_some());
    println!("200 forks amid three attaching threads took {took:?}");
    storm.succeed();
}
