//! Joining: crowds, kills in the middle, and files that are garbage, gone or foreign.

mod common;

use common::{LONG, Other, attach, listen, role, say, take};
use dolium_hot::{Access, AttachError, Health, LockError, Shared};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn child() {
    let Some((role, directory, _)) = role() else { return };
    match role.as_str() {
        "crowd" => {
            // Together, as far as one machine can.
            while !directory.join("go").exists() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let start = Instant::now();
            let shared = attach(&directory);
            let took = start.elapsed();
            drop(take(&shared));
            say(&format!("{} {} {}", shared.epoch(), shared.slot(), took.as_micros()));
            listen();
        }
        "traced" => {
            // From here on the parent counts the system calls.
            // SAFETY: plain system calls without memory.
            unsafe {
                libc::ptrace(libc::PTRACE_TRACEME);
                libc::raise(libc::SIGSTOP);
            }
            let shared = attach(&directory);
            drop(take(&shared));
            drop(shared);
        }
        "stay" => {
            let shared = attach(&directory);
            say("here");
            listen();
            drop(shared);
        }
        "closed" => closed(&directory),
        "mistaken" => mistaken(&directory),
        other => panic!("no role {other}"),
    }
    std::process::exit(0);
}

#[test]
fn two_hundred_processes_may_come_at_once() {
    let directory = tempfile::tempdir().expect("directory");
    let mut others: Vec<Other> = (0..200).map(|_| Other::start("crowd", directory.path(), "")).collect();
    let start = Instant::now();
    std::fs::write(directory.path().join("go"), "").expect("write");
    let mut slots = Vec::new();
    let mut epochs = Vec::new();
    let mut longest = 0;
    for other in &mut others {
        let said = other.hear().expect("attached");
        let words: Vec<u64> = said.split(' ').map(|word| word.parse().expect("a number")).collect();
        epochs.push(words[0]);
        slots.push(words[1]);
        longest = longest.max(words[2]);
    }
    println!(
        "200 processes attached and locked in {:?}, the slowest attach took {longest} µs",
        start.elapsed()
    );
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), 200, "every process has a slot of its own");
    epochs.dedup();
    assert_eq!(epochs.len(), 1, "all of them use the same file");
    assert_eq!(names(directory.path()), ["cache.hot", "cache.lock", "go"]);
}

