//! Joining a directory: the one place from where `cache.hot` gets its name.
//!
//! Owns the open lock (byte 4,096 of `cache.lock`): shared while joining, exclusive while creating or replacing, and
//! held for moments only. Refuses to wait without a limit and to replace a file that another process uses.
//!
//! A kill may fall anywhere. The kernel then drops the byte locks; what can be left is a `cache.hot` without a name
//! (gone), none, or an incomplete one, and the next process that comes while none is attached replaces all three.

use crate::layout::geometry::{Geometry, SizeReason};
use crate::layout::header::{self, Header, PREFIX_LEN, Reading, field};
use crate::layout::map::Map;
use crate::lock::lockfile::{
    Paths, Patience, Retry, enter, held_elsewhere, note_in, random, reopen, retry_attach,
};
use crate::log::crash;
use crate::log::memory::Memory;
use crate::log::record::View;
use crate::system::access::Access;
use crate::system::descriptor::{Descriptor, Identity, open_existing};
use crate::system::error::AttachError;
use crate::system::filesystem::{FileSystem, filesystem};
use crate::system::ofd::{self, APART_BYTE, FILE_REGIME_BYTE, LockKind, SLOTS};
use crate::tier::carried::Carried;
use crate::tier::make::{make, remove};
use crate::tier::successor::Successor;
use crate::tier::{BackingStore, Records};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::Ordering::Acquire;

/// Everything a member has.
pub(crate) struct Joined {
    pub(crate) descriptor: Descriptor,
    pub(crate) slot: u32,
    pub(crate) map: Map,
    pub(crate) hot: Identity,
    pub(crate) header: Header,
}

/// What the file shall have if it is made now.
pub(crate) enum AttachMode<'b> {
    /// The locks alone. What a tier still holds cannot be saved, so its directory is refused while no process has it
    /// attached.
    None,
    /// A tier of so many bytes, 0 for none, in front of a database. If it comes after one that was too small, its file may be
    /// ready.
    Tier { bytes: u64, backing: &'b mut dyn BackingStore, successor: Option<Successor> },
}

impl AttachMode<'_> {
    fn successor(&mut self) -> Option<&mut Successor> {
        if let Self::Tier { successor, .. } = self { successor.as_mut() } else { None }
    }

    /// The file that is ready, if it is as large as that.
    fn take_successor(&mut self, geometry: Option<Geometry>) -> Option<Successor> {
        let Self::Tier { successor, .. } = self else { return None };
        successor.take().filter(|successor| Some(successor.geometry()) == geometry)
    }
}

