//! Owns reading keys back, and the pickles of plain data that most keys which are no text or number are:
//! None, bool, int, float, str, bytes, tuples of them, named tuples, members of enumerations, and diskcache's
//! constants.
//! Runs nothing and imports nothing; whatever it does not know it leaves to Python.

use dolium::{Cache, Key, Value};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyString, PyTuple, PyType};

use crate::lazy::Lazy;
use crate::trust::Trust;
use crate::{enter, error};

static LOADS: Lazy = Lazy::new("pickle", "loads");
static TRUSTED: Lazy = Lazy::new("dolium.trust", "loads");
static CONSTANT: Lazy = Lazy::new("dolium.constants", "constant");
static ENUM: Lazy = Lazy::new("enum", "Enum");
static FLAG: Lazy = Lazy::new("enum", "Flag");
static MODULES: Lazy = Lazy::new("sys", "modules");

/// The Python object that a key was. A refused pickle raises `UntrustedValueError`.
pub(crate) fn key<'py>(
    py: Python<'py>,
    cache: &Cache,
    key: &Key<'_>,
    trust: Trust,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(match key {
        Key::Int(value) => value.into_pyobject(py)?.into_any(),
        Key::Float(value) => PyFloat::new(py, *value).into_any(),
        Key::Text(value) => PyString::new(py, value).into_any(),
        Key::Bytes(value) => PyBytes::new(py, value).into_any(),
        Key::Pickle(_) | Key::Object(_) => return pickled(py, cache, key, trust),
    })
}

fn pickled<'py>(py: Python<'py>, cache: &Cache, key: &Key<'_>, trust: Trust) -> PyResult<Bound<'py, PyAny>> {
    if let Some(pickle) = key.pickle().filter(|_| !key.is_digest())
        && let Some(object) = load(py, pickle)?
    {
        return Ok(object);
    }
    let Value::Pickle { bytes, signed } = enter::enter(py, || cache.whole_key(key))? else {
        return Err(error::untrusted(py, "a long key, whose whole pickle is not in the database".to_owned()));
    };
    if trust == Trust::All {
        return LOADS.get(py)?.call1((PyBytes::new(py, &bytes),));
    }
    if signed && trust == Trust::Signed {
        // What the program wrote, it may have no class for any more.
        return LOADS.get(py)?.call1((PyBytes::new(py, &bytes),)).map_err(|cause| {
            if !cause.is_instance_of::<PyException>(py) {
                return cause;
            }
            error::untrusted(py, format!("a key that cannot be loaded: {cause}"))
        });
    }
    plain_key(py, &bytes)
}

/// The plain data that a pickle says, read by Python.
pub(crate) fn plain_key<'py>(py: Python<'py>, pickle: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    TRUSTED.get(py)?.call1((PyBytes::new(py, pickle),))
}

/// The plain data in a pickle. `None`: there is something else in it.
fn load<'py>(py: Python<'py>, pickle: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
    Machine { py, rest: pickle, stack: Vec::new(), marks: Vec::new() }.run()
}

enum Item<'py> {
    Object(Bound<'py, PyAny>),
    /// The module and the name of a class.
    Global(String, String),
}

impl<'py> Item<'py> {
    fn object(self) -> Option<Bound<'py, PyAny>> {
        match self {
            Self::Object(object) => Some(object),
            Self::Global(..) => None,
        }
    }
}

struct Machine<'py, 'a> {
    py: Python<'py>,
    rest: &'a [u8],
    stack: Vec<Item<'py>>,
    marks: Vec<usize>,
}

