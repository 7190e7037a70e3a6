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
//! | 128 | 4 | D: who may write the database |
//! | 256 | 4 | T: who may write the tier (reserved) |
//!
//! The first 40 bytes never change once the file has its name. The words stand 128 bytes apart, the longest cache line
//! in use. The rest of the page is zero and reserved.

pub(crate) const MAGIC: [u8; 8] = *b"dolium\0\x16";
pub(crate) const VERSION: u32 = 1;
/// One page, the unit that can be mapped everywhere.
pub(crate) const HEADER_LEN: u32 = 4096;
/// Without log and index the header is the file.
pub(crate) const FILE_LEN: u64 = HEADER_LEN as u64;
pub(crate) const PREFIX_LEN: usize = 40;
pub(crate) const D_OFFSET: usize = 128;
// Nothing but the layout test below refers to T until the log, which it guards, comes.
pub(crate) const T_OFFSET: usize = 256;

/// The fields that never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) file_len: u64,
    pub(crate) epoch: u64,
    pub(crate) lock_inode: u64,
}

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Valid(Header),
    /// Ours, of a layout that this program does not know.
    Version(u32),
    Garbage,
}

impl Header {
    pub(crate) fn encode(self) -> [u8; PREFIX_LEN] {
        let mut bytes = [0; PREFIX_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&HEADER_LEN.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.file_len.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.lock_inode.to_le_bytes());
        bytes
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
        Some(other) => return Reading::Version(other),
        None => return Reading::Garbage,
    }
    match (half(12), word(16), word(24), word(32)) {
        (Some(HEADER_LEN), Some(file_len), Some(epoch), Some(lock_inode))
            if file_len == FILE_LEN && actual_len >= file_len && epoch != 0 =>
        {
            Reading::Valid(Header { file_len, epoch, lock_inode })
        }
        _ => Reading::Garbage,
    }
}

const _: () = {
    assert!(D_OFFSET >= PREFIX_LEN && D_OFFSET.is_multiple_of(128) && T_OFFSET.is_multiple_of(128));
    assert!(T_OFFSET >= D_OFFSET + 128 && T_OFFSET + 128 <= HEADER_LEN as usize);
};

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header { file_len: FILE_LEN, epoch: 7, lock_inode: 42 };

    #[test]
    fn a_header_reads_back() {
        assert_eq!(decode(&HEADER.encode(), FILE_LEN), Reading::Valid(HEADER));
    }

    #[test]
    fn the_bytes_are_fixed() {
        let expected =
            b"dolium\0\x16\x01\0\0\0\0\x10\0\0\0\x10\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x2a\0\0\0\0\0\0\0";
        assert_eq!(&HEADER.encode(), expected);
    }

    #[test]
    fn anything_else_is_garbage_or_another_version() {
        let good = HEADER.encode();
        assert_eq!(decode(&good, FILE_LEN - 1), Reading::Garbage);
        assert_eq!(decode(&[], 0), Reading::Garbage);
        for cut in 0..good.len() {
            assert_eq!(decode(&good[..cut], FILE_LEN), Reading::Garbage, "cut at {cut}");
        }
        for at in (0..8).chain(12..24) {
            let mut bad = good;
            bad[at] ^= 0x80;
            assert_eq!(decode(&bad, FILE_LEN), Reading::Garbage, "byte {at}");
        }
        let mut later = good;
        later[8] = 2;
        assert_eq!(decode(&later, FILE_LEN), Reading::Version(2));
    }
}
