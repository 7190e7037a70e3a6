//! Owns turning data into keys and pickles. Keys are written by the engine, in its canonical form; the
//! pickle of a value only has to be a pickle.

use dolium::Key;
use dolium::raw::pickle::{Protocol, Writer};

use super::Data;

/// The key that Python's value has. An error says why there is none.
pub(crate) fn to_key(data: &Data, protocol: Protocol) -> Result<Key<'static>, String> {
    Ok(match data {
        Data::Int(value) => Key::from(*value),
        Data::Float(value) if !value.is_nan() => Key::from(*value),
        Data::Text(text) => Key::from(text.clone()),
        Data::Bytes(bytes) => Key::from(bytes.clone()),
        other => {
            let mut writer = Writer::new(protocol);
            write_key(&mut writer, other)?;
            Key::from_pickle(writer.finish())
        }
    })
}

fn write_key(writer: &mut Writer, data: &Data) -> Result<(), String> {
    match data {
        Data::None => writer.none(),
        Data::Bool(value) => writer.bool(*value),
        Data::Int(value) => writer.int(*value),
        Data::Big(bytes) => writer.big_int(bytes),
        Data::Float(value) => writer.float(*value),
        Data::Text(text) => writer.text(text),
        Data::Bytes(bytes) => writer.bytes(bytes),
        Data::Tuple(items) => {
            writer.begin_tuple(items.len());
            items.iter().try_for_each(|item| write_key(writer, item))?;
            writer.end_tuple(items.len());
        }
        Data::FrozenSet(items) => {
            let mut set = writer.begin_frozenset();
            for item in items {
                writer.element(&mut set);
                write_key(writer, item)?;
            }
            writer.end_frozenset(set);
        }
        other => return Err(format!("`{other}` cannot be a key, nor part of one")),
    }
    Ok(())
}

/// A pickle of the data, of protocol 4. An error says what cannot be pickled.
pub(crate) fn to_pickle(data: &Data) -> Result<Vec<u8>, String> {
    let mut pickle = vec![0x80, 4];
    write(&mut pickle, data)?;
    pickle.push(b'.');
    Ok(pickle)
}

fn write(pickle: &mut Vec<u8>, data: &Data) -> Result<(), String> {
    match data {
        Data::None => pickle.push(b'N'),
        Data::Bool(value) => pickle.push(if *value { 0x88 } else { 0x89 }),
        Data::Int(value) => match i32::try_from(*value) {
            Ok(value) => {
                pickle.push(b'J');
                pickle.extend(value.to_le_bytes());
            }
            Err(_) => sized(pickle, 0x8b, &value.to_le_bytes(), 4),
        },
        Data::Big(bytes) => sized(pickle, 0x8b, bytes, 4),
        Data::Float(value) => {
            pickle.push(b'G');
            pickle.extend(value.to_be_bytes());
        }
        Data::Text(text) => sized(pickle, 0x8d, text.as_bytes(), 8),
        Data::Bytes(bytes) => sized(pickle, 0x8e, bytes, 8),
        Data::Tuple(items) => {
            pickle.push(b'(');
            items.iter().try_for_each(|item| write(pickle, item))?;
            pickle.push(b't');
        }
        Data::List(items) => marked(pickle, b"](", items, b'e')?,
        Data::Set(items) => marked(pickle, &[0x8f, b'('], items, 0x90)?,
        Data::FrozenSet(items) => marked(pickle, b"(", items, 0x91)?,
        Data::Dict(items) => {
            pickle.extend(b"}(");
            for (key, value) in items {
                write(pickle, key)?;
                write(pickle, value)?;
            }
            pickle.push(b'u');
        }
        other => return Err(format!("`{other}` cannot be written as a pickle")),
    }
    Ok(())
}

fn marked(pickle: &mut Vec<u8>, open: &[u8], items: &[Data], close: u8) -> Result<(), String> {
    pickle.extend(open);
    items.iter().try_for_each(|item| write(pickle, item))?;
    pickle.push(close);
    Ok(())
}

fn sized(pickle: &mut Vec<u8>, opcode: u8, bytes: &[u8], width: usize) {
    pickle.push(opcode);
    pickle.extend(&(bytes.len() as u64).to_le_bytes()[..width]);
    pickle.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::super::{describe, parse};
    use super::*;

    #[test]
    fn keys_are_the_engines() {
        let key = |text| to_key(&parse(text).expect("a literal"), Protocol::V5).expect("a key");
        assert_eq!(key("5"), Key::from(5));
        assert_eq!(key("'a'"), Key::from("a"));
        assert_eq!(
            key("('mod.f', 1, None)"),
            Key::Pickle(dolium::raw::pickle::encode(&("mod.f", 1, None::<bool>)).into())
        );
        assert!(to_key(&Data::List(Vec::new()), Protocol::V5).is_err());
    }

    #[test]
    fn pickles_are_described_as_what_they_were_made_of() {
        for text in
            ["{'a': [1, (2.5, None)], b'k': {True}}", "0x8000000000000000", "-0x123456789abcdef123", "[]"]
        {
            let data = parse(text).expect("a literal");
            let description = describe(&to_pickle(&data).expect("a pickle")).expect("a description");
            assert_eq!(description.data, data);
            assert!(description.foreign.is_empty());
        }
    }

    #[test]
    fn a_hostile_pickle_is_described_and_bounded() {
        let description = describe(b"cos\nsystem\n(S'touch /tmp/x'\ntR.").expect("a description");
        assert_eq!(description.data.to_string(), "os.system('touch /tmp/x')");
        assert_eq!(description.foreign, ["os.system"]);
        // Lists of lists of themselves, and very deep ones.
        let mut laughs = b"](K\x01K\x01e\x94".to_vec();
        for slot in 0..60 {
            laughs.extend([b']', b'(', b'h', slot, b'h', slot, b'e', 0x94]);
        }
        laughs.push(b'.');
        assert!(describe(&laughs).expect("a description").data.to_string().len() < 200_000);
        let deep = [vec![b']'; 100_000], vec![b'a'; 99_999], vec![b'.']].concat();
        assert!(!describe(&deep).expect("a description").data.is_literal());
        assert_eq!(
            describe(b"]\x94h\x00a.").expect("a list in itself").data.to_string().chars().count(),
            201
        );
    }

    #[test]
    fn shared_arguments_and_texts_cost_their_size_once() {
        // A tuple of 30,000 items that 30,000 calls share.
        let mut calls = b"(".to_vec();
        calls.extend(b"N".repeat(30_000));
        calls.extend(b"t\x940ca\nb\n\x940](");
        for _ in 0..30_000 {
            calls.extend(b"h\x01h\x00R");
        }
        calls.extend(b"e.");
        assert!(!describe(&calls).expect("a description").data.is_literal());
        // A text of a megabyte, 9,000 times.
        let text = vec![b'x'; 1 << 20];
        let mut texts = b"X\0\0\x10\0".to_vec();
        texts.extend(text);
        texts.extend(b"\x940](");
        texts.extend(b"h\0".repeat(9000));
        texts.extend(b"e.");
        assert!(describe(&texts).expect("a description").data.to_string().len() < 20 << 20);
    }

    #[test]
    fn damage_is_no_description() {
        for damaged in [&b""[..], b".", b"K", b"e.", b"(.", b"\x8c\xff.", b"h\x00.", b"\x8b\xff\xff\xff\xff."]
        {
            assert!(describe(damaged).is_none(), "{damaged:?}");
        }
    }
}
