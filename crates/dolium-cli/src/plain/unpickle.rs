//! Owns reading pickles of all protocols as descriptions. A small machine over an arena: it builds what the
//! opcodes build, but where a pickle would import or call something it only notes the name. Refuses
//! what it does not know, and bounds the description however a hostile pickle multiplies itself.

use std::collections::HashMap;

use super::trust::is_plain;
use super::{DEPTH, Data, Description};

/// How many nodes are described. A pickle of a few bytes can stand for a tree of any size.
const NODES: usize = 10_000;

/// An index into the arena.
type Id = usize;

/// A value under construction. Lists are changed after they were memoized, hence the indexes.
#[derive(Debug)]
enum Node {
    Leaf(Data),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Set(Vec<Id>),
    FrozenSet(Vec<Id>),
    /// Keys and values by turns.
    Dict(Vec<Id>),
    Call {
        callee: Id,
        arguments: Vec<Id>,
        then: Vec<Id>,
    },
}

#[derive(Default)]
struct Machine<'a> {
    input: &'a [u8],
    arena: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
    foreign: Vec<String>,
}

/// What came of an opcode.
enum Step {
    Done,
    Damaged,
    /// It belongs to another group.
    Unknown,
}

impl From<Option<()>> for Step {
    fn from(done: Option<()>) -> Self {
        if done.is_some() { Self::Done } else { Self::Damaged }
    }
}

