//! Owns the making of `cache.hot`: its blocks are reserved for good before it gets its name, or there is none.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::io::Errno;

use crate::layout::geometry::SizeReason;
use crate::layout::header::{HEADER_LEN, Header};
use crate::lock::lockfile::Paths;
use crate::system::access::Access;
use crate::system::descriptor::create;
use crate::system::error::AttachError;
use crate::system::filesystem::{may_copy, overwrite_in_place};

/// Makes a fresh file in place of whatever was there. The caller has the exclusive open lock, and no process uses the
/// old file.
pub(super) fn make(
    paths: &Paths,
    header: Header,
    access: Access,
    name: &str,
    sized: SizeReason,
) -> Result<(), AttachError> {
    clear_place(paths)?;
    let made = create(&paths.hot, access, |file| {
        reserve(file, header.file_len(), name)?;
        begin(file, header, sized)?;
        write_out(file, header.front())
    });
    made.map_err(|error| AttachError::io("reserve", &paths.hot, error))
}

/// Takes the name from the file that has it.
pub(super) fn clear_place(paths: &Paths) -> Result<(), AttachError> {
    match std::fs::remove_file(&paths.hot) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(AttachError::io("replace", &paths.hot, error))
        }
        _ => Ok(()),
    }
}

/// Reserves the blocks of a file on a file system of that name for good: no write to them fails later.
pub(super) fn reserve(file: &File, length: u64, name: &str) -> io::Result<()> {
    if may_copy(name)
        && let Err(error) = overwrite_in_place(file)
    {
        // Most file systems below an overlay never copy, and say that they cannot stop it.
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => return Err(error),
            _ if name == "overlay" => {}
            _ => return Err(Errno::OPNOTSUPP.into()),
        }
    }
    // The raw call, which never falls back to writing zeros: blocks are reserved or the disk is full now.
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, length)?)
}

/// Writes the first page, which makes the file a tier that is in use and empty.
pub(super) fn begin(file: &File, header: Header, sized: SizeReason) -> io::Result<()> {
    let header = Header { hot_inode: file.metadata()?.ino(), ..header };
    file.write_all_at(&header.page(sized), 0)
}

/// Writes zeros behind the header. Pages that are made one at a time, when a process touches them, cost four times as
/// much.
fn write_out(file: &File, front: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = u64::from(HEADER_LEN);
    while at < front {
        let length = ZEROS.len().min(usize::try_from(front - at).unwrap_or(usize::MAX));
        file.write_all_at(&ZEROS[..length], at)?;
        at += length as u64;
    }
    Ok(())
}

/// Removes the file. The caller is the last and has the open lock.
pub(super) fn remove(path: &Path) {
    // Left behind it would only take space, because the next process makes a new one.
    let _ = std::fs::remove_file(path);
}