#[test]
fn all_who_create_at_once_get_the_same_file() {
    // Threads meet more precisely than processes, and to the byte locks every attachment is a stranger.
    let barrier = std::sync::Barrier::new(4);
    for round in 0..300 {
        let directory = tempfile::tempdir().expect("directory");
        if round % 2 == 1 {
            std::fs::write(directory.path().join("cache.hot"), "garbage").expect("write");
        }
        let here: Vec<Shared> = std::thread::scope(|scope| {
            let come = || {
                barrier.wait();
                attach(directory.path())
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(come)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        for shared in &here {
            assert_eq!(shared.epoch(), here[0].epoch(), "round {round}");
            assert_eq!(shared.check(), Health::Sound, "round {round}");
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .expect("list")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("ASCII"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_kill_at_any_system_call_of_attaching_harms_nobody() {
    let mut steps = 0;
    let mut finished = false;
    while !finished {
        steps += 1;
        assert!(steps < 2000, "attaching never ends");
        let directory = tempfile::tempdir().expect("directory");
        finished = die_at(directory.path(), steps);
        let survivor = attach(directory.path());
        let guard = survivor.lock().acquire(Some(LONG), &mut || true).expect("acquire");
        drop(guard);
        assert_eq!(survivor.check(), Health::Sound);
        assert_eq!(names(directory.path()), ["cache.hot", "cache.lock"], "left after step {steps}");
    }
    println!("killed at each of {steps} stops");
    assert!(steps > 20, "the tracing does not work: {steps} stops");
}

/// Kills an attaching process at its stop number `step` (each system call has two). True if it ended before.
fn die_at(directory: &Path, step: u32) -> bool {
    let mut traced = Other::start("traced", directory, "");
    // The harness runs the role in a thread of its own, which is the traced one.
    let thread = loop {
        let mut status = 0;
        // SAFETY: `status` outlives the calls; only stops of our own children's threads are waited for.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        assert!(pid > 0, "{}", std::io::Error::last_os_error());
        if libc::WIFSTOPPED(status) {
            break pid;
        }
    };
    for _ in 0..step {
        let mut status = 0;
        // SAFETY: the thread is stopped and we trace it.
        unsafe { libc::ptrace(libc::PTRACE_SYSCALL, thread, 0, 0) };
        // SAFETY: as above.
        let pid = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
        assert_eq!(pid, thread, "{}", std::io::Error::last_os_error());
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            return true;
        }
    }
    traced.process.kill().expect("kill");
    // Its tracer must take notice of the dead thread before the process can end.
    // SAFETY: a status is not asked for.
    unsafe { libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL) };
    traced.process.wait().expect("wait");
    false
}

#[test]
fn garbage_is_replaced_when_nobody_is_there() {
    let garbage: [&[u8]; 4] = [b"", b"short", &[0; 4096], &[0xff; 10_000]];
    for bytes in garbage {
        let directory = tempfile::tempdir().expect("directory");
        let hot = directory.path().join("cache.hot");
        std::fs::write(&hot, bytes).expect("write");
        let shared = attach(directory.path());
        drop(take(&shared));
        assert_eq!(std::fs::metadata(&hot).expect("there").len(), 4096);
    }
}

#[test]
fn any_lock_word_is_survived() {
    for word in [1, 4096, 4097, 0xffff, 0x8000_0000, 0x8000_ffff, 0x7fff_0000, 0xffff_ffff, 0x0001_0001u32] {
        let directory = tempfile::tempdir().expect("directory");
        let shared = attach(directory.path());
        let hot =
            std::fs::File::options().write(true).open(directory.path().join("cache.hot")).expect("open");
        hot.write_all_at(&word.to_le_bytes(), 128).expect("write");
        drop(
            shared
                .lock()
                .acquire(Some(LONG), &mut || true)
                .unwrap_or_else(|error| panic!("{word:#x}: {error}")),
        );
        drop(attach(directory.path()).lock().acquire(Some(Duration::ZERO), &mut || true).expect("free"));
    }
}

#[test]
fn garbage_under_others_is_an_error_until_they_leave() {
    let directory = tempfile::tempdir().expect("directory");
    let mut other = Other::start("stay", directory.path(), "");
    other.expect("here");
    let hot = directory.path().join("cache.hot");
    let file = std::fs::File::options().write(true).open(&hot).expect("open");
    file.write_all_at(b"garbage!", 0).expect("write");
    let refused = Shared::attach(directory.path(), Access::private()).expect_err("in use");
    assert!(matches!(refused, AttachError::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains("cache.hot"), "{refused}");
    other.tell();
    other.succeed();
    attach(directory.path());
}

#[test]
fn another_version_is_an_error_that_names_both() {
    let directory = tempfile::tempdir().expect("directory");
    drop(attach(directory.path()));
    let hot = std::fs::File::options().write(true).open(directory.path().join("cache.hot")).expect("open");
    hot.write_all_at(&9u32.to_le_bytes(), 8).expect("write");
    let refused = Shared::attach(directory.path(), Access::private()).expect_err("another version");
    assert!(matches!(refused, AttachError::Version { found: 9, known: 3, .. }), "{refused}");
}

#[test]
fn a_deleted_shared_file_is_noticed_and_comes_back() {
    let directory = tempfile::tempdir().expect("directory");
    let shared = attach(directory.path());
    let other = attach(directory.path());
    let epoch = shared.epoch();
    assert_eq!(shared.check(), Health::Sound);
    std::fs::remove_file(directory.path().join("cache.hot")).expect("remove");
    assert_eq!(shared.check(), Health::FileGone);
    drop(shared);
    // The other process notices a moment later.
    let noticing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(other.check(), Health::FileGone);
        drop(other);
    });
    let anew = attach(directory.path());
    noticing.join().expect("no panic");
    assert_ne!(anew.epoch(), epoch);
    drop(take(&anew));
}

#[test]
fn a_deleted_or_replaced_lock_file_is_noticed() {
    let directory = tempfile::tempdir().expect("directory");
    let shared = attach(directory.path());
    let lock = directory.path().join("cache.lock");
    std::fs::remove_file(&lock).expect("remove");
    assert_eq!(shared.check(), Health::LockGone);
    // A process that comes now starts afresh, and one that was there sees that, too.
    let anew = attach(directory.path());
    assert_eq!(anew.check(), Health::Sound);
    assert_eq!(shared.check(), Health::LockGone);
    assert_ne!(anew.epoch(), shared.epoch());
    drop(shared);
    assert_eq!(anew.check(), Health::Sound);
    std::fs::write(directory.path().join("other"), "").expect("write");
    std::fs::rename(directory.path().join("other"), &lock).expect("rename");
    assert_eq!(anew.check(), Health::LockGone);
}

#[test]
fn a_shortened_shared_file_is_noticed() {
    let directory = tempfile::tempdir().expect("directory");
    let shared = attach(directory.path());
    std::fs::File::create(directory.path().join("cache.hot")).expect("truncate");
    assert_eq!(shared.check(), Health::FileGone);
}

#[test]
fn a_closed_descriptor_is_noticed_and_its_number_left_alone() {
    let directory = tempfile::tempdir().expect("directory");
    Other::start("closed", directory.path(), "").succeed();
}

// In a process of its own: threads of other tests would be given the number.
fn closed(directory: &Path) {
    let shared = attach(directory);
    let number = descriptors(&directory.join("cache.lock"))[0];
    // SAFETY: that is the daemon's mistake this test is about; nothing else in the process uses the number.
    unsafe { libc::close(number) };
    assert_eq!(shared.check(), Health::Closed);
    // The number now means another file, and in the end our own new one.
    let stranger = std::fs::File::create(directory.join("stranger")).expect("create");
    assert_eq!(std::os::fd::AsRawFd::as_raw_fd(&stranger), number);
    assert_eq!(shared.check(), Health::Closed);
    drop(stranger);
    let anew = attach(directory);
    assert_eq!(descriptors(&directory.join("cache.lock")), [number]);
    assert_eq!(shared.check(), Health::Closed);
    drop(shared);
    assert_eq!(anew.check(), Health::Sound, "the old one closed the new one's descriptor");
    drop(take(&anew));
}

fn descriptors(path: &Path) -> Vec<i32> {
    std::fs::read_dir("/proc/self/fd")
        .expect("proc")
        .flatten()
        .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == path))
        .map(|entry| {
            let name = entry.file_name();
            name.to_str().expect("ASCII").parse().expect("a number")
        })
        .collect()
}

#[test]
fn a_closed_descriptor_does_not_make_living_owners_look_dead() {
    let directory = tempfile::tempdir().expect("directory");
    Other::start("mistaken", directory.path(), "").succeed();
}

fn mistaken(directory: &Path) {
    let owner = attach(directory);
    let own = descriptors(&directory.join("cache.lock"));
    let guard = take(&owner);
    let waiter = attach(directory);
    let number = *descriptors(&directory.join("cache.lock"))
        .iter()
        .find(|number| !own.contains(number))
        .expect("a second one");
    let stranger = std::fs::File::create(directory.join("stranger")).expect("create");
    // SAFETY: the number now means another, unlocked file, on which every byte lock would be granted.
    unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&stranger), number) };
    let refused = waiter.lock().acquire(Some(Duration::from_millis(50)), &mut || true);
    assert!(matches!(refused, Err(LockError::Io(_))), "{refused:?}");
    assert!(guard.is_held());
    drop(waiter);
    // SAFETY: it is still the copy made above, since the waiter must not have closed it.
    assert_eq!(unsafe { libc::close(number) }, 0);
}

