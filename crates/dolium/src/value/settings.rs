//! The settings: their names, their defaults, and what may be passed for them.
//! Does not read or write the table `Settings`: see `sqlite::schema`.

use std::collections::BTreeMap;

use crate::value::eviction_policy::Policy;
use crate::value::scalar::Scalar;

/// A default: a scalar that can stand in a constant.
enum Default {
    Int(i64),
    Text(&'static str),
}

/// diskcache's settings and their defaults. A new store gets them all as rows.
const DEFAULTS: [(&str, Default); 12] = [
    ("statistics", Default::Int(0)),
    ("tag_index", Default::Int(0)),
    ("eviction_policy", Default::Text("least-recently-stored")),
    ("size_limit", Default::Int(DEFAULT_LIMIT.cast_signed())),
    ("cull_limit", Default::Int(10)),
    ("sqlite_auto_vacuum", Default::Int(1)),
    ("sqlite_cache_size", Default::Int(1 << 13)),
    ("sqlite_journal_mode", Default::Text("wal")),
    ("sqlite_mmap_size", Default::Int(1 << 26)),
    ("sqlite_synchronous", Default::Int(1)),
    ("disk_min_file_size", Default::Int(1 << 15)),
    ("disk_pickle_protocol", Default::Int(5)),
];

/// The `size_limit` of a cache whose program has not said another, in bytes.
pub(crate) const DEFAULT_LIMIT: u64 = 1 << 30;

/// Settings of dolium alone, which are stored only if they are passed.
const OURS: [&str; 1] = ["hot_size"];

/// Settings that are sizes in bytes.
const SIZES: [&str; 3] = ["size_limit", "hot_size", "disk_min_file_size"];

/// Other settings that are numbers.
const NUMBERS: [&str; 4] = ["statistics", "tag_index", "cull_limit", "disk_pickle_protocol"];

/// What a cache is opened with beside its settings.
const ARGUMENTS: [&str; 6] = ["directory", "disk", "read_only", "shards", "timeout", "trust"];

/// What people write who mean a setting, beside words that resemble its name.
const MEANT: [(&str, &str); 8] = [
    ("max_entries", "size_limit"),
    ("max_size", "size_limit"),
    ("maxsize", "size_limit"),
    ("max_bytes", "size_limit"),
    ("capacity", "size_limit"),
    ("cull_frequency", "cull_limit"),
    ("policy", "eviction_policy"),
    ("eviction", "eviction_policy"),
];

/// Rows of `Settings` that count instead of configure.
pub(crate) const METADATA: [&str; 4] = ["count", "size", "hits", "misses"];

/// The settings of one directory, as this process knows them.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    values: BTreeMap<String, Scalar>,
    pub policy: Policy,
    /// Bytes; `None` is unbounded.
    pub size_limit: Option<u64>,
    pub cull_limit: u32,
    pub statistics: bool,
    pub min_file_size: usize,
}

impl Settings {
    /// diskcache's defaults.
    pub fn defaults() -> Self {
        let values = DEFAULTS.iter().map(|(name, value)| {
            let value = match value {
                Default::Int(value) => Scalar::Int(*value),
                Default::Text(value) => Scalar::from(*value),
            };
            ((*name).to_owned(), value)
        });
        let mut settings = Self {
            values: values.collect(),
            policy: Policy::default(),
            size_limit: None,
            cull_limit: 0,
            statistics: false,
            min_file_size: 0,
        };
        settings.derive();
        settings
    }

    pub fn get(&self, name: &str) -> Option<&Scalar> {
        self.values.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Scalar)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub fn set(&mut self, name: &str, value: Scalar) {
        self.values.insert(name.to_owned(), value);
        self.derive();
    }

    /// Gives a setting its default again; one without a default is no more.
    pub fn forget(&mut self, name: &str) {
        match Self::defaults().values.remove(name) {
            Some(default) => self.set(name, default),
            None => drop(self.values.remove(name)),
        }
    }

    /// Whether all values are the same.
    pub fn has_values_of(&self, other: &Self) -> bool {
        self.values == other.values
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(Scalar::as_int)
    }

    /// Reads the typed settings out of the stored ones; nonsense counts as the default.
    fn derive(&mut self) {
        self.policy = self
            .get("eviction_policy")
            .and_then(Scalar::as_text)
            .and_then(Policy::from_name)
            .unwrap_or_default();
        self.size_limit = match self.get("size_limit") {
            Some(Scalar::Null) => None,
            Some(Scalar::Real(limit)) if limit.is_infinite() => None,
            other => Some(natural(other, DEFAULT_LIMIT)),
        };
        self.cull_limit = u32::try_from(natural(self.get("cull_limit"), 10)).unwrap_or(u32::MAX);
        self.statistics = natural(self.get("statistics"), 0) != 0;
        self.min_file_size =
            usize::try_from(natural(self.get("disk_min_file_size"), 1 << 15)).unwrap_or(usize::MAX);
    }
}

