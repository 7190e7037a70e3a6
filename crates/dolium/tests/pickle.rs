//! Canonical pickles equal Python's.
//!
//! `tests/binding/test_pickle_bytes.py` compares with a running Python; the vectors here came from
//! `pickletools.optimize(pickle.dumps(x, protocol=p))`, the same in Python 3.10 to 3.13.

#![expect(clippy::unwrap_used, reason = "tests")]

use dolium::raw::pickle::{Plain, Protocol, TimeOfDay, Writer, encode};
use proptest::prelude::*;

fn written(write: impl Fn(&mut Writer)) -> Vec<u8> {
    let mut four = Writer::new(Protocol::V4);
    write(&mut four);
    let mut four = four.finish();
    let mut five = Writer::new(Protocol::V5);
    write(&mut five);
    let five = five.finish();
    assert_eq!(four[1], 4);
    four[1] = 5;
    assert_eq!(four, five, "the protocols differ in their number only");
    five
}

/// Adds the header of a pickle whose opcodes fit into one frame.
fn one_frame(opcodes: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, 5];
    if opcodes.len() >= 4 {
        bytes.push(0x95);
        bytes.extend((opcodes.len() as u64).to_le_bytes());
    }
    bytes.extend(opcodes);
    bytes
}

#[test]
fn short_pickles_have_no_frame() {
    assert_eq!(written(Writer::none), b"\x80\x05N.");
    assert_eq!(written(|w| w.bool(true)), b"\x80\x05\x88.");
    assert_eq!(written(|w| w.bool(false)), b"\x80\x05\x89.");
    assert_eq!(written(|w| w.int(255)), b"\x80\x05K\xff.");
    assert_eq!(encode(&()), b"\x80\x05).");
    assert_eq!(written(|w| w.text("")), b"\x80\x05\x8c\0.");
    assert_eq!(encode(b""), b"\x80\x05C\0.");
}

