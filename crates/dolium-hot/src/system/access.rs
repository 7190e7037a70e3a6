//! Who may open the files that this crate creates.
//!
//! Owns the triple of owner, group and mode and the one way to give it to a new file. Refuses to touch the rights of a
//! file that exists already: those are the administrator's.

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

    /// Gives a new file these rights in spite of the umask. Only root may give files away, so a refused owner or group
    /// is not an error: the file then belongs to its creator.
    pub(crate) fn give(self, file: &std::fs::File) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let found = file.metadata()?;
        if found.gid() != self.gid {
            let _ = std::os::unix::fs::fchown(file, None, Some(self.gid));
        }
        if found.uid() != self.uid {
            let _ = std::os::unix::fs::fchown(file, Some(self.uid), None);
        }
        // Last: a change of owner clears bits of the mode.
        rustix::fs::fchmod(file, rustix::fs::Mode::from_raw_mode(self.mode))?;
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
}

impl Default for Access {
    fn default() -> Self {
        Self::private()
    }
}
