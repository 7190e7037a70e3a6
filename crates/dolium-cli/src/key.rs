//! Owns keys on the command line: from arguments to keys, and from keys to the argument that names them.

use std::ffi::OsString;

use dolium::Key;
use dolium::raw::pickle::Protocol;

use crate::args::TypedKey;
use crate::encoding::{from_hex, to_hex};
use crate::open::AnyCache;
use crate::outcome::{Failure, Result};
use crate::{json_disk, plain};

/// How the keys of a cache are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// As themselves, or as pickles.
    Plain,
    /// As compressed JSON, by a `JSONDisk`.
    Json,
}

impl Names {
    /// How the keys of this cache are stored.
    pub fn of(store: &AnyCache) -> Result<Self> {
        Ok(if json_disk::fills(store)? { Self::Json } else { Self::Plain })
    }

    /// The value that stands for a key which is stored as JSON.
    fn decoded(self, key: &Key<'_>) -> Option<plain::Data> {
        let json = (self == Self::Json).then(|| json_disk::decode_key(key)).flatten()?;
        Some(json_disk::to_data(&json))
    }
}

impl TypedKey {
    /// Whether the key is given by an option, not by an argument.
    pub fn is_given(&self) -> bool {
        self.text.is_some()
            || self.int.is_some()
            || self.float.is_some()
            || self.bytes_hex.is_some()
            || self.literal.is_some()
            || self.pickle_hex.is_some()
    }

    /// The key: the option's, else the argument's as text. In a cache that a `JSONDisk` fills it is the key that stands
    /// for it there, if there is one.
    pub fn resolve(self, argument: Option<OsString>, store: &AnyCache, names: Names) -> Result<Key<'static>> {
        let is_exact = self.bytes_hex.is_some() || self.pickle_hex.is_some();
        let literal = self.literal.as_deref().and_then(|literal| plain::parse(literal).ok());
        let key = self.resolve_plainly(argument, store)?;
        if names == Names::Plain || is_exact {
            return Ok(key);
        }
        let wanted = match (literal, &key) {
            (Some(literal), _) => json_disk::of_data(&literal),
            (None, Key::Text(text)) => Some(text.as_ref().into()),
            (None, Key::Int(number)) => Some((*number).into()),
            (None, Key::Float(number)) => Some((*number).into()),
            (None, _) => None,
        };
        let found = wanted.map_or(Ok(None), |wanted| json_disk::find(store, &wanted))?;
        Ok(found.unwrap_or(key))
    }

    fn resolve_plainly(self, argument: Option<OsString>, store: &AnyCache) -> Result<Key<'static>> {
        let hex = |text: String| {
            from_hex(&text)
                .ok_or_else(|| Failure::usage(format!("`{text}` is not made of pairs of hex digits")))
        };
        if let Some(argument) = argument {
            let text = argument.into_string().map_err(|argument| {
                Failure::usage(format!("the key `{}` is not UTF-8: use --bytes-hex", argument.display()))
            })?;
            return Ok(Key::from(text));
        }
        if let Some(text) = self.text {
            Ok(Key::from(text))
        } else if let Some(number) = self.int {
            Ok(Key::from(number))
        } else if let Some(number) = self.float {
            Ok(Key::from(number))
        } else if let Some(digits) = self.bytes_hex {
            Ok(Key::from(hex(digits)?))
        } else if let Some(digits) = self.pickle_hex {
            Ok(Key::Pickle(hex(digits)?.into()))
        } else if let Some(literal) = self.literal {
            let data = plain::parse(&literal).map_err(Failure::Usage)?;
            plain::to_key(&data, protocol(store)?).map_err(Failure::Usage)
        } else {
            Err(Failure::usage("KEY is missing"))
        }
    }
}

fn protocol(store: &AnyCache) -> Result<Protocol> {
    store.protocol()?.ok_or_else(|| {
        Failure::Other(format!(
            "{}: keys are pickled by a protocol before 4, which only Python writes: use --pickle-hex",
            store.directory().display()
        ))
    })
}

