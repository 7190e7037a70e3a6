//! Pickles as graphs: the canonical bytes, or the digest, of a pickle whose parts refer to each other.
//!
//! `pickle.dumps` writes a part that occurs twice once, and refers to it. How often a part is the *same* object says
//! nothing about what a key equals, so a canonical pickle writes every part out. That is as long as the key's tree, which
//! doubles with each level of shared parts; the graph does not. So two walks read the opcodes once, and run nothing:
//!
//! * [`expand`] writes every part out and gives up at a length. What lies between is at most that length.
//! * [`digest`] replaces a part by its BLAKE3 hash as soon as the part is longer than [`PART`] bytes and belongs to a
//!   larger one. Whether it is replaced depends on its contents only, so a part that is referred to and an equal one that
//!   is written out lead to the same bytes, and a reference costs at most [`PART`] bytes. A hash follows a byte that is
//!   no opcode, so the bytes that are hashed can be read in one way only: equal digests are equal contents.
//!
//! Elements of sets are sorted by what they are written as, since their order is that of their hashes, which differs from
//! process to process.
//!
//! A pickle that refers to a part which is not complete contains itself. Neither walk follows it.

use super::op::{self, Op, Ops};
use super::read::{Build, Damage, read};
use super::{Protocol, frame};

/// A part of more bytes stands in a digest by its hash.
const PART: usize = 64;
/// What comes before such a hash: no opcode.
const HASHED: u8 = 0xff;
/// Elements that Python adds to a set at once.
const BATCH: usize = 1000;
/// The node of a part that the pickle does not memoize.
const NOBODY: u32 = u32::MAX;

/// Why there are no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// There would be more than were allowed.
    Long,
    /// The pickle contains itself, does something that no pickler does with plain containers, or is damaged.
    Odd,
}

impl From<Damage> for Why {
    fn from(_: Damage) -> Self {
        Self::Odd
    }
}

/// How sets are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sets {
    Sorted,
    AsTheyCome,
}

/// The pickle with every part written out, if that has at most `limit` bytes beside its frames.
pub(crate) fn expand(pickle: &[u8], limit: usize, sets: Sets) -> Result<Vec<u8>, Why> {
    let mut walk = Walk::new(Some(limit + frame::HEADER_LEN), sets);
    walk.out.resize(frame::HEADER_LEN, 0);
    let protocol = walk.run(pickle)?;
    Ok(frame::finish(protocol, walk.out))
}

/// The digest of what the pickle says; `None` for a pickle that is odd.
pub(crate) fn digest(pickle: &[u8]) -> Option<blake3::Hash> {
    let mut walk = Walk::new(None, Sets::Sorted);
    walk.run(pickle).ok()?;
    Some(blake3::hash(&walk.out))
}

/// What `pickletools.optimize` makes of a pickle of protocol 4 or 5; `None` for other protocols and where it is damaged.
pub(crate) fn optimized(pickle: &[u8]) -> Option<Vec<u8>> {
    let protocol = protocol(pickle)?;
    let mut used = std::collections::HashSet::new();
    for op in modern(pickle) {
        used.extend(reference(&op?));
    }
    let mut names = std::collections::HashMap::new();
    let mut memoized = 0;
    let mut out = vec![0; frame::HEADER_LEN];
    for op in modern(pickle) {
        let op = op?;
        match op.code {
            op::PROTO | op::FRAME => {}
            op::BINPUT | op::LONG_BINPUT => return None,
            op::MEMOIZE => {
                if used.contains(&memoized) {
                    names.insert(memoized, u32::try_from(names.len()).ok()?);
                    out.push(op::MEMOIZE);
                }
                memoized += 1;
            }
            op::BINGET | op::LONG_BINGET => {
                let name = *names.get(&reference(&op)?)?;
                if let Ok(name) = u8::try_from(name) {
                    out.extend([op::BINGET, name]);
                } else {
                    out.push(op::LONG_BINGET);
                    out.extend(name.to_le_bytes());
                }
            }
            _ => out.extend_from_slice(op.raw()),
        }
    }
    Some(frame::finish(protocol, out))
}

