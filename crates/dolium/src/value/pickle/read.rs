//! The one reader of pickles: a machine with a stack, marks and a memo that builds nothing itself.
//!
//! A pickle is a program. [`read`] follows it, and asks a [`Build`] what each step makes: Python's objects, the data that
//! the command line shows, the bytes of a key. The machine imports and calls nothing, and neither can a pickle make it: a
//! name is an operand like any other, and a call is a step that the `Build` may refuse.
//!
//! Hostile bytes cost what their length says: a step takes constant time, no step recurses, and no length in the bytes
//! is believed before as many bytes are there. What a `Build` writes out for a reference is its own to bound.
//!
//! A pickle is damaged, for all readers alike, if it is cut off, takes what is not on the stack, reaches below a mark,
//! or refers to what it has not memoized. What follows its `STOP` is ignored, and so are values that it leaves, unless a
//! `Build` says otherwise.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};

use super::op::Op;
use super::op::{Effect, Take};

/// The values for which the stack has room at once: most pickles have no more on it.
const FEW: usize = 16;
/// The highest protocol that is known.
const NEWEST: u8 = 5;

/// Why bytes are no pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// They end too early.
    CutOff,
    /// There is no such opcode.
    Opcode(u8),
    /// The protocol is newer than this reader.
    Protocol(u8),
    /// An opcode takes a value, or a mark, that is not there.
    Missing,
    /// An opcode refers to what was not memoized.
    Reference,
    /// An operand, or a value that is taken, is not of the kind that the opcode takes.
    Kind,
    /// Values or marks are left at the end, which only some readers mind.
    Left,
}

impl Display for Damage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutOff => f.write_str("it is cut off"),
            Self::Opcode(code) => write!(f, "it has the unknown opcode {code:#04x}"),
            Self::Protocol(number) => write!(f, "it has the unknown protocol {number}"),
            Self::Missing => f.write_str("it takes a value that is not there"),
            Self::Reference => f.write_str("it refers to a value that it has not memoized"),
            Self::Kind => f.write_str("it takes a value of another kind"),
            Self::Left => f.write_str("it ends with more than one value"),
        }
    }
}

