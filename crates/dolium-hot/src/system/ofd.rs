//! Byte locks of an open file description.
//!
//! Owns the four things asked of the kernel: try, release, ask, and the map of bytes. Refuses to wait: every caller
//! polls, so that no process sleeps on a stopped one without a limit.
//!
//! Classic `fcntl` locks would not do: they vanish when any descriptor of the file is closed anywhere in the process.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// How many processes can be attached at once: bytes 0 to 4,095 of `cache.lock`.
pub(crate) const SLOTS: u32 = 4096;
/// Shared for joining, exclusive for creating and replacing.
pub(crate) const OPEN_BYTE: u32 = SLOTS;
/// Held shared by each user of [`FileLock`](crate::FileLock) on a file system that other machines may see, so that users
/// of the lock word keep out, and the reverse.
pub(crate) const FILE_REGIME_BYTE: u32 = SLOTS + 1;
/// The lock of [`FileLock`](crate::FileLock) itself.
pub(crate) const FILE_LOCK_BYTE: u32 = SLOTS + 2;
/// Held shared by each user of [`FileLock`](crate::FileLock) on a local file system, to whom the system refuses shared
/// memory. Processes that come meanwhile do without it, too.
pub(crate) const APART_BYTE: u32 = SLOTS + 3;

/// The byte of the process that makes the file of the next tier while this one is in use.
pub(crate) const SUCCESSOR_BYTE: u32 = SLOTS + 4;

/// How often a lock that is refused and not held is tried: it may have been given back between the two questions.
const TRIES: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockKind {
    Shared,
    Exclusive,
}

/// True when granted, also when this description had it before (then its kind changes).
pub(crate) fn try_lock(fd: BorrowedFd<'_>, byte: u32, kind: LockKind) -> io::Result<bool> {
    let lock_type = match kind {
        LockKind::Shared => libc::F_RDLCK,
        LockKind::Exclusive => libc::F_WRLCK,
    };
    let mut tries = 0;
    loop {
        let Err(error) = control(fd, libc::F_OFD_SETLK, &mut range(lock_type, byte, 1)) else {
            return Ok(true);
        };
        tries += 1;
        match error.raw_os_error() {
            Some(libc::EAGAIN) => return Ok(false),
            // What some network file systems say of a lock that is held, and what a sandbox says of any.
            Some(libc::EACCES) if held_elsewhere(fd, byte, 1)? => return Ok(false),
            Some(libc::EACCES) if tries < TRIES => {}
            _ => return Err(error),
        }
    }
}

pub(crate) fn unlock(fd: BorrowedFd<'_>, byte: u32) -> io::Result<()> {
    control(fd, libc::F_OFD_SETLK, &mut range(libc::F_UNLCK, byte, 1))
}

/// Whether another description locks any of `count` bytes from `first` in any way.
pub(crate) fn held_elsewhere(fd: BorrowedFd<'_>, first: u32, count: u32) -> io::Result<bool> {
    let mut asked = range(libc::F_WRLCK, first, count);
    control(fd, libc::F_OFD_GETLK, &mut asked)?;
    Ok(i32::from(asked.l_type) != libc::F_UNLCK)
}

/// How many of these bytes others lock. By halves: of many locks the kernel names any one.
pub(crate) fn count_held_elsewhere(fd: BorrowedFd<'_>, first: u32, count: u32) -> io::Result<u32> {
    if count == 0 || !held_elsewhere(fd, first, count)? {
        return Ok(0);
    }
    if count == 1 {
        return Ok(1);
    }
    let half = count / 2;
    Ok(count_held_elsewhere(fd, first, half)? + count_held_elsewhere(fd, first + half, count - half)?)
}

/// The same as [`try_lock`], exclusive, for a byte of any number.
pub(crate) fn try_lock_wide(fd: BorrowedFd<'_>, byte: u64) -> io::Result<bool> {
    match control(fd, libc::F_OFD_SETLK, &mut wide(libc::F_WRLCK, byte)) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) fn unlock_wide(fd: BorrowedFd<'_>, byte: u64) -> io::Result<()> {
    control(fd, libc::F_OFD_SETLK, &mut wide(libc::F_UNLCK, byte))
}

/// Whether another description locks the byte.
pub(crate) fn held_elsewhere_wide(fd: BorrowedFd<'_>, byte: u64) -> io::Result<bool> {
    let mut asked = wide(libc::F_WRLCK, byte);
    control(fd, libc::F_OFD_GETLK, &mut asked)?;
    Ok(i32::from(asked.l_type) != libc::F_UNLCK)
}

fn wide(lock_type: libc::c_int, byte: u64) -> Flock {
    let mut lock = range(lock_type, 0, 1);
    lock.l_start = i64::try_from(byte).unwrap_or(i64::MAX);
    lock
}

// On 32-bit glibc only the 64-bit structure works with these commands; everywhere else the two are the same.
#[cfg(not(all(target_env = "gnu", target_pointer_width = "32")))]
use libc::flock as Flock;
#[cfg(all(target_env = "gnu", target_pointer_width = "32"))]
use libc::flock64 as Flock;

fn range(lock_type: libc::c_int, first: u32, count: u32) -> Flock {
    // SAFETY: the structure is plain integers, for which all zero is valid; `l_pid` must be zero for these commands.
    let mut lock: Flock = unsafe { std::mem::zeroed() };
    // The constants have other widths than the fields; all of them are below 3.
    lock.l_type = i16::try_from(lock_type).unwrap_or(i16::MAX);
    lock.l_whence = i16::try_from(libc::SEEK_SET).unwrap_or(i16::MAX);
    lock.l_start = first.into();
    lock.l_len = count.into();
    lock
}

fn control(fd: BorrowedFd<'_>, command: libc::c_int, lock: &mut Flock) -> io::Result<()> {
    loop {
        // SAFETY: the descriptor is open for the borrow and `lock` points to a valid structure for the whole call,
        // which the kernel reads, and writes for F_OFD_GETLK.
        let answer = unsafe { libc::fcntl(fd.as_raw_fd(), command, std::ptr::from_mut(lock)) };
        if answer != -1 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
