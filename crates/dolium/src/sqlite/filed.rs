//! Owns the value files of a transaction: those that its rows name, and those that no row needs once it commits.

use std::borrow::Cow;
use std::sync::Arc;

use dolium_hot::crash_point;

use crate::system::error::{Error, Result};
use crate::system::value_files::{NewFile, ValueFiles};
use crate::value::scalar::Scalar;
use crate::value::{Columns, UNFILED, mode};

use super::Write;

/// Where long values become files, and from how many bytes on.
pub(crate) struct LongValues {
    pub files: Arc<ValueFiles>,
    pub min_file_size: usize,
}

impl Write<'_> {
    /// Makes files of long values that have waited in the tier.
    pub fn filing(mut self, long_values: LongValues) -> Self {
        self.long_values = Some(long_values);
        self
    }

    /// The columns of a row, with a value file if the value is long and has none yet: see [`UNFILED`]. The file is complete
    /// before the row names it, and goes again unless the transaction commits. Where no file can be made, for want of rights
    /// say, the value stays in its row: it would keep all that came after it from the database.
    pub fn filed<'v>(&mut self, columns: &'v Columns) -> Result<Cow<'v, Columns>> {
        if columns.size != UNFILED || columns.filename.is_some() {
            return Ok(Cow::Borrowed(columns));
        }
        let (mode, bytes) = match (&columns.value, columns.mode) {
            (Scalar::Text(text), _) => (mode::TEXT, text.as_bytes()),
            (Scalar::Blob(bytes), mode::RAW) => (mode::BINARY, bytes.as_slice()),
            (Scalar::Blob(bytes), mode) => (mode, bytes.as_slice()),
            _ => (columns.mode, b"".as_slice()),
        };
        let long = self.long_values.as_ref().filter(|long| bytes.len() >= long.min_file_size);
        let file = match long.map(|long| NewFile::with(&long.files, bytes)) {
            Some(Ok(file)) => file,
            Some(Err(error @ Error::Full { .. })) => return Err(error),
            Some(Err(_)) | None => return Ok(Cow::Owned(Columns { size: 0, ..columns.clone() })),
        };
        crash_point("value file made");
        let size = i64::try_from(file.size()).unwrap_or(i64::MAX);
        let filename = Some(file.name().to_owned());
        self.adopt(Some(Arc::new(file)));
        Ok(Cow::Owned(Columns { size, mode, filename, value: Scalar::Null }))
    }

    /// A value file that a row of this transaction names.
    pub fn adopt(&mut self, file: Option<Arc<NewFile>>) {
        self.files.extend(file);
    }

    /// Notes a value file that no row needs once this transaction commits.
    pub fn trash(&mut self, filename: Option<&str>) -> Result<()> {
        if let Some(filename) = filename {
            const INSERT: &str = "INSERT INTO DoliumTrash (filename) VALUES (?1)";
            self.connection().prepare_cached(INSERT)?.execute([filename])?;
            self.has_trash = true;
        }
        Ok(())
    }
}
