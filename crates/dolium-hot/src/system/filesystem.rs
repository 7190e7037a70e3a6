//! Which file system a path is on, and whether shared memory may live there.
//!
//! Owns the list of `statfs` types, and taking files out of copy-on-write. Refuses to guess: what is not on the list is
//! [`FileSystem::Unknown`], and that is treated as unfit. "Fit" means that `fallocate` reserves blocks for good, so that
//! a full disk is an error message and never a `SIGBUS`, and that all processes that see the file share one kernel's
//! page cache.

use std::io;
use std::path::Path;

/// The kind of a file system, as far as locks and shared memory care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileSystem {
    /// One kernel, reserved blocks: shared memory works.
    Local,
    /// Other machines, or a server process, may see it too.
    Network,
    /// Not on the list; treated as unfit for shared memory.
    Unknown,
}

/// The file system of `path`, which must exist, and its name (`"ext4"`, `"nfs"`, or `"type 0x…"`).
#[cfg(target_os = "linux")]
pub fn filesystem(path: &Path) -> io::Result<(FileSystem, String)> {
    let kind = rustix::fs::statfs(path)?.f_type;
    // The width and sign of `f_type` differ between architectures; every magic number has 32 bits.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the low 32 bits are the number"
    )]
    let magic = kind as u32;
    Ok(name(magic))
}

/// Elsewhere than on Linux every file system is unknown.
#[cfg(not(target_os = "linux"))]
pub fn filesystem(path: &Path) -> io::Result<(FileSystem, String)> {
    std::fs::metadata(path)?;
    Ok((FileSystem::Unknown, String::from("an untested platform")))
}

/// Whether files on a file system of that name may be copied on write: on btrfs, and on what lies below an overlay.
#[must_use]
pub fn may_copy(name: &str) -> bool {
    matches!(name, "btrfs" | "overlay")
}

/// Whether a page of a file in `directory` can be read that has no block, however full the file system is. Where that is not
/// known, as for a tmpfs, which makes the page, no block is given back.
#[cfg(target_os = "linux")]
pub(crate) fn may_have_holes(directory: &Path) -> bool {
    filesystem(directory).is_ok_and(|(_, name)| matches!(name.as_str(), "ext4" | "xfs" | "btrfs"))
}

/// Has a file that is still empty, or whatever will be made in a directory, overwritten in place from now on. Where it
/// is copied on write, each write needs space, also to a block that was reserved.
#[cfg(target_os = "linux")]
pub fn overwrite_in_place(file: impl std::os::fd::AsFd) -> io::Result<()> {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let mut flags = ioctl_getflags(&file)?;
    // Compression, which comes from the directory, has to go before.
    if flags.contains(IFlags::COMPRESSED) {
        flags -= IFlags::COMPRESSED;
        ioctl_setflags(&file, flags)?;
    }
    ioctl_setflags(&file, flags | IFlags::NOCOW)?;
    // btrfs ignores what it cannot do.
    if ioctl_getflags(&file)?.contains(IFlags::NOCOW) {
        Ok(())
    } else {
        Err(rustix::io::Errno::OPNOTSUPP.into())
    }
}

/// Elsewhere than on Linux nothing is known of it.
#[cfg(not(target_os = "linux"))]
pub fn overwrite_in_place(_: impl std::os::fd::AsFd) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(any(target_os = "linux", test))]
fn name(magic: u32) -> (FileSystem, String) {
    TYPES.iter().find(|(number, ..)| *number == magic).map_or_else(
        || (FileSystem::Unknown, format!("type {magic:#x}")),
        |(_, kind, name)| (*kind, String::from(*name)),
    )
}

// From linux/magic.h and the file systems' own sources.
#[cfg(any(target_os = "linux", test))]
const TYPES: &[(u32, FileSystem, &str)] = &[
    // ext2 and ext3 have the same number.
    (0x0000_ef53, FileSystem::Local, "ext4"),
    (0x5846_5342, FileSystem::Local, "xfs"),
    (0x0102_1994, FileSystem::Local, "tmpfs"),
    (0x9123_683e, FileSystem::Local, "btrfs"),
    (0x794c_7630, FileSystem::Local, "overlay"),
    (0x0000_6969, FileSystem::Network, "nfs"),
    (0x0000_517b, FileSystem::Network, "smb"),
    (0xfe53_4d42, FileSystem::Network, "smb2"),
    (0xff53_4d42, FileSystem::Network, "cifs"),
    (0x0102_1997, FileSystem::Network, "9p"),
    (0x6573_5546, FileSystem::Network, "fuse"),
    (0x0bd0_0bd0, FileSystem::Network, "lustre"),
    (0x0bd0_0bd1, FileSystem::Network, "lustre"),
    (0x00c3_6400, FileSystem::Network, "ceph"),
    (0x5346_414f, FileSystem::Network, "afs"),
    (0x6b41_4653, FileSystem::Network, "afs"),
    (0x7375_7245, FileSystem::Network, "coda"),
    (0x0116_1970, FileSystem::Network, "gfs2"),
    (0x7461_636f, FileSystem::Network, "ocfs2"),
    (0x1983_0326, FileSystem::Network, "beegfs"),
    (0x4750_4653, FileSystem::Network, "gpfs"),
    (0x2003_0528, FileSystem::Network, "orangefs"),
    (0xaad7_aaea, FileSystem::Network, "panfs"),
    (0x0000_564c, FileSystem::Network, "ncp"),
    (0x786f_4256, FileSystem::Network, "vboxsf"),
    (0xbacb_acbc, FileSystem::Network, "vmhgfs"),
    (0x013d_19ae, FileSystem::Network, "prl_fs"),
    // Local, but no test has filled them up yet.
    (0xf2f5_2010, FileSystem::Unknown, "f2fs"),
    (0x2fc1_2fc1, FileSystem::Unknown, "zfs"),
    (0xca45_1a4e, FileSystem::Unknown, "bcachefs"),
    (0x8584_58f6, FileSystem::Unknown, "ramfs"),
    (0x3153_464a, FileSystem::Unknown, "jfs"),
    (0x5265_4973, FileSystem::Unknown, "reiserfs"),
    (0x0000_3434, FileSystem::Unknown, "nilfs"),
    (0x0000_4d44, FileSystem::Unknown, "vfat"),
    (0x2011_bab0, FileSystem::Unknown, "exfat"),
    (0x7366_746e, FileSystem::Unknown, "ntfs3"),
    (0x5346_544e, FileSystem::Unknown, "ntfs"),
    (0x0000_f15f, FileSystem::Unknown, "ecryptfs"),
    (0x7371_7368, FileSystem::Unknown, "squashfs"),
    (0xe0f5_e1e2, FileSystem::Unknown, "erofs"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_listed_once() {
        let mut numbers: Vec<u32> = TYPES.iter().map(|(number, ..)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), TYPES.len());
    }

    #[test]
    fn an_unlisted_type_is_unknown_and_named_by_its_number() {
        assert_eq!(name(0x1234), (FileSystem::Unknown, String::from("type 0x1234")));
        assert_eq!(name(0x6969).0, FileSystem::Network);
    }
}
