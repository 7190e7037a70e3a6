//! Leases where memory cannot be shared: a lock on a byte that the key's hash names. Waiters poll, and circles go unseen.

use super::file::{self, Opened};
use super::{Claim, Outcome, Watch};
use crate::system::access::Access;
use crate::system::error::AttachError;
use crate::system::fork;
use crate::system::ofd;
use std::path::Path;
use std::time::Duration;

/// Between two looks.
pub(super) const PAUSE: Duration = Duration::from_millis(10);

/// The bytes of keys begin behind those of processes; two keys share one by chance only.
const FIRST: u64 = 1 << 32;
const BYTES: u64 = 1 << 61;

#[derive(Debug)]
pub(super) struct Bytes {
    file: Opened,
    generation: u64,
}

impl Bytes {
    pub fn attach(directory: &Path, access: Access) -> Result<Self, AttachError> {
        let generation = fork::generation();
        Ok(Self { file: file::open_empty(directory, access)?, generation })
    }

    pub fn is_stale(&self) -> bool {
        fork::generation() != self.generation
    }

    #[expect(clippy::cast_possible_truncation, reason = "a part of the hash is enough")]
    pub fn claim(&self, mark: u128) -> Claim {
        let watch = Watch { place: FIRST + mark as u64 % BYTES, serial: 0 };
        match self.try_lock(watch) {
            _ if self.is_stale() || !self.file.is_current(0) => Claim::Lost,
            Ok(true) => Claim::Ours(watch),
            Ok(false) => Claim::Theirs(watch),
            Err(_) => Claim::Lost,
        }
    }

    pub fn release(&self, lease: Watch) {
        if !self.is_stale() && self.file.descriptor.is_ours() {
            let _ = self.file.descriptor.borrow().and_then(|fd| ofd::unlock_wide(fd, lease.place));
        }
    }

    /// What cannot be asked is over: the caller computes.
    pub fn outcome(&self, watch: Watch) -> Option<Outcome> {
        let fd = self.file.descriptor.borrow();
        let is_held = fd.and_then(|fd| ofd::held_elsewhere_wide(fd, watch.place));
        if is_held.unwrap_or(false) { None } else { Some(Outcome::Left) }
    }

    fn try_lock(&self, watch: Watch) -> std::io::Result<bool> {
        ofd::try_lock_wide(self.file.descriptor.borrow()?, watch.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_had_by_one_and_freed_by_its_death() {
        let directory = tempfile::tempdir().expect("directory");
        // Each has an open file of its own, as processes have.
        let attach = || Bytes::attach(directory.path(), Access::private()).expect("attach");
        let (first, second) = (attach(), attach());
        let Claim::Ours(lease) = first.claim(7) else { panic!("it is free") };
        let Claim::Theirs(watch) = second.claim(7) else { panic!("it is taken") };
        assert!(matches!(second.claim(8), Claim::Ours(_)), "another key is another byte");
        assert_eq!(second.outcome(watch), None);
        first.release(lease);
        assert_eq!(second.outcome(watch), Some(Outcome::Left));
        let Claim::Ours(_) = second.claim(7) else { panic!("it is free again") };
        assert!(matches!(first.claim(7), Claim::Theirs(_)));
        drop(second);
        assert!(matches!(first.claim(7), Claim::Ours(_)));
        std::fs::remove_file(directory.path().join("cache.lease")).expect("removed");
        assert_eq!(first.claim(9), Claim::Lost);
    }
}
