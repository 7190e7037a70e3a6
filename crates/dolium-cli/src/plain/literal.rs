//! Owns reading Python's literals: what `ast.literal_eval` reads, without complex numbers, raw text and
//! text in several pieces, with `inf`, `nan` and `frozenset({…})` besides.

use super::notation::negate;
use super::unpickle::signed;
use super::{DEPTH, Data};

/// Reads a literal. An error says what is wrong, and where.
pub(crate) fn parse(text: &str) -> Result<Data, String> {
    let mut reader = LiteralReader { text, at: 0 };
    let data = reader.value(DEPTH)?;
    reader.space();
    if reader.at < text.len() { reader.wrong("nothing more") } else { Ok(data) }
}

struct LiteralReader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> LiteralReader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn wrong<T>(&self, wanted: &str) -> Result<T, String> {
        let found: String = self.rest().chars().take(12).collect();
        let found = if found.is_empty() { "its end".to_owned() } else { format!("`{found}`") };
        Err(format!("`{}` is no Python literal: {wanted} expected, but found {found}", self.text))
    }

    /// Whether this comes next; then it is passed.
    fn eat(&mut self, token: &str) -> bool {
        self.space();
        let here = self.rest().starts_with(token);
        if here {
            self.at += token.len();
        }
        here
    }

    fn value(&mut self, depth: usize) -> Result<Data, String> {
        if depth == 0 {
            return self.wrong("less depth");
        }
        self.space();
        match self.rest().chars().next() {
            Some('(') => self.tuple(depth),
            Some('[') => {
                self.at += 1;
                Ok(Data::List(self.items(']', depth)?.0))
            }
            Some('{') => self.braces(depth),
            Some('\'' | '"') => Ok(Data::Text(self.text_literal()?)),
            Some('b' | 'B') => self.bytes_literal(),
            Some(c) if c.is_ascii_digit() || "+-.".contains(c) => self.number(),
            Some(c) if c.is_alphabetic() => self.word(depth),
            _ => self.wrong("a value"),
        }
    }

    fn tuple(&mut self, depth: usize) -> Result<Data, String> {
        self.at += 1;
        let (mut items, comma) = self.items(')', depth)?;
        // Parentheses around one value are only parentheses.
        if items.len() == 1 && !comma {
            items.pop().map_or_else(|| self.wrong("a value"), Ok)
        } else {
            Ok(Data::Tuple(items))
        }
    }

    /// Values up to `close`, and whether the last one has a comma behind it.
    fn items(&mut self, close: char, depth: usize) -> Result<(Vec<Data>, bool), String> {
        let mut items = Vec::new();
        let mut comma = false;
        loop {
            if self.eat(close.encode_utf8(&mut [0; 4])) {
                return Ok((items, comma));
            }
            if !items.is_empty() && !comma {
                return self.wrong("a comma");
            }
            items.push(self.value(depth - 1)?);
            comma = self.eat(",");
        }
    }

    fn braces(&mut self, depth: usize) -> Result<Data, String> {
        self.at += 1;
        if self.eat("}") {
            return Ok(Data::Dict(Vec::new()));
        }
        let first = self.value(depth - 1)?;
        if !self.eat(":") {
            let mut items = vec![first];
            if self.eat(",") {
                items.extend(self.items('}', depth)?.0);
            } else if !self.eat("}") {
                return self.wrong("a comma");
            }
            return Ok(Data::Set(items));
        }
        let mut items = vec![(first, self.value(depth - 1)?)];
        loop {
            let comma = self.eat(",");
            if self.eat("}") {
                return Ok(Data::Dict(items));
            }
            if !comma {
                return self.wrong("a comma");
            }
            let key = self.value(depth - 1)?;
            if !self.eat(":") {
                return self.wrong("a colon");
            }
            items.push((key, self.value(depth - 1)?));
        }
    }

    fn word(&mut self, depth: usize) -> Result<Data, String> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let data = match &rest[..end] {
            "None" => Data::None,
            "True" => Data::Bool(true),
            "False" => Data::Bool(false),
            "inf" => Data::Float(f64::INFINITY),
            "nan" => Data::Float(f64::NAN),
            word @ ("set" | "frozenset") => {
                self.at += end;
                return self.set(word == "frozenset", depth);
            }
            _ => return self.wrong("a value"),
        };
        self.at += end;
        Ok(data)
    }

    fn set(&mut self, frozen: bool, depth: usize) -> Result<Data, String> {
        if !self.eat("(") {
            return self.wrong("a parenthesis");
        }
        let items = match self.items(')', depth)?.0.pop() {
            None => Vec::new(),
            Some(Data::Set(items) | Data::List(items) | Data::Tuple(items)) => items,
            Some(_) => return self.wrong("the elements in braces"),
        };
        Ok(if frozen { Data::FrozenSet(items) } else { Data::Set(items) })
    }

    fn number(&mut self) -> Result<Data, String> {
        let negative = self.rest().starts_with('-');
        if negative || self.rest().starts_with('+') {
            self.at += 1;
        }
        let rest = self.rest();
        if rest.starts_with("inf") {
            self.at += 3;
            return Ok(Data::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY }));
        }
        if let Some(hex) = rest.strip_prefix("0x") {
            let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
            let digits = &hex[..end];
            self.at += 2 + end;
            return if end == 0 { self.wrong("digits") } else { Ok(whole(digits, 16, negative)) };
        }
        let mut end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        if rest[end..].starts_with(['e', 'E']) {
            let exponent = rest[end + 1..].trim_start_matches(['+', '-']);
            let digits = exponent.find(|c: char| !c.is_ascii_digit()).unwrap_or(exponent.len());
            end = rest.len() - exponent.len() + digits;
        }
        let digits = &rest[..end];
        if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) {
            self.at += end;
            return Ok(whole(digits, 10, negative));
        }
        match digits.parse::<f64>() {
            Ok(value) => {
                self.at += end;
                Ok(Data::Float(if negative { -value } else { value }))
            }
            Err(_) => self.wrong("a number"),
        }
    }

    fn text_literal(&mut self) -> Result<String, String> {
        let mut text = String::new();
        self.quoted(|reader, c, code| {
            match code {
                None => text.push(c),
                Some(code) => match char::from_u32(code) {
                    Some(c) => text.push(c),
                    None => return reader.wrong("a character"),
                },
            }
            Ok(())
        })?;
        Ok(text)
    }

    fn bytes_literal(&mut self) -> Result<Data, String> {
        self.at += 1;
        let mut bytes = Vec::new();
        self.quoted(|reader, c, code| match u8::try_from(code.unwrap_or(u32::from(c))) {
            Ok(byte) if code.is_some() || byte.is_ascii() => {
                bytes.push(byte);
                Ok(())
            }
            _ => reader.wrong("a byte"),
        })?;
        Ok(Data::Bytes(bytes))
    }

    /// Hands on each character between quotes, or the code that an escape stands for.
    fn quoted(
        &mut self,
        mut take: impl FnMut(&Self, char, Option<u32>) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut chars = self.rest().chars();
        let Some(quote @ ('\'' | '"')) = chars.next() else {
            return self.wrong("a quote");
        };
        self.at += 1;
        while let Some(c) = self.rest().chars().next() {
            self.at += c.len_utf8();
            match c {
                c if c == quote => return Ok(()),
                '\\' => {
                    let code = self.escape()?;
                    take(self, c, Some(code))?;
                }
                c => take(self, c, None)?,
            }
        }
        self.wrong("a quote")
    }

    fn escape(&mut self) -> Result<u32, String> {
        let Some(c) = self.rest().chars().next() else {
            return self.wrong("an escape");
        };
        self.at += c.len_utf8();
        let digits = match c {
            'n' => return Ok(10),
            'r' => return Ok(13),
            't' => return Ok(9),
            '0' => return Ok(0),
            '\\' | '\'' | '"' => return Ok(u32::from(c)),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return self.wrong("an escape"),
        };
        let code = self.rest().get(..digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let Some(code) = code else {
            return self.wrong("hexadecimal digits");
        };
        self.at += digits;
        Ok(code)
    }
}

