//! The one reader of `MessagePack`, in which Rust programs store values of any type. It builds nothing itself.
//!
//! Hostile bytes cost what their length says: no length in them is believed before as many bytes are there, and the
//! caller bounds the depth.

use std::fmt::{self, Display, Formatter};

use rmp::Marker;

/// Why bytes are no `MessagePack` that this reader takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// They end too early.
    CutOff,
    /// Bytes follow.
    Left,
    /// There is more nesting than was allowed.
    Depth,
    /// Text is no UTF-8.
    Text,
    /// There is an extension type.
    Extension,
}

impl Display for Damage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CutOff => "it is cut off",
            Self::Left => "bytes follow its end",
            Self::Depth => "it is nested too deeply",
            Self::Text => "its text is not UTF-8",
            Self::Extension => "it has an extension type",
        })
    }
}

/// A value without parts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the types of MessagePack")]
pub enum Scalar<'p> {
    /// `nil`.
    Nil,
    /// A boolean.
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// One beyond them.
    Large(u64),
    /// A float.
    Float(f64),
    /// Text.
    Text(&'p str),
    /// Bytes.
    Bytes(&'p [u8]),
}

/// What is made of the values.
pub trait Build<'p> {
    /// A value.
    type Value;
    /// Why reading stops.
    type Error: From<Damage>;

    /// A value without parts.
    ///
    /// # Errors
    ///
    /// It is one that is refused.
    fn scalar(&mut self, scalar: Scalar<'p>) -> Result<Self::Value, Self::Error>;

    /// An array.
    ///
    /// # Errors
    ///
    /// It is one that is refused.
    fn array(&mut self, items: Vec<Self::Value>) -> Result<Self::Value, Self::Error>;

    /// A map.
    ///
    /// # Errors
    ///
    /// It is one that is refused.
    fn map(&mut self, items: Vec<(Self::Value, Self::Value)>) -> Result<Self::Value, Self::Error>;
}

/// Reads bytes that are one value, in which at most `depth` values lie one in another.
///
/// # Errors
///
/// The bytes are damaged, or `build` refuses something.
pub fn read<'p, B: Build<'p>>(bytes: &'p [u8], depth: usize, build: &mut B) -> Result<B::Value, B::Error> {
    let mut reader = Reader { rest: bytes, build };
    let value = reader.value(depth)?;
    if reader.rest.is_empty() { Ok(value) } else { Err(Damage::Left.into()) }
}

struct Reader<'p, 'b, B> {
    rest: &'p [u8],
    build: &'b mut B,
}

impl<'p, B: Build<'p>> Reader<'p, '_, B> {
    fn value(&mut self, depth: usize) -> Result<B::Value, B::Error> {
        let depth = depth.checked_sub(1).ok_or(Damage::Depth)?;
        let [marker] = self.fixed()?;
        let scalar = match Marker::from_u8(marker) {
            Marker::Null => Scalar::Nil,
            Marker::False => Scalar::Bool(false),
            Marker::True => Scalar::Bool(true),
            Marker::FixPos(number) => Scalar::Int(number.into()),
            Marker::FixNeg(number) => Scalar::Int(number.into()),
            Marker::U8 => Scalar::Int(u8::from_be_bytes(self.fixed()?).into()),
            Marker::U16 => Scalar::Int(u16::from_be_bytes(self.fixed()?).into()),
            Marker::U32 => Scalar::Int(u32::from_be_bytes(self.fixed()?).into()),
            Marker::U64 => {
                let number = u64::from_be_bytes(self.fixed()?);
                i64::try_from(number).map_or(Scalar::Large(number), Scalar::Int)
            }
            Marker::I8 => Scalar::Int(i8::from_be_bytes(self.fixed()?).into()),
            Marker::I16 => Scalar::Int(i16::from_be_bytes(self.fixed()?).into()),
            Marker::I32 => Scalar::Int(i32::from_be_bytes(self.fixed()?).into()),
            Marker::I64 => Scalar::Int(i64::from_be_bytes(self.fixed()?)),
            Marker::F32 => Scalar::Float(f32::from_be_bytes(self.fixed()?).into()),
            Marker::F64 => Scalar::Float(f64::from_be_bytes(self.fixed()?)),
            Marker::FixStr(length) => Scalar::Text(self.text(length.into())?),
            Marker::Str8 => Scalar::Text(self.length(1).and_then(|length| self.text(length))?),
            Marker::Str16 => Scalar::Text(self.length(2).and_then(|length| self.text(length))?),
            Marker::Str32 => Scalar::Text(self.length(4).and_then(|length| self.text(length))?),
            Marker::Bin8 => Scalar::Bytes(self.length(1).and_then(|length| self.take(length))?),
            Marker::Bin16 => Scalar::Bytes(self.length(2).and_then(|length| self.take(length))?),
            Marker::Bin32 => Scalar::Bytes(self.length(4).and_then(|length| self.take(length))?),
            Marker::FixArray(length) => return self.array(length.into(), depth),
            Marker::Array16 => {
                let length = self.length(2)?;
                return self.array(length, depth);
            }
            Marker::Array32 => {
                let length = self.length(4)?;
                return self.array(length, depth);
            }
            Marker::FixMap(length) => return self.map(length.into(), depth),
            Marker::Map16 => {
                let length = self.length(2)?;
                return self.map(length, depth);
            }
            Marker::Map32 => {
                let length = self.length(4)?;
                return self.map(length, depth);
            }
            _ => return Err(Damage::Extension.into()),
        };
        self.build.scalar(scalar)
    }

    fn array(&mut self, length: usize, depth: usize) -> Result<B::Value, B::Error> {
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(self.value(depth)?);
        }
        self.build.array(items)
    }

    fn map(&mut self, length: usize, depth: usize) -> Result<B::Value, B::Error> {
        let mut items = Vec::new();
        for _ in 0..length {
            items.push((self.value(depth)?, self.value(depth)?));
        }
        self.build.map(items)
    }

    fn text(&mut self, length: usize) -> Result<&'p str, Damage> {
        str::from_utf8(self.take(length)?).map_err(|_| Damage::Text)
    }

    /// A length of that many bytes.
    fn length(&mut self, width: usize) -> Result<usize, Damage> {
        Ok(self.take(width)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        self.take(N)?.try_into().map_err(|_| Damage::CutOff)
    }

    fn take(&mut self, length: usize) -> Result<&'p [u8], Damage> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Damage::CutOff)?;
        self.rest = rest;
        Ok(taken)
    }
}
