//! The opcodes of pickles: one table of their names, operands and effects, and the reader of one opcode.
//!
//! Everything in dolium that reads a pickle reads it through [`Op::read`]: the stack machine of [`read`](super::read), and
//! the writer's own walks over opcodes.

use super::read::Damage;

/// What follows an opcode.
#[derive(Clone, Copy)]
enum Operand {
    /// So many bytes.
    Bytes(u8),
    /// A length of so many bytes, and that many bytes.
    Counted(u8),
    /// So many lines of text.
    Lines(u8),
}

/// How many values an opcode takes from the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    Top(u8),
    /// Those above the last mark, and the mark.
    Marked,
}

/// What an opcode does to the stack of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// There is no such opcode.
    Unknown,
    Skip,
    Stop,
    Mark,
    Pop,
    PopMarked,
    Dup,
    Put,
    Memoize,
    Get,
    /// Pushes a value.
    Push,
    /// Makes one value of those that it takes.
    Make(Take),
    /// Gives those that it takes to the value below them.
    Change(Take),
}

use Effect::{Change, Dup, Get, Make, Mark, Memoize, Pop, PopMarked, Push, Put, Skip, Stop, Unknown};
use Operand::{Bytes, Counted, Lines};
use Take::{Marked, Top};

/// What there is to know of an opcode, in a table: a step of a reader is one load.
#[derive(Clone, Copy)]
struct Form {
    operand: Operand,
    effect: Effect,
}

macro_rules! opcodes {
    ($($name:ident $code:literal $operand:expr, $effect:expr;)+) => {
        $(
            #[doc = concat!("`", stringify!($name), "` of `pickletools`.")]
            pub const $name: u8 = $code;
        )+

        static FORMS: [Form; 256] = {
            let mut forms = [Form { operand: Bytes(0), effect: Unknown }; 256];
            $(forms[$name as usize] = Form { operand: $operand, effect: $effect };)+
            forms
        };

        fn name(code: u8) -> &'static str {
            match code {
                $($code => stringify!($name),)+
                _ => "",
            }
        }
    };
}

opcodes! {
    PROTO 0x80 Bytes(1), Skip;
    FRAME 0x95 Bytes(8), Skip;
    STOP b'.' Bytes(0), Stop;
    MARK b'(' Bytes(0), Mark;
    POP b'0' Bytes(0), Pop;
    POP_MARK b'1' Bytes(0), PopMarked;
    DUP b'2' Bytes(0), Dup;
    MEMOIZE 0x94 Bytes(0), Memoize;
    PUT b'p' Lines(1), Put;
    BINPUT b'q' Bytes(1), Put;
    LONG_BINPUT b'r' Bytes(4), Put;
    GET b'g' Lines(1), Get;
    BINGET b'h' Bytes(1), Get;
    LONG_BINGET b'j' Bytes(4), Get;
    NONE b'N' Bytes(0), Push;
    NEWTRUE 0x88 Bytes(0), Push;
    NEWFALSE 0x89 Bytes(0), Push;
    INT b'I' Lines(1), Push;
    BININT b'J' Bytes(4), Push;
    BININT1 b'K' Bytes(1), Push;
    BININT2 b'M' Bytes(2), Push;
    LONG b'L' Lines(1), Push;
    LONG1 0x8a Counted(1), Push;
    LONG4 0x8b Counted(4), Push;
    FLOAT b'F' Lines(1), Push;
    BINFLOAT b'G' Bytes(8), Push;
    STRING b'S' Lines(1), Push;
    SHORT_BINSTRING b'U' Counted(1), Push;
    BINSTRING b'T' Counted(4), Push;
    UNICODE b'V' Lines(1), Push;
    SHORT_BINUNICODE 0x8c Counted(1), Push;
    BINUNICODE b'X' Counted(4), Push;
    BINUNICODE8 0x8d Counted(8), Push;
    SHORT_BINBYTES b'C' Counted(1), Push;
    BINBYTES b'B' Counted(4), Push;
    BINBYTES8 0x8e Counted(8), Push;
    BYTEARRAY8 0x96 Counted(8), Push;
    EMPTY_TUPLE b')' Bytes(0), Push;
    TUPLE b't' Bytes(0), Make(Marked);
    TUPLE1 0x85 Bytes(0), Make(Top(1));
    TUPLE2 0x86 Bytes(0), Make(Top(2));
    TUPLE3 0x87 Bytes(0), Make(Top(3));
    EMPTY_LIST b']' Bytes(0), Push;
    LIST b'l' Bytes(0), Make(Marked);
    APPEND b'a' Bytes(0), Change(Top(1));
    APPENDS b'e' Bytes(0), Change(Marked);
    EMPTY_SET 0x8f Bytes(0), Push;
    ADDITEMS 0x90 Bytes(0), Change(Marked);
    FROZENSET 0x91 Bytes(0), Make(Marked);
    EMPTY_DICT b'}' Bytes(0), Push;
    DICT b'd' Bytes(0), Make(Marked);
    SETITEM b's' Bytes(0), Change(Top(2));
    SETITEMS b'u' Bytes(0), Change(Marked);
    GLOBAL b'c' Lines(2), Push;
    STACK_GLOBAL 0x93 Bytes(0), Make(Top(2));
    EXT1 0x82 Bytes(1), Push;
    EXT2 0x83 Bytes(2), Push;
    EXT4 0x84 Bytes(4), Push;
    REDUCE b'R' Bytes(0), Make(Top(2));
    NEWOBJ 0x81 Bytes(0), Make(Top(2));
    NEWOBJ_EX 0x92 Bytes(0), Make(Top(3));
    OBJ b'o' Bytes(0), Make(Marked);
    INST b'i' Lines(2), Make(Marked);
    BUILD b'b' Bytes(0), Change(Top(1));
    PERSID b'P' Lines(1), Push;
    BINPERSID b'Q' Bytes(0), Make(Top(1));
    NEXT_BUFFER 0x97 Bytes(0), Push;
    READONLY_BUFFER 0x98 Bytes(0), Make(Top(1));
}

