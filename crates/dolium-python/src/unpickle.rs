//! Pickles of plain data as Python's objects: what the engine's reader builds, with the names left to a [`Names`].
//!
//! Runs nothing and imports nothing: containers are filled by the methods of Python's own exact types, and what a name
//! stands for only a `Names` knows. What is not data (a name, an object without its state) never becomes a part of data.

use dolium::raw::pickle::op::{self, Op, Scalar};
use dolium::raw::pickle::read::{Build, Damage, read};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple,
};

use crate::lazy::Lazy;

static ESCAPE_DECODE: Lazy = Lazy::new("codecs", "escape_decode");
static DEQUE: Lazy = Lazy::new("collections", "deque");
static DEFAULTDICT: Lazy = Lazy::new("collections", "defaultdict");
static ORDERED_DICT: Lazy = Lazy::new("collections", "OrderedDict");

/// How many tuples may lie one in another: Python hashes them by recursion, which nothing else bounds.
const DEPTH: u32 = 10_000;

/// Why there is no object. Boxed, because each step returns one or a value.
pub(crate) struct Failure(Box<Cause>);

/// What the failure is.
pub(crate) enum Cause {
    /// The pickle holds something other than plain data.
    Refused(String),
    /// The pickle is damaged, or a container does not take what it is given.
    Damaged(PyErr),
    /// A call of Python failed.
    Raised(PyErr),
}

impl Failure {
    #[cold]
    pub fn refused(what: impl Into<String>) -> Self {
        Self(Box::new(Cause::Refused(what.into())))
    }

    #[cold]
    fn damaged(error: PyErr) -> Self {
        Self(Box::new(Cause::Damaged(error)))
    }

    pub fn cause(self) -> Cause {
        *self.0
    }
}

impl From<Damage> for Failure {
    #[cold]
    fn from(damage: Damage) -> Self {
        Self::damaged(PyValueError::new_err(damage.to_string()))
    }
}

impl From<PyErr> for Failure {
    #[cold]
    fn from(error: PyErr) -> Self {
        Self(Box::new(Cause::Raised(error)))
    }
}

type Result<T> = std::result::Result<T, Failure>;

/// A value on the stack.
#[derive(Clone)]
pub(crate) enum Item<'py, N> {
    /// An object, and how many tuples lie one in another in it.
    Data(Bound<'py, PyAny>, u32),
    /// What is no data: a name, or something that is incomplete.
    Other(N),
}

impl<'py, N> Item<'py, N> {
    /// An object that is no tuple.
    pub fn leaf(object: Bound<'py, PyAny>) -> Self {
        Self::Data(object, 0)
    }
}

/// What the names in a pickle stand for.
pub(crate) trait Names<'py> {
    /// What is no data, as it lies on the stack.
    type Other: Clone;

    /// Whether tuples are the only containers, and a pickle leaves nothing beside its value.
    const IS_STRICT: bool = false;

    /// What a name stands for.
    fn find(&mut self, module: &str, name: &str) -> Result<Item<'py, Self::Other>>;

    /// What comes of calling something.
    fn call(
        &mut self,
        callee: Item<'py, Self::Other>,
        arguments: Item<'py, Self::Other>,
    ) -> Result<Item<'py, Self::Other>>;

    /// What comes of making an instance of something by its `__new__`.
    fn instance(
        &mut self,
        class: Item<'py, Self::Other>,
        arguments: Item<'py, Self::Other>,
    ) -> Result<Item<'py, Self::Other>>;

    /// What comes of giving something a state.
    fn build(
        &mut self,
        target: &Item<'py, Self::Other>,
        state: Item<'py, Self::Other>,
    ) -> Result<Item<'py, Self::Other>>;

    /// A tuple whose items are not all data.
    fn arguments(&mut self, items: Vec<Item<'py, Self::Other>>) -> Result<Self::Other>;

    /// What the memo has of something that is no data.
    fn recall(&mut self, other: &Self::Other) -> Result<Item<'py, Self::Other>>;

    /// The refusal of something that is no data where data is needed.
    fn no_data(&self, other: &Self::Other) -> Failure;
}

/// The object that a pickle says.
pub(crate) fn load<'py, N: Names<'py>>(
    py: Python<'py>,
    pickle: &[u8],
    names: &mut N,
) -> Result<Bound<'py, PyAny>> {
    let mut objects = Objects { py, names };
    let item = read(pickle, &mut objects)?;
    objects.data(item).map(|(object, _)| object)
}

struct Objects<'py, 'n, N> {
    py: Python<'py>,
    names: &'n mut N,
}

impl<'p, 'py, N: Names<'py>> Build<'p> for Objects<'py, '_, N> {
    type Value = Item<'py, N::Other>;
    type Kept = Item<'py, N::Other>;
    type Error = Failure;