/// Attaches to the shared memory of a directory.
pub(crate) fn join(
    paths: &Paths,
    access: Access,
    patience: Patience,
    mut mode: AttachMode<'_>,
) -> Result<Joined, AttachError> {
    let (kind, name) = match filesystem(&paths.directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(AttachError::io("examine", &paths.directory, error));
        }
        // What cannot be examined is not known to be fit.
        found => {
            found.unwrap_or_else(|error| (FileSystem::Unknown, format!("an unknown file system ({error})")))
        }
    };
    if kind != FileSystem::Local || cfg!(target_endian = "big") {
        return Err(AttachError::NotLocal { path: paths.directory.clone(), name });
    }
    retry_attach(paths, patience, || {
        let descriptor = match mode.successor().and_then(Successor::take_descriptor) {
            Some(descriptor) => descriptor,
            None => Descriptor::open(&paths.lock, access)?,
        };
        // A first look without the lock decides which kind to ask for; it is repeated under the lock.
        let must_create = |found: &HotFile, is_alone| match found {
            HotFile::Valid(_, header) => {
                let is_gone = header.geometry.is_some() && is_gone(&paths.hot);
                is_gone || is_alone && (header.geometry.is_some() || matches!(mode, AttachMode::Tier { .. }))
            }
            HotFile::Foreign(..) | HotFile::Other { .. } | HotFile::Unusable => true,
        };
        let is_alone = |descriptor: &Descriptor| Ok(!held_elsewhere(descriptor, &paths.lock, 0, SLOTS)?);
        let creates = must_create(&read(&paths.hot, descriptor.identity)?, is_alone(&descriptor)?);
        if !enter(&descriptor, &paths.lock, if creates { LockKind::Exclusive } else { LockKind::Shared })? {
            return Ok(Err(Retry::Busy));
        }
        // Processes without shared memory take the open lock exclusively: none can be missed here, nor can one come
        // before we have a slot.
        if held_elsewhere(&descriptor, &paths.lock, FILE_REGIME_BYTE, APART_BYTE - FILE_REGIME_BYTE + 1)? {
            return if held_elsewhere(&descriptor, &paths.lock, APART_BYTE, 1)? {
                Err(AttachError::Apart { path: paths.directory.clone(), note: note_in(&paths.directory) })
            } else {
                Ok(Err(Retry::Mixed))
            };
        }
        let found = read(&paths.hot, descriptor.identity)?;
        let alone = is_alone(&descriptor)?;
        if must_create(&found, alone) {
            // It went bad, or all have left, between the two looks.
            if !creates {
                return Ok(Err(Retry::Busy));
            }
            if let HotFile::Other { version, .. } = found
                && !alone
            {
                return Err(other_version(paths, version));
            }
            if !alone && !is_gone(&paths.hot) {
                return Ok(Err(Retry::InUse));
            }
            crash::point("alone");
            descriptor.unnote();
            if alone && wake(paths, &found, &mut mode)? {
                crash::point("woken");
                let settled = settle(&descriptor, paths, found, None)?;
                return Ok(join_as(descriptor, settled));
            }
            let HandOver { epoch, geometry, least, sized, carried } = hand_over(paths, &found, &mut mode)?;
            crash::point("handed over");
            let header = Header { epoch, lock_inode: descriptor.identity.inode, hot_inode: 0, geometry };
            let successor = mode.take_successor(geometry);
            let ready = successor.and_then(|successor| successor.take_place(header, sized).ok());
            let first = match &ready {
                Some(_) => Ok(()),
                None => make(paths, header, access, &name, sized),
            };
            let placed = match first {
                // What was grown to is not to be had, but what it began with may be.
                Err(_) if least != geometry => {
                    make(paths, Header { geometry: least, ..header }, access, &name, SizeReason::Disk)
                }
                other => other,
            };
            let settled = placed.and_then(|()| {
                crash::point("file made");
                settle(&descriptor, paths, read(&paths.hot, descriptor.identity)?, ready)
            });
            return match settled {
                Ok(settled) => {
                    if let (Some(settled), Some(carried)) = (&settled, carried) {
                        settled.carry(&carried);
                    }
                    Ok(join_as(descriptor, settled))
                }
                Err(error) => Err(take_back(paths, geometry, &mut mode, error)),
            };
        }
        let settled = settle(&descriptor, paths, found, None)?;
        crash::point("slot taken");
        // Taken first, then looked: of two that come at once by different ways at least one sees the other.
        if held_elsewhere(&descriptor, &paths.lock, FILE_REGIME_BYTE, 1)? {
            return Ok(Err(Retry::Mixed));
        }
        Ok(join_as(descriptor, settled))
    })
}

fn join_as(descriptor: Descriptor, settled: Option<Settled>) -> Result<Joined, Retry> {
    let Settled { slot, map, hot, header } = settled.ok_or(Retry::Busy)?;
    reopen(&descriptor);
    Ok(Joined { descriptor, slot, map, hot, header })
}

