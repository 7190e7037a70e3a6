//! One directory as a process knows it: connections, locks, the hot tier, transactions, damage and upkeep.
//! Does not know keys and values; [`Handle`] is where the layers above come in.

pub(crate) mod absences;
mod attempts;
mod await_drain;
mod backing;
mod begin;
mod connections;
mod crowd;
mod damage;
pub(crate) mod dictionaries;
mod drain;
pub(crate) mod ends;
pub(crate) mod evict;
mod followed;
pub(crate) mod fork;
mod growth;
mod handle;
pub(crate) mod housekeeper;
pub(crate) mod layout;
mod live_settings;
pub(crate) mod lock;
mod lookups;
mod maintain;
mod misses;
mod owner;
pub(crate) mod pause;
mod pending;
mod pool;
mod read_pin;
mod registry;
mod slot;
pub(crate) mod small;
pub(crate) mod span;
mod tier;
pub(crate) mod training;
pub(crate) mod transaction;
mod volume;
mod warming;
mod write;

pub(crate) use backing::SqliteBacking;
pub(crate) use handle::Handle;
pub(crate) use live_settings::Keep;
