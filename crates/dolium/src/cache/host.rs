//! What the host of another language needs: an interpreter with signals, forks, tasks and a lock of its own.
//!
//! A Rust program needs none of this, because the engine waits, forks and exits as a Rust program does.
//!
//! * **The life of the process**: [`set_interrupt_hook`] delivers signals to an operation that waits,
//!   [`pause_transactions`] and [`resume_transactions`] surround a fork, [`shutdown`] precedes the exit, and [`tell_time`]
//!   sets a clock of tests.
//! * **Calls that never wait**: [`try_get`], [`try_get_many`], [`try_contains`], [`try_set`], [`try_set_many`], [`try_add_many`], [`try_delete_many`], [`try_incr`], [`try_delete`] and
//!   [`try_get_frame`] answer from shared memory or decline, so that the caller can hold the lock of its interpreter.
//! * **Tasks**: a [`Context`] owns a transaction as a thread does; see [`transact_owned`] and [`set_context_hook`].
//! * **Values that the host may refuse**: [`pop_if`] and [`pull_if`] ask before they remove an entry.
//! * **A deque by position**: [`item_at`], [`replace_at`], [`push_within`], [`deque_len`] and [`first_number`] serve a cache
//!   that is one queue without holes, and decline elsewhere.
//! * **Locks**: [`swap`] changes a key only if it is as the caller has seen it, unless the directory [`is_shared`] with
//!   another program. [`owner`] and [`is_alive_owner`] tell of a process that died with a lock.
//! * **Memory of the host**: [`is_filed`] says whether a value gets a value file, so that the host can pass it as a reader.
//! * **Flights**: [`join_flight`] is the part of [`Cache::get_or_compute`](crate::Cache::get_or_compute) that makes callers
//!   wait for one computation, for a host that computes, waits or stores in its own way; see also [`add_since`].

pub use super::bulk::{try_add_many, try_set_many};
pub use super::compute::{join_flight, join_local_flight};
pub use super::frame::{FrameRef, try_get_frame, try_value_of};
pub use super::hot_deque::{Position, deque_len, first_number, item_at, push_within, replace_at};
pub use super::lock::{Expected, is_alive_owner, is_shared, owner, swap};
pub use super::nonblocking::{
    EntryRef, Glimpse, Unanswered, ValueRef, get_rest, try_contains, try_delete, try_get, try_get_many,
    try_incr, try_set,
};
pub use super::prepare::is_filed;
pub use super::queue::pull_if;
pub use super::read::{Located, entry_after, locate_after, verified};
pub use super::remove_many::try_delete_many;
pub use super::transaction::{OwnedTransaction, is_held_by_neighbor, transact_owned, transaction_id};
pub use super::upkeep::shutdown;
pub use super::write::{add_since, pop_if};
pub use crate::flight::{After, Asked, Ended, Flight, Joined, Space, Waiter};
pub use crate::store::pause::{pause_transactions, resume_transactions};
pub use crate::store::transaction::any_transaction;
pub use crate::system::clock::tell_time;
pub use crate::system::context::{Context, NO_CONTEXT, set_context_hook};
pub use crate::system::wait::set_interrupt_hook;
