//! Everything that speaks SQL. The rest of the engine speaks keys, columns and rows.

#![expect(clippy::disallowed_methods, reason = "the one place of SQL, and of connections")]

pub(crate) mod annotations;
pub(crate) mod check;
pub(crate) mod columns;
pub(crate) mod connection;
pub(crate) mod dictionaries;
pub(crate) mod disguise;
pub(crate) mod evict;
pub(crate) mod filed;
pub(crate) mod files;
pub(crate) mod forget;
pub(crate) mod integers;
pub(crate) mod keys;
pub(crate) mod query;
pub(crate) mod queue;
pub(crate) mod read;
pub(crate) mod rejection;
pub(crate) mod schema;
pub(crate) mod snapshot;
pub(crate) mod tier;
pub(crate) mod transaction;
pub(crate) mod trash;
pub(crate) mod unopened;
pub(crate) mod write;

pub(crate) use connection::{Access, Connection, LOG, read_unopened};
pub(crate) use filed::LongValues;
pub(crate) use rusqlite::{Connection as Raw, InterruptHandle};
pub(crate) use write::{Finished, Head, Write};