#[test]
fn a_full_house_is_an_error_that_says_so() {
    let directory = tempfile::tempdir().expect("directory");
    drop(attach(directory.path()));
    let blocker =
        std::fs::File::options().write(true).open(directory.path().join("cache.lock")).expect("open");
    // SAFETY: plain integers, for which zero is valid.
    let mut all: libc::flock = unsafe { std::mem::zeroed() };
    all.l_type = i16::try_from(libc::F_WRLCK).expect("small");
    all.l_len = 4096;
    let number = std::os::fd::AsRawFd::as_raw_fd(&blocker);
    // SAFETY: the descriptor is open and the structure lives through the call.
    assert_eq!(unsafe { libc::fcntl(number, libc::F_OFD_SETLK, &raw const all) }, 0);
    let refused = Shared::attach(directory.path(), Access::private()).expect_err("full");
    assert!(matches!(refused, AttachError::Full { slots: 4096, .. }), "{refused}");
    drop(blocker);
    attach(directory.path());
}

#[test]
fn files_get_the_given_mode_whatever_the_umask() {
    let directory = tempfile::tempdir().expect("directory");
    let access = Access { mode: 0o664, ..Access::private() };
    drop(Shared::attach(directory.path(), access).expect("attach"));
    for name in ["cache.hot", "cache.lock"] {
        let found = std::fs::metadata(directory.path().join(name)).expect("there");
        assert_eq!(found.permissions().mode() & 0o777, 0o664, "{name}");
        assert_eq!((found.uid(), found.gid()), (access.uid, access.gid), "{name}");
    }
    assert_eq!(Access::like(&directory.path().join("cache.hot")).expect("there"), access);
}

#[test]
fn what_is_not_a_file_is_an_error() {
    for name in ["cache.hot", "cache.lock"] {
        let directory = tempfile::tempdir().expect("directory");
        std::fs::create_dir(directory.path().join(name)).expect("create");
        assert!(Shared::attach(directory.path(), Access::private()).is_err());
        std::fs::remove_dir(directory.path().join(name)).expect("remove");
        std::os::unix::fs::symlink("elsewhere", directory.path().join(name)).expect("link");
        let refused = Shared::attach(directory.path(), Access::private()).expect_err("a link");
        assert!(refused.to_string().contains(name), "{refused}");
        assert!(!directory.path().join("elsewhere").exists());
    }
    let refused = Shared::attach(Path::new("/nowhere/at/all"), Access::private()).expect_err("no directory");
    assert!(matches!(refused, AttachError::Io { .. }), "{refused}");
}