    #[inline]
    fn meet(&mut self, op: &Op<'p>) -> Result<()> {
        let is_other = N::IS_STRICT
            && matches!(
                op.code,
                op::LIST
                    | op::EMPTY_LIST
                    | op::DICT
                    | op::EMPTY_DICT
                    | op::FROZENSET
                    | op::EMPTY_SET
                    | op::BYTEARRAY8
            );
        if is_other { Err(refused(op)) } else { Ok(()) }
    }

    fn push(&mut self, op: &Op<'p>) -> Result<Self::Value> {
        let py = self.py;
        if let Some(scalar) = op.scalar() {
            return self.scalar(scalar).map(Item::leaf);
        }
        Ok(Item::leaf(match op.code {
            op::EMPTY_TUPLE => PyTuple::empty(py).into_any(),
            op::EMPTY_LIST => PyList::empty(py).into_any(),
            op::EMPTY_DICT => PyDict::new(py).into_any(),
            op::EMPTY_SET => PySet::empty(py)?.into_any(),
            op::GLOBAL => {
                let (module, name) = op.global().ok_or(Damage::Kind)?;
                return self.names.find(module, name);
            }
            op::INT | op::LONG | op::FLOAT => return Err(Damage::Kind.into()),
            _ => return Err(refused(op)),
        }))
    }

    fn make(&mut self, op: &Op<'p>, stack: &mut Vec<Self::Value>, first: usize) -> Result<Self::Value> {
        let py = self.py;
        match op.code {
            op::TUPLE | op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => self.tuple(stack, first),
            op::LIST => {
                let list = PyList::empty(py).into_any();
                self.extend(&list, stack, first)?;
                Ok(Item::leaf(list))
            }
            op::DICT => {
                let dict = PyDict::new(py).into_any();
                self.fill(&dict, stack, first)?;
                Ok(Item::leaf(dict))
            }
            op::FROZENSET => {
                let items = stack.drain(first..).map(|item| Ok(self.data(item)?.0));
                let items = items.collect::<Result<Vec<_>>>()?;
                Ok(Item::leaf(PyFrozenSet::new(py, items).map_err(Failure::damaged)?.into_any()))
            }
            op::STACK_GLOBAL => {
                let (Some(Item::Data(name, _)), Some(Item::Data(module, _))) = (stack.pop(), stack.pop())
                else {
                    return Err(no_text());
                };
                let (Ok(module), Ok(name)) =
                    (module.cast_into_exact::<PyString>(), name.cast_into_exact::<PyString>())
                else {
                    return Err(no_text());
                };
                let text = |text: &Bound<'py, PyString>| {
                    Ok::<_, Failure>(text.to_str().map_err(Failure::damaged)?.to_owned())
                };
                self.names.find(&text(&module)?, &text(&name)?)
            }
            op::REDUCE | op::NEWOBJ => {
                let (arguments, callee) = stack.pop().zip(stack.pop()).ok_or(Damage::Missing)?;
                if op.code == op::REDUCE {
                    self.names.call(callee, arguments)
                } else {
                    self.names.instance(callee, arguments)
                }
            }
            _ => Err(refused(op)),
        }
    }

    fn change(&mut self, op: &Op<'p>, stack: &mut Vec<Self::Value>, first: usize) -> Result<()> {
        if op.code == op::BUILD {
            let state = stack.pop().ok_or(Damage::Missing)?;
            let target = stack.last_mut().ok_or(Damage::Missing)?;
            *target = self.names.build(target, state)?;
            return Ok(());
        }
        let Item::Data(target, _) = &stack[first - 1] else { return Err(Damage::Kind.into()) };
        let target = target.clone();
        match op.code {
            op::APPEND | op::APPENDS => self.extend(&target, stack, first),
            op::SETITEM | op::SETITEMS => self.fill(&target, stack, first),
            _ => {
                let set = target.cast_exact::<PySet>().map_err(|_| Damage::Kind)?;
                for item in stack.drain(first..) {
                    set.add(self.data(item)?.0).map_err(Failure::damaged)?;
                }
                Ok(())
            }
        }
    }

    fn stop(&mut self, is_alone: bool) -> Result<()> {
        if N::IS_STRICT && !is_alone { Err(Damage::Left.into()) } else { Ok(()) }
    }

    #[inline]
    fn keep(&mut self, item: &mut Self::Value) -> Result<Self::Kept> {
        Ok(item.clone())
    }

    #[inline]
    fn recall(&mut self, kept: &Self::Kept) -> Result<Self::Value> {
        match kept {
            Item::Data(..) => Ok(kept.clone()),
            Item::Other(other) => self.names.recall(other),
        }
    }
}

impl<'py, N: Names<'py>> Objects<'py, '_, N> {
    #[inline]
    fn data(&self, item: Item<'py, N::Other>) -> Result<(Bound<'py, PyAny>, u32)> {
        match item {
            Item::Data(object, depth) => Ok((object, depth)),
            Item::Other(other) => Err(self.names.no_data(&other)),
        }
    }

