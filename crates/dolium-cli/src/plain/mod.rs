//! Owns plain Python data outside of Python: what a pickle or a literal says, as a tree that nobody runs.
//! `unpickle` reads pickles, `pickle` writes them, `literal` reads Python's notation, `notation` writes it.

mod literal;
mod msgpack;
mod notation;
mod pickle;
mod unpickle;

pub(crate) use literal::parse;
pub(crate) use msgpack::unpack;
pub(crate) use notation::quoted;
pub(crate) use pickle::{to_key, to_pickle};
pub(crate) use unpickle::describe;

/// How deep data may be nested. Deeper data would overflow the stack where it is shown or dropped.
const DEPTH: usize = 100;

/// A Python value, or as much of one as can be told without running anything.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits: two's complement, the lowest byte first.
    Big(Vec<u8>),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Data>),
    List(Vec<Data>),
    Set(Vec<Data>),
    FrozenSet(Vec<Data>),
    Dict(Vec<(Data, Data)>),
    /// A global name.
    Name(String),
    /// What a pickle would call: the name, the arguments, and what it would give the result afterwards.
    Call(Box<Data>, Vec<Data>, Vec<Data>),
    /// More than is shown.
    Elided,
}

impl Data {
    /// Whether the value can be written as a literal and read back.
    pub fn is_literal(&self) -> bool {
        match self {
            Self::Name(_) | Self::Call(..) | Self::Elided => false,
            Self::Tuple(items) | Self::List(items) | Self::Set(items) | Self::FrozenSet(items) => {
                items.iter().all(Self::is_literal)
            }
            Self::Dict(items) => items.iter().all(|(key, value)| key.is_literal() && value.is_literal()),
            _ => true,
        }
    }
}

/// What a pickle says.
#[derive(Debug)]
pub(crate) struct Description {
    pub data: Data,
    /// The globals that it would import, unless any reader takes them for plain data.
    pub foreign: Vec<String>,
}