/// An opcode with its operand.
#[derive(Clone, Copy, Debug)]
pub struct Op<'p> {
    /// One of the constants of this module.
    pub code: u8,
    pub(super) effect: Effect,
    /// Where its data begins in `input`, behind the code and a length.
    start: u8,
    /// How much of its end is no data: the end of the last line.
    trim: u8,
    len: usize,
    /// The opcode, and what follows it.
    input: &'p [u8],
}

/// A value that is one opcode.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the values that pickle has an opcode for")]
pub enum Scalar<'p> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// A larger one in two's complement, the least significant byte first.
    Long(&'p [u8]),
    /// One in decimal digits, perhaps behind a sign, which does not fit 64 bits.
    Decimal(&'p str),
    /// A float.
    Float(f64),
    /// Text as UTF-8, in which a lone surrogate is three bytes.
    Text(&'p [u8]),
    /// Text as `raw-unicode-escape`, of protocol 0.
    RawText(&'p [u8]),
    /// Python 2's `str`.
    String(&'p [u8]),
    /// The same as a literal, of protocol 0.
    Quoted(&'p [u8]),
    /// `bytes`.
    Bytes(&'p [u8]),
    /// `bytearray`.
    ByteArray(&'p [u8]),
}

impl<'p> Op<'p> {
    /// The first opcode of `input`.
    ///
    /// # Errors
    ///
    /// The operand is cut off, or there is no such opcode.
    #[inline]
    pub fn read(input: &'p [u8]) -> Result<Self, Damage> {
        let &code = input.first().ok_or(Damage::CutOff)?;
        let Form { operand, effect } = FORMS[usize::from(code)];
        let (start, trim, len) = match operand {
            Bytes(count) => (1, 0, 1 + usize::from(count)),
            Counted(width) => (1 + width, 0, counted(input, width.into()).ok_or(Damage::CutOff)?),
            Lines(count) => (1, 1, lines(input, count.into()).ok_or(Damage::CutOff)?),
        };
        if len > input.len() {
            return Err(Damage::CutOff);
        }
        if effect == Unknown {
            return Err(Damage::Opcode(code));
        }
        Ok(Self { code, effect, start, trim, len, input })
    }

    /// Its name in `pickletools`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        name(self.code)
    }

    /// The operand, without its length or the end of its last line.
    #[inline]
    fn data(&self) -> &'p [u8] {
        &self.input[usize::from(self.start)..self.len - usize::from(self.trim)]
    }

    /// All of it.
    pub(super) fn raw(&self) -> &'p [u8] {
        &self.input[..self.len]
    }

    /// The bytes that follow it.
    #[must_use]
    #[inline]
    pub fn rest(&self) -> &'p [u8] {
        &self.input[self.len..]
    }

    /// Returns the value that the opcode is, or `None` if it is none, or if its text is not what the opcode says.
    #[must_use]
    #[inline]
    pub fn scalar(&self) -> Option<Scalar<'p>> {
        let data = self.data();
        Some(match self.code {
            NONE => Scalar::None,
            NEWTRUE => Scalar::Bool(true),
            NEWFALSE => Scalar::Bool(false),
            BININT1 => Scalar::Int((*data.first()?).into()),
            BININT2 => Scalar::Int(u16::from_le_bytes(data.try_into().ok()?).into()),
            BININT => Scalar::Int(i32::from_le_bytes(data.try_into().ok()?).into()),
            LONG1 | LONG4 => Scalar::long(data),
            BINFLOAT => Scalar::Float(f64::from_be_bytes(data.try_into().ok()?)),
            SHORT_BINUNICODE | BINUNICODE | BINUNICODE8 => Scalar::Text(data),
            SHORT_BINBYTES | BINBYTES | BINBYTES8 => Scalar::Bytes(data),
            BYTEARRAY8 => Scalar::ByteArray(data),
            SHORT_BINSTRING | BINSTRING => Scalar::String(data),
            INT | LONG | FLOAT | STRING | UNICODE => return self.line(),
            _ => return None,
        })
    }

    /// A value of protocol 0.
    fn line(&self) -> Option<Scalar<'p>> {
        let text = || str::from_utf8(self.data()).ok();
        match self.code {
            INT if self.data() == b"00" => Some(Scalar::Bool(false)),
            INT if self.data() == b"01" => Some(Scalar::Bool(true)),
            INT => Scalar::decimal(text()?),
            LONG => text().and_then(|text| Scalar::decimal(text.strip_suffix('L').unwrap_or(text))),
            FLOAT => text()?.parse().ok().map(Scalar::Float),
            UNICODE => Some(Scalar::RawText(self.data())),
            _ => Some(Scalar::Quoted(self.data())),
        }
    }

    /// The module and the name of `GLOBAL` and `INST`.
    #[must_use]
    pub fn global(&self) -> Option<(&'p str, &'p str)> {
        let lines = matches!(self.code, GLOBAL | INST).then(|| self.data())?;
        str::from_utf8(lines).ok()?.split_once('\n')
    }

    /// The number of the memo of `PUT`, `GET` and their like.
    pub(super) fn index(&self) -> Option<usize> {
        match self.effect {
            Put | Get if matches!(self.code, PUT | GET) => str::from_utf8(self.data()).ok()?.parse().ok(),
            Put | Get => usize::try_from(little(self.data())).ok(),
            _ => None,
        }
    }

    /// The protocol of `PROTO`.
    pub(super) fn protocol(&self) -> Option<u8> {
        if self.code == PROTO { self.data().first().copied() } else { None }
    }
}

impl<'p> Scalar<'p> {
    /// An integer in two's complement, the least significant byte first; no bytes are 0.
    #[must_use]
    pub fn long(bytes: &'p [u8]) -> Self {
        let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let (low, high) = bytes.split_at(bytes.len().min(8));
        let mut word = [fill; 8];
        word[..low.len()].copy_from_slice(low);
        let number = i64::from_le_bytes(word);
        let fits = high.iter().all(|byte| *byte == fill) && (number < 0) == (fill == 0xff);
        if fits { Self::Int(number) } else { Self::Long(bytes) }
    }

    fn decimal(text: &'p str) -> Option<Self> {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| text.parse().map_or(Self::Decimal(text), Self::Int))
    }
}

/// The length of an opcode that says how many bytes follow.
#[inline]
fn counted(input: &[u8], width: usize) -> Option<usize> {
    let length = match width {
        1 => usize::from(*input.get(1)?),
        _ => usize::try_from(little(input.get(1..=width)?)).ok()?,
    };
    length.checked_add(1 + width)
}

/// The length of an opcode that so many lines follow.
#[cold]
fn lines(input: &[u8], count: usize) -> Option<usize> {
    let ends = input.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'\n');
    ends.map(|(at, _)| at + 1).nth(count - 1)
}

/// Up to eight bytes, the least significant first.
#[inline]
fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The opcodes of a pickle up to `STOP`. `None` where there is none, and then no more.
pub(super) struct Ops<'p>(pub &'p [u8]);

impl<'p> Iterator for Ops<'p> {
    type Item = Option<Op<'p>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let op = Op::read(self.0).ok();
        self.0 = op.filter(|op| op.code != STOP).map_or(&[], |op| op.rest());
        Some(op)
    }
}
