//! Owns the values that a column of SQLite can hold; nothing about what they mean.

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// One value as SQLite stores it: a tag, a setting, or a raw column.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the storage classes of SQLite")]
pub enum Scalar {
    /// No value.
    #[default]
    Null,
    /// A 64-bit integer.
    Int(i64),
    /// A float. SQLite stores NaN as NULL, so NaN never comes back.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes; also text of the store that is not UTF-8.
    Blob(Vec<u8>),
}

impl Scalar {
    /// Whether there is no value.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The value as an integer, if it is a number; floats are cut off.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            #[expect(clippy::cast_possible_truncation, reason = "saturates, which is what a limit wants")]
            Self::Real(value) => Some(*value as i64),
            _ => None,
        }
    }

    /// The value as a float, if it is a number.
    #[must_use]
    pub fn as_real(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "what SQLite's own conversion does")]
            Self::Int(value) => Some(*value as f64),
            Self::Real(value) => Some(*value),
            _ => None,
        }
    }

    /// The value as text, if it is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(value) = self { Some(value) } else { None }
    }

    /// The value as messages show it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Null => "None".to_owned(),
            Self::Int(value) => value.to_string(),
            Self::Real(value) => value.to_string(),
            Self::Text(value) => format!("'{value}'"),
            Self::Blob(value) => format!("{} bytes", value.len()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Int(_) | Self::Real(_) => 8,
            Self::Text(value) => value.len(),
            Self::Blob(value) => value.len(),
        }
    }
}

impl ToSql for Scalar {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Real(value) => ValueRef::Real(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

impl FromSql for Scalar {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(value) => Self::Int(value),
            ValueRef::Real(value) => Self::Real(value),
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Self::Text(text.to_owned()),
                Err(_) => Self::Blob(bytes.to_vec()),
            },
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        })
    }
}

/// A column exactly as it lies in the store: text that is not UTF-8 stays text, so that it compares there as
/// it did before.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    value: Scalar,
    is_text: bool,
}

impl Stored {
    /// The value, unless it is text that is not UTF-8.
    pub fn readable(self) -> Option<Scalar> {
        if self.is_text && self.value.as_text().is_none() { None } else { Some(self.value) }
    }

    /// The value as text, if it is readable text.
    pub fn as_text(&self) -> Option<&str> {
        self.value.as_text()
    }
}

impl FromSql for Stored {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let is_text = matches!(value, ValueRef::Text(_));
        Ok(Self { value: Scalar::column_result(value)?, is_text })
    }
}

impl ToSql for Stored {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match &self.value {
            Scalar::Blob(bytes) if self.is_text => Ok(ToSqlOutput::Borrowed(ValueRef::Text(bytes))),
            value => value.to_sql(),
        }
    }
}

macro_rules! from {
    ($($source:ty => $variant:ident),*) => {$(
        impl From<$source> for Scalar {
            fn from(value: $source) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

from!(i64 => Int, i32 => Int, u32 => Int, bool => Int, f64 => Real, &str => Text, String => Text, &[u8] => Blob, Vec<u8> => Blob);

impl<T: Into<Scalar>> From<Option<T>> for Scalar {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
