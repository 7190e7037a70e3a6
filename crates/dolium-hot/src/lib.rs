//! What the processes of a dolium cache share besides its database: a lock that survives its owner, and the knowledge
//! that a fork has happened.
//!
//! A directory has two files of this crate. `cache.hot` is mapped by everybody and holds the lock word D (and later the
//! log and the index of the hot tier). `cache.lock` is never read or written; its bytes are locked: one of the first
//! 4,096 says that the process with that slot is alive, the next guards joining and creation. A word that names a dead
//! process is taken over by whoever can lock that process's byte, which the kernel released when it died.
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
//! This is the only crate of dolium with `unsafe`.

mod access;
#[cfg(target_os = "linux")]
mod attach;
#[cfg(unix)]
mod descriptor;
mod error;
mod file_lock;
mod filesystem;
mod fork;
mod guard;
mod health;
#[cfg(target_os = "linux")]
mod layout;
mod local;
#[cfg(target_os = "linux")]
mod map;
#[cfg(target_os = "linux")]
mod ofd;
#[cfg(target_os = "linux")]
mod shared;
#[cfg(target_os = "linux")]
mod tier;
mod wait;
#[cfg(target_os = "linux")]
mod word;
mod writer;

pub use access::Access;
#[cfg(target_os = "linux")]
pub use attach::count_attached;
pub use error::{AttachError, LockError};
pub use file_lock::FileLock;
pub use filesystem::{FileSystem, filesystem, may_copy, overwrite_in_place};
pub use fork::{generation, on_fork};
pub use guard::Guard;
pub use health::Health;
#[cfg(target_os = "linux")]
pub use shared::{Lock, Shared};
#[cfg(target_os = "linux")]
pub use tier::{
    Access as AccessWord, Base, Batch, Cell, Change, Counter, Gauge, Key, Kind, Limit, NoRoom, Observer,
    Records, Row, Staged, Tier, View, Writing,
};
pub use wait::Acquired;
pub use writer::WriterLock;
