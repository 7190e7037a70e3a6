//! Pickles that dolium did not write, read as plain data: the engine's table of names, and the functions of
//! `dolium.trust` that make of a name and its arguments a value.

use dolium::raw::pickle::names::{self, Rebuild};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::lazy::Lazy;
use crate::unpickle::{self, Cause, Failure, Item, Names};

static REFUSE: Lazy = Lazy::new("dolium.trust.values", "refuse");
static NAME: Lazy = Lazy::new("dolium.trust.values", "Name");
static PENDING: Lazy = Lazy::new("dolium.trust.values", "Pending");
static ARGUMENTS: Lazy = Lazy::new("dolium.trust.values", "Args");
static LOOKUP: Lazy = Lazy::new("dolium.trust.names", "lookup");
static CALL: Lazy = Lazy::new("dolium.trust.names", "call");
static INSTANCE: Lazy = Lazy::new("dolium.trust.names", "instance");
static BUILD: Lazy = Lazy::new("dolium.trust.names", "build");

/// The plain data in a pickle that another user may have written. What follows its end is ignored.
#[pyfunction]
#[pyo3(signature = (pickle, /))]
fn load_plain<'py>(py: Python<'py>, pickle: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let internal = [&NAME, &PENDING, &ARGUMENTS];
    let [name, pending, arguments] = internal.map(|class| class.get(py));
    let mut plain = Plain { py, name: name?, pending: pending?, arguments: arguments? };
    unpickle::load(py, pickle, &mut plain).or_else(|failure| match failure.cause() {
        Cause::Refused(what) => REFUSE.get(py)?.call1((what,)),
        Cause::Damaged(error) | Cause::Raised(error) => Err(error),
    })
}

/// The names for plain data, by how pickles have them: the name that they have today, what rebuilds it, and whether that
/// takes names for arguments.
#[pyfunction]
#[pyo3(signature = ())]
fn plain_names(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let names = PyDict::new(py);
    for name in names::all() {
        let (maker, takes_names) = match name.rebuild {
            Rebuild::Call(maker) | Rebuild::Constant(maker) => (Some(maker), false),
            Rebuild::CallOfNames(maker) => (Some(maker), true),
            Rebuild::Argument => (None, false),
        };
        names.set_item((name.module, name.name), (name.present, maker, takes_names))?;
    }
    Ok(names)
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(load_plain, module)?)?;
    module.add_function(wrap_pyfunction!(plain_names, module)?)
}

/// The names of plain data. What is no data is an object of a class of `dolium.trust` that data cannot hold.
struct Plain<'py> {
    py: Python<'py>,
    name: &'py Bound<'py, PyAny>,
    pending: &'py Bound<'py, PyAny>,
    arguments: &'py Bound<'py, PyAny>,
}

type Part<'py> = Item<'py, Bound<'py, PyAny>>;

impl<'py> Plain<'py> {
    /// What a function of `dolium.trust` has made of objects in which so many tuples lie one in another.
    fn part(&self, made: Bound<'py, PyAny>, depth: u32) -> Part<'py> {
        let class: Bound<'py, PyType> = made.get_type();
        let is_internal = [self.name, self.pending, self.arguments].iter().any(|known| class.is(known));
        if is_internal { Item::Other(made) } else { Item::Data(made, depth) }
    }

    fn made(&self, by: &Lazy, first: Part<'py>, second: Part<'py>) -> Result<Part<'py>, Failure> {
        let ((first, one), (second, other)) = (object(first), object(second));
        let made = by.get(self.py)?.call1((first, second))?;
        Ok(self.part(made, one.max(other)))
    }
}

fn object(part: Part<'_>) -> (Bound<'_, PyAny>, u32) {
    match part {
        Item::Data(object, depth) => (object, depth),
        Item::Other(object) => (object, 0),
    }
}

impl<'py> Names<'py> for Plain<'py> {
    type Other = Bound<'py, PyAny>;

    fn find(&mut self, module: &str, name: &str) -> Result<Part<'py>, Failure> {
        let found = LOOKUP.get(self.py)?.call1((module, name))?;
        Ok(self.part(found, 0))
    }

    fn call(&mut self, callee: Part<'py>, arguments: Part<'py>) -> Result<Part<'py>, Failure> {
        self.made(&CALL, callee, arguments)
    }

    fn instance(&mut self, class: Part<'py>, arguments: Part<'py>) -> Result<Part<'py>, Failure> {
        self.made(&INSTANCE, class, arguments)
    }

    fn build(&mut self, target: &Part<'py>, state: Part<'py>) -> Result<Part<'py>, Failure> {
        self.made(&BUILD, target.clone(), state)
    }

    fn arguments(&mut self, items: Vec<Part<'py>>) -> Result<Bound<'py, PyAny>, Failure> {
        let items = PyTuple::new(self.py, items.into_iter().map(|item| object(item).0).collect::<Vec<_>>())?;
        Ok(self.arguments.call1((items,))?)
    }

    fn recall(&mut self, other: &Bound<'py, PyAny>) -> Result<Part<'py>, Failure> {
        if other.get_type().is(self.pending) && other.getattr("is_built")?.is_truthy()? {
            return Ok(Item::Data(other.getattr("value")?, 0));
        }
        Ok(Item::Other(other.clone()))
    }

    fn no_data(&self, other: &Bound<'py, PyAny>) -> Failure {
        if !other.get_type().is(self.name) {
            return Failure::refused("an incomplete value");
        }
        other.str().map_or_else(Failure::from, |name| Failure::refused(name.to_string()))
    }
}
