//! Rows as records of the hot tier, and back.

use dolium_hot::{Kind, PendingRecord, View};

use crate::sqlite::tier::{PROVES, cell, scalar};
use crate::system::clock::Timestamp;
use crate::value::key::Key;
use crate::value::scalar::Scalar;
use crate::value::{Columns, Row};

/// A record of a row.
pub(super) fn pending_record(
    kind: Kind,
    key: &Key<'_>,
    columns: &Columns,
    expire_time: Option<Timestamp>,
    tag: &Scalar,
    store_time: Timestamp,
    note: u8,
) -> PendingRecord {
    let row = dolium_hot::Row {
        store_time,
        expire_time,
        tag: cell(tag),
        size: columns.size,
        mode: columns.mode,
        filename: columns.filename.as_deref(),
        value: cell(&columns.value),
        note,
    };
    stage(kind, key, &row)
}

pub(super) fn stage(kind: Kind, key: &Key<'_>, row: &dolium_hot::Row<'_>) -> PendingRecord {
    if matches!(key, Key::Object(_)) {
        return stage_with_proof(kind, key, row);
    }
    key.with_hot(|key| PendingRecord::row(kind, key, row))
}

/// Makes the record of a row. A set carries the proof of its key, so that the process that drains it stores both.
#[cold]
fn stage_with_proof(kind: Kind, key: &Key<'_>, row: &dolium_hot::Row<'_>) -> PendingRecord {
    let proof = if kind == Kind::Set { key.proof() } else { None };
    key.with_hot(|key| match proof {
        Some(proof) => {
            PendingRecord::row_and(kind, key, &dolium_hot::Row { note: row.note | PROVES, ..*row }, &proof)
        }
        None => PendingRecord::row(kind, key, row),
    })
}

/// The row of a record; `None` if it says that there is none.
pub(super) fn row_of(view: &View<'_>) -> Option<Row> {
    let row = view.row()?;
    Some(Row {
        rowid: Row::HOT,
        store_time: row.store_time,
        expire_time: row.expire_time,
        tag: scalar(&row.tag),
        columns: Columns {
            size: row.size,
            mode: row.mode,
            filename: row.filename.map(str::to_owned),
            value: scalar(&row.value),
        },
    })
}
