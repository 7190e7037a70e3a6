//! Owns value files and every other touch of the file system: names, modes, writing, removing.
//! Refuses to know why a file is written or removed, and never opens `cache.db`.

#![expect(clippy::disallowed_methods, reason = "the owner of the file system")]

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::system::error::{Error, Result};

/// diskcache's name of the database.
pub(crate) const DATABASE: &str = "cache.db";

/// `dolium-hot`'s names.
const HOT_TIER: &str = "cache.hot";
const LOCK: &str = "cache.lock";

/// The ending of value files, and of those that are still being written.
const FINAL: &str = "val";
const TEMPORARY: &str = "tmp";

/// Creates a directory and its parents, private to the user. An existing one is left as it is.
pub(crate) fn create_directory(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io(path))
}

/// The same for the directory of a cache. On btrfs its files are then overwritten in place: SQLite maps one of them, and
/// on a full disk whoever writes to a mapped page that has to be copied dies of SIGBUS.
pub(crate) fn create_cache_directory(path: &Path) -> Result<()> {
    create_directory(path)?;
    if dolium_hot::filesystem(path).is_ok_and(|(_, name)| dolium_hot::may_copy(&name)) {
        // Below an overlay there is mostly no such thing.
        let _ = File::open(path).and_then(dolium_hot::overwrite_in_place);
    }
    Ok(())
}

/// A value file that no row names yet. Dropped without `keep`, it is removed again.
#[derive(Debug)]
pub(crate) struct NewFile {
    directory: PathBuf,
    name: String,
    /// Open until `seal`.
    file: Option<File>,
    size: u64,
    kept: AtomicBool,
}

impl NewFile {
    /// Starts a file under a random name.
    pub fn create(directory: &Path) -> Result<Self> {
        let mut random = [0u8; 16];
        getrandom::fill(&mut random)
            .map_err(|error| Error::Io { path: directory.to_path_buf(), source: io::Error::other(error) })?;
        let hex = format!("{:032x}", u128::from_be_bytes(random));
        let name = format!("{}/{}/{}.{FINAL}", &hex[..2], &hex[2..4], &hex[4..]);
        let mut new = Self {
            directory: directory.to_path_buf(),
            name,
            file: None,
            size: 0,
            kept: AtomicBool::new(false),
        };
        new.file = Some(new.open()?);
        Ok(new)
    }

    /// Opens the temporary file. Somebody who empties the cache may remove the directories between
    /// their creation and the open, hence the tries.
    fn open(&self) -> Result<File> {
        let path = self.temporary();
        let parent = path.parent().expect("a value file lies in a directory of its own");
        let mut tries = 0;
        loop {
            let opened = create_directory(parent).and_then(|()| {
                let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
                opened.map_err(Error::io(&path))
            });
            match opened {
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound && tries < 10 => {
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    fn temporary(&self) -> PathBuf {
        self.directory.join(&self.name).with_extension(TEMPORARY)
    }

    /// Appends all of the bytes, or none of them.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let path = self.temporary();
        let file = self.file.as_mut().expect("only an unsealed file is written");
        if let Err(error) = file.write_all(bytes) {
            let _ = file.set_len(self.size).and_then(|()| file.seek(io::SeekFrom::Start(self.size)));
            return Err(Error::io(path)(error));
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Copies a reader to its end. An error of the reader is returned as it is. On a full disk `make_room`
    /// may help, and says whether it has.
    pub fn copy_from(&mut self, reader: &mut dyn Read, make_room: impl Fn() -> bool) -> Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => match self.write(&buffer[..count]) {
                    Err(Error::Full { .. }) if make_room() => self.write(&buffer[..count])?,
                    done => done?,
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Error::Io { path: PathBuf::from("<reader>"), source });
                }
            }
        }
    }

    /// Gives the file its final name. From now on a row may name it.
    pub fn seal(&mut self) -> Result<()> {
        self.file = None;
        let path = self.directory.join(&self.name);
        fs::rename(self.temporary(), &path).map_err(Error::io(path))
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A row names the file now.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !*self.kept.get_mut() {
            let unsealed = self.file.take().is_some();
            let name = if unsealed { self.temporary() } else { self.directory.join(&self.name) };
            remove_path(&self.directory, &name);
        }
    }
}

/// Resolves a file name out of a row, which anybody may have written: it must stay inside, and must not be a
/// store's own. To open and close that would drop SQLite's locks; to remove it, the cache.
pub(crate) fn resolve(directory: &Path, name: &str) -> Option<PathBuf> {
    let relative = Path::new(name);
    let inside = relative.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    (inside && !name.is_empty() && !name.contains('\0') && !is_store(relative))
        .then(|| directory.join(relative))
}

/// Whether a file belongs to a store, this one or that of a cache below, as opposed to a value.
pub(crate) fn is_store(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // As in diskcache, any path that contains the database's name; this covers stores set aside.
    name.contains(DATABASE) || name == HOT_TIER || name == LOCK
}

/// Opens a value file for reading.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Reads a value file whose row says it is `size` bytes long. `None`: it has another length.
pub(crate) fn read(path: &Path, size: i64) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if i64::try_from(length) != Ok(size) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX)).map_err(io::Error::from)?;
    file.read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 == length).then_some(bytes))
}

