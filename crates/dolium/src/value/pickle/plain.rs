//! Rust's plain values as Python's.

use super::Writer;

/// A Rust value with a counterpart among Python's plain data.
///
/// Integers are `int`, `f64` is `float`, text is `str`, byte slices are `bytes`, `Option` is
/// `None` or the value, and Rust's tuples are Python's; `()` is the empty tuple.
pub trait Plain {
    /// Writes the value, once, as one value.
    fn write(&self, writer: &mut Writer);
}

/// The canonical pickle (protocol 5) of `value`: the bytes under which Python's equal tuple is
/// stored as a key.
///
/// A key that is an integer of 64 bits, an `f64`, text or bytes *by itself* is not stored as a
/// pickle, and must not be given to this function.
#[must_use]
pub fn encode<T: Plain + ?Sized>(value: &T) -> Vec<u8> {
    let mut writer = Writer::default();
    value.write(&mut writer);
    writer.finish()
}

macro_rules! plain {
    ($($type:ty => |$value:ident, $writer:ident| $write:expr;)+) => {
        $(impl Plain for $type {
            fn write(&self, $writer: &mut Writer) {
                let $value = self;
                $write;
            }
        })+
    };
}

plain! {
    bool => |v, w| w.bool(*v);
    i8 => |v, w| w.int((*v).into());
    i16 => |v, w| w.int((*v).into());
    i32 => |v, w| w.int((*v).into());
    i64 => |v, w| w.int(*v);
    i128 => |v, w| w.big_int(&v.to_le_bytes());
    u8 => |v, w| w.int((*v).into());
    u16 => |v, w| w.int((*v).into());
    u32 => |v, w| w.int((*v).into());
    u64 => |v, w| i128::from(*v).write(w);
    f64 => |v, w| w.float(*v);
    str => |v, w| w.text(v);
    String => |v, w| w.text(v);
    [u8] => |v, w| w.bytes(v);
    Vec<u8> => |v, w| w.bytes(v);
    () => |_v, w| w.end_tuple(0);
}

impl<const N: usize> Plain for [u8; N] {
    fn write(&self, writer: &mut Writer) {
        writer.bytes(self);
    }
}

impl<T: Plain + ?Sized> Plain for &T {
    fn write(&self, writer: &mut Writer) {
        (**self).write(writer);
    }
}

impl<T: Plain> Plain for Option<T> {
    fn write(&self, writer: &mut Writer) {
        match self {
            Some(value) => value.write(writer),
            None => writer.none(),
        }
    }
}

macro_rules! plain_tuple {
    ($len:literal: $($name:ident)+) => {
        impl<$($name: Plain),+> Plain for ($($name,)+) {
            #[expect(non_snake_case, reason = "a type parameter names its field")]
            fn write(&self, writer: &mut Writer) {
                let ($($name,)+) = self;
                writer.begin_tuple($len);
                $($name.write(writer);)+
                writer.end_tuple($len);
            }
        }
    };
}

plain_tuple!(1: A);
plain_tuple!(2: A B);
plain_tuple!(3: A B C);
plain_tuple!(4: A B C D);
plain_tuple!(5: A B C D E);
plain_tuple!(6: A B C D E F);
