//! Statements of a user's own.

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::value::scalar::Scalar;

/// The result of a raw statement.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct QueryResult {
    /// Names of the columns; empty for a statement that returns no rows.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Scalar>>,
    /// Rows that a writing statement changed.
    pub changed: usize,
    /// The last row that was inserted.
    pub last_rowid: i64,
}

/// Whether a statement only reads.
pub(crate) fn only_reads(connection: &Connection, statement: &str) -> rusqlite::Result<bool> {
    Ok(connection.prepare(statement)?.readonly())
}

/// Does the same as `run`, with the triggers that keep the counters, as diskcache fires them.
pub(crate) fn run_with_triggers(
    connection: &Connection,
    statement: &str,
    arguments: &[Vec<Scalar>],
) -> rusqlite::Result<QueryResult> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
    let table = run(connection, statement, arguments);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    table
}

/// Runs a statement once for each set of arguments.
pub(crate) fn run(
    connection: &Connection,
    statement: &str,
    arguments: &[Vec<Scalar>],
) -> rusqlite::Result<QueryResult> {
    let mut prepared = connection.prepare(statement)?;
    let mut table = QueryResult {
        columns: prepared.column_names().map(str::to_owned).collect(),
        ..QueryResult::default()
    };
    let width = prepared.column_count();
    let writes = !prepared.readonly();
    for arguments in arguments {
        let mut rows = prepared.query(rusqlite::params_from_iter(arguments))?;
        while let Some(row) = rows.next()? {
            table.rows.push((0..width).map(|column| row.get(column)).collect::<rusqlite::Result<_>>()?);
        }
        if writes {
            // What triggers changed does not count.
            table.changed += usize::try_from(connection.changes()).unwrap_or(0);
        }
    }
    table.last_rowid = connection.last_insert_rowid();
    Ok(table)
}

/// The word of a statement that would begin or end a transaction behind the back of `Cache::transact`.
pub(crate) fn transaction_word(statement: &str) -> Option<&str> {
    const WORDS: [&str; 6] = ["BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"];
    let statement = without_comments(statement);
    let end = statement.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(statement.len());
    let word = &statement[..end];
    WORDS.iter().any(|known| known.eq_ignore_ascii_case(word)).then_some(word)
}

/// The statement without what SQLite passes over before its first word.
fn without_comments(mut statement: &str) -> &str {
    loop {
        statement =
            statement.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ';' || c == '\u{feff}');
        let (opening, closing) = match statement.get(..2) {
            Some("--") => (2, "\n"),
            Some("/*") => (2, "*/"),
            _ => return statement,
        };
        let rest = &statement[opening..];
        statement = rest.find(closing).map_or("", |end| &rest[end + closing.len()..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_transactions_are_found_where_sqlite_finds_them() {
        let found = [
            "BEGIN IMMEDIATE",
            " ;; commit",
            "-- why\nEnd",
            "/* a */ /* b */rollback TO x",
            "\u{feff}SAVEPOINT x",
            "release x;",
        ];
        for statement in found {
            assert!(transaction_word(statement).is_some(), "{statement}");
        }
        for statement in ["SELECT 1", "", "-- BEGIN", "/* BEGIN", "beginning", "UPDATE x SET commit = 1", "é"]
        {
            assert_eq!(transaction_word(statement), None, "{statement}");
        }
    }
}
