//! Owns writing data in Python's notation, so that it can be pasted back as a literal.

use std::fmt::{self, Display, Formatter, Write};

use super::Data;

impl Display for Data {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(value) => f.write_str(if *value { "True" } else { "False" }),
            Self::Int(value) => write!(f, "{value}"),
            Self::Big(bytes) => big(f, bytes),
            Self::Float(value) => float(f, *value),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Bytes(bytes) => bytes_literal(f, bytes),
            Self::Tuple(items) if items.len() == 1 => write!(f, "({},)", items[0]),
            Self::Tuple(items) => list(f, "(", items, ")"),
            Self::List(items) => list(f, "[", items, "]"),
            Self::Set(items) if items.is_empty() => f.write_str("set()"),
            Self::Set(items) => list(f, "{", items, "}"),
            Self::FrozenSet(items) if items.is_empty() => f.write_str("frozenset()"),
            Self::FrozenSet(items) => list(f, "frozenset({", items, "})"),
            Self::Dict(items) => dict(f, items),
            Self::Name(name) => f.write_str(name),
            Self::Call(callee, arguments, then) => call(f, callee, arguments, then),
            Self::Elided => f.write_str("…"),
        }
    }
}

fn list(f: &mut Formatter<'_>, open: &str, items: &[Data], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            f.write_str(", ")?;
        }
        item.fmt(f)?;
    }
    f.write_str(close)
}

fn dict(f: &mut Formatter<'_>, items: &[(Data, Data)]) -> fmt::Result {
    f.write_char('{')?;
    for (place, (key, value)) in items.iter().enumerate() {
        if place > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{key}: {value}")?;
    }
    f.write_char('}')
}

/// Shows calls that make dates and UUIDs as Python would; any other with its arguments, and behind a bar what the result
/// would be given.
fn call(f: &mut Formatter<'_>, callee: &Data, arguments: &[Data], then: &[Data]) -> fmt::Result {
    if let (Data::Name(name), [Data::Bytes(state)], []) = (callee, arguments, then) {
        let year = state.first_chunk().map_or(0, |year| u16::from_be_bytes(*year));
        match (name.as_str(), state.as_slice()) {
            ("datetime.date", [_, _, month, day]) => return write!(f, "{name}({year}, {month}, {day})"),
            ("datetime.datetime", [_, _, month, day, hour, minute, second, a, b, c]) => {
                let micro = u32::from_be_bytes([0, *a, *b, *c]);
                let month = month & 0x7f;
                return write!(f, "{name}({year}, {month}, {day}, {hour}, {minute}, {second}, {micro})");
            }
            _ => {}
        }
    }
    if let (Data::Name(name), [], [Data::Dict(state)]) = (callee, arguments, then)
        && let ("uuid.UUID", [(_, number)]) = (name.as_str(), state.as_slice())
    {
        return write!(f, "{name}(int={number})");
    }
    callee.fmt(f)?;
    list(f, "(", arguments, "")?;
    if !then.is_empty() {
        list(f, " | ", then, "")?;
    }
    f.write_char(')')
}

/// As hexadecimal digits, which are as good a literal and need no long division.
fn big(f: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut magnitude = bytes.to_vec();
    if negative {
        negate(&mut magnitude);
    }
    let mut digits = String::new();
    for byte in magnitude.iter().rev() {
        write!(digits, "{byte:02x}")?;
    }
    write!(f, "{}0x{}", if negative { "-" } else { "" }, digits.trim_start_matches('0'))
}

/// Two's complement in place.
pub(super) fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes {
        (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
    }
}

fn float(f: &mut Formatter<'_>, value: f64) -> fmt::Result {
    if value.is_nan() { f.write_str("nan") } else { write!(f, "{value:?}") }
}

/// Text as a literal, with the quotes that Python would choose.
pub(crate) fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push(quote);
    for c in text.chars() {
        match c {
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            c if c == quote => literal.extend(['\\', c]),
            c if c.is_control() || is_invisible(c) => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0xff => write!(literal, "\\x{code:02x}"),
                    0x100..=0xffff => write!(literal, "\\u{code:04x}"),
                    _ => write!(literal, "\\U{code:08x}"),
                };
            }
            c => literal.push(c),
        }
    }
    literal.push(quote);
    literal
}

/// Spaces that look like others, and marks that turn the direction of text on a terminal.
fn is_invisible(c: char) -> bool {
    matches!(u32::from(c), 0xa0 | 0xad | 0x2000..=0x200f | 0x2028..=0x202f | 0x2060..=0x206f | 0x3000 | 0xfeff)
}

fn bytes_literal(f: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    write!(f, "b{quote}")?;
    for byte in bytes {
        match byte {
            b'\\' => f.write_str("\\\\")?,
            b'\n' => f.write_str("\\n")?,
            b'\r' => f.write_str("\\r")?,
            b'\t' => f.write_str("\\t")?,
            byte if char::from(*byte) == quote => write!(f, "\\{quote}")?,
            0x20..=0x7e => f.write_char(char::from(*byte))?,
            byte => write!(f, "\\x{byte:02x}")?,
        }
    }
    f.write_char(quote)
}
