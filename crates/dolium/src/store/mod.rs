//! One directory as a process knows it: connections, locks, the hot tier, transactions, damage and upkeep.
//! Does not know keys and values; [`Handle`] is where the layers above come in.

mod attempts;
mod begin;
mod connections;
mod damage;
mod drain;
pub(crate) mod fork;
mod handle;
pub(crate) mod housekeeper;
pub(crate) mod layout;
pub(crate) mod limit;
pub(crate) mod lock;
mod lookups;
mod maintain;
mod misses;
pub(crate) mod pause;
mod pending;
mod pool;
mod read_pin;
mod registry;
mod settings;
mod slot;
mod tier;
pub(crate) mod transaction;
mod volume;
mod write;

pub(crate) use handle::Handle;
pub(crate) use settings::Keep;
pub(crate) use tier::SqliteBacking;
