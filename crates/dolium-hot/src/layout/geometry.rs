//! Where things lie in a `cache.hot` that has a tier: header page, counters, index, access words,
//! log.
//!
//! Owns sizes and offsets, counted in 64-bit words. Refuses memory and files.

use crate::layout::header::HEADER_LEN;

/// Lines of counters, and counters in each: 128 bytes.
pub(crate) const LINES: usize = 256;
pub(crate) const LINE: usize = 16;
/// Slots of a bucket: one cache line.
pub(crate) const BUCKET: usize = 8;
/// Words of a unit, in which offsets and lengths of the log are counted.
pub(crate) const UNIT: usize = 2;
/// The smallest tier that is made, in bytes.
pub(crate) const SMALLEST: u64 = 64 << 10;
/// The largest, so that lengths fit their fields with room to spare.
pub(crate) const LARGEST: u64 = 16 << 30;
/// The part of the log that a record may take at most, so that no value drives out all others.
pub(crate) const LONGEST_PART: u64 = 8;
/// Bytes of log for each slot of the index: a little less than a small record takes.
const BYTES_PER_SLOT: u64 = 128;

/// Bytes of a file that are written out when it is made: of the usual size, all that lies before the log and a sixteenth
/// of that.
const FRONT: u64 = 3 << 20;

/// Why a tier has its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SizeReason {
    /// The process that made it asked for that.
    #[default]
    Asked = 0,
    /// It has grown because keys that it had let go of were asked for again.
    Returns = 1,
    /// It has grown because more was written than it took.
    Writes = 2,
    /// It has shrunk, or could not grow, because the disk is nearly full.
    Disk = 3,
}

impl SizeReason {
    /// The reason with a number, which a damaged file may have made up.
    pub(crate) fn of(number: u64) -> Self {
        match number {
            1 => Self::Returns,
            2 => Self::Writes,
            3 => Self::Disk,
            _ => Self::Asked,
        }
    }

    /// Its name for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Returns => "returns",
            Self::Writes => "writes",
            Self::Disk => "disk",
        }
    }
}

/// The layout of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Buckets of the index, a power of two.
    pub buckets: usize,
    /// Units of the log.
    pub units: u64,
}

impl Geometry {
    /// The geometry of a tier whose log has about `bytes` bytes.
    pub fn of(bytes: u64) -> Self {
        let log = bytes.clamp(SMALLEST, LARGEST) & !4095;
        let slots = (log / BYTES_PER_SLOT).next_power_of_two();
        let buckets = usize::try_from(slots).unwrap_or(usize::MAX) / BUCKET;
        Self { buckets, units: log / (8 * UNIT as u64) }
    }

    /// The geometry whose log has exactly so many bytes; none that we make has any other.
    pub fn read(log: u64) -> Option<Self> {
        let geometry = Self::of(log);
        (log != 0 && geometry.log_bytes() == log).then_some(geometry)
    }

    pub fn log_bytes(self) -> u64 {
        self.units * 8 * UNIT as u64
    }

    /// Bytes of the file.
    pub fn file_len(self) -> u64 {
        8 * (self.log() as u64) + self.log_bytes()
    }

    /// Returns how many bytes at the start of the file a new process touches soon, wherever its keys lie.
    pub fn front(self) -> u64 {
        (8 * (self.log() as u64) + self.log_bytes() / 16).min(FRONT) & !4095
    }

    /// Where in the log an offset lies, in units. A division takes as long as reading a line that is cached.
    #[inline]
    pub fn within(self, offset: u64) -> u64 {
        if self.units.is_power_of_two() { offset & (self.units - 1) } else { offset % self.units }
    }

    /// Where the counters begin.
    pub const COUNTERS: usize = HEADER_LEN as usize / 8;

    /// Where the slots of the index begin.
    pub const INDEX: usize = Self::COUNTERS + LINES * LINE;

    /// Where their access words begin: in lines of their own, so that noting a read disturbs no lookup.
    pub fn access(self) -> usize {
        Self::INDEX + self.slots()
    }

    /// Where the log begins.
    pub fn log(self) -> usize {
        self.access() + self.slots()
    }

    pub fn slots(self) -> usize {
        self.buckets * BUCKET
    }

    /// The longest record in units.
    pub fn longest(self) -> u64 {
        self.units / LONGEST_PART
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_geometry_is_known_by_the_length_of_its_log() {
        for bytes in [0, 1, SMALLEST, 100_000, 512 << 10, 16 << 20, LARGEST + 1] {
            let geometry = Geometry::of(bytes);
            assert_eq!(Geometry::read(geometry.log_bytes()), Some(geometry));
            assert!(geometry.buckets.is_power_of_two() && geometry.file_len().is_multiple_of(4096));
            assert!(
                geometry.front() <= geometry.file_len().min(FRONT) && geometry.front().is_multiple_of(4096)
            );
        }
        let usual = Geometry::of(16 << 20);
        assert!(usual.front() > 8 * usual.log() as u64, "a part of the index is left out");
        assert_eq!(Geometry::read(0), None);
        assert_eq!(Geometry::read(SMALLEST + 16), None);
    }
}
