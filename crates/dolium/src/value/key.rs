//! Owns keys: their stored form, which is also their canonical one, and diskcache's shard hash.
//! Two keys are the same entry exactly when SQLite finds their stored forms equal (`1 == 1.0`).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

use crate::value::pickle::{self, Plain};
use crate::value::scalar::{Scalar, Stored};

mod object;

pub use object::Object;
pub(crate) use object::recall;

/// The key of an entry. Borrows where it can, so that looking up a `&str` copies nothing.
///
/// Integers, floats, text and bytes are stored as they are. Everything else is a *canonical pickle*:
/// the bytes that Python's keys of plain data have, see [`pickle`]. [`Key::plain`] makes those of plain data, and
/// [`Key::from_pickle`] those of any pickle.
///
/// ```
/// use dolium::Key;
/// let key: Key = "user:1".into();
/// assert_eq!(key, Key::from(String::from("user:1")));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Key<'a> {
    /// A 64-bit integer.
    Int(i64),
    /// A float; never NaN, which SQLite cannot store: `Key::from` makes a pickle of it.
    Float(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// The canonical pickle of any other key.
    Pickle(Cow<'a, [u8]>),
    /// The same, with what its stored form does not say: see [`Object`].
    Object(Arc<Object>),
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (a, b) => a.pickle().is_some() && a.pickle() == b.pickle(),
        }
    }
}

