//! Values of frames that this crate does not decode: JSON, arrays, tables, pickles with buffers, and what a program encodes
//! in its own way.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::value::mode;
use crate::value::sign::{Mac, Trailer};

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
    /// The signature over all bytes, if there is one: [`read`](Self::read) verifies it.
    pub(crate) unread: Option<Arc<Unread>>,
}

/// The signature of a frame whose body has not been read yet.
#[derive(Debug)]
pub(crate) struct Unread {
    /// The sum of what lies before the body.
    pub mac: Mac,
    pub trailer: Trailer,
    /// What [`Key::signed_form`](crate::Key) says of the key.
    pub key: (u8, Vec<u8>),
}

/// Bytes that are read and signed at once: they stay in the cache of the processor.
const TILE: usize = 256 << 10;

impl BodyFile {
    /// Whether [`read`](Self::read) must be asked who signed the value.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.unread.is_some()
    }

    /// Reads all bytes once, and shows them to `take` piece by piece. Returns whether this user's key signed all of them,
    /// for this key of the cache.
    ///
    /// # Errors
    ///
    /// Fails if the value file cannot be read, or has become shorter.
    pub fn read(&self, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
        let mut mac = self.unread.as_ref().map(|unread| unread.mac.clone());
        let mut tile = vec![0; TILE];
        let mut done = 0;
        while done < self.length {
            let count = usize::try_from(self.length - done).map_or(TILE, |left| left.min(TILE));
            let tile = &mut tile[..count];
            self.file.read_exact_at(tile, self.at + done)?;
            if let Some(mac) = &mut mac {
                mac.update(tile);
            }
            take(tile);
            done += count as u64;
        }
        Ok(self.unread.as_ref().zip(mac).is_some_and(|(unread, mac)| {
            let (kind, key) = &unread.key;
            mac.matches(&unread.trailer, *kind, key, mode::FRAME)
        }))
    }
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
