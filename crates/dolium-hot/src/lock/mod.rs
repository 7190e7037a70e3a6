//! Locks between processes that survive the death of their owner: a word in shared memory, or a byte of `cache.lock`.

pub(crate) mod file_lock;
pub(crate) mod guard;
pub(crate) mod health;
#[cfg(target_os = "linux")]
pub(crate) mod lockfile;
#[cfg(target_os = "linux")]
pub(crate) mod owner;
pub(crate) mod wait;
#[cfg(target_os = "linux")]
pub(crate) mod word;
