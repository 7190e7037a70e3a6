//! A descriptor of `cache.lock` that a fork or a daemon may close behind our back.
//!
//! Owns opening, creating and closing that file and knowing whether the number still means it. Refuses to lock anything
//! (`ofd.rs`).

use crate::system::access::Access;
use crate::system::error::AttachError;
use crate::system::fork;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl Identity {
    pub(crate) fn of(found: &std::fs::Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }

    /// The file that has this name now, if any.
    pub(crate) fn at(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::symlink_metadata(path) {
            Ok(found) => Ok(Some(Self::of(&found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Bytes of a note at most.
const NOTE: usize = 512;

#[derive(Debug)]
pub(crate) struct Descriptor {
    /// -1 once the child handler has closed it.
    number: Arc<AtomicI32>,
    pub(crate) identity: Identity,
    generation: u64,
    /// Whether a note was in it when it was opened.
    is_noted: bool,
}

impl Descriptor {
    /// Opens the file, or creates it with its final rights.
    pub(crate) fn open(path: &Path, access: Access) -> Result<Self, AttachError> {
        // No fork until children would close it.
        let gate = fork::gate();
        let file = loop {
            match open_existing(path) {
                Ok(file) => break file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(AttachError::io("open", path, error)),
            }
            create(path, access, |_| Ok(())).map_err(|error| AttachError::io("create", path, error))?;
        };
        Self::of(path, file, &gate)
    }

    /// Opens the file if it is there.
    pub(crate) fn existing(path: &Path) -> Result<Self, AttachError> {
        let gate = fork::gate();
        let file = open_existing(path).map_err(|error| AttachError::io("open", path, error))?;
        Self::of(path, file, &gate)
    }

    fn of(path: &Path, file: File, gate: &fork::Gate) -> Result<Self, AttachError> {
        let found = file.metadata().map_err(|error| AttachError::io("examine", path, error))?;
        if !found.is_file() {
            return Err(AttachError::NotAFile { path: path.to_owned() });
        }
        let number = Arc::new(AtomicI32::new(file.into_raw_fd()));
        gate.watch(&number);
        let is_noted = found.len() > 0;
        Ok(Self { number, identity: Identity::of(&found), generation: fork::generation(), is_noted })
    }

    /// Leaves a note why no memory is shared here. Other processes only report it, so a failure costs nothing else.
    pub(crate) fn note(&self, text: &str) {
        let _ = self.write_note(text.as_bytes());
    }

    /// Takes a former note away.
    pub(crate) fn unnote(&self) {
        if self.is_noted {
            let _ = self.write_note(b"");
        }
    }

    fn write_note(&self, text: &[u8]) -> io::Result<()> {
        let fd = self.borrow()?;
        if !self.is_ours() {
            return Err(closed());
        }
        rustix::fs::ftruncate(fd, 0)?;
        rustix::io::pwrite(fd, &text[..text.len().min(NOTE)], 0)?;
        Ok(())
    }

    pub(crate) fn borrow(&self) -> io::Result<BorrowedFd<'_>> {
        let number = self.number.load(Relaxed);
        if number < 0 {
            return Err(closed());
        }
        // SAFETY: the number came from `open` and only `drop`, or the child handler that also sets it to -1, closes it.
        // A program that closes descriptors it does not own may make it mean another file; all that is done with it is
        // `fstat` and advisory byte locks, and `is_ours` is asked before a granted lock is believed.
        Ok(unsafe { BorrowedFd::borrow_raw(number) })
    }

    /// Whether the number still means the file that was opened.
    pub(crate) fn is_ours(&self) -> bool {
        self.borrow().is_ok_and(|fd| same_file(fd, self.identity))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // No fork between leaving the list and being closed. In a child that was made without fork handlers the gate may
        // be locked for ever.
        let gate = (fork::generation() == self.generation).then(fork::gate);
        if let Some(gate) = &gate {
            gate.forget(&self.number);
        }
        let number: RawFd = self.number.swap(-1, Relaxed);
        if number < 0 {
            return;
        }
        // SAFETY: as in `borrow`.
        let ours = same_file(unsafe { BorrowedFd::borrow_raw(number) }, self.identity);
        if ours {
            // SAFETY: the number means our file, this object owned it, and nothing can reach it any more.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}

/// What [`Descriptor::note`] left in the file, if anything.
pub(crate) fn note(file: &File) -> Option<String> {
    use std::os::unix::fs::FileExt;
    let mut bytes = [0; NOTE];
    let length = file.read_at(&mut bytes, 0).ok()?;
    Some(String::from_utf8_lossy(&bytes[..length]).into_owned()).filter(|note| !note.is_empty())
}

pub(crate) fn closed() -> io::Error {
    io::Error::other("the descriptor of cache.lock was closed by this program")
}

fn same_file(fd: BorrowedFd<'_>, identity: Identity) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|found| {
        #[expect(clippy::useless_conversion, reason = "the widths differ between platforms")]
        let (device, inode) = (u64::try_from(found.st_dev), u64::try_from(found.st_ino));
        device == Ok(identity.device) && inode == Ok(identity.inode)
    })
}

/// Neither follows a link out of the directory nor blocks on a pipe that has the name.
pub(crate) fn open_existing(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // The standard library adds O_CLOEXEC.
    File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_NONBLOCK)
        .open(path)
}

/// Makes a file that has its content and its final rights when it gets its name. So a process of another user never
/// sees it too early, and a kill leaves nothing behind. The fastest process wins: a file that is there stays as it is.
pub(crate) fn create(path: &Path, access: Access, write: impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    let result =
        create_nameless(path, access, &write).unwrap_or_else(|| create_plainly(path, access, &write));
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// `None` where it cannot be done: a file system without such files, or no `/proc`.
fn create_nameless(
    path: &Path,
    access: Access,
    write: &impl Fn(&File) -> io::Result<()>,
) -> Option<io::Result<()>> {
    let file = match nameless(path.parent()?, access)?.and_then(|file| write(&file).map(|()| file)) {
        Ok(file) => file,
        Err(error) => return Some(Err(error)),
    };
    give_name(&file, path)
}

/// A file with its final rights and without a name, which goes with its last descriptor and mapping. `None` on a file
/// system without such files.
#[cfg(target_os = "linux")]
pub(crate) fn nameless(directory: &Path, access: Access) -> Option<io::Result<File>> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
    // Without a name no other user can open it: the rights may be wide before the group is right.
    let file = File::from(openat(CWD, directory, flags, Mode::from_raw_mode(access.mode)).ok()?);
    Some(access.give(&file).map(|()| file))
}

/// Gives it a name that no file has. `None` where it cannot get one, as without `/proc`.
#[cfg(target_os = "linux")]
pub(crate) fn give_name(file: &File, path: &Path) -> Option<io::Result<()>> {
    use rustix::fs::{AtFlags, CWD, linkat};
    use std::os::fd::AsRawFd;
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    match linkat(CWD, source, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Some(Ok(())),
        Err(rustix::io::Errno::EXIST) => Some(Err(rustix::io::Errno::EXIST.into())),
        Err(_) => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn nameless(_: &Path, _: Access) -> Option<io::Result<File>> {
    None
}

#[cfg(not(target_os = "linux"))]
fn give_name(_: &File, _: &Path) -> Option<io::Result<()>> {
    None
}

fn create_plainly(path: &Path, access: Access, write: &impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(access.mode & 0o700)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    access.give(&file)?;
    write(&file)
}