#[test]
fn integers_take_the_shortest_opcode() {
    let vectors: [(i64, &[u8]); 12] = [
        (0, b"K\0."),
        (256, b"M\0\x01."),
        (65_535, b"M\xff\xff."),
        (65_536, b"J\0\0\x01\0."),
        (-1, b"J\xff\xff\xff\xff."),
        (-128, b"J\x80\xff\xff\xff."),
        (i64::from(i32::MAX), b"J\xff\xff\xff\x7f."),
        (i64::from(i32::MIN), b"J\0\0\0\x80."),
        (1 << 31, b"\x8a\x05\0\0\0\x80\0."),
        (-(1 << 31) - 1, b"\x8a\x05\xff\xff\xff\x7f\xff."),
        (i64::MIN, b"\x8a\x08\0\0\0\0\0\0\0\x80."),
        (i64::MAX, b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f."),
    ];
    for (value, opcodes) in vectors {
        assert_eq!(encode(&value), one_frame(opcodes), "{value}");
    }
    assert_eq!(encode(&(1_u64 << 63)), one_frame(b"\x8a\x09\0\0\0\0\0\0\0\x80\0."));
    assert_eq!(written(|w| w.big_int(&[])), encode(&0));
}

#[test]
fn long_integers_change_opcode_at_256_bytes() {
    let long = |len: usize| {
        let mut value = vec![0; len];
        value[len - 1] = 0x40;
        written(|w| w.big_int(&value))
    };
    assert_eq!(long(255)[11..13], [0x8a, 255]);
    assert_eq!(long(256)[11..16], [0x8b, 0, 1, 0, 0]);
}

#[test]
fn containers() {
    assert_eq!(encode(&(1,)), one_frame(b"K\x01\x85."));
    assert_eq!(encode(&(1, 2)), one_frame(b"K\x01K\x02\x86."));
    assert_eq!(encode(&(1, 2, 3)), one_frame(b"K\x01K\x02K\x03\x87."));
    assert_eq!(encode(&(1, 2, 3, 4)), one_frame(b"(K\x01K\x02K\x03K\x04t."));
    // ((), (1, (2,)), ((3, 4, 5, 6),))
    assert_eq!(
        encode(&((), (1, (2,)), ((3, 4, 5, 6),))),
        one_frame(b")K\x01K\x02\x85\x86(K\x03K\x04K\x05K\x06t\x85\x87.")
    );
    assert_eq!(
        encode(&("mod.f", 1_i64, "abc", None::<bool>, Some(1.5), b"\xff")),
        one_frame(b"(\x8c\x05mod.fK\x01\x8c\x03abcNG?\xf8\0\0\0\0\0\0C\x01\xfft.")
    );
}

#[test]
fn the_same_value_twice_is_written_twice() {
    let text = String::from("ab");
    assert_eq!(encode(&(&text, &text)), one_frame(b"\x8c\x02ab\x8c\x02ab\x86."));
}

#[test]
fn text_keeps_lone_surrogates() {
    assert_eq!(written(|w| w.text_bytes(b"\xed\xa0\x80")), one_frame(b"\x8c\x03\xed\xa0\x80."));
}

#[test]
fn classes_of_the_standard_library() {
    assert_eq!(written(|w| w.uuid(5)), one_frame(b"\x8c\x04uuid\x8c\x04UUID\x93)\x81}\x8c\x03intK\x05sb."));
    assert_eq!(
        written(|w| w.uuid((1 << 127) + 3)),
        one_frame(
            b"\x8c\x04uuid\x8c\x04UUID\x93)\x81}\x8c\x03int\
              \x8a\x11\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x80\0sb."
        )
    );
    assert_eq!(
        written(|w| w.date(2020, 1, 2)),
        one_frame(b"\x8c\x08datetime\x8c\x04date\x93C\x04\x07\xe4\x01\x02\x85R.")
    );
    let time = TimeOfDay { hour: 1, minute: 2, second: 3, microsecond: 4, fold: false };
    assert_eq!(
        written(|w| w.time(time)),
        one_frame(b"\x8c\x08datetime\x8c\x04time\x93C\x06\x01\x02\x03\0\0\x04\x85R.")
    );
    assert_eq!(
        written(|w| w.time(TimeOfDay { microsecond: 0, fold: true, ..time })),
        one_frame(b"\x8c\x08datetime\x8c\x04time\x93C\x06\x81\x02\x03\0\0\0\x85R.")
    );
    assert_eq!(
        written(|w| w.datetime(2020, 1, 2, TimeOfDay { microsecond: 999_999, ..time })),
        one_frame(
            b"\x8c\x08datetime\x8c\x08datetime\x93\
              C\n\x07\xe4\x01\x02\x01\x02\x03\x0f\x42\x3f\x85R."
        )
    );
    assert_eq!(
        written(|w| w.datetime(2020, 1, 2, TimeOfDay { fold: true, ..TimeOfDay::default() })),
        one_frame(b"\x8c\x08datetime\x8c\x08datetime\x93C\n\x07\xe4\x81\x02\0\0\0\0\0\0\x85R.")
    );
    assert_eq!(
        written(|w| w.timedelta(-1, 2, 3)),
        one_frame(b"\x8c\x08datetime\x8c\ttimedelta\x93J\xff\xff\xff\xffK\x02K\x03\x87R.")
    );
    assert_eq!(
        written(|w| w.complex(0.0, 1.0)),
        one_frame(b"\x8c\x08builtins\x8c\x07complex\x93G\0\0\0\0\0\0\0\0G?\xf0\0\0\0\0\0\0\x86R.")
    );
    assert_eq!(
        written(|w| {
            w.global("__main__", "O.In");
            w.begin_tuple(1);
            w.int(5);
            w.end_tuple(1);
            w.reduce();
        }),
        one_frame(b"\x8c\x08__main__\x8c\x04O.In\x93K\x05\x85R.")
    );
}

fn set(elements: &[&dyn Fn(&mut Writer)]) -> Vec<u8> {
    written(|w| {
        let mut set = w.begin_frozenset();
        for element in elements {
            w.element(&mut set);
            element(w);
        }
        w.end_frozenset(set);
    })
}

#[test]
fn frozensets_are_sorted_by_encoding() {
    assert_eq!(set(&[]), b"\x80\x05(\x91.");
    assert_eq!(set(&[&|w| w.int(1)]), one_frame(b"(K\x01\x91."));
    let a: &dyn Fn(&mut Writer) = &|w| w.int(300);
    let b: &dyn Fn(&mut Writer) = &|w| w.text("x");
    let c: &dyn Fn(&mut Writer) = &|w| {
        let mut inner = w.begin_frozenset();
        for value in [2, 1] {
            w.element(&mut inner);
            w.int(value);
        }
        w.end_frozenset(inner);
    };
    let sorted = one_frame(b"((K\x01K\x02\x91M\x2c\x01\x8c\x01x\x91.");
    for order in [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
        assert_eq!(set(&order), sorted);
    }
}

/// Frames as Python's `_Framer` makes them, from the list of opcodes.
fn framed(opcodes: &[Vec<u8>]) -> Vec<u8> {
    fn commit(out: &mut Vec<u8>, frame: &mut Vec<u8>) {
        if frame.len() >= 4 {
            out.push(0x95);
            out.extend((frame.len() as u64).to_le_bytes());
        }
        out.append(frame);
    }
    let mut out = vec![0x80, 5];
    let mut frame = Vec::new();
    for opcode in opcodes {
        let frameless = opcode.len() > 65_536;
        if frameless || frame.len() >= 65_536 {
            commit(&mut out, &mut frame);
        }
        if frameless { &mut out } else { &mut frame }.extend(opcode);
    }
    commit(&mut out, &mut frame);
    out
}

fn bytes_opcode(len: usize) -> Vec<u8> {
    let mut opcode = match u8::try_from(len) {
        Ok(len) => vec![b'C', len],
        Err(_) => [&b"B"[..], &u32::try_from(len).unwrap().to_le_bytes()].concat(),
    };
    opcode.resize(opcode.len() + len, b'.');
    opcode
}

proptest! {
    #[test]
    fn frames_are_cut_where_python_cuts(
        lens in prop::collection::vec(
            prop_oneof![0..300_usize, 32_700..32_800_usize, 65_520..65_540_usize, Just(200_000)],
            4..12,
        ),
        number in any::<i64>(),
    ) {
        let count = lens.len() + 1;
        let mut writer = Writer::default();
        writer.begin_tuple(count);
        for &len in &lens {
writer.bytes(&vec![b'.'; len]);
}
        writer.int(number);
        writer.end_tuple(count);

        let mut opcodes = vec![b"(".to_vec()];
        opcodes.extend(lens.iter().map(|&len| bytes_opcode(len)));
        let number = encode(&number);
        let start = if number.len() < 6 { 2 } else { 11 };
        opcodes.push(number[start..number.len() - 1].to_vec());
        opcodes.extend([b"t".to_vec(), b".".to_vec()]);
        prop_assert_eq!(writer.finish(), framed(&opcodes));
    }

    #[test]
    fn big_integers_do_not_depend_on_sign_bytes(value: i128, extra in 0..40_usize) {
        let mut bytes = value.to_le_bytes().to_vec();
        bytes.resize(16 + extra, if value < 0 { 0xff } else { 0 });
        prop_assert_eq!(written(|w| w.big_int(&bytes)), encode(&value));
        if let Ok(small) = i64::try_from(value >> 64) {
            prop_assert_eq!(encode(&i128::from(small)), encode(&small));
        }
    }

    #[test]
    fn used_buffers_leave_no_trace(old: Vec<u8>, text: String, number: i64) {
        let mut writer = Writer::with_buffer(Protocol::V5, old);
        (&text, number).write(&mut writer);
        prop_assert_eq!(writer.finish(), encode(&(&text, number)));
    }

    #[test]
    fn different_values_differ(
        a: (i64, String, Option<bool>, Vec<u8>),
        b: (i64, String, Option<bool>, Vec<u8>),
    ) {
        prop_assert_eq!(encode(&a) == encode(&b), a == b);
    }
}
