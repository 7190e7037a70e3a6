//! Pickles of all protocols as descriptions: what the engine's reader builds over an arena, where a pickle that would
//! import or call something only has the name noted. The description is bounded, however a hostile pickle multiplies
//! itself.

use std::rc::Rc;

use dolium::raw::pickle::names::is_plain;
use dolium::raw::pickle::op::{self, Op, Scalar};
use dolium::raw::pickle::read::{Build, Damage, read};

use super::{DEPTH, Data, Description};

/// How many nodes are described. A pickle of a few bytes can stand for a tree of any size.
const NODES: usize = 10_000;
/// How many bytes of text beyond the size of the pickle are described: the same text can occur again and again.
const REPEATED: usize = 16 << 20;

/// An index into the arena.
type Id = usize;

/// A value under construction. Lists are changed after they were memoized, hence the indexes.
#[derive(Debug)]
enum Node {
    Leaf(Data),
    Tuple(Rc<[Id]>),
    List(Vec<Id>),
    Set(Vec<Id>),
    FrozenSet(Vec<Id>),
    /// Keys and values by turns.
    Dict(Vec<Id>),
    Call {
        callee: Id,
        arguments: Rc<[Id]>,
        then: Vec<Id>,
    },
}

#[derive(Default)]
struct Arena {
    nodes: Vec<Node>,
    foreign: Vec<String>,
}

/// What may still be described.
struct Left {
    nodes: usize,
    bytes: usize,
}

/// Says what a pickle would build. `None`: it is damaged, or uses what no reader here knows.
/// What follows its end, like a signature, is ignored.
pub(crate) fn describe(pickle: &[u8]) -> Option<Description> {
    let mut arena = Arena::default();
    let root = read(pickle, &mut arena).ok()?;
    let mut left = Left { nodes: NODES, bytes: pickle.len() + REPEATED };
    let data = arena.tree(root, DEPTH, &mut left);
    Some(Description { data, foreign: arena.foreign })
}

impl<'p> Build<'p> for Arena {
    type Value = Id;
    type Kept = Id;
    type Error = Damage;

    fn push(&mut self, op: &Op<'p>) -> Result<Id, Damage> {
        let node = match op.code {
            op::EMPTY_TUPLE => Node::Tuple([].into()),
            op::EMPTY_LIST => Node::List(Vec::new()),
            op::EMPTY_SET => Node::Set(Vec::new()),
            op::EMPTY_DICT => Node::Dict(Vec::new()),
            op::GLOBAL => {
                let (module, name) = op.global().ok_or(Damage::Kind)?;
                return Ok(self.name(module, name));
            }
            code => Node::Leaf(op.scalar().and_then(leaf).ok_or(Damage::Opcode(code))?),
        };
        Ok(self.add(node))
    }

    fn make(&mut self, op: &Op<'p>, stack: &mut Vec<Id>, first: usize) -> Result<Id, Damage> {
        let parts = &stack[first..];
        let node = match (op.code, parts) {
            (op::TUPLE | op::TUPLE1 | op::TUPLE2 | op::TUPLE3, parts) => Node::Tuple(parts.into()),
            (op::LIST, parts) => Node::List(parts.to_vec()),
            (op::DICT, parts) => Node::Dict(parts.to_vec()),
            (op::FROZENSET, parts) => Node::FrozenSet(parts.to_vec()),
            (op::STACK_GLOBAL, &[module, name]) => {
                let (module, name) = (self.text_of(module), self.text_of(name));
                let (module, name) = module.zip(name).ok_or(Damage::Kind)?;
                return Ok(self.name(&module, &name));
            }
            (op::REDUCE | op::NEWOBJ, &[callee, arguments]) => {
                let Node::Tuple(arguments) = &self.nodes[arguments] else { return Err(Damage::Kind) };
                call(callee, Rc::clone(arguments))
            }
            (op::NEWOBJ_EX | op::OBJ, [callee, arguments @ ..]) => call(*callee, arguments.into()),
            (op::INST, arguments) => {
                let (module, name) = op.global().ok_or(Damage::Kind)?;
                call(self.name(module, name), arguments.into())
            }
            (code, _) => return Err(Damage::Opcode(code)),
        };
        Ok(self.add(node))
    }

    fn change(&mut self, op: &Op<'p>, stack: &mut Vec<Id>, first: usize) -> Result<(), Damage> {
        let (below, parts) = stack.split_at(first);
        let target = below.last().map(|id| &mut self.nodes[*id]);
        match (op.code, target) {
            (op::BUILD, Some(Node::Call { then: known, .. }))
            | (op::APPEND | op::APPENDS, Some(Node::List(known) | Node::Call { then: known, .. }))
            | (op::ADDITEMS, Some(Node::Set(known) | Node::Call { then: known, .. }))
            | (op::SETITEM | op::SETITEMS, Some(Node::Dict(known) | Node::Call { then: known, .. })) => {
                known.extend(parts);
                Ok(())
            }
            _ => Err(Damage::Kind),
        }
    }

    fn keep(&mut self, id: &mut Id) -> Result<Id, Damage> {
        Ok(*id)
    }

    fn recall(&mut self, id: &Id) -> Result<Id, Damage> {
        Ok(*id)
    }
}

