//! `MessagePack`, which Rust programs store, as data to show.

use dolium::raw::msgpack::{Build, Damage, Scalar, read};

use super::{DEPTH, Data};

/// What the bytes say. `None`: they are no `MessagePack`.
pub(crate) fn unpack(bytes: &[u8]) -> Option<Data> {
    read(bytes, DEPTH, &mut Shown).ok()
}

struct Shown;

impl<'p> Build<'p> for Shown {
    type Value = Data;
    type Error = Damage;

    fn scalar(&mut self, scalar: Scalar<'p>) -> Result<Data, Damage> {
        Ok(match scalar {
            Scalar::Nil => Data::None,
            Scalar::Bool(value) => Data::Bool(value),
            Scalar::Int(number) => Data::Int(number),
            Scalar::Large(number) => Data::Big([&number.to_le_bytes()[..], &[0]].concat()),
            Scalar::Float(number) => Data::Float(number),
            Scalar::Text(text) => Data::Text(text.to_owned()),
            Scalar::Bytes(bytes) => Data::Bytes(bytes.to_vec()),
        })
    }

    fn array(&mut self, items: Vec<Data>) -> Result<Data, Damage> {
        Ok(Data::List(items))
    }

    fn map(&mut self, items: Vec<(Data, Data)>) -> Result<Data, Damage> {
        Ok(Data::Dict(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_specification_says() {
        for (bytes, shown) in [
            (&b"\x82\xa4name\xa3Ada\xa3age\x24"[..], "{'name': 'Ada', 'age': 36}"),
            (b"\x93\xc0\xc3\xff", "[None, True, -1]"),
            (b"\xcb\x3f\xf8\0\0\0\0\0\0", "1.5"),
            (b"\xd1\xff\x00", "-256"),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "0xffffffffffffffff"),
            (b"\xc4\x02\x00\xff", "b'\\x00\\xff'"),
            (b"\xdc\x00\x01\xd9\x01a", "['a']"),
        ] {
            assert_eq!(unpack(bytes).expect(shown).to_string(), shown);
        }
        for damaged in [&b""[..], b"\xc1", b"\x92\x01", b"\x01\x01", b"\xdd\xff\xff\xff\xff"] {
            assert_eq!(unpack(damaged), None);
        }
    }
}
