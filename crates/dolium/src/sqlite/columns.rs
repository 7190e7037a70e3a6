//! How columns are read, whatever another program has stored in them.

use rusqlite::Row as SqlRow;

use crate::value::scalar::Scalar;
use crate::value::{Columns, Row};

use super::disguise;

/// The mode of a row whose columns do not have the types they should have. No program stores it.
pub(crate) const UNREADABLE: i64 = -1;

/// Reads the columns `rowid, store_time, expire_time, tag, size, mode, filename, value`, starting with
/// column `first`. A row that another program has spoilt is an entry without a value, not an error.
pub(crate) fn row(row: &SqlRow<'_>, first: usize) -> rusqlite::Result<Row> {
    let column = |at: usize| row.get::<_, Scalar>(first + at);
    let columns = [column(1)?, column(2)?, column(3)?, column(4)?, column(5)?, column(6)?, column(7)?];
    Ok(assemble(row.get(first)?, columns))
}

/// The same of the number of a row and the columns `store_time, expire_time, tag, size, mode, filename, value`.
pub(crate) fn assemble(rowid: i64, columns: [Scalar; 7]) -> Row {
    let [store_time, expire_time, tag, size, mode, named, value] = columns;
    let is_readable = matches!(mode, Scalar::Int(_))
        && matches!(&named, Scalar::Null | Scalar::Text(_))
        && matches!(expire_time, Scalar::Null | Scalar::Real(_) | Scalar::Int(_));
    let (mode, filename) = disguise::seen(mode.as_int().filter(|_| is_readable), named.as_text());
    Row {
        rowid,
        store_time: store_time.as_real().unwrap_or(0.0),
        expire_time: expire_time.as_real(),
        tag,
        columns: Columns {
            size: size.as_int().unwrap_or(0),
            mode: mode.unwrap_or(UNREADABLE),
            filename,
            value,
        },
    }
}

/// A number, if there is one.
pub(crate) fn real(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Option<f64>> {
    Ok(row.get::<_, Scalar>(column)?.as_real())
}

/// An integer; 0 if there is none.
pub(crate) fn int(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<i64> {
    Ok(row.get::<_, Scalar>(column)?.as_int().unwrap_or(0))
}

/// Text, if there is one.
pub(crate) fn text(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(row.get::<_, Scalar>(column)?.as_text().map(str::to_owned))
}

/// The value file that a row names, if it has one.
pub(crate) fn filename(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(text(row, column)?.and_then(|name| disguise::file_of(&name)))
}

/// The sum of the column `size`, of which only numbers count, as `int` reads them. SQLite's own `sum` fails
/// where the integers overflow, and gives a float as soon as one row holds anything else.
pub(crate) const SIZES: &str =
    "CAST(total(CASE WHEN typeof(size) IN ('integer', 'real') THEN CAST(size AS INTEGER) END) AS INTEGER)";