/// Takes a resting tier into use again: its log, index and epoch go on where they ended. No process is attached, and the
/// caller has the exclusive open lock. Returns whether it could be done; a file that is not fit is left to `hand_over`.
///
/// The database answers for the truth of every record, the checksums for its bytes. The state is stored after the
/// database has named the tier: a process that dies between leaves a file that no process uses any more.
fn wake(paths: &Paths, found: &HotFile, mode: &mut AttachMode<'_>) -> Result<bool, AttachError> {
    let (HotFile::Valid(file, header), AttachMode::Tier { bytes, backing, .. }) = (found, mode) else {
        return Ok(false);
    };
    let Some(geometry) = header.geometry.filter(|_| *bytes > 0) else { return Ok(false) };
    let mut is_grown = || geometry.log_bytes() > *bytes && geometry.log_bytes() <= backing.most();
    if geometry != Geometry::of(*bytes) && !is_grown() {
        return Ok(false);
    }
    if file.metadata().map_or(true, |found| header.is_copy(found.ino())) {
        return Ok(false);
    }
    let map = Map::new(file, header.file_len()).map_err(|error| AttachError::io("map", &paths.hot, error))?;
    let memory = Memory::new(map.words(), geometry, header.epoch);
    let Some(seq) = memory.rests_at() else { return Ok(false) };
    // Before a word is written to: what held nothing was given back.
    if rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, header.file_len()).is_err() {
        return Ok(false);
    }
    crash::point("reserved again");
    let resumed = backing.resume(header.epoch, seq);
    if resumed.map_err(|source| AttachError::BackingStore { path: paths.directory.clone(), source })? {
        crash::point("resumed");
        memory.wake();
        return Ok(true);
    }
    Ok(false)
}

/// The tier that was announced cannot be had: the file goes, and the database is told so. Returns why, or what is worse.
fn take_back(
    paths: &Paths,
    geometry: Option<Geometry>,
    mode: &mut AttachMode<'_>,
    error: AttachError,
) -> AttachError {
    if let (AttachMode::Tier { backing, .. }, Some(_)) = (mode, geometry) {
        remove(&paths.hot);
        if let Err(source) = backing.begin(None, Records::new(&[])) {
            return AttachError::BackingStore { path: paths.directory.clone(), source };
        }
    }
    error
}

/// Says in the database that there is no tier, before a process does without memory. The caller has the exclusive open
/// lock, and no process is attached. A tier that still holds entries is an error.
pub(crate) fn forgo(
    paths: &Paths,
    lock: Identity,
    backing: &mut dyn BackingStore,
) -> Result<(), AttachError> {
    let told = |source| AttachError::BackingStore { path: paths.directory.clone(), source };
    if let Some((epoch, _)) = backing.applied().map_err(told)?
        && match read(&paths.hot, lock)? {
            HotFile::Valid(_, header) | HotFile::Foreign(_, header) => {
                header.geometry.is_some() && header.epoch == epoch
            }
            HotFile::Other { epoch: other, .. } => other == epoch,
            HotFile::Unusable => false,
        }
    {
        return Err(AttachError::Unrecovered { path: paths.hot.clone() });
    }
    backing.begin(None, Records::new(&[])).map_err(told)
}

/// What a new file begins with.
struct HandOver {
    epoch: u64,
    geometry: Option<Geometry>,
    /// What it would have without the file before it.
    least: Option<Geometry>,
    sized: SizeReason,
    carried: Option<Carried>,
}

