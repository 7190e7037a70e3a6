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
//! * **Caches**: [`Cache`] is the map, its queues and transactions, and [`ShardedCache`] is several of them as one. A
//!   [`Builder`] opens either with settings of your own.
//! * **Entries**: [`Key`], and the values that go in ([`Payload`]) and come out ([`Value`], [`Entry`], [`Stream`]), with
//!   [`PutOptions`] beside them. `Cache::set_as` and `Cache::get_as` take any type that serde can carry.
//! * **One computation for all**: [`Cache::get_or_compute`].
//! * **What a cache says of itself**: [`Stats`], [`Info`], [`HotTierStatus`], [`Problem`].
//! * **Failures**: [`Error`] is everything that can go wrong, and [`Warning`] is what went well but should be known.
//!
//! Two modules have what a program seldom needs: [`raw`] reads and writes entries as they are stored, and [`host`] serves
//! bindings for other languages.
//!
//! Types that will grow are `#[non_exhaustive]`: build them with `new` and their methods, and match them with a wildcard.
//!
//! How the engine works, and why it survives crashes, is argued in `docs/design.md`.

#![forbid(unsafe_code)]
// What will grow is `#[non_exhaustive]`. What stays as it is says why.
#![warn(clippy::exhaustive_enums, clippy::exhaustive_structs)]

mod cache;
mod flight;
mod sqlite;
mod store;
mod system;
mod value;

pub use cache::{Builder, Cache, Items, Keys, Order, ShardedCache, Side, Transaction, host, raw};
pub use system::clock::{Clock, Timestamp, system_time, timestamp};
pub use system::wait::Wait;
pub use value::eviction_policy::Policy;

pub use cache::{Info, Stream};
pub use value::key::Key;
pub use value::number::Number;
pub use value::put_options::{Expiry, PutOptions};
pub use value::scalar::Scalar;
pub use value::{Entry, Payload, Value};

pub use cache::{Backup, HotTierStatus, Problem, Stats, TierUnavailable};
pub use dolium_hot::{Counter, SizeReason, TierStats};

pub use system::error::{Error, Result};
pub use system::warning::Warning;
