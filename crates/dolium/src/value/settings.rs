//! Owns the settings: their names, defaults and meaning. Reading and writing the table `Settings` is `sqlite::schema`'s.

use std::collections::BTreeMap;

use crate::value::policy::Policy;
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
    ("size_limit", Default::Int(1 << 30)),
    ("cull_limit", Default::Int(10)),
    ("sqlite_auto_vacuum", Default::Int(1)),
    ("sqlite_cache_size", Default::Int(1 << 13)),
    ("sqlite_journal_mode", Default::Text("wal")),
    ("sqlite_mmap_size", Default::Int(1 << 26)),
    ("sqlite_synchronous", Default::Int(1)),
    ("disk_min_file_size", Default::Int(1 << 15)),
    ("disk_pickle_protocol", Default::Int(5)),
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
            other => Some(natural(other, 1 << 30)),
        };
        self.cull_limit = u32::try_from(natural(self.get("cull_limit"), 10)).unwrap_or(u32::MAX);
        self.statistics = natural(self.get("statistics"), 0) != 0;
        self.min_file_size =
            usize::try_from(natural(self.get("disk_min_file_size"), 1 << 15)).unwrap_or(usize::MAX);
    }
}

fn natural(value: Option<&Scalar>, default: u64) -> u64 {
    value.and_then(Scalar::as_int).map_or(default, |value| u64::try_from(value).unwrap_or(0))
}
