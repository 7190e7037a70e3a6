//! Every touch of the file system but for value files: making, looking, removing, and the rights of what is made.
//! Knows not why, and never opens `cache.db`.

#![expect(clippy::disallowed_methods, reason = "the owner of the file system")]

mod staging;

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use dolium_hot::Access;

use crate::system::error::{Error, Result};

pub(crate) use staging::{Added, Staging};

/// diskcache's name of the database.
pub(crate) const DATABASE: &str = "cache.db";

/// `dolium-hot`'s names.
const HOT_TIER: &str = "cache.hot";
const LOCK: &str = "cache.lock";
const LEASE: &str = "cache.lease";

/// Creates a directory and its parents, private to the user unless the parent is shared. An existing one is left as it
/// is.
pub(crate) fn create_directory(path: &Path) -> Result<()> {
    create_directory_in(path).map_err(Error::io(path))
}

pub(crate) fn create_directory_in(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => share(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).ok_or(error)?;
            create_directory_in(parent)?;
            match DirBuilder::new().mode(0o700).create(path) {
                Ok(()) => share(path),
                Err(_) if path.is_dir() => Ok(()),
                done => done,
            }
        }
        Err(_) if path.is_dir() => Ok(()),
        done => done,
    }
}

/// Gives a new directory to the group of its parent, and to its owner if root has made it, where the parent hands on its
/// group by its mode, or is a cache.
fn share(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let Ok(rights) = Access::within(parent) else { return Ok(()) };
    let is_part = || {
        path.file_name().is_some_and(is_shard_name)
            || parent.join(DATABASE).exists()
            || parent.join("000").exists()
    };
    let hands_on = || fs::metadata(parent).is_ok_and(|found| found.mode() & 0o2000 != 0);
    if rights.needs_giving() && (is_part() || rights.is_shared() && hands_on()) {
        use rustix::fs::OFlags;
        let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
        rights.of_directory().give(&File::options().read(true).custom_flags(flags).open(path)?)?;
    }
    Ok(())
}

/// Does the same for the directory of a cache. On btrfs its files are then overwritten in place: SQLite maps one of
/// them, and writing to a mapped page that btrfs cannot copy on a full disk raises SIGBUS.
pub(crate) fn create_cache_directory(path: &Path) -> Result<()> {
    create_directory(path)?;
    if dolium_hot::filesystem(path).is_ok_and(|(_, name)| dolium_hot::may_copy(&name)) {
        // Below an overlay there is mostly no such thing.
        let _ = File::open(path).and_then(dolium_hot::overwrite_in_place);
    }
    Ok(())
}

/// Whether a file belongs to a store, this one or that of a cache below, as opposed to a value.
pub(crate) fn is_store(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // As in diskcache, any path that contains the database's name; this covers quarantined stores.
    name.contains(DATABASE) || [HOT_TIER, LOCK, LEASE].contains(&name)
}

/// Makes a file or directory durable. One that is gone by now has nothing to keep.
pub(crate) fn sync(path: &Path) -> Result<()> {
    match File::open(path) {
        Ok(file) => file.sync_all().map_err(Error::io(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(path)(error)),
    }
}

/// Free bytes of the file system that the directory lies on, for users without privileges.
pub(crate) fn free_bytes(directory: &Path) -> Option<u64> {
    let status = rustix::fs::statvfs(directory).ok()?;
    Some(status.f_bavail.saturating_mul(status.f_frsize))
}

/// Length of a file, 0 if it is not there.
pub(crate) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |data| data.len())
}

/// Whether anything is at the path.
pub(crate) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Whether anything is at the path, or is hidden there, which is an error.
pub(crate) fn may_exist(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(denied(path)),
        found => Ok(found.is_ok()),
    }
}

/// Whether a directory is at the path.
pub(crate) fn is_directory(path: &Path) -> bool {
    path.is_dir()
}

/// Removes a file, if it is there.
pub(crate) fn remove_file(path: &Path) {
    let _ = fs::remove_file(path);
}

