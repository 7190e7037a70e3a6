//! Everything that speaks SQL. The rest of the engine speaks keys, columns and rows.

pub(crate) mod connection;
pub(crate) mod files;
pub(crate) mod rejection;
pub(crate) mod schema;
pub(crate) mod snapshot;
pub(crate) mod statements;
pub(crate) mod tier;
pub(crate) mod write;

pub(crate) use connection::{Access, Connection, LOG, read_unopened};
pub(crate) use write::{Head, Write};