/// Removes a value file and the directories that it leaves empty. A missing one is no error.
pub(crate) fn remove(directory: &Path, name: &str) {
    if let Some(path) = resolve(directory, name) {
        remove_path(directory, &path);
    }
}

fn remove_path(directory: &Path, path: &Path) {
    // A user's `Disk` may store a whole directory as one value.
    if fs::remove_file(path).is_err() && path.is_dir() {
        let _ = fs::remove_dir_all(path);
    }
    for parent in path.ancestors().skip(1).take_while(|parent| *parent != directory) {
        if fs::remove_dir(parent).is_err() {
            break;
        }
    }
}

/// Makes value files durable: what they hold, and the names under which they are found.
pub(crate) fn sync_values(directory: &Path, names: &[String]) -> Result<()> {
    chain(directory, names).iter().try_for_each(|path| sync(path))?;
    // Not ours, and perhaps not readable for us; whoever made it may have synced it.
    let _ = directory.parent().map(sync);
    Ok(())
}

/// What has to be synced for value files to be there after a power loss, in the order that never leaves an entry
/// that leads to nothing: a name is an entry of a directory, which may be new itself, up to the cache's own.
fn chain(directory: &Path, names: &[String]) -> Vec<PathBuf> {
    let mut chain: Vec<_> = names.iter().filter_map(|name| resolve(directory, name)).collect();
    let mut directories = BTreeSet::from([directory.to_path_buf()]);
    for path in &chain {
        let parents = path.ancestors().skip(1).take_while(|parent| *parent != directory);
        directories.extend(parents.map(Path::to_path_buf));
    }
    chain.extend(directories.into_iter().rev());
    chain
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
        // Somebody else removed it meanwhile.
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
    use std::os::unix::fs::MetadataExt;
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

/// `None`: there is no such file.
pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
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

/// Whether this process may create and change files in the directory.
pub(crate) fn is_writable(directory: &Path) -> bool {
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_ok()
}

/// Whether something is there that this process may not change.
pub(crate) fn is_protected(path: &Path) -> bool {
    let asked = rustix::fs::access(path, rustix::fs::Access::WRITE_OK);
    asked.is_err_and(|error| {
        use rustix::io::Errno;
        matches!(error, Errno::ACCESS | Errno::PERM | Errno::ROFS)
    })
}

/// Creates an empty file that only the user may read, unless there is one.
pub(crate) fn create_private(path: &Path) -> Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::io(path)(error)),
        // This descriptor of a new `cache.db` closes before SQLite opens the file: no lock can be lost.
        _ => Ok(()),
    }
}

/// How many directories lie in `directory` whose names are the shard numbers `000`, `001`, ….
pub(crate) fn count_shards(directory: &Path) -> usize {
    (0..100_000).take_while(|shard| directory.join(format!("{shard:03}")).is_dir()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_synced_before_what_leads_to_it() {
        let names = ["ab/cd/1.val", "ab/ef/2.val", "ab/cd/3.val", "../outside.val"].map(str::to_owned);
        let chain = chain(Path::new("/cache"), &names);
        let expected = [
            "/cache/ab/cd/1.val",
            "/cache/ab/ef/2.val",
            "/cache/ab/cd/3.val",
            "/cache/ab/ef",
            "/cache/ab/cd",
            "/cache/ab",
            "/cache",
        ];
        assert_eq!(chain, expected.map(PathBuf::from));
    }
}
