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

use super::{Protocol, frame, op};

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

/// How sets are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sets {
    Sorted,
    AsTheyCome,
}

/// The pickle with every part written out, if that has at most `limit` bytes beside its frames.
pub(crate) fn expand(pickle: &[u8], limit: usize, sets: Sets) -> Result<Vec<u8>, Why> {
    let mut walk = Walk::new(pickle, Some(limit + frame::HEADER_LEN), sets);
    walk.out.resize(frame::HEADER_LEN, 0);
    let protocol = walk.run()?;
    Ok(frame::finish(protocol, walk.out))
}

/// The digest of what the pickle says; `None` for a pickle that is odd.
pub(crate) fn digest(pickle: &[u8]) -> Option<blake3::Hash> {
    let mut walk = Walk::new(pickle, None, Sets::Sorted);
    walk.run().ok()?;
    Some(blake3::hash(&walk.out))
}

/// What `pickletools.optimize` makes of a pickle of protocol 4 or 5; `None` for other protocols and where it is damaged.
pub(crate) fn optimized(pickle: &[u8]) -> Option<Vec<u8>> {
    let protocol = protocol(pickle)?;
    let mut used = std::collections::HashSet::new();
    for code in Codes(pickle) {
        used.extend(reference(code?));
    }
    let mut names = std::collections::HashMap::new();
    let mut memoized = 0;
    let mut out = vec![0; frame::HEADER_LEN];
    for code in Codes(pickle) {
        let code = code?;
        match code[0] {
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
                let name = *names.get(&reference(code)?)?;
                if let Ok(name) = u8::try_from(name) {
                    out.extend([op::BINGET, name]);
                } else {
                    out.push(op::LONG_BINGET);
                    out.extend(name.to_le_bytes());
                }
            }
            _ => out.extend_from_slice(code),
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
    for code in Codes(pickle) {
        let Some(code) = code else { return Inspection { names: true, ..inspection } };
        match code[0] {
            op::GLOBAL | op::STACK_GLOBAL | op::EXT1 | op::EXT2 | op::EXT4 | b'o' | b'Q' => {
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
fn reference(code: &[u8]) -> Option<u32> {
    match *code {
        [op::BINGET, name] => Some(name.into()),
        [op::LONG_BINGET, a, b, c, d] => Some(u32::from_le_bytes([a, b, c, d])),
        _ => None,
    }
}

/// The opcodes of a pickle with their operands, up to `STOP`. `None` where there is none, and then no more.
struct Codes<'p>(&'p [u8]);

impl<'p> Iterator for Codes<'p> {
    type Item = Option<&'p [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some(len) = op::len(self.0) else {
            self.0 = &[];
            return Some(None);
        };
        let (code, rest) = self.0.split_at(len);
        self.0 = if code[0] == op::STOP { &[] } else { rest };
        Some(Some(code))
    }
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

struct Walk<'p> {
    codes: std::iter::Peekable<Codes<'p>>,
    /// `None`: parts are replaced by their hashes.
    limit: Option<usize>,
    sets: Sets,
    out: Vec<u8>,
    stack: Vec<StackItem>,
    /// How high the stack was, and where in `out` the mark is.
    marks: Vec<(usize, usize)>,
    memo: Vec<u32>,
    nodes: Vec<Node>,
    saved: Vec<u8>,
    protocol: Option<Protocol>,
}

impl<'p> Walk<'p> {
    fn new(pickle: &'p [u8], limit: Option<usize>, sets: Sets) -> Self {
        Self {
            codes: Codes(pickle).peekable(),
            limit,
            sets,
            out: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            nodes: Vec::new(),
            saved: Vec::new(),
            protocol: protocol(pickle),
        }
    }

    fn run(&mut self) -> Result<Protocol, Why> {
        let protocol = self.protocol.ok_or(Why::Odd)?;
        while let Some(code) = self.codes.next() {
            let code = code.ok_or(Why::Odd)?;
            if code[0] == op::STOP {
                self.part(0)?;
                self.write(code)?;
                return if self.stack.len() == 1 && self.marks.is_empty() {
                    Ok(protocol)
                } else {
                    Err(Why::Odd)
                };
            }
            self.step(code)?;
        }
        Err(Why::Odd)
    }

    fn step(&mut self, code: &[u8]) -> Result<(), Why> {
        match code[0] {
            op::PROTO | op::FRAME => Ok(()),
            op::MARK => {
                self.marks.push((self.stack.len(), self.out.len()));
                self.write(code)
            }
            op::MEMOIZE => self.memoize(),
            op::BINGET | op::LONG_BINGET => self.refer(reference(code).ok_or(Why::Odd)?),
            op::TUPLE | op::FROZENSET => {
                let (first, start) = self.marks.pop().ok_or(Why::Odd)?;
                self.part(first)?;
                if code[0] == op::FROZENSET {
                    let starts: Vec<_> = self.stack[first..].iter().map(|item| item.start).collect();
                    self.sort(&starts);
                }
                self.make(first, start, code)
            }
            op::TUPLE1 | op::BUILD | op::APPEND => self.take(1, code),
            op::TUPLE2 | op::STACK_GLOBAL | op::REDUCE | op::NEWOBJ | op::SETITEM => self.take(2, code),
            op::TUPLE3 | op::NEWOBJ_EX => self.take(3, code),
            op::APPENDS | op::SETITEMS => {
                let (first, _) = self.marks.pop().ok_or(Why::Odd)?;
                self.part(first)?;
                self.change(first, code)
            }
            op::ADDITEMS => self.add(code),
            op::BINPUT | op::LONG_BINPUT | b'0' | b'1' | b'2' | b'o' | b'Q' | 0x97 | 0x98 => Err(Why::Odd),
            _ => {
                let start = self.out.len();
                self.write(code)?;
                self.push(start, NOBODY);
                Ok(())
            }
        }
    }

    fn push(&mut self, start: usize, node: u32) {
        self.stack.push(StackItem { start, node, elements: Vec::new(), is_unsorted: false });
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

    fn memoize(&mut self) -> Result<(), Why> {
        let end = self.out.len();
        let item = self.stack.last_mut().ok_or(Why::Odd)?;
        if item.node == NOBODY {
            item.node =
                u32::try_from(self.nodes.len()).ok().filter(|node| *node != NOBODY).ok_or(Why::Odd)?;
            self.nodes.push(Node { start: item.start, end, is_saved: false, is_shared: false });
        }
        self.memo.push(item.node);
        Ok(())
    }

    fn refer(&mut self, name: u32) -> Result<(), Why> {
        let node = *self.memo.get(name as usize).ok_or(Why::Odd)?;
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
        self.push(start, node);
        Ok(())
    }

    /// Takes the last `count` items, for an opcode that makes one of them, or changes what is below them.
    fn take(&mut self, count: usize, code: &[u8]) -> Result<(), Why> {
        let first = self.stack.len().checked_sub(count).ok_or(Why::Odd)?;
        self.part(first)?;
        if matches!(code[0], op::BUILD | op::APPEND | op::SETITEM) {
            return self.change(first, code);
        }
        let start = self.stack[first].start;
        self.make(first, start, code)
    }

    /// Makes one item of those from `first` on.
    fn make(&mut self, first: usize, start: usize, code: &[u8]) -> Result<(), Why> {
        if self.marks.last().is_some_and(|(height, _)| *height > first) {
            return Err(Why::Odd);
        }
        self.stack.truncate(first);
        self.write(code)?;
        self.push(start, NOBODY);
        Ok(())
    }

    /// Gives the item below `first` the items from there on.
    fn change(&mut self, first: usize, code: &[u8]) -> Result<(), Why> {
        if self.marks.last().is_some_and(|(height, _)| *height >= first) {
            return Err(Why::Odd);
        }
        self.stack.truncate(first);
        self.write(code)?;
        let end = self.out.len();
        let item = self.stack.last().ok_or(Why::Odd)?;
        if item.node != NOBODY {
            let node = &mut self.nodes[item.node as usize];
            if node.is_shared {
                return Err(Why::Odd);
            }
            node.end = end;
        }
        Ok(())
    }

    /// Gives a set elements. Python does so in batches, which are made one here.
    fn add(&mut self, code: &[u8]) -> Result<(), Why> {
        let (first, mark) = self.marks.pop().ok_or(Why::Odd)?;
        self.part(first)?;
        let below = first.checked_sub(1).ok_or(Why::Odd)?;
        let mut elements = std::mem::take(&mut self.stack[below].elements);
        let mut added: Vec<_> = self.stack[first..].iter().map(|item| item.start).collect();
        let is_batch = added.len() == BATCH;
        if self.sets == Sets::Sorted {
            if !elements.is_empty() {
                // The end of the batch before, and the mark of this one.
                self.out.drain(mark - 1..=mark);
                self.moved(mark, |at| at - 2);
                for start in &mut added {
                    *start -= 2;
                }
            }
            elements.append(&mut added);
            let more_follow = is_batch && matches!(self.codes.peek(), Some(Some([op::MARK])));
            self.stack[below].is_unsorted = more_follow;
            if !more_follow {
                self.sort(&elements);
            }
            self.stack[below].elements = elements;
        }
        self.change(first, code)
    }

    /// Makes the items from `first` on parts of a larger one.
    fn part(&mut self, first: usize) -> Result<(), Why> {
        if self.stack.get(first..).ok_or(Why::Odd)?.iter().any(|item| item.is_unsorted) {
            return Err(Why::Odd);
        }
        if self.limit.is_some() || first == self.stack.len() {
            return Ok(());
        }
        let end = self.out.len();
        let mut to = self.stack[first].start;
        for at in first..self.stack.len() {
            let StackItem { start, node, .. } = self.stack[at];
            let until = self.stack.get(at + 1).map_or(end, |next| next.start);
            let range = start..until;
            self.stack[at].start = to;
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
