//! Owns the file of a tier that comes after one that is too small, from before that one ends. The first touch of each page
//! of a large index takes long, and other processes would wait for it.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::layout::geometry::{Geometry, SizeReason};
use crate::layout::header::Header;
use crate::layout::map::Map;
use crate::lock::lockfile::{Paths, enter};
use crate::log::carry::CARRIED;
use crate::log::crash;
use crate::system::access::Access;
use crate::system::descriptor::{Descriptor, Identity, give_name, nameless};
use crate::system::error::AttachError;
use crate::system::filesystem::filesystem;
use crate::system::ofd::{self, LockKind, SUCCESSOR_BYTE};
use crate::tier::make;

/// Words that the kernel maps at once: another thread that asks for memory of its own waits meanwhile.
const STEP: usize = 1 << 19;

/// The file of a tier that may come after the one in use: reserved, mapped, and without a name, so that it goes with this
/// process. Its maker's list of mappings shows it as deleted for ever, because it was mapped without a name.
#[derive(Debug)]
pub struct Successor {
    paths: Paths,
    /// Of `cache.lock`, until an attempt to attach takes it.
    descriptor: Option<Descriptor>,
    file: File,
    map: Map,
    geometry: Geometry,
}

impl Successor {
    /// Makes the file of a tier of about `bytes` bytes for a directory that has one. Takes about 50 ms for each GiB, and
    /// more on a tmpfs. Returns `None` on a file system without nameless files.
    ///
    /// # Errors
    ///
    /// It cannot be had now: another process makes one, the disk has no room, or `may_go_on` says no, which is asked each
    /// few milliseconds once the blocks are reserved.
    pub fn prepare(
        directory: &Path,
        access: Access,
        bytes: u64,
        may_go_on: &mut dyn FnMut() -> bool,
    ) -> io::Result<Option<Self>> {
        let paths = Paths::of(directory).map_err(io::Error::other)?;
        let (_, name) = filesystem(&paths.directory)?;
        let descriptor = Descriptor::existing(&paths.lock).map_err(io::Error::other)?;
        // One process at a time: each file takes as much of the disk.
        if !ofd::try_lock(descriptor.borrow()?, SUCCESSOR_BYTE, LockKind::Exclusive)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Some(file) = nameless(&paths.directory, access) else { return Ok(None) };
        let (file, geometry) = (file?, Geometry::of(bytes));
        make::reserve(&file, geometry.file_len(), &name)?;
        let map = Map::new(&file, geometry.file_len())?;
        touch(&map, geometry, may_go_on)?;
        crash::point("successor made");
        Ok(Some(Self { paths, descriptor: Some(descriptor), file, map, geometry }))
    }

    /// Keeps other processes from making the next file until this one is attached or dropped. Without effect where a
    /// process is just attaching, which then may make it.
    pub fn enter(&self) {
        if let Some(descriptor) = &self.descriptor {
            let _ = enter(descriptor, &self.paths.lock, LockKind::Exclusive);
        }
        crash::point("successor entered");
    }

    /// The descriptor, perhaps with the open lock. The tier before has ended, so no other process makes a file for it.
    pub(super) fn take_descriptor(&mut self) -> Option<Descriptor> {
        let descriptor = self.descriptor.take()?;
        let unlocked = descriptor.borrow().and_then(|fd| ofd::unlock(fd, SUCCESSOR_BYTE));
        unlocked.is_ok().then_some(descriptor)
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Puts the file in place of whatever was there. The caller has the exclusive open lock, and no process uses the old
    /// file.
    pub(super) fn take_place(
        self,
        header: Header,
        sized: SizeReason,
    ) -> Result<(Map, Identity), AttachError> {
        let Self { paths, file, map, .. } = self;
        make::clear_place(&paths)?;
        let placed = make::begin(&file, header, sized)
            .and_then(|()| give_name(&file, &paths.hot).unwrap_or(Err(io::ErrorKind::Unsupported.into())))
            .and_then(|()| file.metadata());
        let found = placed.map_err(|error| AttachError::io("put in place", &paths.hot, error))?;
        Ok((map, Identity::of(&found)))
    }
}

/// Has the kernel map the index, and the part of the log that takes what comes along. Does nothing before Linux 5.14.
fn touch(map: &Map, geometry: Geometry, may_go_on: &mut dyn FnMut() -> bool) -> io::Result<()> {
    let log = usize::try_from(geometry.log_bytes()).unwrap_or(usize::MAX);
    let end = geometry.log() + CARRIED.min(log) / 8;
    for start in (0..end).step_by(STEP) {
        if !may_go_on() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        map.populate(start..end.min(start + STEP));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::member::Shared;

    fn prepare(directory: &Path, may_go_on: bool) -> io::Result<Option<Successor>> {
        Successor::prepare(directory, Access::private(), 1 << 20, &mut || may_go_on)
    }

    fn refusal(directory: &Path, may_go_on: bool) -> io::ErrorKind {
        prepare(directory, may_go_on).expect_err("it cannot be had").kind()
    }

    #[test]
    fn one_file_is_prepared_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let _shared = Shared::attach(directory.path(), Access::private()).expect("a lock");
        let mut first =
            prepare(directory.path(), true).expect("it can be had").expect("a file without a name");
        assert_eq!(refusal(directory.path(), true), io::ErrorKind::WouldBlock);
        // Its turn ends when it attaches, and when it is given up.
        let attaching = first.take_descriptor();
        assert!(attaching.is_some() && prepare(directory.path(), true).is_ok());
        drop((first, attaching));
        assert!(prepare(directory.path(), true).is_ok());
    }

    #[test]
    fn a_file_that_is_not_wanted_any_more_leaves_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let _shared = Shared::attach(directory.path(), Access::private()).expect("a lock");
        let names = || std::fs::read_dir(directory.path()).expect("names").count();
        let before = names();
        assert_eq!(refusal(directory.path(), false), io::ErrorKind::Interrupted);
        assert_eq!(names(), before);
        assert!(prepare(directory.path(), true).is_ok(), "the next has its turn");
    }
}