/// What is seen of a pickle without running it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inspection {
    /// It names a class or function, or one that cannot be told.
    pub names: bool,
    /// Its parts are shared, or sets are among them: then other programs write another pickle of the same key.
    pub varies: bool,
}

/// Looks at a pickle.
pub(crate) fn inspect(pickle: &[u8]) -> Inspection {
    let mut inspection = Inspection::default();
    for op in modern(pickle) {
        let Some(op) = op else { return Inspection { names: true, ..inspection } };
        match op.code {
            op::GLOBAL | op::STACK_GLOBAL | op::EXT1 | op::EXT2 | op::EXT4 | op::OBJ | op::BINPERSID => {
                inspection.names = true;
            }
            op::BINGET | op::LONG_BINGET | op::EMPTY_SET | op::FROZENSET => inspection.varies = true,
            _ => {}
        }
    }
    inspection
}

fn protocol(pickle: &[u8]) -> Option<Protocol> {
    let [op::PROTO, number, ..] = *pickle else { return None };
    Protocol::from_number(number.into())
}

/// What a reference refers to.
fn reference(op: &Op<'_>) -> Option<usize> {
    matches!(op.code, op::BINGET | op::LONG_BINGET).then(|| op.index())?
}

/// The opcodes of a pickle up to `STOP`; `None` at one of protocol 0 or 1 that later picklers do not write.
fn modern(pickle: &[u8]) -> impl Iterator<Item = Option<Op<'_>>> {
    Ops(pickle).map(|op| op.filter(|op| !is_old(op.code)))
}

fn is_old(code: u8) -> bool {
    matches!(
        code,
        op::INT
            | op::LONG
            | op::FLOAT
            | op::STRING
            | op::UNICODE
            | op::LIST
            | op::DICT
            | op::PUT
            | op::GET
            | op::INST
            | op::PERSID
    )
}

/// A part that lies on the stack.
struct StackItem {
    /// Where it begins in `out`. It ends where the next one begins.
    start: usize,
    node: u32,
    /// Where the elements of a set begin that may get more.
    elements: Vec<usize>,
    is_unsorted: bool,
}

/// A part that the pickle memoizes: where it is written, in `out`, or in `saved` once that is so.
#[derive(Clone, Copy)]
struct Node {
    start: usize,
    end: usize,
    is_saved: bool,
    /// Something refers to it, so it must be complete.
    is_shared: bool,
}

struct Walk {
    /// `None`: parts are replaced by their hashes.
    limit: Option<usize>,
    sets: Sets,
    out: Vec<u8>,
    /// Where in `out` the marks are.
    marks: Vec<usize>,
    nodes: Vec<Node>,
    saved: Vec<u8>,
}

impl<'p> Build<'p> for Walk {
    type Value = StackItem;
    type Kept = u32;
    type Error = Why;

    fn meet(&mut self, op: &Op<'p>) -> Result<(), Why> {
        match op.code {
            op::MARK => {
                self.marks.push(self.out.len());
                self.write(op.raw())
            }
            op::BINPUT | op::LONG_BINPUT | op::POP | op::POP_MARK | op::DUP | op::OBJ | op::BINPERSID => {
                Err(Why::Odd)
            }
            op::NEXT_BUFFER | op::READONLY_BUFFER => Err(Why::Odd),
            code if is_old(code) => Err(Why::Odd),
            _ => Ok(()),
        }
    }

    fn push(&mut self, op: &Op<'p>) -> Result<StackItem, Why> {
        let start = self.out.len();
        self.write(op.raw())?;
        Ok(StackItem::new(start, NOBODY))
    }