/// Renames a file; a missing one is no error. Returns whether there was one.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<bool> {
    match fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(from)(error)),
    }
}

/// A file or empty directory below a cache's directory.
pub(crate) struct Found {
    pub path: PathBuf,
    pub is_directory: bool,
    /// Seconds since it was last written.
    pub age: f64,
}

/// Everything below `directory`: files, and directories that hold none, the innermost first.
pub(crate) fn walk(directory: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    walk_into(directory, &mut found)?;
    Ok(found)
}

/// Returns whether there is a file at any depth.
fn walk_into(directory: &Path, found: &mut Vec<Found>) -> Result<bool> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // Another process removed it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::io(directory)(error)),
    };
    let mut has_files = false;
    for entry in entries {
        let entry = entry.map_err(Error::io(directory))?;
        let Ok(metadata) = entry.metadata() else { continue };
        let is_directory = metadata.is_dir();
        let holds_files = !is_directory || walk_into(&entry.path(), found)?;
        has_files |= holds_files;
        if !is_directory || !holds_files {
            found.push(Found { path: entry.path(), is_directory, age: age(&metadata) });
        }
    }
    Ok(has_files)
}

fn age(metadata: &fs::Metadata) -> f64 {
    let elapsed = metadata.modified().ok().and_then(|time| time.elapsed().ok());
    elapsed.map_or(0.0, |age| age.as_secs_f64())
}

/// Removes a file or an empty directory that `walk` found.
pub(crate) fn remove_found(found: &Found) -> Result<()> {
    let result = if found.is_directory { fs::remove_dir(&found.path) } else { fs::remove_file(&found.path) };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(&found.path)(error)),
        _ => Ok(()),
    }
}

/// Device and inode of a file or directory: what it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

/// The identity of what is at the path, if anything is.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    let metadata = fs::metadata(path).ok()?;
    Some(Identity { device: metadata.dev(), inode: metadata.ino() })
}

/// What of a file changes when it is written or replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    identity: Identity,
    length: u64,
    /// Of the content, and of the inode: seconds and their fractions.
    times: [(i64, i64); 2],
}

impl Stamp {
    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// For how many seconds the file has been as it is, at this time.
    #[expect(clippy::cast_precision_loss, reason = "a time of day")]
    pub fn age(&self, now: f64) -> f64 {
        let seconds = |(whole, fraction): (i64, i64)| whole as f64 + fraction as f64 / 1e9;
        self.times.iter().map(|time| now - seconds(*time)).fold(f64::INFINITY, f64::min)
    }
}

/// Opens a file to read it.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Returns the stamp of a file, or `None` if there is no such file.
pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        identity: Identity { device: metadata.dev(), inode: metadata.ino() },
        length: metadata.len(),
        times: [(metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec())],
    })
}

/// The file system that the path lies on.
pub(crate) fn device(path: &Path) -> Option<u64> {
    identity(path).map(|identity| identity.device)
}

/// Whether this process may change the file, or create and change files in the directory.
pub(crate) fn may_write(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?)
}

/// Whether this process may create and change files in the directory.
pub(crate) fn is_writable(directory: &Path) -> bool {
    may_write(directory).is_ok()
}

/// Whether something is there that this process may not change.
pub(crate) fn is_protected(path: &Path) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    may_write(path).is_err_and(|error| matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem))
}

/// Opens a directory and lets go of it: what the system refuses a process without descriptors, it says here.
pub(crate) fn open_directory(directory: &Path) -> io::Result<()> {
    File::open(directory).map(drop)
}

/// The path, or its nearest parent that can be examined, with what the system says of it.
pub(crate) fn nearest(path: &Path) -> Option<(PathBuf, fs::Metadata)> {
    path.ancestors().find_map(|path| Some((path.to_path_buf(), fs::metadata(path).ok()?)))
}

/// The part of a path that is a file, where all of it should be directories.
pub(crate) fn file_in_the_way(path: &Path) -> Option<PathBuf> {
    nearest(path).filter(|(_, data)| !data.is_dir()).map(|(path, _)| path)
}

