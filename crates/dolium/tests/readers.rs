//! The readers of pickles and of `MessagePack`, with a builder that only counts.

use dolium::raw::msgpack;
use dolium::raw::pickle::names::{self, Rebuild, is_plain};
use dolium::raw::pickle::op::{self, Op, Scalar};
use dolium::raw::pickle::read::{Build, Damage, read};

/// A value is the number of values that it was made of, itself included.
struct Count;

impl<'p> Build<'p> for Count {
    type Value = usize;
    type Kept = usize;
    type Error = Damage;

    fn push(&mut self, _: &Op<'p>) -> Result<usize, Damage> {
        Ok(1)
    }

    fn make(&mut self, _: &Op<'p>, stack: &mut Vec<usize>, first: usize) -> Result<usize, Damage> {
        Ok(1 + stack[first..].iter().sum::<usize>())
    }

    fn change(&mut self, _: &Op<'p>, stack: &mut Vec<usize>, first: usize) -> Result<(), Damage> {
        stack[first - 1] += stack[first..].iter().sum::<usize>();
        Ok(())
    }

    fn stop(&mut self, is_alone: bool) -> Result<(), Damage> {
        if is_alone { Ok(()) } else { Err(Damage::Left) }
    }

    fn keep(&mut self, value: &mut usize) -> Result<usize, Damage> {
        Ok(*value)
    }

    fn recall(&mut self, kept: &usize) -> Result<usize, Damage> {
        Ok(*kept)
    }
}

fn count(pickle: &[u8]) -> Result<usize, Damage> {
    read(pickle, &mut Count)
}

#[test]
fn every_step_takes_and_makes_what_pickle_says() {
    for (pickle, values) in [
        (&b"\x80\x05N."[..], 1),
        (b"N.what follows is ignored", 1),
        (b"(NNNt.", 4),
        (b"NN\x86.", 3),
        (b"](NNe.", 3),
        (b"}NNsNNs.", 5),
        (b"N2\x86.", 3),
        (b"NN0\x85.", 2),
        (b"N(NN1\x85.", 2),
        (b"N(0\x85.", 2),
        (b"cos\nsystem\n)R.", 3),
        (b"(NNios\nsystem\n.", 3),
        (b"\x80\x04\x95\0\0\0\0\0\0\0\0N\x94h\0\x86.", 3),
    ] {
        assert_eq!(count(pickle), Ok(values), "{pickle:?}");
    }
}

#[test]
fn damage_is_named_by_what_is_wrong() {
    for (pickle, damage) in [
        (&b""[..], Damage::CutOff),
        (b"N", Damage::CutOff),
        (b"\x8a\x09\0.", Damage::CutOff),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", Damage::CutOff),
        (b"I1", Damage::CutOff),
        (b"cos\n", Damage::CutOff),
        (b"\xff.", Damage::Opcode(0xff)),
        (b"\x80\x06N.", Damage::Protocol(6)),
        (b".", Damage::Missing),
        (b"0N.", Damage::Missing),
        (b"N\x86.", Damage::Missing),
        (b"N(\x85.", Damage::Missing),
        (b"t.", Damage::Missing),
        (b"(Ne.", Damage::Missing),
        (b"N(Na.", Damage::Missing),
        (b"\x94N.", Damage::Missing),
        (b"h\0.", Damage::Reference),
        (b"g1x\n.", Damage::Reference),
        (b"Npx\n.", Damage::Kind),
        (b"N(.", Damage::Missing),
        (b"NN.", Damage::Left),
        (b"(N.", Damage::Left),
    ] {
        assert_eq!(count(pickle), Err(damage), "{pickle:?}");
    }
}

#[test]
fn memo_takes_any_numbers_at_no_cost() {
    // From 1 on, as Python 2 numbers; from the largest down; one number twice; `MEMOIZE` behind both.
    assert_eq!(count(b"Nq\x010(NNtq\x020h\x01h\x02\x86."), Ok(5));
    assert_eq!(count(b"Nr\xff\xff\xff\xff0(NNtq\x000j\xff\xff\xff\xffh\0\x86."), Ok(5));
    assert_eq!(count(b"Nq\x000(NNtq\x000h\0h\0\x86."), Ok(7));
    assert_eq!(count(b"Nq\x050(NNt\x940h\x05h\x01\x86."), Ok(5));
    assert_eq!(count(b"Np18446744073709551615\ng18446744073709551615\n\x86."), Ok(3));
}

