//! Owns statements of a user's own on the database of a cache.

pub use crate::sqlite::query::QueryResult;
use crate::sqlite::query::{only_reads, run, run_with_triggers, transaction_word};
use crate::system::error::{Error, Result};
use crate::value::scalar::Scalar;

use super::Cache;

/// Runs a statement of your own on the cache's database. One that writes fires the triggers that
/// keep the counters, and runs as a transaction of its own unless the thread is in one.
pub fn sql(cache: &Cache, statement: &str, arguments: &[Scalar]) -> Result<QueryResult> {
    sql_many(cache, statement, &[arguments.to_vec()])
}

/// Runs a statement once for each set of arguments, in one transaction if it writes.
pub fn sql_many(cache: &Cache, statement: &str, arguments: &[Vec<Scalar>]) -> Result<QueryResult> {
    if let Some(word) = transaction_word(statement) {
        return Err(Error::Invalid(format!(
            "{word} is not for statements of your own; use transact(), which other processes wait for"
        )));
    }
    let is_read = cache.handle.read(cache.wait, |connection| Ok(Some(only_reads(connection, statement)?)));
    // Where there is no store yet, the statement may be the one that fills it.
    match is_read {
        Ok(Some(true)) => {
            cache.handle.read(cache.wait, |connection| Ok(run(connection, statement, arguments)?))
        }
        Ok(_) => cache.handle.write(cache.wait, |write| {
            write.changes_any();
            Ok(run_with_triggers(write.connection(), statement, arguments)?)
        }),
        Err(error) => Err(error),
    }
}
