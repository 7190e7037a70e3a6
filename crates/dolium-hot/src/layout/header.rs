//! The bytes of `cache.hot`.
//!
//! Owns offsets, sizes and the header's codec. Refuses pointers and system calls. Everything is little-endian and of
//! fixed width: programs with different C libraries share the file.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic |
//! | 8 | 4 | layout version |
//! | 12 | 4 | length of the header |
//! | 16 | 8 | length of the file |
//! | 24 | 8 | epoch: random, never 0, new whenever the file is started afresh |
//! | 32 | 8 | inode of the `cache.lock` whose slots the words below name |
//! | 40 | 8 | length of the log, 0 without a tier |
//! | 48 | 8 | inode of this very file, 0 where a program did not know it: a copy has another |
//! | 128 | 4 | the writer lock: its owner may write the database |
//! | 256 | 4 | the append lock: its owner may write the tier |
//! | 264 | 8 | not 0: the owner of the append lock died or panicked, and no later owner has recovered yet |
//! | 384 | 24 | head, last, the sequence number that a direct commit has announced |
//! | 512 | 72 | tail, drained, applied, commits, state, foreign, additions, the size of the next file, why this one has its size |
//!
//! The first 56 bytes never change once the file has its name. The first 32 have this meaning in every version, so that a
//! file of another version can be told from one whose records the database lacks. The words stand 128 bytes apart, the longest cache line
//! in use. The rest of the page is zero and reserved. Behind it, if there is a tier: counters, index, access words, log
//! (`layout/geometry.rs`).

use crate::layout::geometry::{Geometry, SizeReason};

pub(crate) const MAGIC: [u8; 8] = *b"dolium\0\x16";
pub(crate) const VERSION: u32 = 3;
/// One page, the unit that can be mapped everywhere.
pub(crate) const HEADER_LEN: u32 = 4096;
pub(crate) const PREFIX_LEN: usize = 56;
pub(crate) const D_OFFSET: usize = 128;
pub(crate) const T_OFFSET: usize = 256;

/// The words of the header that the tier's protocol is about, by index.
pub(crate) mod field {
    pub(crate) const UNRECOVERED: usize = 33;
    pub(crate) const HEAD: usize = 48;
    pub(crate) const LAST: usize = 49;
    pub(crate) const DIRECT: usize = 50;
    pub(crate) const TAIL: usize = 64;
    pub(crate) const DRAINED: usize = 65;
    pub(crate) const APPLIED: usize = 66;
    pub(crate) const COMMITS: usize = 67;
    pub(crate) const STATE: usize = 68;
    /// Not 0: a process has seen that another program changes rows, and the tier keeps this until it ends.
    pub(crate) const FOREIGN: usize = 69;
    /// Grows before each change that may add rows which the log does not name.
    pub(crate) const ADDITIONS: usize = 70;
    /// Bytes of log that the file after an outgrown one shall have; the lowest bits say why. 0 in files of earlier versions.
    pub(crate) const NEXT: usize = 71;
    /// Why the log has its size.
    pub(crate) const SIZED: usize = 72;
    /// A state: the tier is in use.
    pub(crate) const LIVE: u64 = 1;
    /// A state: the database has been replaced. Nothing here holds any more.
    pub(crate) const GONE: u64 = 2;
    /// A state: as before, and the next file has another size and takes along what is clean here.
    pub(crate) const OUTGROWN: u64 = 4;
    /// A state: the last process has left, and all is clean. What is here holds if the database still says so. Blocks that
    /// hold nothing are given back, so they must be reserved again. In state 3, of earlier versions, they were not.
    pub(crate) const RESTING: u64 = 5;
    /// A state: the tier is in use, and a chunk is being published. The offset at which it begins stands above this byte.
    const PUBLISHING: u64 = 6;

    /// The state while the chunk at an offset is being published.
    pub(crate) fn publishing(offset: u64) -> u64 {
        offset << 8 | PUBLISHING
    }

    /// Where the chunk begins that is being published, if a state says so.
    pub(crate) fn published(state: u64) -> Option<u64> {
        (state & 0xff == PUBLISHING).then_some(state >> 8)
    }
}

/// The fields that never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) epoch: u64,
    pub(crate) lock_inode: u64,
    pub(crate) hot_inode: u64,
    pub(crate) geometry: Option<Geometry>,
}

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Valid(Header),
    /// Ours, of a layout that this program does not know.
    Other {
        version: u32,
        epoch: u64,
    },
    Garbage,
}

