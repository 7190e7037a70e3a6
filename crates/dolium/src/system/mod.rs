//! The operating system and the process: files, time, waiting, who calls, the fork gate that a fork closes,
//! errors and warnings.

pub(crate) mod clock;
pub(crate) mod context;
pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod fork_gate;
pub(crate) mod memory;
pub(crate) mod sentinel;
pub(crate) mod value_files;
pub(crate) mod wait;
pub(crate) mod warning;
