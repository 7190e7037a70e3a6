//! Owns reading a tier without being one of its members: by those who may not write the directory.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use crate::layout::geometry::Geometry;
use crate::layout::header::{PREFIX_LEN, Reading, decode, field};
use crate::layout::map::Map;
use crate::log::memory::Memory;
use crate::log::record::{Key, View};
use crate::log::scratch::Scratch;
use crate::log::stats::TierStats;

/// A tier that is only looked at: no slot, no lock, nothing written. Clones are the same mapping.
#[derive(Clone, Debug)]
pub struct Observer(Arc<Observed>);

#[derive(Debug)]
struct Observed {
    map: Map,
    geometry: Geometry,
    epoch: u64,
    is_copy: bool,
}

impl Observer {
    /// Looks at the tier of a directory, if it has the epoch that the database names; `None` otherwise.
    pub fn new(directory: &Path, epoch: u64) -> io::Result<Option<Self>> {
        let file = match File::open(directory.join("cache.hot")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut bytes = [0; PREFIX_LEN];
        if file.read_exact_at(&mut bytes, 0).is_err() {
            return Ok(None);
        }
        let found = file.metadata()?;
        let Reading::Valid(header) = decode(&bytes, found.len()) else { return Ok(None) };
        let Some(geometry) =
            header.geometry.filter(|_| header.epoch == epoch && cfg!(target_endian = "little"))
        else {
            return Ok(None);
        };
        let map = Map::read_only(&file, header.file_len())?;
        let is_copy = header.is_copy(found.ino());
        Ok(Some(Self(Arc::new(Observed { map, geometry, epoch, is_copy }))))
    }

    fn memory(&self) -> Memory<'_> {
        Memory::new(self.0.map.words(), self.0.geometry, self.0.epoch)
    }

    /// Names the epoch of the tier.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// Whether it was copied from another directory.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        self.0.is_copy
    }

    /// Whether it is still in use.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.memory().is_live()
    }

    /// As [`Tier::head`](crate::Tier::head).
    #[must_use]
    pub fn head(&self) -> u64 {
        self.memory().field(field::HEAD).load(Acquire)
    }

    /// As [`Tier::drained_to`](crate::Tier::drained_to).
    #[must_use]
    pub fn drained_to(&self) -> u64 {
        self.memory().field(field::DRAINED).load(Acquire)
    }

    /// Whether something before an offset of the log waits to be drained.
    #[must_use]
    pub fn waits_before(&self, offset: u64) -> bool {
        let memory = self.memory();
        memory.is_live() && memory.is_dirty() && memory.field(field::DRAINED).load(Acquire) < offset
    }

    /// As [`Tier::lookups`](crate::Tier::lookups).
    #[must_use]
    pub fn lookups(&self) -> (u64, u64) {
        self.memory().lookups()
    }

    /// As [`Tier::stats`](crate::Tier::stats).
    #[must_use]
    pub fn stats(&self) -> TierStats {
        self.memory().stats()
    }

    /// As [`Tier::get`](crate::Tier::get).
    pub fn get<T>(&self, key: Key<'_>, f: impl FnOnce(View<'_>) -> T) -> Option<T> {
        let memory = self.memory();
        let mut scratch = Scratch::new();
        memory.find_beside(key, memory.hash(key.kind, key.bytes), &mut scratch)?;
        Some(f(View::verified(scratch.words())))
    }
}
