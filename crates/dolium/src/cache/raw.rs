//! Entries as they are stored: rows, columns, pickles, frames and SQL.
//!
//! A Rust program that reads and writes values needs none of this. A binding decodes values itself, and the command line
//! moves entries between stores without decoding them.
//!
//! * **Rows**: [`row`], [`peek_row`], [`queue_row`], with [`Row`], [`Columns`] and the numbers of [`mode`].
//! * **Entries of other stores**: [`restore`] with a [`RawEntry`], [`stored_info`], [`whole_key`] and [`proof`].
//! * **Pickles and `MessagePack`**: [`pickle`] writes and reads Python's bytes, [`sign`] says who wrote them, and
//!   `msgpack` reads the values of `Cache::set_as`. [`sign_pickle`] and [`verify_pickle`] do so for a key.
//! * **Frames**: a [`Frame`] is a value with what a remembered function keeps beside it; see [`framed`].
//! * **Dictionaries**: the values of a [`Group`] share a [`Dictionary`]; [`usage`] says what that saves.
//! * **The store itself**: [`sql`], [`annotate`], [`journal_mode`], and the checks of settings.

pub use super::annotations::{annotate, annotation};
pub use super::dictionary::{
    Compressed, Group, StoredDictionary, Storing, Usage, dictionaries, dictionary, group, groups,
    loaded_dictionary, restore_dictionary, usage,
};
pub use super::frame::{Framed, framed, framed_value, unfiltered, value_of};
pub use super::prepare::sign_pickle;
pub use super::queue::{peek_row, queue_row};
pub use super::read::{proof, row, stored_info, verify_pickle, whole_key};
pub use super::restore::{Body, RawEntry, restore};
pub use super::sharded::{share_of, whole_of};
pub use super::sql::{QueryResult, sql, sql_many};
pub use super::upkeep::journal_mode;
pub use crate::system::value_files::ValueFiles;
pub use crate::value::dictionary::Dictionary;
pub use crate::value::encoded::{BodyFile, Encoded, Source};
pub use crate::value::filters::{Zstd, undo};
pub use crate::value::frame::{Frame, Head, encoder, filter, int_body};
pub use crate::value::key::Object;
#[cfg(feature = "serde")]
pub use crate::value::msgpack;
pub use crate::value::settings::{known_setting, read_setting};
pub use crate::value::{Columns, Row, mode, pickle, sign};
