//! A directory under construction: it is filled under another name and gets its own when it is complete.
//! Does not know what a cache is, nor which files belong to one.

#![expect(clippy::disallowed_methods, reason = "a part of the owner of the file system")]

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::create_directory;
use crate::system::error::{Error, Result};

/// How the name of a directory under construction ends.
const ENDING: &str = ".dolium-part";

/// Bytes that are copied between two questions whether to go on.
const CHUNK: u64 = 4 << 20;

/// What became of a file that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is there.
    Done,
    /// Its source does not exist, or is a link.
    Missing,
    /// The caller wanted to stop.
    Stopped,
}

/// The directory under construction. Dropped without `publish`, it is removed.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    destination: PathBuf,
    /// Locked as long as this lives, so that another process can tell an abandoned directory.
    _lock: Option<File>,
}

impl Staging {
    /// Starts a directory beside `destination`, whose parents are created.
    pub fn create(destination: &Path) -> Result<Self> {
        let (Some(parent), Some(name)) = (destination.parent(), destination.file_name()) else {
            return Err(Error::Invalid(format!(
                "{}: a new directory cannot take this place; name a directory below it",
                destination.display()
            )));
        };
        create_directory(parent)?;
        remove_abandoned(parent, name);
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| Error::Io { path: parent.to_path_buf(), source: io::Error::other(error) })?;
        let mut part = name.to_owned();
        part.push(format!(".{:016x}{ENDING}", u64::from_be_bytes(random)));
        let path = parent.join(part);
        super::create_cache_directory(&path)?;
        let lock = File::open(&path).ok();
        // Without a lock (some network file systems have none) an abandoned directory stays.
        let _ = lock.as_ref().map(|file| flock(file, FlockOperation::NonBlockingLockExclusive));
        Ok(Self { path, destination: destination.to_path_buf(), _lock: lock })
    }

    /// Where the directory is until it is complete.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a copy of a file, or of a directory with all that it holds, at `name`; nothing if the name is taken.
    /// `go_on` hears how many bytes were copied.
    ///
    /// Where both lie on one file system the copy is a second name of the same file.
    pub fn add(&self, source: &Path, name: &Path, go_on: &mut dyn FnMut(u64) -> bool) -> Result<Added> {
        let target = self.path.join(name);
        if super::exists(&target) {
            return Ok(Added::Done);
        }
        let Some(metadata) = found(fs::symlink_metadata(source)).map_err(Error::io(source))? else {
            return Ok(Added::Missing);
        };
        if let Some(parent) = target.parent() {
            create_directory(parent)?;
        }
        if metadata.is_dir() {
            let added = self.add_directory(source, name, go_on);
            if !matches!(added, Ok(Added::Done)) {
                let _ = fs::remove_dir_all(&target);
            }
            return added;
        }
        if !metadata.is_file() {
            return Ok(Added::Missing);
        }
        if fs::hard_link(source, &target).is_ok() {
            return Ok(if go_on(metadata.len()) { Added::Done } else { Added::Stopped });
        }
        let added = copy(source, &target, go_on);
        if !matches!(added, Ok(Added::Done)) {
            super::remove_file(&target);
        }
        added
    }

    fn add_directory(&self, source: &Path, name: &Path, go_on: &mut dyn FnMut(u64) -> bool) -> Result<Added> {
        create_directory(&self.path.join(name))?;
        let Some(entries) = found(fs::read_dir(source)).map_err(Error::io(source))? else {
            return Ok(Added::Missing);
        };
        for entry in entries {
            let entry = entry.map_err(Error::io(source))?;
            match self.add(&entry.path(), &name.join(entry.file_name()), go_on)? {
                Added::Done => {}
                other => return Ok(other),
            }
        }
        Ok(Added::Done)
    }

    /// Removes the directories of a file `below` a place that were made for it, if another program removed the file
    /// before it was copied.
    pub fn remove_empty_parents(&self, place: &Path, below: &Path) {
        let place = self.path.join(place);
        let parents = below.ancestors().skip(1).take_while(|parent| !parent.as_os_str().is_empty());
        let _ = parents.map(|parent| fs::remove_dir(place.join(parent))).find(io::Result::is_err);
    }

    /// Makes everything in it durable.
    pub fn sync(&self) -> Result<()> {
        sync_all(&self.path)
    }

    /// Gives the directory its name. What has the name now, if anything, is replaced at once and removed.
    pub fn publish(self) -> Result<()> {
        let named = match fs::rename(&self.path, &self.destination) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                // Then `drop` removes what was there before.
                renameat_with(CWD, &self.path, CWD, &self.destination, RenameFlags::EXCHANGE)
                    .map_err(io::Error::from)
            }
            other => other,
        };
        named.map_err(Error::io(&self.destination))?;
        self.destination.parent().map_or(Ok(()), super::sync)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What is there. A file or directory that is not is no error.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn copy(source: &Path, target: &Path, go_on: &mut dyn FnMut(u64) -> bool) -> Result<Added> {
    let Some(mut from) = found(File::open(source)).map_err(Error::io(source))? else {
        return Ok(Added::Missing);
    };
    super::create_store(target)?;
    let mut to = File::options().write(true).open(target).map_err(Error::io(target))?;
    loop {
        // The kernel copies, and shares blocks where it can.
        let copied = io::copy(&mut from.by_ref().take(CHUNK), &mut to).map_err(Error::io(target))?;
        if copied == 0 {
            return Ok(Added::Done);
        }
        if !go_on(copied) {
            return Ok(Added::Stopped);
        }
    }
}