impl Header {
    pub(crate) fn file_len(self) -> u64 {
        self.geometry.map_or(u64::from(HEADER_LEN), Geometry::file_len)
    }

    /// Whether a file with this header, which now has this inode, is a copy of the file that was made with it.
    pub(crate) fn is_copy(self, inode: u64) -> bool {
        self.hot_inode != 0 && self.hot_inode != inode
    }

    /// Bytes at the start of the file that are made at once, not when a process touches them.
    pub(crate) fn front(self) -> u64 {
        self.geometry.map_or(0, Geometry::front)
    }

    pub(crate) fn encode(self) -> [u8; PREFIX_LEN] {
        let mut bytes = [0; PREFIX_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&HEADER_LEN.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.file_len().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.lock_inode.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.geometry.map_or(0, Geometry::log_bytes).to_le_bytes());
        bytes[48..56].copy_from_slice(&self.hot_inode.to_le_bytes());
        bytes
    }
}

impl Header {
    /// The first page of a new file: with a tier that is in use and empty. Offsets start at the second lap, so that
    /// 0 is none.
    pub(crate) fn page(self, sized: SizeReason) -> Vec<u8> {
        let mut page = vec![0; HEADER_LEN as usize];
        page[..PREFIX_LEN].copy_from_slice(&self.encode());
        if let Some(geometry) = self.geometry {
            let fields = [field::HEAD, field::TAIL, field::DRAINED].map(|at| (at, geometry.units));
            for (at, value) in
                fields.into_iter().chain([(field::STATE, field::LIVE), (field::SIZED, sized as u64)])
            {
                page[8 * at..8 * at + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
        page
    }
}

/// Reads a header. `actual_len` is what the file system says: a shorter file would be a `SIGBUS` when touched.
pub(crate) fn decode(bytes: &[u8], actual_len: u64) -> Reading {
    let word = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    let half = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    if bytes.get(..8) != Some(&MAGIC[..]) {
        return Reading::Garbage;
    }
    match half(8) {
        Some(VERSION) => {}
        Some(version) => return Reading::Other { version, epoch: word(24).unwrap_or(0) },
        None => return Reading::Garbage,
    }
    let (Some(HEADER_LEN), Some(file_len), Some(epoch), Some(lock_inode), Some(log), Some(hot_inode)) =
        (half(12), word(16), word(24), word(32), word(40), word(48))
    else {
        return Reading::Garbage;
    };
    let header = Header { epoch, lock_inode, hot_inode, geometry: Geometry::read(log) };
    let is_sound = epoch != 0
        && (log == 0 || header.geometry.is_some())
        && file_len == header.file_len()
        && actual_len >= file_len;
    if is_sound { Reading::Valid(header) } else { Reading::Garbage }
}

const _: () = {
    assert!(D_OFFSET >= PREFIX_LEN && D_OFFSET.is_multiple_of(128) && T_OFFSET.is_multiple_of(128));
    assert!(T_OFFSET >= D_OFFSET + 128 && T_OFFSET + 128 <= HEADER_LEN as usize);
};

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header { epoch: 7, lock_inode: 42, hot_inode: 43, geometry: None };

    #[test]
    fn a_header_reads_back() {
        let with_tier = Header { geometry: Some(Geometry::of(1 << 20)), ..HEADER };
        for header in [HEADER, with_tier] {
            assert_eq!(decode(&header.encode(), header.file_len()), Reading::Valid(header));
        }
    }

    #[test]
    fn the_bytes_are_fixed() {
        let expected =
            b"dolium\0\x16\x03\0\0\0\0\x10\0\0\0\x10\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x2a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x2b\0\0\0\0\0\0\0";
        assert_eq!(&HEADER.encode(), expected);
    }

    #[test]
    fn anything_else_is_garbage_or_another_version() {
        let good = HEADER.encode();
        let len = HEADER.file_len();
        assert_eq!(decode(&good, len - 1), Reading::Garbage);
        assert_eq!(decode(&[], 0), Reading::Garbage);
        for cut in 0..good.len() {
            assert_eq!(decode(&good[..cut], len), Reading::Garbage, "cut at {cut}");
        }
        for at in (0..8).chain(12..24).chain(40..48) {
            let mut bad = good;
            bad[at] ^= 0x80;
            assert_eq!(decode(&bad, len), Reading::Garbage, "byte {at}");
        }
        let mut later = good;
        later[8] = 4;
        assert_eq!(decode(&later, len), Reading::Other { version: 4, epoch: 7 });
    }
}
