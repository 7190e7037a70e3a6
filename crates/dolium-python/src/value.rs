//! Owns the conversion of Python objects to values and back, except where a user's `Disk` does it.

use std::borrow::Cow;

use dolium::raw::{Encoded, Frame, mode};
use dolium::{Payload, Scalar, Value};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyFloat, PyInt, PyMemoryView, PyString};

use crate::encoded::{Content, Made, Peers, unreadable};
use crate::lazy::Lazy;
use crate::{error, memory, packed, pickled, text};

static DUMPS: Lazy = Lazy::new("pickle", "dumps");

/// A Python object on its way into the store: what it borrows from stays alive beside it.
pub(crate) enum Outgoing<'py> {
    Int(i64),
    Float(f64),
    Text(Bound<'py, PyString>),
    /// Text that Python keeps in another form.
    LongText(String),
    Bytes(Bound<'py, PyBytes>),
    Pickle(Bound<'py, PyBytes>),
    /// A pickle in parts, which large memory is among.
    Parts(Content<'py>),
    Made(Made<'py>),
}

/// The same, borrowed, in a form that may leave the interpreter.
#[derive(Clone)]
pub(crate) enum Loan<'a> {
    Int(i64),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Pickle(&'a [u8]),
    /// Apart, so that the others are short: a bulk call has many.
    Frame(Box<Frame<'a>>),
}

impl<'py> Outgoing<'py> {
    /// Converts a value as diskcache's `Disk` does: by exact type, all else pickled. What is nothing but memory, which it
    /// cannot store, becomes bytes.
    pub fn of(value: &Bound<'py, PyAny>, protocol: impl FnOnce() -> PyResult<i64>) -> PyResult<Self> {
        if let Ok(text) = value.cast_exact::<PyString>() {
            match memory::utf8(text) {
                Ok(Cow::Borrowed(_)) => return Ok(Self::Text(text.clone())),
                Ok(Cow::Owned(text)) => return Ok(Self::LongText(text)),
                Err(_) => {}
            }
        } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            return Ok(Self::Bytes(bytes.clone()));
        } else if value.is_exact_instance_of::<PyInt>() {
            if let Ok(number) = value.extract() {
                return Ok(Self::Int(number));
            }
        } else if let Ok(number) = value.cast_exact::<PyFloat>() {
            return Ok(Self::Float(number.value()));
        }
        if memory::is_memory(value) {
            return memory::copied(value).map(Self::Bytes);
        }
        let protocol = protocol()?;
        if let Some(parts) = pickled::dumped(value, protocol)? {
            return Ok(Self::Parts(parts));
        }
        let pickled = DUMPS.get(value.py())?.call1((value, protocol))?;
        Ok(Self::Pickle(pickled.cast_into::<PyBytes>()?))
    }

    /// The same by a codec, if there is one.
    #[inline]
    pub fn by(
        codec: Option<(&Bound<'py, PyAny>, Peers<'_>)>,
        value: &Bound<'py, PyAny>,
        protocol: impl FnOnce() -> PyResult<i64>,
    ) -> PyResult<Self> {
        let Some((codec, peers)) = codec else { return Self::of(value, protocol) };
        Ok(match Made::of(codec, value, peers)? {
            None => return Self::of(value, protocol),
            Some(made) => match made.pickle() {
                Some(pickle) => Self::Pickle(pickle.clone()),
                None => Self::Made(made),
            },
        })
    }

    pub fn lend(&self) -> PyResult<Loan<'_>> {
        Ok(match self {
            Self::Int(value) => Loan::Int(*value),
            Self::Float(value) => Loan::Float(*value),
            Self::Text(value) => Loan::Text(value.to_str()?),
            Self::LongText(value) => Loan::Text(value),
            Self::Parts(parts) => Loan::Pickle(parts.whole()?.as_bytes()),
            Self::Bytes(value) => Loan::Bytes(value.as_bytes()),
            Self::Pickle(value) => Loan::Pickle(value.as_bytes()),
            Self::Made(made) => Loan::Frame(Box::new(made.frame()?)),
        })
    }
}

impl<'a> Loan<'a> {
    /// A value that is stored as it is, as [`Outgoing::of`] finds it; `None` if it must be pickled.
    pub fn plain(value: &'a Bound<'_, PyAny>) -> Option<Self> {
        if let Ok(text) = value.cast_exact::<PyString>() {
            text.to_str().ok().map(Self::Text)
        } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            Some(Self::Bytes(bytes.as_bytes()))
        } else if value.is_exact_instance_of::<PyInt>() {
            value.extract().ok().map(Self::Int)
        } else {
            value.cast_exact::<PyFloat>().ok().map(|number| Self::Float(number.value()))
        }
    }

    pub fn payload(self) -> Payload<'a> {
        match self {
            Self::Int(value) => Payload::Int(value),
            Self::Float(value) => Payload::Float(value),
            Self::Text(value) => Payload::Text(value),
            Self::Bytes(value) => Payload::Bytes(value),
            Self::Pickle(value) => Payload::Pickle(value),
            Self::Frame(frame) => Payload::Frame(*frame),
        }
    }
}

/// A value that came back: a Python object, or a pickle that the caller decides on.
pub(crate) enum Incoming<'py> {
    Object(Bound<'py, PyAny>),
    Pickle { bytes: Vec<u8>, signed: bool },
    Encoded(Encoded),
}

impl<'py> Incoming<'py> {
    pub fn of(py: Python<'py>, value: Value) -> PyResult<Self> {
        Ok(Self::Object(match value {
            Value::Null => py.None().into_bound(py),
            Value::Int(value) => value.into_pyobject(py)?.into_any(),
            Value::Float(value) => PyFloat::new(py, value).into_any(),
            Value::Text(value) => text::text(py, &value)?.into_any(),
            Value::Bytes(value) => memory::bytes(py, &value)?.into_any(),
            Value::Pickle { bytes, signed } => return Ok(Self::Pickle { bytes, signed }),
            Value::Packed(bytes) => packed::load(py, &bytes)?,
            Value::Encoded(encoded) => return Ok(Self::Encoded(encoded)),
            Value::Unknown { mode: mode::FRAME, .. } => {
                return Err(unreadable(
                    py,
                    "it is damaged, needs a dictionary that is gone, or is of a newer version",
                ));
            }
            Value::Unknown { mode, .. } => {
                let message = format!(
                    "the value has mode {mode}, which this version of dolium does not know; upgrade it"
                );
                return Err(error::UNSTORABLE.error(py, (message,)));
            }
            _ => {
                let message = "the value is of a kind that this version of dolium does not know; upgrade it";
                return Err(error::UNSTORABLE.error(py, (message,)));
            }
        }))
    }
}

/// What SQLite can hold of a Python object: tags, settings, arguments of statements.
pub(crate) fn scalar(object: &Bound<'_, PyAny>) -> PyResult<Scalar> {
    scalar_of("an argument of a statement", object)
}

/// The same for messages that say `what` the object is.
pub(crate) fn scalar_of(what: &str, object: &Bound<'_, PyAny>) -> PyResult<Scalar> {
    if object.is_none() {
        return Ok(Scalar::Null);
    }
    if let Ok(value) = object.cast::<PyString>() {
        return Ok(Scalar::Text(value.to_str()?.to_owned()));
    }
    if let Ok(value) = object.cast::<PyBool>() {
        return Ok(Scalar::Int(value.is_true().into()));
    }
    if object.is_instance_of::<PyInt>() {
        return Ok(Scalar::Int(object.extract()?));
    }
    if let Ok(value) = object.cast::<PyFloat>() {
        return Ok(Scalar::Real(value.value()));
    }
    if let Some(bytes) = bytes(object)? {
        return Ok(Scalar::Blob(bytes));
    }
    let kind = object.get_type().name()?;
    let message = format!("{what} must be None, an int, float, str or bytes, not {kind}");
    Err(error::UNSTORABLE.error(object.py(), (message,)))
}

/// The contents of bytes-like objects, `sqlite3.Binary` (a memoryview) among them.
pub(crate) fn bytes(object: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u8>>> {
    if let Ok(value) = object.cast::<PyBytes>() {
        return Ok(Some(value.as_bytes().to_vec()));
    }
    if object.is_instance_of::<PyMemoryView>() || object.is_instance_of::<PyByteArray>() {
        let copy = object.py().get_type::<PyBytes>().call1((object,))?;
        return Ok(Some(copy.cast::<PyBytes>()?.as_bytes().to_vec()));
    }
    Ok(None)
}

/// The Python object for what SQLite holds.
pub(crate) fn unscalar<'py>(py: Python<'py>, scalar: &Scalar) -> PyResult<Bound<'py, PyAny>> {
    Ok(match scalar {
        Scalar::Null => py.None().into_bound(py),
        Scalar::Int(value) => value.into_pyobject(py)?.into_any(),
        Scalar::Real(value) => PyFloat::new(py, *value).into_any(),
        Scalar::Text(value) => PyString::new(py, value).into_any(),
        Scalar::Blob(value) => PyBytes::new(py, value).into_any(),
    })
}

/// The column `key` of a key's row.
pub(crate) fn key_column(key: &dolium::Key<'_>) -> Scalar {
    match key {
        dolium::Key::Int(value) => Scalar::Int(*value),
        dolium::Key::Float(value) => Scalar::Real(*value),
        dolium::Key::Text(value) => Scalar::from(&**value),
        dolium::Key::Bytes(value) => Scalar::from(&**value),
        _ => key.pickle().map_or(Scalar::Null, Scalar::from),
    }
}