impl Key<'_> {
    /// The key that the pickle of a Python object stands for, however its parts are shared: its canonical pickle, or, if
    /// that has more than [`pickle::LONGEST`] bytes, its digest. This program vouches for the pickle, so it is signed where
    /// it names a class.
    ///
    /// A pickle of protocol 3 or less, and one that contains itself, stands for itself.
    ///
    /// ```
    /// use dolium::Key;
    /// // ('ab', 'ab'), the second a reference to the first.
    /// let shared = Key::from_pickle(b"\x80\x05\x8c\x02ab\x94h\x00\x86\x94.".to_vec());
    /// assert_eq!(shared, Key::plain(&("ab", "ab")));
    /// ```
    #[must_use]
    pub fn from_pickle(pickle: Vec<u8>) -> Key<'static> {
        Object::of(pickle)
    }

    /// The key that Python's equal value has. Numbers, text and bytes are keys by themselves, and must not be given to this
    /// function.
    #[must_use]
    pub fn plain(value: &(impl Plain + ?Sized)) -> Key<'static> {
        Key::from_pickle(pickle::encode(value))
    }

    /// The pickle under which the key is stored, if it is one.
    #[must_use]
    pub fn pickle(&self) -> Option<&[u8]> {
        match self {
            Self::Pickle(pickle) => Some(pickle),
            Self::Object(object) => Some(object.stored()),
            _ => None,
        }
    }

    /// Whether the key is stored by its digest: only [`whole_key`](crate::raw::whole_key) tells what it is.
    #[must_use]
    pub fn is_digest(&self) -> bool {
        self.pickle().is_some_and(object::is_long)
    }

    /// The same key, borrowing from this one.
    #[must_use]
    pub fn borrowed(&self) -> Key<'_> {
        match self {
            Self::Int(value) => Key::Int(*value),
            Self::Float(value) => Key::Float(*value),
            Self::Text(value) => Key::Text(Cow::Borrowed(value)),
            Self::Bytes(value) => Key::Bytes(Cow::Borrowed(value)),
            Self::Pickle(value) => Key::Pickle(Cow::Borrowed(value)),
            Self::Object(value) => Key::Object(Arc::clone(value)),
        }
    }

    /// The same key, owning its bytes.
    #[must_use]
    pub fn into_owned(self) -> Key<'static> {
        match self {
            Self::Int(value) => Key::Int(value),
            Self::Float(value) => Key::Float(value),
            Self::Text(value) => Key::Text(Cow::Owned(value.into_owned())),
            Self::Bytes(value) => Key::Bytes(Cow::Owned(value.into_owned())),
            Self::Pickle(value) => Key::Pickle(Cow::Owned(value.into_owned())),
            Self::Object(value) => Key::Object(value),
        }
    }

    /// The column `raw`: whether the column `key` is the key itself rather than a pickle of it.
    #[must_use]
    pub fn raw(&self) -> bool {
        !matches!(self, Self::Pickle(_) | Self::Object(_))
    }

    /// diskcache's `Disk.hash`, which chooses the shard. Part of the on-disk format: `1` and `1.0`
    /// are one key but hash apart, as they do there.
    #[must_use]
    pub fn shard_hash(&self) -> u32 {
        match self {
            Self::Int(value) => {
                let modulus = i64::from(u32::MAX);
                u32::try_from(value.rem_euclid(modulus)).unwrap_or(0)
            }
            Self::Float(value) => adler32(&value.to_be_bytes()),
            Self::Text(value) => adler32(value.as_bytes()),
            Self::Bytes(value) | Self::Pickle(value) => adler32(value),
            Self::Object(value) => adler32(value.stored()),
        }
    }

    /// The order of two keys in SQLite's index: numbers, text, then bytes.
    pub(crate) fn stored_order(&self, other: &Key<'_>) -> Ordering {
        match (self.stored_bytes(), other.stored_bytes()) {
            ((0, _), (0, _)) => self.number().total_cmp(&other.number()),
            (ours, theirs) => ours.cmp(&theirs),
        }
    }

    /// What comes first, and the bytes of text, bytes and pickles.
    fn stored_bytes(&self) -> (u8, &[u8]) {
        match self {
            Self::Int(_) | Self::Float(_) => (0, &[]),
            Self::Text(value) => (1, value.as_bytes()),
            Self::Bytes(value) | Self::Pickle(value) => (2, value),
            Self::Object(value) => (2, value.stored()),
        }
    }

    /// The number, as exact as an order of reading needs it.
    #[expect(clippy::cast_precision_loss, reason = "equal in the order are keys of one page")]
    fn number(&self) -> f64 {
        match self {
            Self::Int(value) => *value as f64,
            Self::Float(value) => *value,
            _ => 0.0,
        }
    }

    /// Returns the key from its two columns, or `None` if no key is stored like that. No lookup finds such a row.
    pub(crate) fn from_columns(key: Stored, raw: &Scalar) -> Option<Key<'static>> {
        let raw = match raw {
            Scalar::Int(raw @ (0 | 1)) => *raw == 1,
            _ => return None,
        };
        Some(match key.readable()? {
            Scalar::Int(value) if raw => Key::Int(value),
            Scalar::Real(value) if raw => Key::Float(value),
            Scalar::Text(value) if raw => Key::Text(Cow::Owned(value)),
            Scalar::Blob(value) if raw => Key::Bytes(Cow::Owned(value)),
            Scalar::Blob(value) => Key::Pickle(Cow::Owned(value)),
            _ => return None,
        })
    }

    /// Calls `f` with the key as the hot tier compares it: floats that SQLite finds equal to an integer have the
    /// integer's form.
    // Else a key, even of a known kind, is moved through memory.
    #[inline(always)]
    pub(crate) fn with_hot<T>(&self, f: impl FnOnce(dolium_hot::Key<'_>) -> T) -> T {
        const INTEGERS: std::ops::Range<f64> = -9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0;
        let hot = |kind, spelling, bytes| dolium_hot::Key { kind, spelling, bytes };
        match self {
            Self::Int(value) => f(hot(hot::INT, hot::INT, &value.to_le_bytes())),
            Self::Float(value) if value.fract() == 0.0 && INTEGERS.contains(value) => {
                #[expect(clippy::cast_possible_truncation, reason = "integral and within range: exact")]
                let integer = *value as i64;
                f(hot(hot::INT, hot::FLOAT, &integer.to_le_bytes()))
            }
            Self::Float(value) => f(hot(hot::FLOAT, hot::FLOAT, &value.to_le_bytes())),
            Self::Text(value) => f(hot(hot::TEXT, hot::TEXT, value.as_bytes())),
            Self::Bytes(value) => f(hot(hot::BYTES, hot::BYTES, value)),
            Self::Pickle(value) => f(hot(hot::PICKLE, hot::PICKLE, value)),
            Self::Object(value) => f(hot(hot::PICKLE, hot::PICKLE, value.stored())),
        }
    }

    /// The key of a record, as its caller spelt it. `None` if no key is recorded like that.
    pub(crate) fn from_hot(key: dolium_hot::Key<'_>) -> Option<Key<'static>> {
        let word = || key.bytes.try_into().ok();
        Some(match (key.kind, key.spelling) {
            #[expect(clippy::cast_precision_loss, reason = "it was a float")]
            (hot::INT, hot::FLOAT) => Key::Float(i64::from_le_bytes(word()?) as f64),
            (hot::INT, _) => Key::Int(i64::from_le_bytes(word()?)),
            (hot::FLOAT, _) => Key::Float(f64::from_le_bytes(word()?)),
            (hot::TEXT, _) => Key::Text(Cow::Owned(String::from_utf8(key.bytes.to_vec()).ok()?)),
            (hot::BYTES, _) => Key::Bytes(Cow::Owned(key.bytes.to_vec())),
            (hot::PICKLE, _) => Key::Pickle(Cow::Owned(key.bytes.to_vec())),
            _ => return None,
        })
    }

    /// The place of a record's key among those of a queue. `None` if it lies before or behind all of them.
    pub(crate) fn queue_place(key: dolium_hot::Key<'_>, prefix: Option<&str>) -> Option<QueuePlace> {
        const FIRST: &[u8] = b"000000000000000";
        const LAST: &[u8] = b"999999999999999";
        let word = || key.bytes.try_into().ok();
        match (key.kind, prefix) {
            (hot::TEXT, Some(prefix)) => {
                let number = key.bytes.strip_prefix(prefix.as_bytes())?.strip_prefix(b"-")?;
                let is_inside = FIRST < number && number < LAST;
                let is_number = number.len() == FIRST.len() && number.iter().all(u8::is_ascii_digit);
                let digits = if is_number { std::str::from_utf8(number).ok() } else { None };
                let number = digits.and_then(|digits| digits.parse().ok());
                is_inside.then(|| number.map_or(QueuePlace::Between, QueuePlace::Number))
            }
            (hot::INT, None) => {
                let number = i64::from_le_bytes(word()?);
                let is_whole = key.spelling == hot::INT;
                let place = if is_whole { QueuePlace::Number(number) } else { QueuePlace::Between };
                (0 < number && number < QUEUE_LAST).then_some(place)
            }
            #[expect(clippy::cast_precision_loss, reason = "below 1e15")]
            (hot::FLOAT, None) => {
                let number = f64::from_le_bytes(word()?);
                (0.0 < number && number < QUEUE_LAST as f64).then_some(QueuePlace::Between)
            }
            _ => None,
        }
    }

    /// What is stored beside the key so that it can be given back, see [`Object`].
    #[inline]
    pub(crate) fn proof(&self) -> Option<Vec<u8>> {
        if let Self::Object(object) = self { object.proof() } else { None }
    }

    /// Type byte and bytes that a signature covers, see [`crate::value::sign`]. Equal keys have the same.
    #[must_use]
    pub fn signed_form(&self) -> (u8, Cow<'_, [u8]>) {
        match self {
            Self::Int(value) => (1, Cow::Owned(value.to_le_bytes().to_vec())),
            Self::Float(value) if value.fract() == 0.0 && value.abs() < 9.0e15 => {
                // Equal keys must verify each other's values: 1.0 signs as 1.
                #[expect(clippy::cast_possible_truncation, reason = "integral and within 53 bits")]
                let integer = *value as i64;
                (1, Cow::Owned(integer.to_le_bytes().to_vec()))
            }
            Self::Float(value) => (2, Cow::Owned(value.to_le_bytes().to_vec())),
            Self::Text(value) => (3, Cow::Borrowed(value.as_bytes())),
            Self::Bytes(value) => (4, Cow::Borrowed(value)),
            Self::Pickle(value) => (Object::SIGNED_AS, Cow::Borrowed(value)),
            Self::Object(value) => (Object::SIGNED_AS, Cow::Borrowed(value.stored())),
        }
    }
}

/// Kinds of keys in records of the hot tier.
/// The numbers of a queue lie strictly between 0 and this.
pub(crate) const QUEUE_LAST: i64 = 999_999_999_999_999;

/// Where a key lies in the order of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueuePlace {
    /// It is an item with this number.
    Number(i64),
    /// Between two numbers: a key that no `push` makes.
    Between,
}