    fn make(&mut self, op: &Op<'p>, stack: &mut Vec<StackItem>, first: usize) -> Result<StackItem, Why> {
        let parts = &mut stack[first..];
        self.part(parts)?;
        let start = match op.code {
            op::TUPLE | op::FROZENSET => self.marks.pop(),
            _ => parts.first().map(|part| part.start),
        };
        if op.code == op::FROZENSET {
            let starts: Vec<_> = parts.iter().map(|item| item.start).collect();
            self.sort(&starts);
        }
        self.write(op.raw())?;
        Ok(StackItem::new(start.ok_or(Why::Odd)?, NOBODY))
    }

    fn change(&mut self, op: &Op<'p>, stack: &mut Vec<StackItem>, first: usize) -> Result<(), Why> {
        let (below, parts) = stack.split_at_mut(first);
        let below = below.last_mut().ok_or(Why::Odd)?;
        self.part(parts)?;
        match op.code {
            op::ADDITEMS => self.add(op, below, parts)?,
            op::APPENDS | op::SETITEMS => drop(self.marks.pop()),
            _ => {}
        }
        self.write(op.raw())?;
        if below.node != NOBODY {
            let end = self.out.len();
            let node = &mut self.nodes[below.node as usize];
            if node.is_shared {
                return Err(Why::Odd);
            }
            node.end = end;
        }
        Ok(())
    }

    fn stop(&mut self, is_alone: bool) -> Result<(), Why> {
        if is_alone { Ok(()) } else { Err(Why::Odd) }
    }

    fn keep(&mut self, item: &mut StackItem) -> Result<u32, Why> {
        if item.node == NOBODY {
            item.node =
                u32::try_from(self.nodes.len()).ok().filter(|node| *node != NOBODY).ok_or(Why::Odd)?;
            let end = self.out.len();
            self.nodes.push(Node { start: item.start, end, is_saved: false, is_shared: false });
        }
        Ok(item.node)
    }

    fn recall(&mut self, node: &u32) -> Result<StackItem, Why> {
        let node = *node;
        if self.limit.is_none() {
            self.save(node);
        }
        let known = &mut self.nodes[node as usize];
        known.is_shared = true;
        let (range, is_saved) = (known.start..known.end, known.is_saved);
        let start = self.out.len();
        self.room_for(range.len())?;
        if is_saved {
            self.out.extend_from_slice(&self.saved[range]);
        } else {
            self.out.extend_from_within(range);
        }
        Ok(StackItem::new(start, node))
    }
}

impl StackItem {
    fn new(start: usize, node: u32) -> Self {
        Self { start, node, elements: Vec::new(), is_unsorted: false }
    }
}

impl Walk {
    fn new(limit: Option<usize>, sets: Sets) -> Self {
        Self { limit, sets, out: Vec::new(), marks: Vec::new(), nodes: Vec::new(), saved: Vec::new() }
    }

