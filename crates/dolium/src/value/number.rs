//! Numbers that are added to: `incr` and the columns that it reads and writes.

use crate::system::error::{Error, Result};
use crate::value::scalar::Scalar;
use crate::value::{Columns, Row, mode};

/// What `incr` adds and returns.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "SQLite has no third kind of number")]
pub enum Number {
    /// A 64-bit integer.
    Int(i64),
    /// A float.
    Float(f64),
}

impl Number {
    pub(crate) fn plus(self, other: Self) -> Result<Self> {
        #[expect(clippy::cast_precision_loss, reason = "adding a float makes a float, as everywhere")]
        let float = |number| match number {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        };
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.checked_add(b).map(Self::Int).ok_or(Error::Overflow),
            (a, b) => Ok(Self::Float(float(a) + float(b))),
        }
    }

    pub(crate) fn scalar(self) -> Scalar {
        match self {
            Self::Int(value) => Scalar::Int(value),
            Self::Float(value) => Scalar::Real(value),
        }
    }

    /// The columns that are this number; `None` for what SQLite would make NULL of.
    pub(crate) fn columns(self) -> Option<Columns> {
        let is_nan = matches!(self, Self::Float(value) if value.is_nan());
        (!is_nan).then(|| Columns { size: 0, mode: mode::RAW, filename: None, value: self.scalar() })
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Number {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

/// The number that a row holds.
pub(crate) fn number(row: &Row) -> Result<Number> {
    match row.columns.value {
        Scalar::Int(value) if row.columns.mode == mode::RAW => Ok(Number::Int(value)),
        Scalar::Real(value) if row.columns.mode == mode::RAW => Ok(Number::Float(value)),
        _ => Err(Error::NotANumber),
    }
}
