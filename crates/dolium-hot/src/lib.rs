//! What the processes of a dolium cache share besides its database: a lock that survives its owner, and the knowledge
//! that a fork has happened.
//!
//! A directory has two files of this crate. `cache.hot` is mapped by every process and holds the writer lock's word
//! (and later the log and the index of the hot tier). `cache.lock` holds nothing but a note why no memory is shared;
//! its bytes are locked: one of the first 4,096 says that the process with that slot is alive, the next guards joining
//! and creation. A word that names a dead process is taken over by the process that can lock the dead one's byte, which
//! the kernel has released.
//!
//! ```
//! use dolium_hot::{Access, Acquired, WriterLock};
//! use std::time::Duration;
//!
//! let directory = tempfile::tempdir()?;
//! let lock = WriterLock::attach(directory.path(), Access::private())?;
//! let guard = lock.acquire(Some(Duration::from_secs(1)), &mut || true)?;
//! assert_eq!(guard.acquired(), Acquired::Free);
//! drop(guard);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A third file, `cache.lease`, comes with the first computation that processes share: which process
//! computes which key ([`Leases`]).
//!
//! This is the only crate of dolium with `unsafe`.

#[cfg(target_os = "linux")]
mod layout;
#[cfg(target_os = "linux")]
mod lease;
mod lock;
#[cfg(target_os = "linux")]
mod log;
mod system;
#[cfg(target_os = "linux")]
mod tier;
mod writer;

#[cfg(target_os = "linux")]
pub use layout::geometry::SizeReason;
#[cfg(target_os = "linux")]
pub use lease::{Claim, Leases, Links, Outcome, Watch};
pub use lock::file_lock::FileLock;
pub use lock::guard::Guard;
pub use lock::health::Health;
#[cfg(target_os = "linux")]
pub use lock::lockfile::{Patience, note_in};
#[cfg(target_os = "linux")]
pub use lock::owner::Owner;
pub use lock::wait::Acquired;
#[cfg(target_os = "linux")]
pub use log::counters::Counter;
#[cfg(all(target_os = "linux", feature = "crash-points"))]
#[doc(hidden)]
pub use log::crash::on_point as on_crash_point;
#[cfg(target_os = "linux")]
#[doc(hidden)]
pub use log::crash::point as crash_point;
#[cfg(target_os = "linux")]
pub use log::drain::{Batch, Change, Limit};
#[cfg(all(target_os = "linux", feature = "fuzz"))]
#[doc(hidden)]
pub use log::fuzz::records as fuzz_records;
#[cfg(target_os = "linux")]
pub use log::record::{Cell, Key, Kind, PendingRecord, Row, View};
#[cfg(target_os = "linux")]
pub use log::stats::TierStats;
#[cfg(target_os = "linux")]
pub use log::write::LogFull;
pub use system::access::Access;
pub use system::error::{AttachError, LockError};
#[cfg(unix)]
pub use system::exit::on_exit;
pub use system::filesystem::{FileSystem, filesystem, may_copy, overwrite_in_place};
pub use system::fork::{generation, on_fork};
#[cfg(target_os = "linux")]
pub use tier::attach::count_attached;
#[cfg(target_os = "linux")]
pub use tier::member::{Lock, Shared};
#[cfg(target_os = "linux")]
pub use tier::{Abandoned, AccessWord, BackingStore, Moment, Observer, Records, Successor, Tier, Writing};
pub use writer::WriterLock;