mod hot {
    pub const INT: u8 = 1;
    pub const FLOAT: u8 = 2;
    pub const TEXT: u8 = 3;
    pub const BYTES: u8 = 4;
    pub const PICKLE: u8 = 5;
}

impl Key<'_> {
    /// What the column `key` has of it.
    pub(crate) fn column(&self) -> ValueRef<'_> {
        match self {
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Float(value) => ValueRef::Real(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Bytes(value) | Self::Pickle(value) => ValueRef::Blob(value),
            Self::Object(value) => ValueRef::Blob(value.stored()),
        }
    }
}

impl ToSql for Key<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.column()))
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(value) => f.write_str(value),
            Self::Bytes(value) => write!(f, "b\"{}\"", value.escape_ascii()),
            Self::Pickle(value) => write!(f, "pickle:\"{}\"", value.escape_ascii()),
            Self::Object(value) => write!(f, "pickle:\"{}\"", value.stored().escape_ascii()),
        }
    }
}

impl<'a> From<&'a Key<'_>> for Key<'a> {
    fn from(value: &'a Key<'_>) -> Self {
        value.borrowed()
    }
}

impl From<i64> for Key<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Key<'_> {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u32> for Key<'_> {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<f64> for Key<'_> {
    fn from(value: f64) -> Self {
        if value.is_nan() { Self::Pickle(Cow::Owned(pickle::encode(&value))) } else { Self::Float(value) }
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl<'a> From<&'a String> for Key<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl From<String> for Key<'_> {
    fn from(value: String) -> Self {
        Self::Text(Cow::Owned(value))
    }
}

impl<'a> From<&'a [u8]> for Key<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(value))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Key<'a> {
    fn from(value: &'a [u8; N]) -> Self {
        Self::Bytes(Cow::Borrowed(value))
    }
}