impl Arena {
    fn add(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn name(&mut self, module: &str, name: &str) -> Id {
        let full = format!("{module}.{name}");
        if !is_plain(module, name) && !self.foreign.contains(&full) {
            self.foreign.push(full.clone());
        }
        self.add(Node::Leaf(Data::Name(full)))
    }

    fn text_of(&self, id: Id) -> Option<String> {
        if let Node::Leaf(Data::Text(text)) = &self.nodes[id] { Some(text.clone()) } else { None }
    }

    fn tree(&self, id: Id, depth: usize, left: &mut Left) -> Data {
        if depth == 0 || left.nodes == 0 {
            return Data::Elided;
        }
        left.nodes -= 1;
        match &self.nodes[id] {
            Node::Leaf(data) => copy(data, left),
            Node::Tuple(ids) => Data::Tuple(self.trees(ids, depth, left)),
            Node::List(ids) => Data::List(self.trees(ids, depth, left)),
            Node::Set(ids) => Data::Set(self.trees(ids, depth, left)),
            Node::FrozenSet(ids) => Data::FrozenSet(self.trees(ids, depth, left)),
            Node::Dict(ids) => {
                let mut items = self.trees(ids, depth, left);
                // An elided value leaves its key alone.
                if items.len() % 2 == 1 {
                    items.push(Data::Elided);
                }
                let mut items = items.into_iter();
                Data::Dict(std::iter::from_fn(|| items.next().zip(items.next())).collect())
            }
            Node::Call { callee, arguments, then } => {
                if then.is_empty()
                    && let Some(plain) = self.plain(*callee, arguments, depth, left)
                {
                    return plain;
                }
                let callee = self.tree(*callee, depth - 1, left);
                Data::Call(
                    Box::new(callee),
                    self.trees(arguments, depth, left),
                    self.trees(then, depth, left),
                )
            }
        }
    }

    /// The parts of a value, of which the last is elided where there are too many.
    fn trees(&self, ids: &[Id], depth: usize, left: &mut Left) -> Vec<Data> {
        let shown = ids.iter().map_while(|id| (left.nodes > 0).then(|| self.tree(*id, depth - 1, left)));
        let mut shown: Vec<Data> = shown.collect();
        if shown.len() < ids.len() {
            shown.push(Data::Elided);
        }
        shown
    }

    /// What a call makes, if it is one by which old protocols write plain bytes and sets.
    fn plain(&self, callee: Id, arguments: &[Id], depth: usize, left: &mut Left) -> Option<Data> {
        let Node::Leaf(Data::Name(name)) = &self.nodes[callee] else { return None };
        let items = |id: Id| match &self.nodes[id] {
            Node::List(items) => Some(&items[..]),
            Node::Tuple(items) => Some(&items[..]),
            _ => None,
        };
        match (name.as_str(), arguments) {
            ("builtins.set" | "__builtin__.set", &[id]) => {
                Some(Data::Set(self.trees(items(id)?, depth, left)))
            }
            ("builtins.frozenset" | "__builtin__.frozenset", &[id]) => {
                Some(Data::FrozenSet(self.trees(items(id)?, depth, left)))
            }
            ("_codecs.encode", &[id, _]) => {
                let Node::Leaf(Data::Text(text)) = &self.nodes[id] else { return None };
                left.bytes.checked_sub(text.len())?;
                let latin = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<_>>()?;
                left.bytes -= text.len();
                Some(Data::Bytes(latin))
            }
            _ => None,
        }
    }
}

fn call(callee: Id, arguments: Rc<[Id]>) -> Node {
    Node::Call { callee, arguments, then: Vec::new() }
}

/// A copy, unless there are too many.
fn copy(data: &Data, left: &mut Left) -> Data {
    let size = match data {
        Data::Text(text) | Data::Name(text) => text.len(),
        Data::Bytes(bytes) | Data::Big(bytes) => bytes.len(),
        _ => 0,
    };
    match left.bytes.checked_sub(size) {
        Some(bytes) => {
            left.bytes = bytes;
            data.clone()
        }
        None => Data::Elided,
    }
}

fn leaf(scalar: Scalar<'_>) -> Option<Data> {
    let text = |text: &[u8]| Some(std::str::from_utf8(text).ok()?.to_owned());
    Some(match scalar {
        Scalar::None => Data::None,
        Scalar::Bool(value) => Data::Bool(value),
        Scalar::Int(number) => Data::Int(number),
        Scalar::Long(bytes) => Data::Big(bytes.to_vec()),
        Scalar::Decimal(digits) => super::parse(digits).ok()?,
        Scalar::Float(number) => Data::Float(number),
        Scalar::Text(bytes) | Scalar::RawText(bytes) => Data::Text(text(bytes)?),
        Scalar::Quoted(literal) => super::parse(std::str::from_utf8(literal).ok()?).ok()?,
        Scalar::String(bytes) | Scalar::Bytes(bytes) | Scalar::ByteArray(bytes) => {
            Data::Bytes(bytes.to_vec())
        }
    })
}

/// Two's complement, the lowest byte first, of any length.
pub(super) fn signed(bytes: &[u8]) -> Data {
    match Scalar::long(bytes) {
        Scalar::Int(number) => Data::Int(number),
        _ => Data::Big(bytes.to_vec()),
    }
}
