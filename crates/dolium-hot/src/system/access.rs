//! The rights of the files that dolium makes.
//!
//! Owns the triple of owner, group and mode, what it is in a directory, and the one way to give it to a new file. Never
//! touches the rights of a file that exists already: those are the administrator's.

use std::io;
use std::path::Path;

/// Owner, group and mode for `cache.hot` and `cache.lock`, normally those of `cache.db`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Numeric id of the owner.
    pub uid: u32,
    /// Numeric id of the group.
    pub gid: u32,
    /// Permission bits, `0o600` and the like.
    pub mode: u32,
}

/// Read and write for the group.
const GROUP: u32 = 0o060;

#[cfg(unix)]
impl Access {
    /// Only the calling user: mode `0600`.
    #[must_use]
    pub fn private() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mode: 0o600,
        }
    }

    /// What `path` has. The file is looked at by name and never opened: closing a descriptor of `cache.db` would drop the
    /// locks that the database holds on it.
    pub fn like(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let found = std::fs::metadata(path)?;
        Ok(Self { uid: found.uid(), gid: found.gid(), mode: found.mode() & 0o777 })
    }

    /// For a file that is made in `directory`. Where the group may write the directory, the file is the group's, too;
    /// else it is private. What root makes belongs to the owner of the directory.
    pub fn within(directory: &Path) -> io::Result<Self> {
        std::fs::metadata(directory).map(|found| Self::in_directory(&found))
    }

    /// The same, where it is known what the directory has.
    #[must_use]
    pub fn in_directory(found: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let own = Self::private();
        Self {
            uid: if own.uid == 0 { found.uid() } else { own.uid },
            gid: found.gid(),
            mode: if found.mode() & 0o020 == 0 { own.mode } else { own.mode | GROUP },
        }
    }

    /// The same rights for a directory. Files in one that is the group's become the group's, too.
    #[must_use]
    pub fn of_directory(self) -> Self {
        let search = (self.mode & 0o444) >> 2;
        let inherit = if self.is_shared() { 0o2000 } else { 0 };
        Self { mode: self.mode | search | inherit, ..self }
    }

    /// Whether others than the owner have rights.
    #[must_use]
    pub fn is_shared(self) -> bool {
        self.mode & 0o077 != 0
    }

    /// Whether a file that this process makes in the directory may lack them.
    #[must_use]
    pub fn needs_giving(self) -> bool {
        self.is_shared() || self.uid != rustix::process::geteuid().as_raw()
    }

    /// Makes an empty file with these rights, unless there is one.
    pub fn create(self, path: &Path) -> io::Result<()> {
        crate::system::descriptor::create(path, self, |_| Ok(()))
    }

    /// Gives a new file or directory these rights in spite of the umask. What the system refuses is done without: only
    /// root may give files away, and some volumes and sandboxes allow no change of modes. The file is then narrower
    /// than was meant, never wider.
    pub fn give(self, file: &std::fs::File) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let found = file.metadata()?;
        let mut mode = self.mode;
        let is_root = rustix::process::geteuid().is_root();
        let matters = mode & 0o070 != 0 || is_root;
        if matters
            && found.gid() != self.gid
            && std::os::unix::fs::fchown(file, None, Some(self.gid)).is_err()
        {
            // Another group than the one that is meant gets what strangers get.
            mode = (mode & !0o2070) | (((mode & 0o007) << 3) & mode);
        }
        if is_root && found.uid() != self.uid {
            let _ = std::os::unix::fs::fchown(file, Some(self.uid), None);
        }
        // Last: a change of owner clears bits of the mode.
        let known = found.mode() & 0o7777;
        if known != mode
            && let Err(error) = rustix::fs::fchmod(file, rustix::fs::Mode::from_raw_mode(mode))
            && known & 0o777 & !mode != 0
        {
            return Err(error.into());
        }
        Ok(())
    }
}

#[cfg(not(unix))]
impl Access {
    /// Only the calling user.
    #[must_use]
    pub fn private() -> Self {
        Self { uid: 0, gid: 0, mode: 0o600 }
    }

    /// What `path` has; without Unix rights, that of [`Access::private`].
    pub fn like(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|_| Self::private())
    }

    /// For a file in a directory; without Unix rights, [`Access::private`].
    pub fn within(directory: &Path) -> io::Result<Self> {
        Self::like(directory)
    }

    /// The same, where it is known what the directory has.
    #[must_use]
    pub fn in_directory(_found: &std::fs::Metadata) -> Self {
        Self::private()
    }
}

impl Default for Access {
    fn default() -> Self {
        Self::private()
    }
}