    #[inline]
    fn scalar(&self, scalar: Scalar<'_>) -> Result<Bound<'py, PyAny>> {
        let py = self.py;
        let decode = |bytes: &[u8], encoding: &str| {
            PyBytes::new(py, bytes).call_method1("decode", (encoding,)).map_err(Failure::damaged)
        };
        Ok(match scalar {
            Scalar::None => py.None().into_bound(py),
            Scalar::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
            Scalar::Int(number) => PyInt::new(py, number).into_any(),
            Scalar::Long(bytes) => long(py, bytes)?,
            Scalar::Decimal(digits) => py.get_type::<PyInt>().call1((digits,)).map_err(Failure::damaged)?,
            Scalar::Float(number) => PyFloat::new(py, number).into_any(),
            Scalar::Text(bytes) => match str::from_utf8(bytes) {
                Ok(text) => PyString::new(py, text).into_any(),
                Err(_) => PyBytes::new(py, bytes)
                    .call_method1("decode", ("utf-8", "surrogatepass"))
                    .map_err(Failure::damaged)?,
            },
            Scalar::RawText(bytes) => decode(bytes, "raw-unicode-escape")?,
            // `pickle.loads` takes text of Python 2 if it is ASCII.
            Scalar::String(bytes) => decode(bytes, "ascii")?,
            Scalar::Quoted(literal) => {
                let ([quote @ (b'\'' | b'"'), inner @ .., end], true) = (literal, literal.len() > 1) else {
                    return Err(Damage::Kind.into());
                };
                if quote != end {
                    return Err(Damage::Kind.into());
                }
                let bytes =
                    ESCAPE_DECODE.get(py)?.call1((PyBytes::new(py, inner),)).map_err(Failure::damaged)?;
                bytes.get_item(0)?.call_method1("decode", ("ascii",)).map_err(Failure::damaged)?
            }
            Scalar::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
            Scalar::ByteArray(bytes) => PyByteArray::new(py, bytes).into_any(),
        })
    }

    fn tuple(&mut self, stack: &mut Vec<Item<'py, N::Other>>, first: usize) -> Result<Item<'py, N::Other>> {
        let mut depths = stack[first..].iter().map(|item| match item {
            Item::Data(_, depth) => Some(*depth),
            Item::Other(_) => None,
        });
        let Some(deepest) = depths.try_fold(0, |most: u32, depth| depth.map(|depth| most.max(depth))) else {
            return self.names.arguments(stack.split_off(first)).map(Item::Other);
        };
        if deepest >= DEPTH {
            return Err(Failure::damaged(PyValueError::new_err("it is nested too deeply")));
        }
        let items = stack.drain(first..).map(|item| match item {
            Item::Data(object, _) => object,
            Item::Other(_) => self.py.None().into_bound(self.py),
        });
        Ok(Item::Data(PyTuple::new(self.py, items)?.into_any(), deepest + 1))
    }

    fn extend(
        &self,
        target: &Bound<'py, PyAny>,
        stack: &mut Vec<Item<'py, N::Other>>,
        first: usize,
    ) -> Result<()> {
        if let Ok(list) = target.cast_exact::<PyList>() {
            for item in stack.drain(first..) {
                list.append(self.data(item)?.0)?;
            }
            return Ok(());
        }
        if !is_a(target, &DEQUE)? {
            return Err(Damage::Kind.into());
        }
        for item in stack.drain(first..) {
            target.call_method1("append", (self.data(item)?.0,))?;
        }
        Ok(())
    }

    fn fill(
        &self,
        target: &Bound<'py, PyAny>,
        stack: &mut Vec<Item<'py, N::Other>>,
        first: usize,
    ) -> Result<()> {
        if !(stack.len() - first).is_multiple_of(2) {
            return Err(Damage::Kind.into());
        }
        let dict = target.cast_exact::<PyDict>().ok();
        if dict.is_none() && !is_a(target, &ORDERED_DICT)? && !is_a(target, &DEFAULTDICT)? {
            return Err(Damage::Kind.into());
        }
        let mut items = stack.drain(first..);
        while let Some((key, value)) = items.next().zip(items.next()) {
            let (key, value) = (self.data(key)?.0, self.data(value)?.0);
            match dict {
                Some(dict) => dict.set_item(key, value),
                None => target.set_item(key, value),
            }
            .map_err(Failure::damaged)?;
        }
        Ok(())
    }
}

/// An integer of any size in two's complement.
fn long<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let keywords = PyDict::new(py);
    keywords.set_item("signed", true)?;
    py.get_type::<PyInt>().call_method("from_bytes", (PyBytes::new(py, bytes), "little"), Some(&keywords))
}

/// Whether an object is of this very class; a subclass may do anything.
fn is_a(object: &Bound<'_, PyAny>, class: &Lazy) -> PyResult<bool> {
    Ok(object.get_type().is(class.get(object.py())?))
}

fn no_text() -> Failure {
    Failure::refused("a name that is not text")
}

fn refused(op: &Op<'_>) -> Failure {
    Failure::refused(match op.code {
        op::PERSID | op::BINPERSID => "a persistent id".to_owned(),
        _ => format!("the opcode {}", op.name()),
    })
}