/// Says what a pickle would build. `None`: it is damaged, or uses what this reader does not know.
/// What follows its end, like a signature, is ignored.
pub(crate) fn describe(pickle: &[u8]) -> Option<Description> {
    let mut machine = Machine { input: pickle, ..Machine::default() };
    let root = machine.run()?;
    let mut left = NODES;
    let data = machine.tree(root, DEPTH, &mut left);
    Some(Description { data, foreign: machine.foreign })
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Option<Id> {
        loop {
            let opcode = self.take(1)?[0];
            if opcode == b'.' {
                return self.stack.pop();
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Option<()> {
        for group in [Self::frame_or_memo, Self::scalar, Self::container, Self::object] {
            match group(self, opcode) {
                Step::Unknown => {}
                Step::Done => return Some(()),
                Step::Damaged => return None,
            }
        }
        None
    }

    fn frame_or_memo(&mut self, opcode: u8) -> Step {
        Step::from(match opcode {
            0x80 => self.take(1).map(drop),
            0x95 => self.take(8).map(drop),
            0x94 => self.memoize(self.memo.len()),
            b'q' => self.number(1).and_then(|slot| self.memoize(slot)),
            b'r' => self.number(4).and_then(|slot| self.memoize(slot)),
            b'p' => self.decimal().and_then(|slot| self.memoize(slot)),
            b'h' => self.number(1).and_then(|slot| self.recall(slot)),
            b'j' => self.number(4).and_then(|slot| self.recall(slot)),
            b'g' => self.decimal().and_then(|slot| self.recall(slot)),
            b'(' => {
                self.marks.push(self.stack.len());
                Some(())
            }
            b'0' => self.stack.pop().map(drop),
            b'1' => self.since_mark().map(drop),
            b'2' => self.stack.last().copied().map(|top| self.stack.push(top)),
            _ => return Step::Unknown,
        })
    }

    fn scalar(&mut self, opcode: u8) -> Step {
        let data = match opcode {
            b'N' => Some(Data::None),
            0x88 => Some(Data::Bool(true)),
            0x89 => Some(Data::Bool(false)),
            b'K' => self.take(1).map(integer),
            // Two bytes have no sign.
            b'M' => self.take(2).map(|bytes| Data::Int(i64::from(u16::from_le_bytes([bytes[0], bytes[1]])))),
            b'J' => self.take(4).map(signed),
            0x8a => self.sized(1).map(signed),
            0x8b => self.sized(4).map(signed),
            b'G' => {
                self.take(8).and_then(|bytes| Some(Data::Float(f64::from_be_bytes(bytes.try_into().ok()?))))
            }
            0x8c => self.sized(1).and_then(text),
            b'X' => self.sized(4).and_then(text),
            0x8d => self.sized(8).and_then(text),
            b'C' | b'U' => self.sized(1).map(bytes),
            b'B' | b'T' => self.sized(4).map(bytes),
            0x8e | 0x96 => self.sized(8).map(bytes),
            b'I' => self.line().and_then(|line| match line {
                "00" => Some(Data::Bool(false)),
                "01" => Some(Data::Bool(true)),
                number => super::parse(number).ok(),
            }),
            b'L' => self.line().and_then(|line| super::parse(line.trim_end_matches('L')).ok()),
            b'F' => self.line().and_then(|line| line.parse().ok()).map(Data::Float),
            b'V' => self.line().map(|line| Data::Text(line.to_owned())),
            b'S' => self.line().and_then(|line| super::parse(line).ok()),
            _ => return Step::Unknown,
        };
        Step::from(data.map(|data| self.push(Node::Leaf(data))))
    }

    fn container(&mut self, opcode: u8) -> Step {
        let node = match opcode {
            b')' => Some(Node::Tuple(Vec::new())),
            0x85..=0x87 => self.pop_many(usize::from(opcode - 0x84)).map(Node::Tuple),
            b't' => self.since_mark().map(Node::Tuple),
            b']' => Some(Node::List(Vec::new())),
            b'l' => self.since_mark().map(Node::List),
            b'}' => Some(Node::Dict(Vec::new())),
            b'd' => self.since_mark().map(Node::Dict),
            0x8f => Some(Node::Set(Vec::new())),
            0x91 => self.since_mark().map(Node::FrozenSet),
            b'a' => return self.pop_many(1).and_then(|items| self.extend(items)).into(),
            b's' => return self.pop_many(2).and_then(|items| self.extend(items)).into(),
            b'e' | b'u' | 0x90 => return self.since_mark().and_then(|items| self.extend(items)).into(),
            _ => return Step::Unknown,
        };
        Step::from(node.map(|node| self.push(node)))
    }

    fn object(&mut self, opcode: u8) -> Step {
        Step::from(match opcode {
            b'c' => {
                let (module, name) = (self.line(), self.line());
                module.zip(name).map(|(module, name)| self.name(module, name))
            }
            0x93 => self.pop_many(2).and_then(|ids| {
                let (module, name) = (self.text_of(ids[0])?, self.text_of(ids[1])?);
                self.name(&module, &name);
                Some(())
            }),
            b'R' | 0x81 => self.pop_many(2).and_then(|ids| {
                let Node::Tuple(arguments) = &self.arena[ids[1]] else { return None };
                let arguments = arguments.clone();
                self.call(ids[0], arguments);
                Some(())
            }),
            0x92 => self.pop_many(3).map(|ids| self.call(ids[0], vec![ids[1], ids[2]])),
            b'o' => self.since_mark().and_then(|ids| {
                let (&callee, arguments) = ids.split_first()?;
                self.call(callee, arguments.to_vec());
                Some(())
            }),
            b'i' => {
                let (module, name) = (self.line(), self.line());
                module.zip(name).and_then(|(module, name)| {
                    let arguments = self.since_mark()?;
                    self.name(module, name);
                    let callee = self.stack.pop()?;
                    self.call(callee, arguments);
                    Some(())
                })
            }
            b'b' => self.pop_many(1).and_then(|state| self.extend(state)),
            _ => return Step::Unknown,
        })
    }

    // ---- the stack

    fn push(&mut self, node: Node) {
        self.arena.push(node);
        self.stack.push(self.arena.len() - 1);
    }

    fn pop_many(&mut self, count: usize) -> Option<Vec<Id>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let from = self.stack.len().checked_sub(count).filter(|from| *from >= floor)?;
        Some(self.stack.split_off(from))
    }

    fn since_mark(&mut self) -> Option<Vec<Id>> {
        let mark = self.marks.pop()?;
        (mark <= self.stack.len()).then(|| self.stack.split_off(mark))
    }

    fn memoize(&mut self, slot: usize) -> Option<()> {
        self.memo.insert(slot, *self.stack.last()?);
        Some(())
    }

    fn recall(&mut self, slot: usize) -> Option<()> {
        self.stack.push(*self.memo.get(&slot)?);
        Some(())
    }

    /// Adds to what lies on top: items to a container, a state or items to a call.
    fn extend(&mut self, items: Vec<Id>) -> Option<()> {
        let top = *self.stack.last()?;
        match &mut self.arena[top] {
            Node::List(known) | Node::Set(known) | Node::Dict(known) | Node::Call { then: known, .. } => {
                known.extend(items);
                Some(())
            }
            _ => None,
        }
    }

    fn name(&mut self, module: &str, name: &str) {
        let full = format!("{module}.{name}");
        if !is_plain(module, name) && !self.foreign.contains(&full) {
            self.foreign.push(full.clone());
        }
        self.push(Node::Leaf(Data::Name(full)));
    }

    /// Notes a call, except for those by which old protocols write plain bytes and sets.
    fn call(&mut self, callee: Id, arguments: Vec<Id>) {
        let plain = match (&self.arena[callee], arguments.as_slice()) {
            (Node::Leaf(Data::Name(name)), [items]) if is_builtin(name, "set") => {
                self.items_of(*items).map(Node::Set)
            }
            (Node::Leaf(Data::Name(name)), [items]) if is_builtin(name, "frozenset") => {
                self.items_of(*items).map(Node::FrozenSet)
            }
            (Node::Leaf(Data::Name(name)), [encoded, _]) if name == "_codecs.encode" => {
                let latin = |text: String| text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
                self.text_of(*encoded).and_then(latin).map(|bytes| Node::Leaf(Data::Bytes(bytes)))
            }
            _ => None,
        };
        self.push(plain.unwrap_or(Node::Call { callee, arguments, then: Vec::new() }));
    }

    fn items_of(&self, id: Id) -> Option<Vec<Id>> {
        if let Node::List(items) | Node::Tuple(items) = &self.arena[id] { Some(items.clone()) } else { None }
    }

    fn text_of(&self, id: Id) -> Option<String> {
        if let Node::Leaf(Data::Text(text)) = &self.arena[id] { Some(text.clone()) } else { None }
    }

    // ---- the input

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.input.split_at_checked(count)?;
        self.input = rest;
        Some(taken)
    }

    /// An unsigned number, the lowest byte first.
    fn number(&mut self, width: usize) -> Option<usize> {
        let number = self.take(width)?.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        usize::try_from(number).ok()
    }

    /// Bytes after their length.
    fn sized(&mut self, width: usize) -> Option<&'a [u8]> {
        let length = self.number(width)?;
        self.take(length)
    }

    fn line(&mut self) -> Option<&'a str> {
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let line = self.take(end)?;
        self.take(1)?;
        std::str::from_utf8(line).ok()
    }

    fn decimal(&mut self) -> Option<usize> {
        self.line()?.parse().ok()
    }

    // ---- the result

    fn tree(&self, id: Id, depth: usize, left: &mut usize) -> Data {
        if depth == 0 || *left == 0 {
            return Data::Elided;
        }
        *left -= 1;
        let all = |ids: &[Id], left: &mut usize| {
            let shown = ids.iter().map_while(|id| (*left > 0).then(|| self.tree(*id, depth - 1, left)));
            let mut shown: Vec<Data> = shown.collect();
            if shown.len() < ids.len() {
                shown.push(Data::Elided);
            }
            shown
        };
        match &self.arena[id] {
            Node::Leaf(data) => data.clone(),
            Node::Tuple(ids) => Data::Tuple(all(ids, left)),
            Node::List(ids) => Data::List(all(ids, left)),
            Node::Set(ids) => Data::Set(all(ids, left)),
            Node::FrozenSet(ids) => Data::FrozenSet(all(ids, left)),
            Node::Dict(ids) => {
                let mut items = all(ids, left);
                // An elided value leaves its key alone.
                if items.len() % 2 == 1 {
                    items.push(Data::Elided);
                }
                let mut items = items.into_iter();
                Data::Dict(std::iter::from_fn(|| items.next().zip(items.next())).collect())
            }
            Node::Call { callee, arguments, then } => {
                let callee = self.tree(*callee, depth - 1, left);
                Data::Call(Box::new(callee), all(arguments, left), all(then, left))
            }
        }
    }
}

fn is_builtin(full: &str, name: &str) -> bool {
    full.split_once('.')
        .is_some_and(|(module, own)| own == name && ["builtins", "__builtin__"].contains(&module))
}

fn integer(bytes: &[u8]) -> Data {
    Data::Int(i64::from(bytes[0]))
}

/// Two's complement, the lowest byte first, of any length.
pub(super) fn signed(bytes: &[u8]) -> Data {
    let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let (low, high) = bytes.split_at(bytes.len().min(8));
    let mut word = [fill; 8];
    word[..low.len()].copy_from_slice(low);
    let number = i64::from_le_bytes(word);
    let fits = high.iter().all(|byte| *byte == fill) && (number < 0) == (fill == 0xff);
    if fits { Data::Int(number) } else { Data::Big(bytes.to_vec()) }
}

fn text(bytes: &[u8]) -> Option<Data> {
    Some(Data::Text(std::str::from_utf8(bytes).ok()?.to_owned()))
}

fn bytes(bytes: &[u8]) -> Data {
    Data::Bytes(bytes.to_vec())
}