/// Stores what the old file holds and the database has not, with the epoch of the new file. No process uses the old one.
fn hand_over(paths: &Paths, found: &HotFile, mode: &mut AttachMode<'_>) -> Result<HandOver, AttachError> {
    let epoch = random() | 1;
    let old = match found {
        HotFile::Valid(file, header) | HotFile::Foreign(file, header) => Some((file, header)),
        HotFile::Other { .. } | HotFile::Unusable => None,
    };
    if let (HotFile::Other { version, .. }, AttachMode::None) = (found, &*mode) {
        return Err(other_version(paths, *version));
    }
    let backing = match mode {
        AttachMode::Tier { backing, .. } => &mut **backing,
        AttachMode::None if matches!(old, Some((_, Header { geometry: Some(_), .. }))) => {
            return Err(AttachError::Unrecovered { path: paths.hot.clone() });
        }
        AttachMode::None => {
            let (sized, carried) = (SizeReason::Asked, None);
            return Ok(HandOver { epoch, geometry: None, least: None, sized, carried });
        }
    };
    let told = |source| AttachError::BackingStore { path: paths.directory.clone(), source };
    let (mut records, mut carried, mut outgrown) = (Vec::new(), None, None);
    let applied = backing.applied().map_err(told)?;
    // What the database names may hold records that it lacks, and which only that version reads. All else is ignored.
    if let HotFile::Other { version, epoch } = found
        && applied.is_some_and(|(known, _)| known == *epoch)
    {
        return Err(other_version(paths, *version));
    }
    let is_copy =
        |file: &File, header: &Header| file.metadata().is_ok_and(|found| header.is_copy(found.ino()));
    let is_known = |header: &Header| applied.is_some_and(|(epoch, _)| epoch == header.epoch);
    if let Some((file, header)) = old
        && let Some(geometry) = header.geometry.filter(|_| is_known(header) || is_copy(file, header))
    {
        let map =
            Map::new(file, header.file_len()).map_err(|error| AttachError::io("map", &paths.hot, error))?;
        let memory = Memory::new(map.words(), geometry, header.epoch);
        let is_copy = is_copy(file, header) && memory.is_live();
        let last = memory.field(field::LAST).load(Acquire);
        let mut is_whole = !memory.is_dirty();
        let mut offsets = None;
        if let Some((_, applied)) = applied.filter(|(epoch, _)| *epoch == header.epoch) {
            if matches!(found, HotFile::Foreign(..)) {
                // A process that still has it, since its `cache.lock` was removed, must write no more than is found
                // here.
                memory.retire();
            }
            if memory.is_outgrown(applied) {
                let next = memory.next_size();
                // Else there is nothing, because the blocks of the log are given back.
                if next.1 != SizeReason::Disk {
                    offsets = Some(memory.carried(next.0));
                }
                outgrown = Some(next);
            } else {
                records = memory.scan(applied);
            }
            is_whole = records.last().map_or(applied, |words| View::verified(words).seq()) >= last;
        }
        if is_copy && !(records.is_empty() && is_whole) {
            backing.copied(records.len(), is_whole);
        }
        carried = offsets.map(|offsets| Carried::new(map, geometry, header.epoch, offsets));
    }
    let (geometry, least, sized) = match mode {
        AttachMode::Tier { bytes: 0, .. } | AttachMode::None => (None, None, SizeReason::Asked),
        AttachMode::Tier { bytes, backing, successor } => {
            let (next, why) = outgrown.unwrap_or_default();
            // The blocks of a file that is ready are free no more.
            let ready = successor.as_ref().map(|successor| successor.geometry().log_bytes());
            let grown = next.min(ready.unwrap_or_else(|| backing.most()));
            let least = Geometry::of(*bytes);
            let is_followed = grown > *bytes || why == SizeReason::Disk;
            let sized = if is_followed { why } else { SizeReason::Asked };
            (Some(Geometry::of(grown.max(*bytes))), Some(least), sized)
        }
    };
    if let AttachMode::Tier { backing, .. } = mode {
        backing.begin(geometry.map(|_| epoch), Records::new(&records)).map_err(told)?;
    }
    Ok(HandOver { epoch, geometry, least, sized, carried })
}

/// Returns whether the file says that its database was replaced. Processes that have it attached will notice.
fn is_gone(path: &Path) -> bool {
    let mut state = [0; 8];
    open_existing(path).is_ok_and(|file| file.read_exact_at(&mut state, 8 * field::STATE as u64).is_ok())
        && [field::GONE, field::OUTGROWN].contains(&u64::from_le_bytes(state))
}