/// An integer of any size out of its digits.
fn whole(digits: &str, radix: u32, negative: bool) -> Data {
    let mut bytes: Vec<u8> = Vec::new();
    for digit in digits.chars().filter_map(|digit| digit.to_digit(radix)) {
        let mut carry = digit;
        for byte in &mut bytes {
            carry += u32::from(*byte) * radix;
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        if carry > 0 {
            bytes.push(carry.to_le_bytes()[0]);
        }
    }
    bytes.push(0);
    if negative {
        negate(&mut bytes);
    }
    signed(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "None",
            "True",
            "-5",
            "9223372036854775807",
            "-9223372036854775808",
            "0x8000000000000000",
            "-0x8000000000000001",
            "1.5",
            "-inf",
            "1e+16",
            "'it\\'s \"x\"'",
            "\"it's\"",
            "'\\x00\\u200b\\n'",
            "b'\\xff\\'\"a'",
            "()",
            "('a', 1, None)",
            "(1,)",
            "[1, [2]]",
            "{1, 2}",
            "set()",
            "frozenset({1})",
            "frozenset()",
            "{}",
            "{'a': (1, 2), 3: b''}",
        ] {
            let data = parse(text).expect(text);
            assert_eq!(parse(&data.to_string()).as_ref(), Ok(&data), "{text}");
            assert!(data.is_literal(), "{text}");
            if text != "1e+16" {
                assert_eq!(data.to_string(), text);
            }
        }
        assert_eq!(parse("18446744073709551616"), parse("0x10000000000000000"));
        assert_eq!(parse(" ( 1 ) "), Ok(Data::Int(1)));
        assert_eq!(parse("-128"), Ok(Data::Int(-128)));
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        for text in
            ["", "(1", "(1 2)", "foo", "1 2", "'a", "b'ä'", "{1: 2, 3}", "'\\ud800'", "--1", "0x", "."]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"[".repeat(10_000)).is_err());
        assert_eq!(
            parse("(1 2)").unwrap_err(),
            "`(1 2)` is no Python literal: a comma expected, but found `2)`"
        );
    }
}
