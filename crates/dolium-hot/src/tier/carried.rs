//! Owns the way of records from a tier that was too small to the one that comes after it.

use crate::layout::geometry::Geometry;
use crate::layout::map::Map;
use crate::log::memory::Memory;
use crate::log::scratch::Scratch;

/// Which records a new file takes along. The old file stays mapped until they are copied one by one, because copies of all take
/// 16 MiB.
pub(super) struct Carried {
    map: Map,
    geometry: Geometry,
    epoch: u64,
    offsets: Vec<u64>,
}

impl Carried {
    /// Those that lie at these offsets of the old file.
    pub fn new(map: Map, geometry: Geometry, epoch: u64, offsets: Vec<u64>) -> Self {
        Self { map, geometry, epoch, offsets }
    }

    /// Appends them, oldest first, to a tier that no other process has yet.
    pub fn copy_to(&self, memory: &Memory<'_>) {
        let before = Memory::new(self.map.words(), self.geometry, self.epoch);
        let mut scratch = Scratch::new();
        for offset in &self.offsets {
            if let Some(mut record) = before.repeated(*offset, &mut scratch) {
                // Without space it is forgotten.
                let _ = memory.append(&mut record);
            }
        }
    }
}