    fn run(&mut self, pickle: &[u8]) -> Result<Protocol, Why> {
        let protocol = protocol(pickle).ok_or(Why::Odd)?;
        let mut whole = read(pickle, self)?;
        self.part(std::slice::from_mut(&mut whole))?;
        self.write(&[op::STOP])?;
        Ok(protocol)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Why> {
        self.room_for(bytes.len())?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn room_for(&self, bytes: usize) -> Result<(), Why> {
        let is_long = self.limit.is_some_and(|limit| self.out.len() + bytes > limit);
        if is_long { Err(Why::Long) } else { Ok(()) }
    }

    /// Gives a set elements. Python does so in batches, which are made one here.
    fn add(&mut self, op: &Op<'_>, set: &mut StackItem, parts: &[StackItem]) -> Result<(), Why> {
        let mark = self.marks.pop().ok_or(Why::Odd)?;
        if self.sets == Sets::AsTheyCome {
            return Ok(());
        }
        let mut elements = std::mem::take(&mut set.elements);
        let mut added: Vec<_> = parts.iter().map(|item| item.start).collect();
        if !elements.is_empty() {
            // The end of the batch before, and the mark of this one.
            self.out.drain(mark - 1..=mark);
            self.moved(mark, |at| at - 2);
            for start in &mut added {
                *start -= 2;
            }
        }
        elements.append(&mut added);
        set.is_unsorted = parts.len() == BATCH && op.rest().first() == Some(&op::MARK);
        if !set.is_unsorted {
            self.sort(&elements);
        }
        set.elements = elements;
        Ok(())
    }

    /// Makes items parts of a larger one.
    fn part(&mut self, parts: &mut [StackItem]) -> Result<(), Why> {
        if parts.iter().any(|item| item.is_unsorted) {
            return Err(Why::Odd);
        }
        let Some(first) = parts.first().filter(|_| self.limit.is_none()) else { return Ok(()) };
        let end = self.out.len();
        let mut to = first.start;
        for at in 0..parts.len() {
            let StackItem { start, node, .. } = parts[at];
            let until = parts.get(at + 1).map_or(end, |next| next.start);
            let range = start..until;
            parts[at].start = to;
            if node != NOBODY {
                self.save(node);
            }
            if range.len() <= PART {
                self.out.copy_within(range.clone(), to);
                to += range.len();
            } else {
                let hashed = match self.nodes.get(node as usize) {
                    Some(node) => self.saved[node.start..node.end].try_into().map_err(|_| Why::Odd)?,
                    None => hashed(&self.out[range]),
                };
                self.out[to..to + hashed.len()].copy_from_slice(&hashed);
                to += hashed.len();
            }
        }
        self.out.truncate(to);
        Ok(())
    }

    /// Keeps what a complete part is written as within a larger one.
    fn save(&mut self, node: u32) {
        let known = &mut self.nodes[node as usize];
        if known.is_saved {
            return;
        }
        let written = &self.out[known.start..known.end];
        let start = self.saved.len();
        if written.len() <= PART {
            self.saved.extend_from_slice(written);
        } else {
            self.saved.extend_from_slice(&hashed(written));
        }
        *known = Node { start, end: self.saved.len(), is_saved: true, ..*known };
    }

    /// Sorts the elements of a set, which begin at `starts` and go to the end of what is written.
    fn sort(&mut self, starts: &[usize]) {
        let [from, _, ..] = *starts else { return };
        if self.sets == Sets::AsTheyCome {
            return;
        }
        let ends = starts[1..].iter().copied().chain([self.out.len()]);
        let mut elements: Vec<_> = starts.iter().copied().zip(ends).collect();
        let bytes = |&(start, end): &(usize, usize)| &self.out[start..end];
        if elements.is_sorted_by(|a, b| bytes(a) <= bytes(b)) {
            return;
        }
        elements.sort_by(|a, b| bytes(a).cmp(bytes(b)));
        let sorted = elements.iter().map(bytes).collect::<Vec<_>>().concat();
        let mut places = Vec::with_capacity(elements.len());
        let mut to = from;
        for (start, end) in elements {
            places.push((start, to));
            to += end - start;
        }
        places.sort_unstable();
        self.out[from..].copy_from_slice(&sorted);
        self.moved(from, |at| {
            let (start, to) = places[places.partition_point(|(start, _)| *start <= at) - 1];
            at - start + to
        });
    }

    /// Corrects where parts are written that begin at `from` or behind it. Those were memoized last.
    fn moved(&mut self, from: usize, to: impl Fn(usize) -> usize) {
        if self.limit.is_none() {
            // They are saved: all of them are parts by now.
            return;
        }
        for node in self.nodes.iter_mut().rev().take_while(|node| node.start >= from) {
            let len = node.end - node.start;
            node.start = to(node.start);
            node.end = node.start + len;
        }
    }
}

fn hashed(written: &[u8]) -> [u8; 1 + blake3::OUT_LEN] {
    let mut hashed = [HASHED; 1 + blake3::OUT_LEN];
    hashed[1..].copy_from_slice(blake3::hash(written).as_bytes());
    hashed
}
