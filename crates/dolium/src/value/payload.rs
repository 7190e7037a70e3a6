//! Owns values: what a caller may hand in, how each kind is stored, and what comes back.
//! Knows neither SQL nor file names; `cache::prepare` decides what lies in a file, and
//! `system::value_files` writes it.

use std::fmt;
use std::io::Read;

use crate::system::clock::Timestamp;
use crate::value::encoded::Encoded;
use crate::value::frame::Frame;
use crate::value::scalar::Scalar;

/// The column `mode`: how the rest of a row encodes its value. Below 16 as in diskcache, from 16 on ours.
pub mod mode {
    /// No value.
    pub const NONE: i64 = 0;
    /// The column `value` is the value.
    pub const RAW: i64 = 1;
    /// Bytes in a value file.
    pub const BINARY: i64 = 2;
    /// UTF-8 text in a value file.
    pub const TEXT: i64 = 3;
    /// A pickle, in the row or in a value file, with our signature behind it if we wrote it.
    pub const PICKLE: i64 = 4;
    /// `MessagePack`, in the row or in a value file. Earlier versions wrote it.
    pub const PACKED: i64 = 16;
    /// A [`Frame`](crate::raw::Frame). A row says [`BINARY`] instead, and names a value file that is not there.
    pub const FRAME: i64 = 17;
}

/// A value to store. Borrows: nothing is copied before it is bound to a row or written to a file.
#[non_exhaustive]
pub enum Payload<'a> {
    /// A 64-bit integer.
    Int(i64),
    /// A float. NaN is stored as a pickle, since SQLite would make NULL of it.
    Float(f64),
    /// Text, stored byte for byte.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A pickle that this program made; it is signed, so that it is trusted when it is read.
    Pickle(&'a [u8]),
    /// The same, read to the end and always kept in a value file.
    PickleReader(&'a mut dyn Read),
    /// `MessagePack`, stored as a frame.
    Packed(&'a [u8]),
    /// A value with what is kept beside it.
    Frame(Frame<'a>),
    /// The same, with a body that is read to the end and always kept in a value file. A signed one is not aligned.
    Framed {
        /// All of the frame but its body.
        frame: Frame<'a>,
        /// Bytes of the body.
        length: usize,
        /// The body.
        body: &'a mut dyn Read,
    },
    /// Bytes that are read to the end and always kept in a value file.
    Reader(&'a mut dyn Read),
    /// Columns that were made elsewhere, with a value file that already exists.
    Columns(Columns),
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => f.debug_tuple("Int").field(value).finish(),
            Self::Float(value) => f.debug_tuple("Float").field(value).finish(),
            Self::Text(value) => f.debug_tuple("Text").field(value).finish(),
            Self::Bytes(value) => f.debug_tuple("Bytes").field(value).finish(),
            Self::Pickle(value) => f.debug_tuple("Pickle").field(value).finish(),
            Self::PickleReader(_) => f.write_str("PickleReader"),
            Self::Packed(value) => f.debug_tuple("Packed").field(value).finish(),
            Self::Frame(value) => f.debug_tuple("Frame").field(value).finish(),
            Self::Framed { frame, length, .. } => f.debug_tuple("Framed").field(frame).field(length).finish(),
            Self::Reader(_) => f.write_str("Reader"),
            Self::Columns(value) => f.debug_tuple("Columns").field(value).finish(),
        }
    }
}

/// The four columns of a row that hold its value. diskcache made the table, so that no column joins them.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "the table is that of diskcache")]
pub struct Columns {
    /// Length of the value file, 0 without one.
    pub size: i64,
    /// See [`mode`].
    pub mode: i64,
    /// Path of the value file relative to the directory.
    pub filename: Option<String>,
    /// The value, or what the mode needs beside the file.
    pub value: Scalar,
}

impl Columns {
    /// A value that lies in its row.
    pub(crate) fn inline(mode: i64, value: Scalar) -> Self {
        Self { size: 0, mode, filename: None, value }
    }
}

/// The `size` of a long value that waits in the hot tier: when it is drained, it becomes a value file.
pub(crate) const UNFILED: i64 = -1;

/// A row as it is stored, for callers that decode values themselves.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// The row's place in the order of insertion, or [`Row::HOT`].
    pub rowid: i64,
    /// When the value was written.
    pub store_time: Timestamp,
    /// When the entry expires.
    pub expire_time: Option<Timestamp>,
    /// The entry's tag.
    pub tag: Scalar,
    /// The value.
    pub columns: Columns,
}

impl Row {
    /// The `rowid` of a row that comes from the hot tier: it may have none yet.
    pub const HOT: i64 = 0;
}

/// A value as it comes back.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// No value: a mode that no writer uses, or SQL's NULL.
    Null,
    /// A 64-bit integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A pickle. Run it only if it is `signed`, or if the user vouches for the directory.
    Pickle {
        /// The pickle; without our signature if that was verified, else as it is stored.
        bytes: Vec<u8>,
        /// Whether this user's key signed it, for this key of the cache.
        signed: bool,
    },
    /// `MessagePack`, see `Value::decode`.
    Packed(Vec<u8>),
    /// What an encoder made that this crate does not know, or has no use for.
    Encoded(Encoded),
    /// A mode that this version does not know.
    Unknown {
        /// See [`mode`].
        mode: i64,
        /// The bytes of the row or the value file.
        bytes: Vec<u8>,
    },
}

/// A value with what is stored beside it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entry<T = Value> {
    /// The value.
    pub value: T,
    /// When it expires.
    pub expire_time: Option<Timestamp>,
    /// Its tag.
    pub tag: Scalar,
    /// When it was written.
    pub store_time: Timestamp,
}

impl<T> Entry<T> {
    pub(crate) fn of(row: Row, value: T) -> Self {
        Self { value, expire_time: row.expire_time, tag: row.tag, store_time: row.store_time }
    }
}

macro_rules! payload_from {
    ($($source:ty => $variant:ident),*) => {$(
        impl<'a> From<$source> for Payload<'a> {
            fn from(value: $source) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

payload_from!(i64 => Int, i32 => Int, u32 => Int, f64 => Float, &'a str => Text, &'a [u8] => Bytes, Frame<'a> => Frame);

impl<'a> From<&'a String> for Payload<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a Vec<u8>> for Payload<'a> {
    fn from(value: &'a Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(value: &'a [u8; N]) -> Self {
        Self::Bytes(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl PartialEq<i64> for Value {
    fn eq(&self, other: &i64) -> bool {
        *self == Self::Int(*other)
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        matches!(self, Self::Text(text) if text == other)
    }
}
