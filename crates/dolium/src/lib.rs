//! A persistent cache that every process on a machine shares, without a server.
//!
//! A cache is a directory. Its entries lie in an `SQLite` database, large values in files beside it, in
//! the format of Python's `diskcache`: programs of both languages can use one directory at the same time.
//!
//! ```
//! # let dir = tempfile::tempdir().unwrap();
//! use dolium::{Cache, PutOptions};
//! use std::time::Duration;
//!
//! let cache = Cache::open(dir.path())?;
//! cache.set_with("page:/", "<html>…", &PutOptions::new().expire_in(Duration::from_secs(60)).tag("pages"))?;
//! if let Some(dolium::Value::Text(page)) = cache.get("page:/")? {
//!     assert!(page.starts_with("<html>"));
//! }
//! cache.evict(&"pages".into())?;
//! # Ok::<(), dolium::Error>(())
//! ```
//!
//! * [`Cache`]: the map, its queues and transactions; [`ShardedCache`]: several of them as one.
//! * [`Cache::get_or_compute`]: one computation for all that miss a key at the same time; [`Flight`]: the parts of that.
//! * [`Key`], [`Payload`], [`Value`]: what goes in and comes out.
//! * [`Error`]: everything that can go wrong; [`Warning`]: what went well but should be known.
//! * [`pickle`] and [`sign`]: the bytes that Python's keys and values have, and who wrote them.
//! * [`pickle::read`] and `msgpack`: the readers of these bytes, for programs that show them.
//!
//! How it works, and why it survives crashes, is argued in `docs/design.md`.

#![forbid(unsafe_code)]

mod cache;
mod flight;
mod sqlite;
mod store;
mod system;
mod value;

pub use cache::backup::Backup;
pub use cache::check::Problem;
pub use cache::sharded::ShardedCache;
pub use cache::{
    Body, Builder, Cache, EntryRef, FrameRef, Framed, HotTierStatus, Info, Keys, Order, OwnedTransaction,
    QueryResult, RawEntry, Side, Stats, Stream, TierUnavailable, Transaction, Unanswered, ValueRef, shutdown,
};
pub use dolium_hot::{Counter, TierStats};
pub use flight::{After, Asked, Ended, Flight, Joined, Space, Waiter};
pub use store::pause::{pause_transactions, resume_transactions};
pub use store::transaction::any_transaction;
pub use system::clock::{Clock, Timestamp, system_time, tell_time, timestamp};
pub use system::context::{Context, NO_CONTEXT, set_context_hook};
pub use system::error::{Error, Result};
pub use system::value_files::ValueFiles;
pub use system::wait::{Wait, set_interrupt_hook};
pub use system::warning::Warning;
pub use value::frame::{Frame, encoder, int_body};
pub use value::key::{Key, Object};
#[cfg(feature = "serde")]
pub use value::msgpack;
pub use value::number::Number;
pub use value::policy::Policy;
pub use value::put_options::{Expiry, PutOptions};
pub use value::scalar::Scalar;
pub use value::settings::{known_setting, read_setting};
pub use value::{Columns, Entry, Payload, Row, Value, mode, pickle, sign};
