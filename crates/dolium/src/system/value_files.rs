//! The value files of one directory: their names, opening, writing and removing them.
//!
//! Rows name them, and any program may write rows. So no name leads out of the directory or to a store, and below the
//! directory no link is followed: one in place of a value file, or of a directory of them, counts as nothing.

#![expect(clippy::disallowed_methods, reason = "the owner of value files")]

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use dolium_hot::Access;
use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, unlinkat};
use rustix::io::Errno;

use crate::system::error::{Error, Result};
use crate::system::files;

/// The ending of value files.
pub(crate) const FINAL: &str = "val";

/// Attempts to make a file whose directory others remove, or have not yet given its rights.
const TRIES: u32 = 10;

/// Files that a process puts into one directory before it takes another. Making the two directories of a file costs more
/// than making the file.
const TOGETHER: u32 = 256;

/// Neither waits for the writer of a pipe nor makes a terminal ours.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// The value files of one directory.
#[derive(Debug)]
pub struct ValueFiles {
    directory: PathBuf,
    /// The directory without the links on the way to it, which are the user's choice. Found out when it is needed.
    real: ArcSwapOption<PathBuf>,
    /// Where this process puts its next files.
    place: ArcSwapOption<Place>,
}

/// A directory for new files.
#[derive(Debug)]
struct Place {
    /// Such as `ab/cd`.
    name: String,
    taken: AtomicU32,
}

impl ValueFiles {
    /// Those of a directory, which need not exist.
    #[must_use]
    pub fn of(directory: &Path) -> Self {
        Self {
            directory: directory.to_path_buf(),
            real: ArcSwapOption::empty(),
            place: ArcSwapOption::empty(),
        }
    }