/// Returns the error for a directory that must exist and does not.
pub(crate) fn not_there(directory: &Path) -> Error {
    let errno = match file_in_the_way(directory) {
        Some(_) => rustix::io::Errno::NOTDIR,
        None => rustix::io::Errno::NOENT,
    };
    Error::io(directory)(errno.into())
}

/// Creates an empty file with the rights of its directory, unless there is one.
pub(crate) fn create_store(path: &Path) -> Result<()> {
    let rights = path.parent().and_then(|directory| Access::within(directory).ok()).unwrap_or_default();
    // The descriptor of a new `cache.db` closes before SQLite opens the file: no lock can be lost.
    rights.create(path).map_err(Error::io(path))
}

/// Gives what SQLite has made beside its database the group of that. Only needed where the directory does not hand on
/// its group: then SQLite leaves the files to that of the process.
pub(crate) fn share_with_group(database: &Path, companions: &[PathBuf]) {
    let Some(found) = fs::metadata(database).ok().filter(|found| found.mode() & 0o060 != 0) else { return };
    for path in companions {
        if fs::symlink_metadata(path).is_ok_and(|beside| beside.gid() != found.gid()) {
            // The owner alone may, and only to a group of its own.
            let _ = std::os::unix::fs::lchown(path, None, Some(found.gid()));
        }
    }
}

/// Whether a path may be there although this process may not read it, nor perhaps see it.
pub(crate) fn is_hidden(path: &Path) -> bool {
    use rustix::io::Errno;
    let asked = rustix::fs::access(path, rustix::fs::Access::READ_OK);
    asked.is_err_and(|error| matches!(error, Errno::ACCESS | Errno::PERM))
}

/// The error of a process that may not read a file of a cache.
pub(crate) fn denied(path: &Path) -> Error {
    lacks_right(path, "read it")
}

/// The error of a process to which the system refuses what it does with a file or directory.
pub(crate) fn refused(path: &Path) -> Error {
    lacks_right(path, "write to it")
}

fn lacks_right(path: &Path, wanted: &str) -> Error {
    let user = rustix::process::geteuid().as_raw();
    let refused = nearest(path).map_or_else(
        || format!("user {user} may not {wanted}"),
        |(part, found)| {
            let what = if part == path {
                wanted.to_owned()
            } else if rustix::fs::access(&part, rustix::fs::Access::EXEC_OK).is_ok() {
                format!("write to {}", part.display())
            } else {
                format!("enter {}", part.display())
            };
            let (owner, group, mode) = (found.uid(), found.gid(), found.mode() & 0o7777);
            format!(
                "user {user} may not {what}, which belongs to user {owner} and group {group} and has mode {mode:04o}"
            )
        },
    );
    let directory = path.parent().unwrap_or(path).display();
    Error::Denied {
        path: path.to_path_buf(),
        detail: format!(
            "{refused}; run as that user, or share the cache with a group of both: \
             chgrp -R GROUP {directory}; chmod -R g+rwX {directory}; chmod g+s {directory}"
        ),
    }
}

/// Whether a directory may be one of the shards of a cache. The first is not there yet while the others are made.
fn is_shard_name(name: &OsStr) -> bool {
    name.len() >= 3 && name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
}

/// The name of a shard's directory.
pub(crate) fn shard_name(shard: usize) -> String {
    format!("{shard:03}")
}

