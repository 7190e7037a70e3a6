//! Keys back from their stored form, and the names in the pickles that most keys which are no text or number are:
//! named tuples, members of enumerations, and diskcache's constants.
//! Runs nothing and imports nothing; what it does not know it leaves to Python.

use std::rc::Rc;

use dolium::{Cache, Key, Value, raw};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyString, PyTuple, PyType};

use crate::lazy::Lazy;
use crate::trust::Trust;
use crate::unpickle::{self, Cause, Failure, Item, Names};
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
        _ => return pickled(py, cache, key, trust),
    })
}

fn pickled<'py>(py: Python<'py>, cache: &Cache, key: &Key<'_>, trust: Trust) -> PyResult<Bound<'py, PyAny>> {
    if let Some(pickle) = key.pickle().filter(|_| !key.is_digest())
        && let Some(object) = load(py, pickle)?
    {
        return Ok(object);
    }
    let Value::Pickle { bytes, signed } = enter::enter(py, || raw::whole_key(cache, key))? else {
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

/// The key in a pickle. `None`: there is something else in it.
fn load<'py>(py: Python<'py>, pickle: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
    unpickle::load(py, pickle, &mut OfKeys { py }).map(Some).or_else(|failure| match failure.cause() {
        Cause::Raised(error) => Err(error),
        Cause::Refused(_) | Cause::Damaged(_) => Ok(None),
    })
}

/// The names that keys have. Nothing that they stand for is made but what runs no code of a class.
struct OfKeys<'py> {
    py: Python<'py>,
}

/// The module and the name of a class.
type Class = Rc<(String, String)>;

fn unknown() -> Failure {
    Failure::refused(String::new())
}

impl<'py> Names<'py> for OfKeys<'py> {
    type Other = Class;

    // To fill another container runs code of the classes whose members it holds.
    const IS_STRICT: bool = true;

    /// A class, or one of our own constants, which pickle as globals.
    fn find(&mut self, module: &str, name: &str) -> Result<Item<'py, Class>, Failure> {
        let is_ours = module == "dolium.constants" && (name == "ENOVAL" || name == "UNKNOWN");
        Ok(if is_ours {
            Item::leaf(CONSTANT.get(self.py)?.call1((name,))?)
        } else {
            Item::Other(Rc::new((module.to_owned(), name.to_owned())))
        })
    }

    fn call(
        &mut self,
        callee: Item<'py, Class>,
        arguments: Item<'py, Class>,
    ) -> Result<Item<'py, Class>, Failure> {
        let (class, arguments) = called(callee, arguments)?;
        member(self.py, &class.0, &class.1, &arguments)?.map(Item::leaf).ok_or_else(unknown)
    }

    fn instance(
        &mut self,
        class: Item<'py, Class>,
        arguments: Item<'py, Class>,
    ) -> Result<Item<'py, Class>, Failure> {
        let (class, arguments) = called(class, arguments)?;
        instance(self.py, &class.0, &class.1, arguments)?.map(Item::leaf).ok_or_else(unknown)
    }

    fn build(&mut self, _: &Item<'py, Class>, _: Item<'py, Class>) -> Result<Item<'py, Class>, Failure> {
        Err(unknown())
    }

    fn arguments(&mut self, _: Vec<Item<'py, Class>>) -> Result<Class, Failure> {
        Err(unknown())
    }

    fn recall(&mut self, class: &Class) -> Result<Item<'py, Class>, Failure> {
        Ok(Item::Other(class.clone()))
    }

    fn no_data(&self, _: &Class) -> Failure {
        unknown()
    }
}

/// A class and the arguments that it is called with.
fn called<'py>(
    callee: Item<'py, Class>,
    arguments: Item<'py, Class>,
) -> Result<(Class, Bound<'py, PyTuple>), Failure> {
    let (Item::Other(class), Item::Data(arguments, _)) = (callee, arguments) else { return Err(unknown()) };
    Ok((class, arguments.cast_into::<PyTuple>().map_err(|_| unknown())?))
}

/// What is made by `__new__`: one of diskcache's constants, which it pickles with its name in a tuple,
/// or a named tuple whose class is imported already. It is made as a tuple: `__new__` does not run.
fn instance<'py>(
    py: Python<'py>,
    module: &str,
    name: &str,
    arguments: Bound<'py, PyTuple>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if (module, name) == ("diskcache.core", "Constant") {
        let name = arguments.get_item(0).ok().and_then(|name| name.cast_into::<PyTuple>().ok());
        return name.filter(|name| name.len() == 1).map(|name| CONSTANT.get(py)?.call1(name)).transpose();
    }
    let Some(class) = class(py, module, name)? else { return Ok(None) };
    let base = py.get_type::<PyTuple>();
    let fields = class.getattr("_fields").ok().and_then(|fields| fields.cast_into::<PyTuple>().ok());
    if !class.is_subclass(&base)? || fields.is_none_or(|fields| fields.len() != arguments.len()) {
        return Ok(None);
    }
    base.call_method1("__new__", (class, arguments)).map(Some)
}

/// A member of an enumeration whose module is imported already. Its class is looked up without
/// running anything, and so is the member, but for combinations of flags.
fn member<'py>(
    py: Python<'py>,
    module: &str,
    name: &str,
    arguments: &Bound<'py, PyTuple>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Ok((value,)) = arguments.extract::<(Bound<'py, PyAny>,)>() else { return Ok(None) };
    let Some(class) = class(py, module, name)? else { return Ok(None) };
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
