//! The mapping of `cache.hot`.
//!
//! Owns the memory and the lock words in it, with their futexes. Refuses the protocol (`word.rs`) and the file's making
//! (`make.rs`).

use crate::layout::header::{D_OFFSET, HEADER_LEN, T_OFFSET};
use crate::lock::guard::Which;
use crate::lock::word::Word;
use crate::system::local::timespec;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use rustix::thread::futex;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Map {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is shared with other processes anyway, and is only ever accessed through atomics.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `len` bytes of a file, which the caller has seen to be long enough; at least the header.
    pub(crate) fn new(file: &File, len: u64) -> io::Result<Self> {
        Self::with(file, len, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Maps the file for a process that may only read it, and must not write a word.
    pub(crate) fn read_only(file: &File, len: u64) -> io::Result<Self> {
        Self::with(file, len, ProtFlags::READ)
    }

    fn with(file: &File, len: u64, rights: ProtFlags) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        assert!(len >= HEADER_LEN as usize, "a file without its header");
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe { mmap(std::ptr::null_mut(), len, rights, MapFlags::SHARED, file, 0) }?;
        NonNull::new(base.cast())
            .map(|base| Self { base, len })
            .ok_or_else(|| io::Error::other("mapped at address zero"))
    }

    /// The lock word at an offset of the header.
    pub(crate) fn lock_word(&self, which: Which) -> SharedWord<'_> {
        let offset = match which {
            Which::Database => D_OFFSET,
            Which::Tier => T_OFFSET,
        };
        self.half(offset / 4)
    }

    /// The 32-bit word of a number, with its futex.
    pub(crate) fn half(&self, number: usize) -> SharedWord<'_> {
        assert!(number < self.len / 4, "a word behind the mapping");
        // SAFETY: inside the mapping, which lives as long as `self` and starts at a page boundary, so that the word is
        // aligned; every process accesses it atomically only. A process that truncates the file causes a SIGBUS in
        // every process, which this crate never does: it replaces files by new ones.
        SharedWord(unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(4 * number).cast()) })
    }

    /// All of the file as words. The tier uses none of those that hold a lock word.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: as above; and words that are only ever accessed atomically may be shared with other processes.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().cast(), self.len / 8) }
    }

    /// Has the kernel map the pages of these words before a process writes them, if it can.
    pub(crate) fn populate(&self, words: Range<usize>) {
        let page = rustix::param::page_size();
        let start = 8 * words.start / page * page;
        let end = (8 * words.end).min(self.len);
        if start < end {
            // SAFETY: inside the mapping, and what is mapped there changes neither its place nor its content.
            let _ = unsafe {
                madvise(self.base.as_ptr().add(start).cast(), end - start, Advice::LinuxPopulateWrite)
            };
        }
    }
}

impl Map {
    /// Gives the blocks of these words back to the file system, as far as they are whole pages: they read as 0 then. Where
    /// the file system cannot do that, nothing happens. No process may write to them before they are reserved again.
    pub(crate) fn discard(&self, words: Range<usize>) {
        let page = rustix::param::page_size();
        let start = (8 * words.start).next_multiple_of(page);
        let end = (8 * words.end).min(self.len) / page * page;
        if start < end {
            // SAFETY: inside the mapping, which stays in place; the words are atomic, and other processes may change them, too.
            let _ =
                unsafe { madvise(self.base.as_ptr().add(start).cast(), end - start, Advice::LinuxRemove) };
        }
    }

    /// Has the kernel forget which pages this process has touched. They stay in the file.
    pub(crate) fn forget_pages(&self) {
        // SAFETY: the mapping stays in place, and what is touched again comes from the file, which is shared.
        let _ = unsafe { madvise(self.base.as_ptr().cast(), self.len, Advice::LinuxDontNeed) };
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and `SharedWord`s borrow from `self`.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// A lock word with its futex. Not private: the kernel finds it by file and offset, in whatever process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedWord<'a>(&'a AtomicU32);

impl SharedWord<'_> {
    /// Sleeps unless the word has changed already. Polls where futexes are forbidden: the rules of the word rely on no
    /// wake-up.
    pub(crate) fn sleep(self, seen: u32, at_most: Duration) {
        match futex::wait(self.0, futex::Flags::empty(), seen, Some(&timespec(at_most))) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
            Err(_) => std::thread::sleep(at_most.min(Duration::from_millis(1))),
        }
    }

    /// Adds one, so that a process that is about to sleep on the word does not, and wakes all that sleep.
    pub(crate) fn ring(self) {
        self.0.fetch_add(1, AcqRel);
        self.wake(i32::MAX.cast_unsigned());
    }

    /// Stores a value that no other process changes meanwhile.
    pub(crate) fn store(self, value: u32) {
        self.0.store(value, Release);
    }

    /// Wakes at most so many sleepers. Returns whether any was asleep.
    pub(crate) fn wake(self, most: u32) -> bool {
        futex::wake(self.0, futex::Flags::empty(), most).is_ok_and(|woken| woken > 0)
    }
}

impl Word for SharedWord<'_> {
    fn load(&self) -> u32 {
        self.0.load(Acquire)
    }

    fn replace(&self, expected: u32, new: u32) -> Result<u32, u32> {
        self.0.compare_exchange(expected, new, AcqRel, Acquire)
    }
}