/// Whether no other process is attached to this very file. If so, none can be until `reopen`.
pub(crate) fn is_last(descriptor: &Descriptor, paths: &Paths, hot: Identity) -> bool {
    let entered = matches!(enter(descriptor, &paths.lock, LockKind::Exclusive), Ok(true));
    let alone = entered
        && matches!(Identity::at(&paths.hot), Ok(Some(found)) if found == hot)
        && matches!(held_elsewhere(descriptor, &paths.lock, 0, SLOTS), Ok(false));
    if entered && !alone {
        reopen(descriptor);
    }
    alone
}

/// How many are attached to a directory: processes, and this one as often as it is. Those who share no memory count as
/// one, since they hold the same byte. Only looks, so that reading `cache.lock` is enough.
pub fn count_attached(directory: &Path) -> io::Result<u32> {
    match File::open(directory.join("cache.lock")) {
        Ok(file) => {
            let apart = ofd::held_elsewhere(file.as_fd(), APART_BYTE, 1)?;
            Ok(ofd::count_held_elsewhere(file.as_fd(), 0, SLOTS)? + u32::from(apart))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

enum HotFile {
    Valid(File, Header),
    /// Of another `cache.lock`: that was removed, or the directory is a copy. Its dirty records count all the same.
    Foreign(File, Header),
    /// Of another version of dolium.
    Other {
        version: u32,
        epoch: u64,
    },
    /// None, incomplete, or garbage.
    Unusable,
}

fn other_version(paths: &Paths, found: u32) -> AttachError {
    AttachError::Version { path: paths.hot.clone(), found, known: header::VERSION }
}

fn read(path: &Path, lock: Identity) -> Result<HotFile, AttachError> {
    let file = match open_existing(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HotFile::Unusable),
        Err(error) => return Err(AttachError::io("open", path, error)),
    };
    let found = file.metadata().map_err(|error| AttachError::io("examine", path, error))?;
    if !found.is_file() {
        return Err(AttachError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = [0; PREFIX_LEN];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(HotFile::Unusable),
        Err(error) => return Err(AttachError::io("read", path, error)),
    }
    match header::decode(&bytes, found.len()) {
        Reading::Valid(header) if header.lock_inode == lock.inode => Ok(HotFile::Valid(file, header)),
        Reading::Valid(header) => Ok(HotFile::Foreign(file, header)),
        Reading::Garbage => Ok(HotFile::Unusable),
        Reading::Other { version, epoch } => Ok(HotFile::Other { version, epoch }),
    }
}

/// What a member has of the file.
struct Settled {
    slot: u32,
    map: Map,
    hot: Identity,
    header: Header,
}

impl Settled {
    /// Puts records into the new tier, to which no other process can attach yet.
    fn carry(&self, carried: &Carried) {
        if let Some(geometry) = self.header.geometry {
            carried.copy_to(&Memory::new(self.map.words(), geometry, self.header.epoch));
        }
    }
}

/// Maps the file, unless it is `mapped`, and takes a slot. Returns `None` if it is not the file that was expected.
fn settle(
    descriptor: &Descriptor,
    paths: &Paths,
    found: HotFile,
    mapped: Option<(Map, Identity)>,
) -> Result<Option<Settled>, AttachError> {
    let HotFile::Valid(file, header) = found else { return Ok(None) };
    let found = file.metadata().map_err(|error| AttachError::io("examine", &paths.hot, error))?;
    let map = match mapped.filter(|(_, identity)| *identity == Identity::of(&found)) {
        Some((map, _)) => map,
        None => {
            Map::new(&file, header.file_len()).map_err(|error| AttachError::io("map", &paths.hot, error))?
        }
    };
    // They have just been written, most often: mapping all of them takes as long as touching a dozen.
    map.populate(0..usize::try_from(header.front() / 8).unwrap_or(0));
    let slot = take_slot(descriptor)
        .map_err(|error| AttachError::io("lock", &paths.lock, error))?
        .ok_or_else(|| AttachError::Full { path: paths.lock.clone(), slots: SLOTS })?;
    Ok(Some(Settled { slot, map, hot: Identity::of(&found), header }))
}

/// Starts anywhere: a crowd that started at 0 would queue at each byte in turn.
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
