//! `cache.lease` on the disk: making it, knowing it again, and replacing one that is no use.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic |
//! | 8 | 4 | layout version |
//! | 12 | 4 | number of places |
//! | 16 | 8 | length of the file |
//! | 128 | 4 | the lock of the table |
//! | 256 | 4 | the bell: grows whenever a lease ends for which a process waits |
//! | 384 | 8 | places in use end here; how often there was none |
//!
//! Behind this page lie the places' words, marks and links (`table.rs`). A file of another layout is replaced while no
//! process uses it, and left alone while one does. Where memory cannot be shared the file stays empty.

use super::table::{BYTES, PLACES};
use crate::lock::lockfile::{enter, held_elsewhere, random};
use crate::log::crash;
use crate::system::access::Access;
use crate::system::descriptor::{Descriptor, Identity, create, open_existing};
use crate::system::error::AttachError;
use crate::system::filesystem::{FileSystem, filesystem, may_copy, overwrite_in_place};
use crate::system::ofd::{self, LockKind, SLOTS};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"dolium\0\x17";
const VERSION: u32 = 1;
const PREFIX: usize = 24;

/// How often a file that vanishes or is replaced is looked for.
const TRIES: u32 = 20;

/// The file with the descriptor whose locks count.
#[derive(Debug)]
pub(super) struct Opened {
    pub descriptor: Descriptor,
    pub path: PathBuf,
}

impl Opened {
    /// Whether the descriptor and the name still mean this file, and it is as long as what is mapped.
    pub fn is_current(&self, mapped: u64) -> bool {
        let found = std::fs::symlink_metadata(&self.path);
        self.descriptor.is_ours()
            && found
                .is_ok_and(|found| Identity::of(&found) == self.descriptor.identity && found.len() >= mapped)
    }
}

/// A file for locks alone.
pub(super) fn open_empty(directory: &Path, access: Access) -> Result<Opened, AttachError> {
    let path = path_in(directory);
    let descriptor = Descriptor::open(&path, access)?;
    Ok(Opened { descriptor, path })
}

/// The file with a table, and our slot in it.
pub(super) fn open_table(directory: &Path, access: Access) -> Result<(Opened, File, u32), AttachError> {
    let path = path_in(directory);
    let (kind, name) = filesystem(directory).map_err(|error| AttachError::io("examine", directory, error))?;
    if kind != FileSystem::Local || cfg!(target_endian = "big") {
        return Err(AttachError::NotLocal { path: directory.to_owned(), name });
    }
    for _ in 0..TRIES {
        if matches!(Identity::at(&path), Ok(None)) {
            create(&path, access, |file| fill(file, &name))
                .map_err(|error| AttachError::io("reserve", &path, error))?;
        }
        let descriptor = Descriptor::open(&path, access)?;
        let slot = take_slot(&descriptor).map_err(|error| AttachError::io("lock", &path, error))?;
        let Some(slot) = slot else { return Err(AttachError::Full { path, slots: SLOTS }) };
        let opened = Opened { descriptor, path: path.clone() };
        crash::point("lease slot taken");
        // Only now: a process that replaces the file has seen no slot.
        if !opened.is_current(0) {
            continue;
        }
        let file = open_existing(&path).map_err(|error| AttachError::io("open", &path, error))?;
        let found = read(&file).map_err(|error| AttachError::io("read", &path, error))?;
        crash::point("lease file read");
        match found {
            Ok(()) => return Ok((opened, file, slot)),
            Err(found) => replace(opened, found)?,
        }
    }
    Err(AttachError::Busy { path })
}

fn path_in(directory: &Path) -> PathBuf {
    directory.join("cache.lease")
}

/// Reserves the whole file, so that a full disk is an error now and never a SIGBUS.
fn fill(file: &File, name: &str) -> io::Result<()> {
    if may_copy(name)
        && let Err(error) = overwrite_in_place(file)
        && name != "overlay"
    {
        return Err(error);
    }
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, BYTES)?;
    let mut bytes = [0; PREFIX];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&u32::try_from(PLACES).unwrap_or(0).to_le_bytes());
    bytes[16..24].copy_from_slice(&BYTES.to_le_bytes());
    file.write_all_at(&bytes, 0)
}

/// Reads the version of the file. Returns `Err` with it if the file is not ours to use, 0 if it is no table.
fn read(file: &File) -> io::Result<Result<(), u32>> {
    let found = file.metadata()?;
    let mut bytes = [0; PREFIX];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        Err(_) => return Ok(Err(0)),
        Ok(()) => {}
    }
    let half = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let is_ours = bytes[..8] == MAGIC;
    let is_whole = found.is_file()
        && found.len() >= BYTES
        && half(12) as usize == PLACES
        && half(16) == u32::try_from(BYTES).unwrap_or(0);
    Ok(match half(8) {
        VERSION if is_ours && is_whole => Ok(()),
        version if is_ours => Err(version),
        _ => Err(0),
    })
}

/// Removes a file of no use, unless others use it. Its own lock keeps two processes from removing each other's new one.
fn replace(opened: Opened, found: u32) -> Result<(), AttachError> {
    let Opened { descriptor, path } = opened;
    if !enter(&descriptor, &path, LockKind::Exclusive)? {
        return Ok(());
    }
    let is_used = held_elsewhere(&descriptor, &path, 0, SLOTS)?;
    if is_used {
        return Err(AttachError::Version { path, found, known: VERSION });
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(AttachError::io("replace", &path, error))
        }
        _ => Ok(()),
    }
}

/// Starts anywhere, so that a crowd does not queue at each byte in turn.
fn take_slot(descriptor: &Descriptor) -> io::Result<Option<u32>> {
    let fd = descriptor.borrow()?;
    let start = u32::try_from(random() % u64::from(SLOTS)).unwrap_or(0);
    for step in 0..SLOTS {
        let slot = (start + step) % SLOTS;
        if ofd::try_lock(fd, slot, LockKind::Exclusive)? {
            return Ok(Some(slot));
        }
    }
    Ok(None)
}