#[test]
fn scalars_are_what_their_opcodes_say() {
    for (bytes, scalar) in [
        (&b"N"[..], Scalar::None),
        (b"\x88", Scalar::Bool(true)),
        (b"I01\n", Scalar::Bool(true)),
        (b"I-5\n", Scalar::Int(-5)),
        (b"L5L\n", Scalar::Int(5)),
        (b"L9223372036854775808L\n", Scalar::Decimal("9223372036854775808")),
        (b"K\xff", Scalar::Int(255)),
        (b"M\xff\xff", Scalar::Int(65_535)),
        (b"J\xff\xff\xff\xff", Scalar::Int(-1)),
        (b"\x8a\0", Scalar::Int(0)),
        (b"\x8a\x02\xff\xff", Scalar::Int(-1)),
        (b"\x8a\x09\0\0\0\0\0\0\0\x80\0", Scalar::Long(b"\0\0\0\0\0\0\0\x80\0")),
        (b"\x8a\x09\0\0\0\0\0\0\0\x80\xff", Scalar::Int(i64::MIN)),
        (b"F-1.5\n", Scalar::Float(-1.5)),
        (b"G\x3f\xf8\0\0\0\0\0\0", Scalar::Float(1.5)),
        (b"\x8c\x01a", Scalar::Text(b"a")),
        (b"V\\u0041\n", Scalar::RawText(b"\\u0041")),
        (b"S'a'\n", Scalar::Quoted(b"'a'")),
        (b"U\x01a", Scalar::String(b"a")),
        (b"C\x01a", Scalar::Bytes(b"a")),
    ] {
        assert_eq!(Op::read(bytes).unwrap().scalar(), Some(scalar), "{bytes:?}");
    }
    for bytes in [&b"I\n"[..], b"I1_0\n", b"L\xff\n", b"Fx\n", b"]", b"cos\nsystem\n"] {
        assert_eq!(Op::read(bytes).unwrap().scalar(), None, "{bytes:?}");
    }
    assert_eq!(Op::read(b"cos\nsystem\n").unwrap().global(), Some(("os", "system")));
    assert_eq!((Op::read(b"P1\n").unwrap().name(), op::PERSID), ("PERSID", b'P'));
}

#[test]
fn names_of_plain_data_are_exact_and_occur_once() {
    let mut seen = std::collections::HashSet::new();
    for name in names::all() {
        assert!(seen.insert((name.module, name.name)), "{name:?}");
        assert!(is_plain(name.module, name.name) && is_plain(name.present.0, name.present.1));
    }
    assert!(is_plain("__builtin__", "xrange") && is_plain("copy_reg", "_reconstructor"));
    for (module, name) in
        [("os", "system"), ("builtins", "eval"), ("builtins", "xrange"), ("datetime", "date.today"), ("", "")]
    {
        assert!(!is_plain(module, name), "{module}.{name}");
    }
    let calls = |rebuild| matches!(rebuild, Rebuild::Call(_) | Rebuild::CallOfNames(_));
    assert!(names::all().filter(|name| name.name == "object").all(|name| !calls(name.rebuild)));
}

impl<'p> msgpack::Build<'p> for Count {
    type Value = usize;
    type Error = msgpack::Damage;

    fn scalar(&mut self, _: msgpack::Scalar<'p>) -> Result<usize, msgpack::Damage> {
        Ok(1)
    }

    fn array(&mut self, items: Vec<usize>) -> Result<usize, msgpack::Damage> {
        Ok(1 + items.iter().sum::<usize>())
    }

    fn map(&mut self, items: Vec<(usize, usize)>) -> Result<usize, msgpack::Damage> {
        Ok(1 + items.iter().map(|(key, value)| key + value).sum::<usize>())
    }
}

#[test]
fn messagepack_is_read_or_its_damage_named() {
    use msgpack::Damage;
    let read = |bytes: &[u8]| msgpack::read(bytes, 3, &mut Count);
    assert_eq!(read(b"\x82\xa1a\x91\xc0\xa1b\xcb\0\0\0\0\0\0\0\0"), Ok(6));
    for (bytes, damage) in [
        (&b""[..], Damage::CutOff),
        (b"\xdd\xff\xff\xff\xff", Damage::CutOff),
        (b"\xc6\xff\xff\xff\xff", Damage::CutOff),
        (b"\x01\x01", Damage::Left),
        (b"\x91\x91\x91\x01", Damage::Depth),
        (b"\xa1\xff", Damage::Text),
        (b"\xd4\x01\x02", Damage::Extension),
        (b"\xc1", Damage::Extension),
    ] {
        assert_eq!(read(bytes), Err(damage), "{bytes:?}");
    }
}