impl<'py, 'a> Machine<'py, 'a> {
    fn run(mut self) -> PyResult<Option<Bound<'py, PyAny>>> {
        while let Some(opcode) = self.take(1) {
            match opcode[0] {
                b'.' => return Ok(self.pop().filter(|_| self.stack.is_empty())),
                opcode => {
                    if self.step(opcode)?.is_none() {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(None)
    }

    fn pop(&mut self) -> Option<Bound<'py, PyAny>> {
        self.stack.pop()?.object()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn length(&mut self, width: usize) -> Option<usize> {
        Some(self.take(width)?.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    /// Runs one opcode. `None`: it is unknown, or the pickle is damaged.
    fn step(&mut self, opcode: u8) -> PyResult<Option<()>> {
        let py = self.py;
        let object = match opcode {
            0x80 => return Ok(self.take(1).map(drop)),
            0x95 => return Ok(self.take(8).map(drop)),
            // Memoized, which only matters where the memo is read: an opcode that is not known here.
            0x94 => return Ok(Some(())),
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(Some(()));
            }
            b't' => {
                let Some(mark) = self.marks.pop() else { return Ok(None) };
                return self.tuple(mark);
            }
            b')' => return self.tuple(self.stack.len()),
            0x85..=0x87 => {
                let length = usize::from(opcode - 0x84);
                let Some(first) = self.stack.len().checked_sub(length) else { return Ok(None) };
                return self.tuple(first);
            }
            0x93 => {
                let (Some(name), Some(module)) = (self.pop(), self.pop()) else { return Ok(None) };
                let (Ok(module), Ok(name)) = (module.extract(), name.extract()) else { return Ok(None) };
                return self.global(module, name).map(Some);
            }
            // The same before protocol 4, in two lines.
            b'c' => {
                let (Some(module), Some(name)) = (self.line(), self.line()) else { return Ok(None) };
                return self.global(module, name).map(Some);
            }
            0x81 => self.instance()?,
            b'R' => self.member()?,
            b'N' => Some(py.None().into_bound(py)),
            0x88 | 0x89 => Some(PyBool::new(py, opcode == 0x88).to_owned().into_any()),
            b'K' => self.unsigned(1)?,
            b'M' => self.unsigned(2)?,
            b'J' => match self.take(4).and_then(|bytes| bytes.try_into().ok()) {
                Some(bytes) => Some(i32::from_le_bytes(bytes).into_pyobject(py)?.into_any()),
                None => None,
            },
            0x8a => self.long()?,
            b'G' => self
                .take(8)
                .and_then(|bytes| bytes.try_into().ok())
                .map(|bytes| PyFloat::new(py, f64::from_be_bytes(bytes)).into_any()),
            0x8c => self.text(1),
            b'X' => self.text(4),
            0x8d => self.text(8),
            b'C' => self.bytes(1),
            b'B' => self.bytes(4),
            0x8e => self.bytes(8),
            _ => None,
        };
        Ok(object.map(|object| self.stack.push(Item::Object(object))))
    }

    fn tuple(&mut self, first: usize) -> PyResult<Option<()>> {
        if first > self.stack.len() {
            return Ok(None);
        }
        let Some(items) = self.stack.drain(first..).map(Item::object).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let tuple = PyTuple::new(self.py, items)?;
        self.stack.push(Item::Object(tuple.into_any()));
        Ok(Some(()))
    }

    fn line(&mut self) -> Option<String> {
        let length = self.rest.iter().position(|byte| *byte == b'\n')?;
        let line = self.take(length + 1)?;
        String::from_utf8(line[..length].to_vec()).ok()
    }

    /// A class, or one of our own constants, which pickle as globals.
    fn global(&mut self, module: String, name: String) -> PyResult<()> {
        let is_ours = module == "dolium.constants" && (name == "ENOVAL" || name == "UNKNOWN");
        self.stack.push(if is_ours {
            Item::Object(CONSTANT.get(self.py)?.call1((name,))?)
        } else {
            Item::Global(module, name)
        });
        Ok(())
    }

    /// A global and the arguments that it is to be called with.
    fn call(&mut self) -> Option<(String, String, Bound<'py, PyTuple>)> {
        let arguments = self.pop()?.cast_into::<PyTuple>().ok()?;
        let Item::Global(module, name) = self.stack.pop()? else { return None };
        Some((module, name, arguments))
    }

    /// What is made by `__new__`: one of diskcache's constants, which it pickles with its name in a tuple,
    /// or a named tuple whose class is imported already. It is made as a tuple: `__new__` does not run.
    fn instance(&mut self) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = self.py;
        let Some((module, name, arguments)) = self.call() else { return Ok(None) };
        if (module.as_str(), name.as_str()) == ("diskcache.core", "Constant") {
            let name = arguments.get_item(0).ok().and_then(|name| name.cast_into::<PyTuple>().ok());
            return name.filter(|name| name.len() == 1).map(|name| CONSTANT.get(py)?.call1(name)).transpose();
        }
        let Some(class) = class(py, &module, &name)? else { return Ok(None) };
        let base = py.get_type::<PyTuple>();
        let fields = class.getattr("_fields").ok().and_then(|fields| fields.cast_into::<PyTuple>().ok());
        if !class.is_subclass(&base)? || fields.is_none_or(|fields| fields.len() != arguments.len()) {
            return Ok(None);
        }
        base.call_method1("__new__", (class, arguments)).map(Some)
    }

    /// A member of an enumeration whose module is imported already. Its class is looked up without
    /// running anything, and so is the member, but for combinations of flags.
    fn member(&mut self) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = self.py;
        let Some((module, name, arguments)) = self.call() else { return Ok(None) };
        let Ok((value,)) = arguments.extract::<(Bound<'py, PyAny>,)>() else { return Ok(None) };
        let Some(class) = class(py, &module, &name)? else { return Ok(None) };
        if !class.is_subclass(ENUM.get(py)?)? {
            return Ok(None);
        }
        let members = class.getattr("_value2member_map_")?;
        if let Ok(members) = members.cast_into::<PyDict>()
            && let Ok(Some(member)) = members.get_item(&value)
        {
            return Ok(Some(member));
        }
        let flag = FLAG.get(py)?;
        let is_combination = class.is_subclass(flag)?
            && class
                .getattr("_missing_")?
                .getattr("__func__")?
                .is(&flag.getattr("_missing_")?.getattr("__func__")?);
        if is_combination { Ok(class.call1((value,)).ok()) } else { Ok(None) }
    }

    fn unsigned(&mut self, width: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(value) = self.length(width) else { return Ok(None) };
        Ok(Some(value.into_pyobject(self.py)?.into_any()))
    }

    /// Integers of up to eight bytes; larger ones are left to Python.
    fn long(&mut self) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(bytes) = self.length(1).filter(|length| *length <= 8).and_then(|length| self.take(length))
        else {
            return Ok(None);
        };
        let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
        let mut value = [if negative { 0xff } else { 0 }; 8];
        value[..bytes.len()].copy_from_slice(bytes);
        Ok(Some(i64::from_le_bytes(value).into_pyobject(self.py)?.into_any()))
    }

    fn text(&mut self, width: usize) -> Option<Bound<'py, PyAny>> {
        let length = self.length(width)?;
        let text = str::from_utf8(self.take(length)?).ok()?;
        Some(PyString::new(self.py, text).into_any())
    }

    fn bytes(&mut self, width: usize) -> Option<Bound<'py, PyAny>> {
        let length = self.length(width)?;
        Some(PyBytes::new(self.py, self.take(length)?).into_any())
    }
}

/// The class of that qualified name, if its module is imported and every step is an ordinary attribute.
fn class<'py>(py: Python<'py>, module: &str, name: &str) -> PyResult<Option<Bound<'py, PyType>>> {
    let Ok(module) = MODULES.get(py)?.get_item(module) else { return Ok(None) };
    let mut object = module;
    for part in name.split('.') {
        let Ok(names) = object.getattr("__dict__") else { return Ok(None) };
        let Ok(next) = names.get_item(part) else { return Ok(None) };
        object = next;
    }
    Ok(object.cast_into::<PyType>().ok())
}
