//! Values of frames that this crate does not decode: JSON, arrays, tables, pickles with buffers, and what a program encodes
//! in its own way.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A value as its encoder made it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Encoded {
    /// The encoder, see [`encoder`](crate::raw::encoder).
    pub encoder: u8,
    /// Filters that this crate does not undo, in the order of writing.
    pub filters: Vec<u8>,
    /// Whether this user's key signed it, for this key of the cache. Only what may run code is signed.
    pub signed: bool,
    /// Whether its writer wants readers to map it.
    pub is_aligned: bool,
    /// Where its bytes are.
    pub source: Source,
}

/// Where the bytes of a value are.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Source {
    /// Here.
    Memory(Vec<u8>),
    /// In the value file, which stays readable even if the entry is overwritten meanwhile.
    File(BodyFile),
}

/// Bytes in a value file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BodyFile {
    /// The file.
    pub file: Arc<File>,
    /// Where the bytes begin.
    pub at: u64,
    /// How many they are.
    pub length: u64,
    /// The first of them, if a signature covers these. Use them instead of the file's.
    pub signed_part: Vec<u8>,
    /// Whether the file may be mapped: it lies on this machine, and no other user may write to it.
    pub may_be_mapped: bool,
}

impl PartialEq for BodyFile {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file) && (self.at, self.length) == (other.at, other.length)
    }
}

impl Encoded {
    /// The bytes.
    ///
    /// # Errors
    ///
    /// Fails if the value file cannot be read.
    pub fn bytes(&self) -> io::Result<Cow<'_, [u8]>> {
        match &self.source {
            Source::Memory(bytes) => Ok(Cow::Borrowed(bytes)),
            Source::File(BodyFile { file, at, length, .. }) => {
                let length = usize::try_from(*length).map_err(io::Error::other)?;
                read_at(file, *at, length).map(Cow::Owned)
            }
        }
    }
}

/// So many bytes of a file, whose length was compared before.
pub(crate) fn read_at(file: &File, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(io::Error::from)?;
    bytes.resize(length, 0);
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}