/// Removes what was left under construction for a destination by processes that have died.
fn remove_abandoned(parent: &Path, name: &OsStr) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    let is_ours = |found: &OsString| {
        let found = found.as_encoded_bytes();
        let rest = found.strip_prefix(name.as_encoded_bytes());
        rest.is_some_and(|rest| rest.len() == 17 + ENDING.len() && rest.ends_with(ENDING.as_bytes()))
    };
    for entry in entries.flatten().filter(|entry| is_ours(&entry.file_name())) {
        let is_abandoned = File::open(entry.path())
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok());
        if is_abandoned {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Makes all files of a directory durable. By one call for the whole file system: one for each file would take minutes.
#[cfg(target_os = "linux")]
fn sync_all(directory: &Path) -> Result<()> {
    let file = File::open(directory).map_err(Error::io(directory))?;
    rustix::fs::syncfs(file).map_err(|error| Error::io(directory)(error.into()))
}

#[cfg(not(target_os = "linux"))]
fn sync_all(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(Error::io(directory))?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sync_all(&entry.path())?;
        } else {
            super::sync(&entry.path())?;
        }
    }
    super::sync(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abandoned_directory_is_removed_and_one_in_use_is_not() {
        let parent = tempfile::tempdir().expect("directory");
        let destination = parent.path().join("copy");
        let abandoned = parent.path().join("copy.0123456789abcdef.dolium-part");
        fs::create_dir(&abandoned).expect("made");
        let first = Staging::create(&destination).expect("made");
        assert!(!abandoned.exists());
        let second = Staging::create(&destination).expect("made");
        assert!(first.path().exists());
        drop((first, second));
        assert_eq!(fs::read_dir(parent.path()).expect("listed").count(), 0);
    }

    #[test]
    fn an_existing_directory_is_replaced_at_once() {
        let parent = tempfile::tempdir().expect("directory");
        let destination = parent.path().join("copy");
        for name in ["first", "second"] {
            let staging = Staging::create(&destination).expect("made");
            fs::write(staging.path().join(name), name).expect("written");
            staging.publish().expect("published");
            assert_eq!(fs::read_to_string(destination.join(name)).expect("read"), name);
        }
        assert!(!destination.join("first").exists());
        assert_eq!(fs::read_dir(parent.path()).expect("listed").count(), 1);
    }

    #[test]
    fn a_file_is_copied_whole_or_not_at_all() {
        let parent = tempfile::tempdir().expect("directory");
        let source = parent.path().join("source");
        fs::write(&source, vec![7; 3 * usize::try_from(CHUNK).expect("small")]).expect("written");
        let target = parent.path().join("target");
        assert_eq!(copy(&source, &target, &mut |_| true).expect("copied"), Added::Done);
        assert_eq!(fs::read(&target).expect("read"), fs::read(&source).expect("read"));
        let staging = Staging::create(&parent.path().join("copy")).expect("made");
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&source, &link).expect("linked");
        assert_eq!(staging.add(&link, Path::new("ab/link"), &mut |_| true).expect("asked"), Added::Missing);
        assert_eq!(staging.add(&source, Path::new("ab/1"), &mut |_| true).expect("added"), Added::Done);
    }
}