/// Refuses a destination for a copy of a cache: what is there would be lost, or the copy would lie in its original.
pub(crate) fn refuse_destination(source: &Path, destination: &Path, replace: bool) -> Result<()> {
    let refuse = |why: &str| Err(Error::Invalid(format!("{}: {why}", destination.display())));
    let there = destination.ancestors().find(|path| exists(path)).unwrap_or(destination);
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if real(there).starts_with(real(source))
        || (there == destination && real(source).starts_with(real(there)))
    {
        return refuse(
            "the copy and the cache would contain each other; name a directory outside of the cache",
        );
    }
    if there != destination {
        return Ok(());
    }
    if !destination.is_dir() {
        return refuse("this is a file; name a directory");
    }
    if device(destination) != destination.parent().and_then(device) {
        return refuse("a file system is mounted here, which cannot be replaced; name a directory below it");
    }
    let entries = fs::read_dir(destination).map_err(Error::io(destination))?;
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    if names.is_empty() {
        return Ok(());
    }
    if let Some(strange) = names.iter().find(|name| !is_of_cache(name)) {
        return refuse(&format!("`{}` in it belongs to no cache; name another directory", strange.display()));
    }
    if !replace {
        return refuse("there is a cache already; name another directory, or ask for it to be replaced");
    }
    let shards = (0..count_shards(destination)).map(|shard| destination.join(shard_name(shard)));
    let mut caches = shards.chain([destination.to_path_buf()]);
    if caches.any(|cache| dolium_hot::count_attached(&cache).is_ok_and(|count| count > 0)) {
        return refuse("the cache there is in use; close it, or name another directory");
    }
    Ok(())
}

/// Whether a name at the top of a directory is one that caches have: the store and what belongs to it, shards, directories
/// of value files, and caches below.
fn is_of_cache(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.starts_with(b"cache.")
        || ["cache", "deque", "index"].iter().any(|below| name == *below)
        || is_shard_name(name)
        || (bytes.len() == 2 && bytes.iter().all(u8::is_ascii_hexdigit))
}

/// Directories below `directory` that have a database, in the order of their names. Below one of them it looks no
/// further.
pub(crate) fn caches_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_path_buf()];
    while let Some(directory) = left.pop() {
        if exists(&directory.join(DATABASE)) {
            found.push(directory);
            continue;
        }
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        left.extend(entries.filter(is_directory).map(|entry| entry.path()));
    }
    found.sort();
    found
}

/// How many directories lie in `directory` whose names are the shard numbers `000`, `001`, ….
pub(crate) fn count_shards(directory: &Path) -> usize {
    (0..100_000).take_while(|shard| directory.join(shard_name(*shard)).is_dir()).count()
}

/// Whether a directory is there and holds nothing but what belongs to a store.
pub(crate) fn holds_only_a_store(directory: &Path) -> bool {
    let entries = fs::read_dir(directory);
    entries.is_ok_and(|mut entries| {
        entries.all(|entry| entry.is_ok_and(|entry| is_store(Path::new(&entry.file_name()))))
    })
}

/// Removes a directory, if it is there and empty.
pub(crate) fn remove_empty_directory(path: &Path) {
    let _ = fs::remove_dir(path);
}

/// A lock on a directory, which the end of the process releases, too.
#[derive(Debug)]
pub(crate) struct DirectoryLock(Option<File>);

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing is not enough where a child has inherited the descriptor.
        let _ = self.0.take().map(|file| file.unlock());
    }
}

/// Locks a directory against other processes that lock it, without leaving a file in it. Returns `None` if another
/// process has it.
pub(crate) fn try_lock_directory(directory: &Path) -> Option<DirectoryLock> {
    let in_place = || File::open(directory);
    // File systems of a network lock only what is open for writing.
    let beside = || {
        let path = directory.join(LOCK);
        let _ = create_store(&path);
        File::options().write(true).open(path)
    };
    let ways: [&dyn Fn() -> io::Result<File>; 2] = [&in_place, &beside];
    for file in ways.iter().filter_map(|open| open().ok()) {
        match file.try_lock() {
            Ok(()) => return Some(DirectoryLock(Some(file))),
            Err(TryLockError::WouldBlock) => return None,
            Err(TryLockError::Error(_)) => {}
        }
    }
    // A file system without locks: the order in which directories are made has to do.
    Some(DirectoryLock(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_by_one_at_a_time_and_without_a_file() {
        let directory = tempfile::tempdir().expect("directory");
        let lock = || try_lock_directory(directory.path());
        let first = lock();
        assert!(first.is_some() && lock().is_none());
        drop(first);
        assert!(lock().is_some());
        assert_eq!(fs::read_dir(directory.path()).expect("read").count(), 0);
    }
}
