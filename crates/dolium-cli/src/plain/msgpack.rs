//! Owns reading `MessagePack`, which Rust programs store, as data to show.

use super::{DEPTH, Data};

/// What the bytes say. `None`: they are no `MessagePack`.
pub(crate) fn unpack(bytes: &[u8]) -> Option<Data> {
    let mut reader = MsgpackReader { rest: bytes };
    let data = reader.value(DEPTH)?;
    reader.rest.is_empty().then_some(data)
}

struct MsgpackReader<'a> {
    rest: &'a [u8],
}

impl<'a> MsgpackReader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// An unsigned number, the highest byte first.
    fn number(&mut self, width: usize) -> Option<u64> {
        Some(self.take(width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, width: usize) -> Option<usize> {
        usize::try_from(self.number(width)?).ok()
    }

    fn value(&mut self, depth: usize) -> Option<Data> {
        let depth = depth.checked_sub(1)?;
        let first = self.take(1)?[0];
        let short = usize::from(first & 0x0f);
        Some(match first {
            0x00..=0x7f => Data::Int(i64::from(first)),
            0xe0..=0xff => Data::Int(i64::from(first.cast_signed())),
            0x80..=0x8f => self.map(short, depth)?,
            0x90..=0x9f => self.list(short, depth)?,
            0xa0..=0xbf => self.text(usize::from(first & 0x1f))?,
            0xc0 => Data::None,
            0xc2 | 0xc3 => Data::Bool(first == 0xc3),
            0xc4..=0xc6 => {
                let length = self.length(1 << (first - 0xc4))?;
                Data::Bytes(self.take(length)?.to_vec())
            }
            0xca => Data::Float(f64::from(f32::from_be_bytes(self.take(4)?.try_into().ok()?))),
            0xcb => Data::Float(f64::from_be_bytes(self.take(8)?.try_into().ok()?)),
            0xcc..=0xcf => unsigned(self.number(1 << (first - 0xcc))?),
            0xd0..=0xd3 => {
                let width = 1 << (first - 0xd0);
                let unused = 64 - 8 * u32::try_from(width).ok()?;
                Data::Int((self.number(width)? << unused).cast_signed() >> unused)
            }
            0xd9..=0xdb => {
                let length = self.length(1 << (first - 0xd9))?;
                self.text(length)?
            }
            0xdc | 0xdd => {
                let length = self.length(2 << (first - 0xdc))?;
                self.list(length, depth)?
            }
            0xde | 0xdf => {
                let length = self.length(2 << (first - 0xde))?;
                self.map(length, depth)?
            }
            _ => return None,
        })
    }

    fn text(&mut self, length: usize) -> Option<Data> {
        Some(Data::Text(std::str::from_utf8(self.take(length)?).ok()?.to_owned()))
    }

    fn list(&mut self, length: usize, depth: usize) -> Option<Data> {
        (0..length).map(|_| self.value(depth)).collect::<Option<_>>().map(Data::List)
    }

    fn map(&mut self, length: usize, depth: usize) -> Option<Data> {
        let items = (0..length).map(|_| Some((self.value(depth)?, self.value(depth)?)));
        items.collect::<Option<_>>().map(Data::Dict)
    }
}

fn unsigned(number: u64) -> Data {
    i64::try_from(number).map_or_else(|_| Data::Big([&number.to_le_bytes()[..], &[0]].concat()), Data::Int)
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