    /// The path of the value file that a row names, if the name may be one. Windows separates its parts by `\`.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let literally = self.inside(name)?;
        if !name.contains('\\') || files::exists(&literally) {
            return Some(literally);
        }
        let has_drive = name.as_bytes().get(1) == Some(&b':');
        self.inside(&name.replace('\\', "/")).filter(|_| !has_drive)
    }

    fn inside(&self, name: &str) -> Option<PathBuf> {
        let relative = Path::new(name);
        let is_inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
        (is_inside && !name.is_empty() && !name.contains('\0') && !files::is_store(relative))
            .then(|| self.directory.join(relative))
    }

    /// Opens the value file that a row names.
    pub fn open(&self, name: &str) -> io::Result<File> {
        self.open_at(&self.path(name).ok_or(Errno::NOENT)?)
    }

    /// The beginning of the value file that a row names, if it is there.
    pub fn head(&self, name: &str, length: usize) -> Option<Vec<u8>> {
        let mut head = Vec::with_capacity(length);
        self.open(name).ok()?.take(length as u64).read_to_end(&mut head).ok()?;
        Some(head)
    }

    /// Makes a new file, which no row names yet, and the directories that lead to it.
    pub fn create(&self, name: &str) -> Result<File> {
        let path =
            self.inside(name).ok_or_else(|| Error::Invalid(format!("{name:?} names no value file")))?;
        self.create_at(&path, self.rights().unwrap_or_default())
    }

    /// The rights of a new file. `None` if the directory is not there.
    pub(crate) fn rights(&self) -> Option<Access> {
        fs::metadata(&self.directory).ok().filter(Metadata::is_dir).map(|found| Access::in_directory(&found))
    }

    /// Removes the value file that a row names, and the directories that it leaves empty. A missing one is no error.
    pub fn remove(&self, name: &str) {
        if let Some(path) = self.path(name) {
            self.remove_at(&path);
        }
    }

    /// Opens a path of [`path`](Self::path) for reading.
    pub(crate) fn open_at(&self, path: &Path) -> io::Result<File> {
        self.open_beneath(path, READ, Mode::empty()).map_err(without_links)
    }

    /// Reads a value file whose row says it is `size` bytes long. Returns `None` if it has another length.
    pub(crate) fn read_at(&self, path: &Path, size: i64) -> io::Result<Option<Vec<u8>>> {
        let file = self.open_at(path)?;
        let length = file.metadata()?.len();
        if i64::try_from(length) != Ok(size) {
            return Ok(None);
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(io::Error::from)?;
        // Reads nothing twice, and asks the file for nothing else: its length is known.
        while bytes.len() < length {
            match rustix::io::read(&file, spare_capacity(&mut bytes)) {
                Ok(0) => return Ok(None),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok((bytes.len() == length).then_some(bytes))
    }

    /// The directory for a new file: the one of the last files, or one with these random digits.
    fn place(&self, digits: &str) -> Arc<Place> {
        let known = self.place.load_full();
        if let Some(known) = known.filter(|known| known.taken.fetch_add(1, Ordering::Relaxed) < TOGETHER) {
            return known;
        }
        let name = format!("{}/{}", &digits[..2], &digits[2..4]);
        let new = Arc::new(Place { name, taken: AtomicU32::new(1) });
        self.place.store(Some(Arc::clone(&new)));
        new
    }

    /// What is there, if anything is that reading would find.
    pub(crate) fn inspect(&self, path: &Path) -> Option<Metadata> {
        self.open_beneath(path, LOOK, Mode::empty()).and_then(|file| file.metadata()).ok()
    }

    /// Whether a link is in the way.
    pub(crate) fn is_led_away(&self, path: &Path) -> bool {
        self.open_beneath(path, LOOK, Mode::empty()).is_err_and(|error| is_of_link(&error))
    }

    /// Makes value files durable: what they hold, and the names under which they are found.
    pub(crate) fn sync(&self, names: &[String]) -> Result<()> {
        for path in self.chain(names) {
            match self.open_at(&path) {
                Ok(file) => file.sync_all().map_err(Error::io(path))?,
                // One that is gone by now has nothing to keep.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io(path)(error)),
            }
        }
        // Not ours, and perhaps not readable for us. The user that made it may have synced it.
        let _ = self.directory.parent().map(files::sync);
        Ok(())
    }

    /// Returns the paths that must be synced so that value files are there after a power loss. A name is an entry of a
    /// directory, which may be new itself, up to the cache's own. The order of the paths never leaves an entry that
    /// leads to nothing.
    fn chain(&self, names: &[String]) -> Vec<PathBuf> {
        let mut chain: Vec<_> = names.iter().filter_map(|name| self.path(name)).collect();
        let mut directories = BTreeSet::from([self.directory.clone()]);
        for path in &chain {
            directories.extend(self.directories_of(path).map(Path::to_path_buf));
        }
        chain.extend(directories.into_iter().rev());
        chain
    }

    /// The directories between the cache's own and a path, the innermost first.
    fn directories_of<'p>(&'p self, path: &'p Path) -> impl Iterator<Item = &'p Path> {
        path.ancestors().skip(1).take_while(|parent| *parent != self.directory)
    }

    fn remove_at(&self, path: &Path) {
        if !self.unlink(path, AtFlags::empty()) && self.inspect(path).is_some_and(|found| found.is_dir()) {
            // A user's `Disk` may store a whole directory as one value. Links in it are removed, not followed.
            let _ = fs::remove_dir_all(path);
        }
        for directory in self.directories_of(path) {
            if !self.unlink(directory, AtFlags::REMOVEDIR) {
                break;
            }
        }
    }

    fn unlink(&self, path: &Path, kind: AtFlags) -> bool {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return false };
        let parent = self.open_beneath(parent, LOOK.union(OFlags::DIRECTORY), Mode::empty());
        parent.is_ok_and(|parent| unlinkat(parent, name, kind).is_ok())
    }

    /// Makes a file with the rights of this directory. Others who empty the cache may remove the directories between
    /// their creation and the open, and others who have just made one may not have given it its rights, hence the tries.
    fn create_at(&self, path: &Path, rights: Access) -> Result<File> {
        let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mode = Mode::from_raw_mode(0o600);
        let mut tries = 0;
        loop {
            let opened = if tries == 0 {
                // Mostly the directories are there.
                let relative = path.strip_prefix(&self.directory).map_err(io::Error::other);
                relative.and_then(|relative| self.try_open_beneath(relative, new, mode))
            } else {
                self.make_directories(path, rights).and_then(|()| self.open_beneath(path, new, mode))
            };
            let may_lack_directories = tries == 0 && opened.is_err();
            match opened.and_then(|file| give(rights, file)) {
                Ok(file) => return Ok(file),
                Err(_) if may_lack_directories => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {}
                Err(error) if is_denied(&error) && rights.is_shared() && tries < TRIES => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(Error::io(path)(error)),
            }
            tries += 1;
        }
    }

    /// From the outside to the inside, so that nothing is made behind a link.
    fn make_directories(&self, path: &Path, rights: Access) -> io::Result<()> {
        let directories: Vec<_> = self.directories_of(path).collect();
        for directory in directories.into_iter().rev() {
            match make_directory(directory) {
                Ok(()) if rights.needs_giving() => {
                    let made =
                        self.open_beneath(directory, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
                    rights.of_directory().give(&made)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    files::create_directory_in(&self.directory)?;
                    make_directory(directory)?;
                }
                Err(error) if !fs::symlink_metadata(directory).is_ok_and(|found| found.is_dir()) => {
                    return Err(error);
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Opens a path below the directory, or the directory itself, without following a link below it.
    fn open_beneath(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
        let relative = path.strip_prefix(&self.directory).map_err(io::Error::other)?;
        match self.try_open_beneath(relative, flags, mode) {
            // What was real may be reached through another link now.
            Err(_) if self.has_moved() => self.try_open_beneath(relative, flags, mode),
            done => done,
        }
    }

    fn try_open_beneath(&self, relative: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC;
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{ResolveFlags, openat2};
            let path = self.real()?.join(relative);
            match openat2(CWD, path, flags, mode, ResolveFlags::NO_SYMLINKS) {
                // Older than Linux 5.6, or a sandbox that does not know the call.
                Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => {}
                opened => return Ok(File::from(opened?)),
            }
        }
        walk(&self.directory, relative, flags, mode)
    }

    fn real(&self) -> io::Result<Arc<PathBuf>> {
        if let Some(known) = self.real.load_full() {
            return Ok(known);
        }
        let real = Arc::new(fs::canonicalize(&self.directory)?);
        self.real.store(Some(Arc::clone(&real)));
        Ok(real)
    }

    /// Looks anew where the directory is.
    fn has_moved(&self) -> bool {
        let known = self.real.load_full();
        let Ok(found) = fs::canonicalize(&self.directory) else { return false };
        let has_moved = known.is_some_and(|known| *known != found);
        if has_moved {
            self.real.store(Some(Arc::new(found)));
        }
        has_moved
    }
}

/// For looking at what is there, whatever it is.
#[cfg(target_os = "linux")]
const LOOK: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const LOOK: OFlags = READ;

/// One part of the path at a time, where the system cannot be told to follow no link.
fn walk(directory: &Path, relative: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
    use rustix::fs::openat;
    let through = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, directory, through, Mode::empty())?;
    let mut parts = relative.components().peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        let (flags, mode) = if is_last { (flags, mode) } else { (through, Mode::empty()) };
        at = openat(&at, part.as_os_str(), flags | OFlags::NOFOLLOW, mode)?;
    }
    let file = File::from(at);
    // Opened in itself, a link can still be looked at.
    if file.metadata()?.is_symlink() { Err(Errno::LOOP.into()) } else { Ok(file) }
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn give(rights: Access, file: File) -> io::Result<File> {
    if rights.needs_giving() {
        rights.give(&file)?;
    }
    Ok(file)
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn is_of_link(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::LOOP | Errno::NOTDIR))
}

/// Where a link is, there is no value.
fn without_links(error: io::Error) -> io::Error {
    if is_of_link(&error) { Errno::NOENT.into() } else { error }
}

/// A value file that no row names yet. Dropped without `keep`, it is removed again.
#[derive(Debug)]
pub(crate) struct NewFile {
    files: Arc<ValueFiles>,
    name: String,
    /// Open until `seal`.
    file: Option<File>,
    size: u64,
    kept: AtomicBool,
}

impl NewFile {
    /// Starts a file with these rights. Its name is random and final: no reader looks for it before a row names it.
    pub fn create(files: &Arc<ValueFiles>, rights: Access) -> Result<Self> {
        let mut tries = 0;
        loop {
            match Self::create_once(files, rights) {
                // A kernel said so once of a name that no other file can have, while its directory was removed and made.
                Err(Error::Io { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists && tries < TRIES =>
                {
                    tries += 1;
                }
                made => return made,
            }
        }
    }

    /// A complete file of these bytes.
    pub fn with(files: &Arc<ValueFiles>, bytes: &[u8]) -> Result<Self> {
        let mut new = Self::create(files, files.rights().unwrap_or_default())?;
        new.write(bytes)?;
        new.seal();
        Ok(new)
    }

    fn create_once(files: &Arc<ValueFiles>, rights: Access) -> Result<Self> {
        let mut random = [0u8; 16];
        getrandom::fill(&mut random)
            .map_err(|error| Error::Io { path: files.directory.clone(), source: io::Error::other(error) })?;
        let hex = format!("{:032x}", u128::from_be_bytes(random));
        let name = format!("{}/{}.{FINAL}", files.place(&hex).name, &hex[4..]);
        let mut new =
            Self { files: Arc::clone(files), name, file: None, size: 0, kept: AtomicBool::new(false) };
        new.file = Some(files.create_at(&new.path(), rights)?);
        Ok(new)
    }

    fn path(&self) -> PathBuf {
        self.files.directory.join(&self.name)
    }

    /// Appends all of the bytes, or none of them.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let file = self.file.as_mut().expect("only an unsealed file is written");
        if let Err(error) = file.write_all(bytes) {
            let _ = file.set_len(self.size).and_then(|()| file.seek(io::SeekFrom::Start(self.size)));
            return Err(Error::io(self.path())(error));
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Copies a reader to its end. An error of the reader is returned as it is. On a full disk `free_disk_space`
    /// may help, and says whether it has.
    pub fn copy_from(&mut self, reader: &mut dyn Read, free_disk_space: impl Fn() -> bool) -> Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => match self.write(&buffer[..count]) {
                    Err(Error::Full { .. }) if free_disk_space() => self.write(&buffer[..count])?,
                    done => done?,
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Error::Io { path: PathBuf::from("<reader>"), source });
                }
            }
        }
    }

    /// The file is whole: a row may name it.
    pub fn seal(&mut self) {
        self.file = None;
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
            self.files.remove_at(&self.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_synced_before_what_leads_to_it() {
        let names = ["ab/cd/1.val", "ab/ef/2.val", "ab/cd/3.val", "../outside.val"].map(str::to_owned);
        let chain = ValueFiles::of(Path::new("/cache")).chain(&names);
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

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let files = ValueFiles::of(Path::new("/cache"));
        for name in ["ab/cd/1.val", r"ab\cd\1.val", "c:1.val"] {
            assert!(files.path(name).is_some_and(|path| path.starts_with("/cache")), "{name}");
        }
        assert_eq!(files.path(r"ab\cd\1.val"), files.path("ab/cd/1.val"));
        let names = [
            "",
            "/ab",
            "../ab",
            "ab/../../cd",
            r"..\ab",
            r"ab\..\..\cd",
            r"\ab",
            r"C:\ab",
            r"C:ab\cd",
            r"\\host\ab",
        ];
        for name in names {
            assert_eq!(files.path(name), None, "{name}");
        }
    }

    /// Where the system cannot be told to follow no link, the parts of the path are walked instead.
    #[test]
    fn no_link_is_followed_by_either_way() {
        let base = tempfile::tempdir().expect("directory");
        let (cache, outside) = (base.path().join("cache"), base.path().join("outside"));
        for directory in [cache.join("ab/cd"), outside.join("cd")] {
            fs::create_dir_all(&directory).expect("made");
            fs::write(directory.join("1.val"), "value").expect("written");
        }
        let link = |to: &Path, from: &str| std::os::unix::fs::symlink(to, cache.join(from)).expect("linked");
        link(&outside, "ef");
        link(&outside.join("cd"), "ab/ef");
        link(&outside.join("cd/1.val"), "ab/cd/2.val");
        // The way to the directory is the user's choice.
        let way = base.path().join("way");
        std::os::unix::fs::symlink(&cache, &way).expect("linked");
        let files = ValueFiles::of(&way);
        let led_away = ["ef/cd/1.val", "ab/ef/1.val", "ab/cd/2.val"];
        for name in led_away {
            let relative = Path::new(name);
            for flags in [READ, LOOK] {
                let error = walk(&way, relative, flags, Mode::empty()).expect_err(name);
                assert!(is_of_link(&error), "{name}: {error}");
            }
            assert_eq!(files.open(name).expect_err(name).kind(), io::ErrorKind::NotFound, "{name}");
            assert!(files.is_led_away(&way.join(name)) && files.inspect(&way.join(name)).is_none(), "{name}");
            files.remove(name);
        }
        assert!(outside.join("cd/1.val").exists(), "what a link leads to stays");
        assert!(walk(&way, Path::new("ab/cd/1.val"), READ, Mode::empty()).is_ok());
        assert_eq!(files.read_at(&way.join("ab/cd/1.val"), 5).expect("read"), Some(b"value".to_vec()));
        files.create("gh/ij/1.val").expect("made");
        files.create("ef/ij/1.val").expect_err("made behind a link");
        assert!(!outside.join("ij").exists());
        // It was moved, and another link leads to it.
        let moved = base.path().join("moved");
        fs::rename(&cache, &moved).expect("moved");
        fs::remove_file(&way).expect("removed");
        std::os::unix::fs::symlink(&moved, &way).expect("linked");
        assert!(files.open("ab/cd/1.val").is_ok());
    }
}
