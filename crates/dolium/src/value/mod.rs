//! Keys, values and settings: the bytes that they have in a row. Does not know SQL, nor where a row is stored.

pub(crate) mod dictionary;
pub(crate) mod encoded;
pub(crate) mod eviction_policy;
pub(crate) mod filters;
pub(crate) mod frame;
pub(crate) mod key;
#[cfg(feature = "serde")]
pub mod msgpack;
pub(crate) mod number;
mod payload;
pub mod pickle;
pub(crate) mod put_options;
pub(crate) mod scalar;
pub(crate) mod settings;
mod shuffle;
pub mod sign;
#[cfg(feature = "serde")]
mod typed;
pub(crate) mod zstandard;

pub(crate) use payload::UNFILED;
pub use payload::{Columns, Entry, Payload, Row, Value, mode};
