//! The conversion of Python objects to keys. Plain data becomes the engine's key without running any Python code;
//! Python pickles everything else, and the engine makes a key of the pickle.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use dolium::Key;
use dolium::raw::Object;
use dolium::raw::pickle::{Protocol, TimeOfDay, Writer};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyDate, PyDateAccess, PyDateTime, PyDelta, PyDeltaAccess, PyFloat,
    PyFrozenSet, PyInt, PyString, PyTime, PyTimeAccess, PyTuple, PyType, PyTzInfoAccess,
};

use crate::lazy::Lazy;
use crate::{enter, error};

static DUMPS: Lazy = Lazy::new("pickle", "dumps");
static OPTIMIZE: Lazy = Lazy::new("pickletools", "optimize");
static CONSTANT: Lazy = Lazy::new("dolium.constants", "Constant");
static ENUM: Lazy = Lazy::new("enum", "Enum");
static MODULES: Lazy = Lazy::new("sys", "modules");

/// Tuples in tuples that are written natively; deeper ones are left to Python, which guards its stack.
const DEPTH: u32 = 100;

/// The key of a Python object that is text or bytes. Borrows them from it.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "else a key is moved through memory, which costs as much as the rest"
)]
pub(crate) fn text_or_bytes<'a>(object: &'a Bound<'_, PyAny>) -> Option<Key<'a>> {
    if let Some(text) = text(object) {
        return Some(Key::Text(Cow::Borrowed(text)));
    }
    let bytes = object.cast_exact::<PyBytes>().ok()?;
    Some(Key::Bytes(Cow::Borrowed(bytes.as_bytes())))
}

/// The key of a Python object that is a number of 64 bits.
pub(crate) fn number(object: &Bound<'_, PyAny>) -> Option<Key<'static>> {
    if object.is_exact_instance_of::<PyInt>() {
        return object.extract().ok().map(Key::Int);
    }
    let number = object.cast_exact::<PyFloat>().ok()?.value();
    (!number.is_nan()).then_some(Key::Float(number))
}

/// The text that is the key of a Python object, if one is.
#[inline]
pub(crate) fn text<'a>(object: &'a Bound<'_, PyAny>) -> Option<&'a str> {
    // Lone surrogates cannot be text in a database.
    object.cast_exact::<PyString>().ok()?.to_str().ok()
}

/// The key of an object that is none by itself.
pub(crate) fn pickled(object: &Bound<'_, PyAny>, protocol: i64) -> PyResult<Key<'static>> {
    let py = object.py();
    let known = Protocol::from_number(protocol);
    if let Some(protocol) = known {
        let mut native = Native { writer: Writer::new(protocol), names_class: false };
        if write(&mut native, object, 0)? && !native.is_long() {
            let pickle = native.writer.finish();
            return Ok(if native.names_class {
                Key::Object(Arc::new(Object::of_class(pickle)))
            } else {
                Key::Pickle(Cow::Owned(pickle))
            });
        }
    }
    let mut pickle =
        DUMPS.get(py)?.call1((object, protocol)).map_err(|error| error::unusable(object, error))?;
    if known.is_none() {
        pickle = OPTIMIZE.get(py)?.call1((pickle,))?;
    }
    let pickle = pickle.cast::<PyBytes>()?.as_bytes().to_vec();
    if pickle.len() < dolium::raw::pickle::LONGEST {
        return Ok(Key::from_pickle(pickle));
    }
    Ok(enter::leave(py, || Key::from_pickle(pickle)))
}

/// The key of the tuple of some items. None: it is left to [`pickled`], because not all is plain data.
#[inline]
pub(crate) fn of_items<'a, 'py: 'a>(
    protocol: i64,
    items: impl Iterator<Item = Borrowed<'a, 'py, PyAny>>,
    count: usize,
) -> PyResult<Option<Key<'static>>> {
    let Some(protocol) = Protocol::from_number(protocol) else { return Ok(None) };
    let mut native = Native { writer: Writer::new(protocol), names_class: false };
    native.begin_tuple(count);
    for item in items {
        if native.is_long() || !write(&mut native, &item, 1)? {
            return Ok(None);
        }
    }
    native.end_tuple(count);
    let is_whole = !native.is_long() && !native.names_class;
    Ok(is_whole.then(|| Key::Pickle(Cow::Owned(native.writer.finish()))))
}

/// A key that is written without Python.
struct Native {
    writer: Writer,
    names_class: bool,
}

impl Deref for Native {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        &self.writer
    }
}

impl DerefMut for Native {
    fn deref_mut(&mut self) -> &mut Writer {
        &mut self.writer
    }
}

/// Writes an object. `false`: it, or something in it, is not plain data, or there is more than is stored as it is.
fn write(writer: &mut Native, object: &Bound<'_, PyAny>, depth: u32) -> PyResult<bool> {
    if let Ok(text) = object.cast_exact::<PyString>() {
        match text.to_str() {
            Ok(text) => writer.text(text),
            Err(_) => writer.text_bytes(
                text.call_method1("encode", ("utf-8", "surrogatepass"))?.cast::<PyBytes>()?.as_bytes(),
            ),
        }
    } else if object.is_exact_instance_of::<PyInt>() {
        write_int(writer, object)?;
    } else if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        return write_tuple(writer, tuple, depth);
    } else if object.is_none() {
        writer.none();
    } else if let Ok(value) = object.cast_exact::<PyBool>() {
        writer.bool(value.is_true());
    } else if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        writer.bytes(bytes.as_bytes());
    } else if let Ok(number) = object.cast_exact::<PyFloat>() {
        writer.float(number.value());
    } else if let Ok(number) = object.cast_exact::<PyComplex>() {
        let number = number.as_any();
        writer.complex(number.getattr("real")?.extract()?, number.getattr("imag")?.extract()?);
    } else if let Ok(set) = object.cast_exact::<PyFrozenSet>() {
        return write_frozenset(writer, set, depth);
    } else {
        return Ok(write_time(writer, object)? || write_instance(writer, object, depth)?);
    }
    Ok(true)
}

