//! The hot tier's log of records and its index of keys, as algorithms on memory: append, find, follow, drain, recover. Does not
//! know files, mappings, locks or processes, so that the tests run the same code on memory of their own.

pub(crate) mod atomic;
pub(crate) mod buffer_pool;
pub(crate) mod carry;
pub(crate) mod counters;
pub(crate) mod crash;
pub(crate) mod drain;
pub(crate) mod follow;
pub(crate) mod forget;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
pub(crate) mod hash;
pub(crate) mod memory;
pub(crate) mod prefetch;
pub(crate) mod record;
pub(crate) mod recover;
pub(crate) mod scan;
pub(crate) mod scratch;
pub(crate) mod stats;
pub(crate) mod write;

#[cfg(test)]
mod tests;
