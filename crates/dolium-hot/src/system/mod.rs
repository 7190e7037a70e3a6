//! What the crate asks of the operating system: files, descriptors, byte locks, forks, and a lock among threads.

pub(crate) mod access;
#[cfg(unix)]
pub(crate) mod descriptor;
pub(crate) mod error;
#[cfg(unix)]
pub(crate) mod exit;
pub(crate) mod filesystem;
pub(crate) mod fork;
pub(crate) mod local;
#[cfg(target_os = "linux")]
pub(crate) mod ofd;
