//! A number that stands for a living process: a byte of `cache.lock`, locked until the process ends.
//!
//! Refuses to know what the number is written on. Slots are reused and end with a part in the tier, so that a row which
//! names one would soon name another process. These numbers are random, lie far behind all other bytes, and do not come back.

use super::lockfile::random;
use crate::system::access::Access;
use crate::system::descriptor::{Descriptor, Identity};
use crate::system::error::AttachError;
use crate::system::{fork, ofd};
use std::path::{Path, PathBuf};

/// The first number, and how many there are: offsets of files are positive 64-bit numbers.
const FIRST: u64 = 1 << 32;
const NUMBERS: u64 = 1 << 61;

/// How often a file that vanishes, or a number that is in use, is met with another try.
const TRIES: u32 = 20;

/// This process as an owner of things in a directory. The number dies with the process, and at the latest when this is
/// dropped. It dies in a forked child, and stays with the parent.
#[derive(Debug)]
pub struct Owner {
    descriptor: Descriptor,
    path: PathBuf,
    number: u64,
    generation: u64,
}

impl Owner {
    /// Gives this process a number in `directory`, which must exist. Makes `cache.lock` there if need be.
    pub fn attach(directory: &Path, access: Access) -> Result<Self, AttachError> {
        let path = super::lockfile::Paths::of(directory)?.lock;
        for _ in 0..TRIES {
            let generation = fork::generation();
            let descriptor = Descriptor::open(&path, access)?;
            let number = FIRST + random() % NUMBERS;
            let is_ours = descriptor
                .borrow()
                .and_then(|fd| ofd::try_lock_wide(fd, number))
                .map_err(|error| AttachError::io("lock", &path, error))?;
            let owner = Self { descriptor, path: path.clone(), number, generation };
            // The file may have been removed between its opening and now.
            if is_ours && owner.is_current() {
                return Ok(owner);
            }
        }
        Err(AttachError::Busy { path })
    }

    /// The number, above 2^32 and below 2^62.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether other processes see that the number lives: this is no forked child, no other code has closed the descriptor,
    /// and the file still has its name.
    #[must_use]
    pub fn is_current(&self) -> bool {
        fork::generation() == self.generation
            && self.descriptor.is_ours()
            && Identity::at(&self.path).is_ok_and(|found| found == Some(self.descriptor.identity))
    }

    /// Whether the process of a number lives, this one included. A stopped process does.
    pub fn lives(&self, number: u64) -> Result<bool, AttachError> {
        if number == self.number {
            return Ok(true);
        }
        let held = self.descriptor.borrow().and_then(|fd| ofd::held_elsewhere_wide(fd, number));
        held.map_err(|error| AttachError::io("ask for a lock of", &self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_lives_as_long_as_its_owner() {
        let directory = tempfile::tempdir().expect("directory");
        // Each has an open file of its own, as processes have.
        let attach = || Owner::attach(directory.path(), Access::private()).expect("attach");
        let (first, second) = (attach(), attach());
        assert_ne!(first.number(), second.number());
        for owner in [&first, &second] {
            assert!(owner.lives(first.number()).expect("asked"));
            assert!(owner.lives(second.number()).expect("asked"));
        }
        let number = second.number();
        drop(second);
        assert!(!first.lives(number).expect("asked"));
        std::fs::remove_file(directory.path().join("cache.lock")).expect("removed");
        assert!(!first.is_current(), "who opens the file now does not see it");
        assert!(attach().is_current());
    }
}