/// Whether a name is that of a setting; if not, `Err` has the setting that was probably meant, if one is near.
pub fn known_setting(name: &str) -> Result<(), Option<&'static str>> {
    let known = || DEFAULTS.iter().map(|(name, _)| *name).chain(OURS);
    if known().chain(METADATA).any(|known| known == name) {
        return Ok(());
    }
    let written = name.to_ascii_lowercase().replace('-', "_");
    if let Some((_, meant)) = MEANT.iter().find(|(other, _)| *other == written) {
        return Err(Some(meant));
    }
    let near = known().chain(ARGUMENTS).map(|known| (distance(&written, known), known)).min();
    Err(near.filter(|(distance, known)| *distance <= known.len() / 3).map(|(_, known)| known))
}

/// Returns how many letters must be changed, added or removed to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// What a value that is passed for a setting stands for; texts may be sizes.
///
/// # Errors
///
/// What is wrong with the value, and what to write.
pub fn read_setting(name: &str, value: Scalar) -> Result<Scalar, String> {
    let wrong = |wanted: &str| Err(format!("{name} cannot be {}; write {wanted}", value.shown()));
    let is_size = SIZES.contains(&name);
    match &value {
        _ if name == "eviction_policy" => match value.as_text().and_then(Policy::from_name) {
            Some(_) => Ok(value),
            None => wrong(&Policy::names()),
        },
        Scalar::Text(text) if is_size => match parse_size(text) {
            Some(size) => Ok(Scalar::Int(size)),
            None => wrong("a number of bytes, or a text such as '500 MB' or '2 GiB'"),
        },
        Scalar::Text(text) if NUMBERS.contains(&name) => match text.trim().parse() {
            Ok(number) => Ok(Scalar::Int(number)),
            Err(_) => wrong("a number"),
        },
        Scalar::Blob(_) if is_size || NUMBERS.contains(&name) => wrong("a number"),
        Scalar::Real(number) if name == "size_limit" && number.is_nan() => {
            wrong("a number of bytes, or None")
        }
        _ => Ok(value),
    }
}

/// Bytes of a text such as `500 MB` (decimal) or `2 GiB` (binary); `2G` is binary, too.
fn parse_size(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let number: f64 = text[..digits].replace('_', "").parse().ok()?;
    let unit = text[digits..].trim_start().to_ascii_lowercase();
    let mut letters = unit.chars();
    let power = match letters.next() {
        None | Some('b') => 0,
        Some(letter) => 1 + "kmgtp".find(letter)?,
    };
    let base: f64 = match (power, letters.as_str()) {
        (0, "") | (_, "" | "i" | "ib") => 1024.0,
        (_, "b") => 1000.0,
        _ => return None,
    };
    let bytes = number * base.powi(i32::try_from(power).ok()?);
    #[expect(clippy::cast_possible_truncation, reason = "a part of a byte counts for nothing")]
    (bytes < 9e18).then_some(bytes as i64)
}

fn natural(value: Option<&Scalar>, default: u64) -> u64 {
    value.and_then(Scalar::as_int).map_or(default, |value| u64::try_from(value).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        for (text, bytes) in [
            ("2 GiB", 2 << 30),
            ("500 MB", 500_000_000),
            ("1GB", 1_000_000_000),
            ("1.5 kib", 1536),
            ("64K", 1 << 16),
            ("1_000", 1000),
            (" 7 B ", 7),
            ("3TB", 3_000_000_000_000),
        ] {
            assert_eq!(read_setting("size_limit", text.into()), Ok(Scalar::Int(bytes)), "{text}");
        }
        for wrong in ["", "GB", "much", "-1", "1 GBit", "1e9 B", "2 iB", "inf", "99999999 PB", "1 B B", "1 é"]
        {
            let refused = read_setting("size_limit", wrong.into()).unwrap_err();
            assert!(refused.contains("size_limit") && refused.contains("GiB"), "{refused}");
        }
    }

    #[test]
    fn what_a_setting_cannot_be_is_said_in_words() {
        let refused = |name: &str, value: Scalar| read_setting(name, value).unwrap_err();
        assert_eq!(
            refused("eviction_policy", "lru".into()),
            "eviction_policy cannot be 'lru'; write 'none', 'least-recently-stored', 'least-recently-used' or \
             'least-frequently-used'"
        );
        assert_eq!(refused("cull_limit", "ten".into()), "cull_limit cannot be 'ten'; write a number");
        assert!(refused("eviction_policy", Scalar::Null).contains("cannot be None"));
        assert!(read_setting("size_limit", Scalar::Real(f64::NAN)).is_err());
        assert_eq!(read_setting("sqlite_synchronous", "full".into()), Ok("full".into()));
    }

    #[test]
    fn a_misspelt_setting_has_a_near_one() {
        for known in ["size_limit", "hot_size", "count", "disk_min_file_size"] {
            assert_eq!(known_setting(known), Ok(()));
        }
        for (written, meant) in [
            ("size_limt", Some("size_limit")),
            ("SIZE_LIMIT", Some("size_limit")),
            ("size-limit", Some("size_limit")),
            ("sizelimit", Some("size_limit")),
            ("MAX_ENTRIES", Some("size_limit")),
            ("evictionpolicy", Some("eviction_policy")),
            ("cull_limits", Some("cull_limit")),
            ("readonly", Some("read_only")),
            ("timeouts", Some("timeout")),
            ("user_defined", None),
            ("", None),
        ] {
            assert_eq!(known_setting(written), Err(meant), "{written}");
        }
    }
}