/// The key as people read it: text as it is, everything else in Python's notation.
pub(crate) fn shown(key: &Key<'_>, names: Names) -> String {
    if let Some(data) = names.decoded(key) {
        return match data {
            plain::Data::Text(text) => shown(&Key::from(text), Names::Plain),
            other => other.to_string(),
        };
    }
    match key {
        Key::Text(text) if text.chars().any(char::is_control) => plain::quoted(text),
        Key::Text(text) => text.to_string(),
        Key::Int(number) => number.to_string(),
        Key::Float(number) => format!("{number:?}"),
        Key::Bytes(bytes) => plain::Data::Bytes(bytes.to_vec()).to_string(),
        _ => {
            let pickle = key.pickle().unwrap_or_default();
            match plain::describe(pickle) {
                Some(description) => description.data.to_string(),
                None => format!("pickle {}", to_hex(pickle)),
            }
        }
    }
}

/// The one argument that names the key, before any quoting for a shell.
pub(crate) fn argument(key: &Key<'_>, names: Names) -> String {
    match names.decoded(key) {
        Some(plain::Data::Text(text)) => return argument(&Key::from(text), Names::Plain),
        Some(plain::Data::Int(number)) => return argument(&Key::from(number), Names::Plain),
        Some(plain::Data::Float(number)) => return argument(&Key::from(number), Names::Plain),
        Some(other) => return format!("--literal={other}"),
        None => {}
    }
    match key {
        Key::Int(number) => format!("--int={number}"),
        Key::Float(number) => format!("--float={number:?}"),
        // Control characters would not survive a terminal.
        Key::Text(text) if text.chars().any(char::is_control) => {
            format!("--literal={}", plain::quoted(text))
        }
        Key::Text(text) if text.is_empty() || text.starts_with('-') => format!("--text={text}"),
        Key::Text(text) => text.to_string(),
        Key::Bytes(bytes) => format!("--bytes-hex={}", to_hex(bytes)),
        _ => {
            let pickle = key.pickle().unwrap_or_default();
            match literal(key, pickle) {
                Some(literal) => format!("--literal={literal}"),
                None => format!("--pickle-hex={}", to_hex(pickle)),
            }
        }
    }
}

/// The literal that stands for a pickled key, if it leads back to the same bytes.
pub(crate) fn literal(key: &Key<'_>, pickle: &[u8]) -> Option<String> {
    let protocol = Protocol::from_number(i64::from(*pickle.get(1)?))?;
    let data = plain::describe(pickle)?.data;
    let literal = data.is_literal().then(|| data.to_string())?;
    let back = plain::to_key(&plain::parse(&literal).ok()?, protocol).ok()?;
    (back == *key).then_some(literal)
}

/// Quotes an argument for a POSIX shell, if it needs that.
pub(crate) fn quoted(argument: &str) -> String {
    let is_safe = |c: char| c.is_alphanumeric() || "_-./:=@%+,".contains(c);
    if !argument.is_empty() && argument.chars().all(is_safe) {
        return argument.to_owned();
    }
    // Inside double quotes a shell still looks for these, an interactive one for `!` too.
    if argument.contains('\'') && !argument.contains(['"', '$', '`', '\\', '!']) {
        return format!("\"{argument}\"");
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_their_keys() {
        let tuple = Key::Pickle(dolium::raw::pickle::encode(&("it's", 1, None::<bool>)).into());
        for (key, expected) in [
            (Key::from("user:1"), "user:1"),
            (Key::from("two words"), "'two words'"),
            (Key::from("it's"), "\"it's\""),
            (Key::from("it's $5"), r"'it'\''s $5'"),
            (Key::from("-x"), "--text=-x"),
            (Key::from(""), "--text="),
            (Key::from("a\nb"), r"'--literal='\''a\nb'\'''"),
            (Key::from(-5), "--int=-5"),
            (Key::from(1.0), "--float=1.0"),
            (Key::from(vec![0, 255]), "--bytes-hex=00ff"),
            (tuple, r#"'--literal=("it'\''s", 1, None)'"#),
            (Key::Pickle(vec![0x80, 5, b'}', b'.'].into()), "--pickle-hex=80057d2e"),
        ] {
            assert_eq!(quoted(&argument(&key, Names::Plain)), expected);
        }
    }
}