/// What is made of the steps of a pickle.
pub trait Build<'p> {
    /// A value on the stack.
    type Value;
    /// What the memo holds of a value.
    type Kept;
    /// Why reading stops.
    type Error: From<Damage>;

    /// Meets an opcode, before anything is done about it.
    ///
    /// # Errors
    ///
    /// It is one that is refused.
    #[inline]
    fn meet(&mut self, _op: &Op<'p>) -> Result<(), Self::Error> {
        Ok(())
    }

    /// A value that an opcode is by itself.
    ///
    /// # Errors
    ///
    /// It is one that is refused.
    fn push(&mut self, op: &Op<'p>) -> Result<Self::Value, Self::Error>;

    /// One value of those on the stack from `first` on. What is left of these is dropped.
    ///
    /// # Errors
    ///
    /// It is one that is refused.
    fn make(
        &mut self,
        op: &Op<'p>,
        stack: &mut Vec<Self::Value>,
        first: usize,
    ) -> Result<Self::Value, Self::Error>;

    /// Gives the values from `first` on to the one below them, which is there. What is left of them is dropped.
    ///
    /// # Errors
    ///
    /// The value below takes none.
    fn change(&mut self, op: &Op<'p>, stack: &mut Vec<Self::Value>, first: usize) -> Result<(), Self::Error>;

    /// Keeps a value for the memo.
    ///
    /// # Errors
    ///
    /// It is one that is refused.
    fn keep(&mut self, value: &mut Self::Value) -> Result<Self::Kept, Self::Error>;

    /// Meets the end. `is_alone`: neither values nor marks are left beside the value.
    ///
    /// # Errors
    ///
    /// Something is left, and refused.
    fn stop(&mut self, _is_alone: bool) -> Result<(), Self::Error> {
        Ok(())
    }

    /// A value that was kept.
    ///
    /// # Errors
    ///
    /// It is one that is refused.
    fn recall(&mut self, kept: &Self::Kept) -> Result<Self::Value, Self::Error>;
}

/// Reads one pickle.
///
/// # Errors
///
/// The pickle is damaged, or `build` refuses something.
pub fn read<'p, B: Build<'p>>(pickle: &'p [u8], build: &mut B) -> Result<B::Value, B::Error> {
    let mut machine = Machine { stack: Vec::with_capacity(FEW), marks: Vec::new(), memo: Memo::default() };
    let mut rest = pickle;
    loop {
        let op = Op::read(rest)?;
        rest = op.rest();
        build.meet(&op)?;
        if op.effect == Effect::Stop {
            let (value, is_alone) = machine.end()?;
            build.stop(is_alone)?;
            return Ok(value);
        }
        machine.step(&op, build)?;
    }
}

struct Machine<V, K> {
    stack: Vec<V>,
    /// How high the stack was.
    marks: Vec<usize>,
    memo: Memo<K>,
}

impl<V, K> Machine<V, K> {
    /// The value, and whether nothing is left beside it.
    fn end(mut self) -> Result<(V, bool), Damage> {
        self.top()?;
        let value = self.stack.pop().ok_or(Damage::Missing)?;
        Ok((value, self.stack.is_empty() && self.marks.is_empty()))
    }

    #[inline]
    fn step<'p, B>(&mut self, op: &Op<'p>, build: &mut B) -> Result<(), B::Error>
    where
        B: Build<'p, Value = V, Kept = K>,
    {
        match op.effect {
            Effect::Skip if op.protocol().is_some_and(|number| number > NEWEST) => {
                return Err(Damage::Protocol(op.protocol().unwrap_or_default()).into());
            }
            Effect::Skip | Effect::Stop | Effect::Unknown => {}
            Effect::Mark => self.marks.push(self.stack.len()),
            // As `pickle` does: right behind a mark it is the mark that goes.
            Effect::Pop if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            Effect::Pop => drop(self.stack.pop().ok_or(Damage::Missing)?),
            Effect::PopMarked => {
                let first = self.first(Take::Marked)?;
                self.stack.truncate(first);
            }
            Effect::Dup => {
                let kept = build.keep(self.top()?)?;
                self.stack.push(build.recall(&kept)?);
            }
            Effect::Put => {
                let kept = build.keep(self.top()?)?;
                self.memo.put(op.index().ok_or(Damage::Kind)?, kept);
            }
            Effect::Memoize => {
                let kept = build.keep(self.top()?)?;
                self.memo.put(self.memo.len(), kept);
            }
            Effect::Get => {
                let kept = op.index().and_then(|index| self.memo.get(index)).ok_or(Damage::Reference)?;
                self.stack.push(build.recall(kept)?);
            }
            Effect::Push => self.stack.push(build.push(op)?),
            Effect::Make(take) => {
                let first = self.first(take)?;
                let value = build.make(op, &mut self.stack, first)?;
                self.stack.truncate(first);
                self.stack.push(value);
            }
            Effect::Change(take) => {
                let first = self.first(take)?;
                if first <= self.floor() {
                    return Err(Damage::Missing.into());
                }
                build.change(op, &mut self.stack, first)?;
                self.stack.truncate(first);
            }
        }
        Ok(())
    }

    /// Below this the values belong to what a mark before has begun.
    #[inline]
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&mut self) -> Result<&mut V, Damage> {
        if self.stack.len() <= self.floor() {
            Err(Damage::Missing)
        } else {
            self.stack.last_mut().ok_or(Damage::Missing)
        }
    }

    /// Where the values begin that an opcode takes.
    #[inline]
    fn first(&mut self, take: Take) -> Result<usize, Damage> {
        let first = match take {
            Take::Marked => self.marks.pop(),
            Take::Top(count) => self.stack.len().checked_sub(count.into()),
        };
        first.filter(|first| *first >= self.floor()).ok_or(Damage::Missing)
    }
}

/// What was memoized: in a row as long as the pickle numbers as Python does, so that no number costs its size.
struct Memo<K> {
    row: Vec<K>,
    others: HashMap<usize, K>,
}

impl<K> Default for Memo<K> {
    fn default() -> Self {
        Self { row: Vec::new(), others: HashMap::new() }
    }
}

impl<K> Memo<K> {
    fn len(&self) -> usize {
        self.row.len() + self.others.len()
    }

    fn put(&mut self, index: usize, kept: K) {
        if let Some(known) = self.row.get_mut(index) {
            *known = kept;
        } else if index == self.row.len() && self.others.is_empty() {
            self.row.push(kept);
        } else {
            self.others.insert(index, kept);
        }
    }

    fn get(&self, index: usize) -> Option<&K> {
        self.row.get(index).or_else(|| self.others.get(&index))
    }
}