impl From<Vec<u8>> for Key<'_> {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(Cow::Owned(value))
    }
}

/// RFC 1950's checksum. A dozen lines, where a crate would bring more than it saves.
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    /// The longest run whose sums cannot overflow 32 bits.
    const RUN: usize = 5552;
    let (mut a, mut b) = (1u32, 0u32);
    for run in bytes.chunks(RUN) {
        for &byte in run {
            a += u32::from(byte);
            b += a;
        }
        a %= MODULUS;
        b %= MODULUS;
    }
    b << 16 | a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "SQLite says in which order it keeps keys")]
    fn keys_are_ordered_as_the_index_has_them() {
        let connection = rusqlite::Connection::open_in_memory().expect("memory");
        let mut keys: Vec<Key<'_>> = vec![
            b"a".into(),
            "b".into(),
            3.into(),
            2.5.into(),
            "a".into(),
            (-1).into(),
            Key::plain(&("a", 1)),
            "é".into(),
            b"".into(),
            i64::MAX.into(),
            "".into(),
            (-1e300).into(),
        ];
        connection.execute_batch("CREATE TABLE t (at INTEGER, key BLOB)").expect("table");
        for (at, key) in (0_i64..).zip(&keys) {
            connection.execute("INSERT INTO t VALUES (?1, ?2)", (at, key)).expect("insert");
        }
        let mut select = connection.prepare("SELECT at FROM t ORDER BY key").expect("select");
        let places = select.query_map([], |row| row.get::<_, i64>(0)).expect("query");
        let expected: Vec<String> = places
            .map(|place| keys[usize::try_from(place.expect("place")).expect("small")].to_string())
            .collect();
        keys.sort_unstable_by(Key::stored_order);
        assert_eq!(keys.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    /// Values that Python's `Disk.hash` gives.
    #[test]
    fn shard_hash_is_diskcaches() {
        assert_eq!(Key::from("abc").shard_hash(), 38_600_999);
        assert_eq!(Key::from(-1).shard_hash(), 4_294_967_294);
        assert_eq!(Key::from(i64::from(u32::MAX)).shard_hash(), 0);
        assert_eq!(Key::from(1.5).shard_hash(), 147_325_240);
    }
}
