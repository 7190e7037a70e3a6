//! How a row says that its value is a frame, so that a diskcache which shares the directory finds no value there.
//!
//! diskcache answers None for a mode that it does not know, and its `memoize` returns that None as a result. A row that
//! names a value file which is not there is a clean miss for it. So the row of a frame has the mode of bytes in a file and
//! a name that ends in [`SUFFIX`]. The name is nothing but the suffix if the frame lies in the column `value`; else it is
//! that of the frame's value file but for its ending. All other modules see the mode of frames and the file's own name.

use std::borrow::Cow;

use crate::system::value_files::FINAL;
use crate::value::{Columns, mode};

/// How the names of no value files end.
pub(crate) const SUFFIX: &str = ".dolium";

/// In SQL: the value file that a row with a text in `filename` names. `OLD` or nothing stands before the columns.
macro_rules! file_of_sql {
    ($name:literal) => {
        concat!(
            "CASE WHEN substr(",
            $name,
            ", -7) = '.dolium' THEN substr(",
            $name,
            ", 1, length(",
            $name,
            ") - 6) || 'val' ELSE ",
            $name,
            " END"
        )
    };
}
pub(crate) use file_of_sql;

/// The columns `mode` and `filename` of a row.
pub(crate) fn worn(columns: &Columns) -> (i64, Option<Cow<'_, str>>) {
    if columns.mode != mode::FRAME {
        return (columns.mode, columns.filename.as_deref().map(Cow::Borrowed));
    }
    let name = columns.filename.as_deref().map_or("", |name| name.strip_suffix(FINAL).unwrap_or(name));
    (mode::BINARY, Some(Cow::Owned(format!("{}{SUFFIX}", name.trim_end_matches('.')))))
}

/// What those columns mean: the mode, and the value file.
pub(crate) fn seen(mode: Option<i64>, named: Option<&str>) -> (Option<i64>, Option<String>) {
    let is_frame = mode == Some(mode::BINARY) && named.is_some_and(|name| name.ends_with(SUFFIX));
    (if is_frame { Some(mode::FRAME) } else { mode }, named.and_then(file_of))
}

/// The value file that a row names; `None` if it is a frame that lies in the row.
pub(crate) fn file_of(name: &str) -> Option<String> {
    match name.strip_suffix(SUFFIX) {
        None => Some(name.to_owned()),
        Some("") => None,
        Some(stem) => Some(format!("{stem}.{FINAL}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::scalar::Scalar;

    fn columns(mode: i64, filename: Option<&str>) -> Columns {
        Columns { size: 0, mode, filename: filename.map(str::to_owned), value: Scalar::Null }
    }

    #[test]
    fn a_disguise_is_seen_through() {
        for (mode, file, stored) in [
            (mode::FRAME, None, (mode::BINARY, Some(".dolium"))),
            (mode::FRAME, Some("ab/cd/1.val"), (mode::BINARY, Some("ab/cd/1.dolium"))),
            (mode::BINARY, Some("ab/cd/1.val"), (mode::BINARY, Some("ab/cd/1.val"))),
            (mode::RAW, None, (mode::RAW, None)),
        ] {
            let columns = columns(mode, file);
            let (worn_mode, name) = worn(&columns);
            assert_eq!((worn_mode, name.as_deref()), stored);
            assert_eq!(seen(Some(worn_mode), name.as_deref()), (Some(mode), file.map(str::to_owned)));
        }
    }

    #[test]
    fn sql_sees_through_it_as_well() {
        let connection = rusqlite::Connection::open_in_memory().expect("a database");
        for name in ["ab/cd/1.dolium", "ab/cd/1.val", "x", "ab.dolium/1.val"] {
            let sql = concat!("SELECT ", file_of_sql!("?1"));
            let found: String = connection.query_row(sql, [name], |row| row.get(0)).expect("a name");
            assert_eq!(Some(found), file_of(name));
        }
    }
}