fn write_int(writer: &mut Native, number: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(number) = number.extract() {
        writer.int(number);
        return Ok(());
    }
    let bits: usize = number.call_method0("bit_length")?.extract()?;
    let py = number.py();
    let keywords = pyo3::types::PyDict::new(py);
    keywords.set_item("signed", true)?;
    let bytes = number.call_method("to_bytes", (bits / 8 + 1, "little"), Some(&keywords))?;
    writer.big_int(bytes.cast::<PyBytes>()?.as_bytes());
    Ok(())
}

fn write_tuple(writer: &mut Native, tuple: &Bound<'_, PyTuple>, depth: u32) -> PyResult<bool> {
    if depth == DEPTH {
        return Ok(false);
    }
    writer.begin_tuple(tuple.len());
    for item in tuple.iter_borrowed() {
        if writer.is_long() || !write(writer, &item, depth + 1)? {
            return Ok(false);
        }
    }
    writer.end_tuple(tuple.len());
    Ok(true)
}

fn write_frozenset(writer: &mut Native, set: &Bound<'_, PyFrozenSet>, depth: u32) -> PyResult<bool> {
    if depth == DEPTH {
        return Ok(false);
    }
    let mut open = writer.begin_frozenset();
    for item in set {
        writer.element(&mut open);
        if writer.is_long() || !write(writer, &item, depth + 1)? {
            return Ok(false);
        }
    }
    writer.end_frozenset(open);
    Ok(true)
}

/// Dates and times. Those with a time zone are left to Python.
fn write_time(writer: &mut Native, object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let of = |time: &dyn PyTimeAccess| TimeOfDay {
        hour: time.get_hour(),
        minute: time.get_minute(),
        second: time.get_second(),
        microsecond: time.get_microsecond(),
        fold: time.get_fold(),
    };
    if let Ok(value) = object.cast_exact::<PyDateTime>() {
        if value.get_tzinfo().is_some() {
            return Ok(false);
        }
        writer.datetime(u16::try_from(value.get_year())?, value.get_month(), value.get_day(), of(value));
    } else if let Ok(value) = object.cast_exact::<PyDate>() {
        writer.date(u16::try_from(value.get_year())?, value.get_month(), value.get_day());
    } else if let Ok(value) = object.cast_exact::<PyTime>() {
        if value.get_tzinfo().is_some() {
            return Ok(false);
        }
        writer.time(of(value));
    } else if let Ok(value) = object.cast_exact::<PyDelta>() {
        writer.timedelta(value.get_days(), value.get_seconds(), value.get_microseconds());
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// Members of enumerations, UUIDs, and diskcache's constants.
fn write_instance(writer: &mut Native, object: &Bound<'_, PyAny>, depth: u32) -> PyResult<bool> {
    let py = object.py();
    let class = object.get_type();
    if class.is(CONSTANT.get(py)?) {
        let name = object.get_item(0)?;
        return write_constant(writer, &name);
    }
    // A module that is not there has no instances, and is not imported to find that out.
    if class.name()? == "UUID"
        && let Ok(uuid) = MODULES.get(py)?.get_item("uuid")
        && class.is(&uuid.getattr("UUID")?)
    {
        if !object.getattr("is_safe")?.is(&uuid.getattr("SafeUUID")?.getattr("unknown")?) {
            return Ok(false);
        }
        writer.uuid(object.getattr("int")?.extract()?);
        return Ok(true);
    }
    write_member(writer, object, &class, depth)
}

/// A member of an enumeration, unless its class pickles in a way of its own.
fn write_member(
    writer: &mut Native,
    member: &Bound<'_, PyAny>,
    class: &Bound<'_, PyType>,
    depth: u32,
) -> PyResult<bool> {
    let base = ENUM.get(member.py())?;
    if depth == DEPTH || !class.is_subclass(base)? {
        return Ok(false);
    }
    if !class.getattr("__reduce_ex__")?.is(&base.getattr("__reduce_ex__")?) {
        return Ok(false);
    }
    let (module, name) = (class.getattr("__module__")?, class.getattr("__qualname__")?);
    let (Ok(module), Ok(name)) = (module.extract::<&str>(), name.extract::<&str>()) else {
        return Ok(false);
    };
    writer.names_class = true;
    writer.global(module, name);
    writer.begin_tuple(1);
    if !write(writer, &member.getattr("_value_")?, depth + 1)? {
        return Ok(false);
    }
    writer.end_tuple(1);
    writer.reduce();
    Ok(true)
}

/// `ENOVAL` in a key, as diskcache pickles its constants: `memoize_stampede` makes such keys.
fn write_constant(writer: &mut Native, name: &Bound<'_, PyAny>) -> PyResult<bool> {
    let Ok(name) = name.cast_exact::<PyString>() else {
        return Ok(false);
    };
    writer.global("diskcache.core", "Constant");
    writer.begin_tuple(1);
    writer.begin_tuple(1);
    writer.text(name.to_str()?);
    writer.end_tuple(1);
    writer.end_tuple(1);
    writer.new_object();
    Ok(true)
}
