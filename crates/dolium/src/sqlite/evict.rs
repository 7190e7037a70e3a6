//! The statements of eviction: which rows go by age, by tag or by policy, and how much is in use.

use rusqlite::Connection;

use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::value::eviction_policy::Policy;
use crate::value::key::Key;
use crate::value::put_options::KEPT;
use crate::value::scalar::{Scalar, Stored};

use super::columns::{filename, int, real};
use super::read::page_bytes;
use super::schema::counter;
use super::{Head, Write};

/// Bytes that a row costs beside its key and value: columns, and its places in the indexes.
pub(crate) const OVERHEAD: u64 = 128;

/// Entries that an eviction looks at beyond those that it needs: some may not go, because they are being written.
const SOME_STAY: u64 = 100;

/// More than any disk holds. A counter that says so counts a spoilt row, for which no other may go.
const IMPOSSIBLE: i64 = 1 << 56;

/// Bytes in use: pages of the database that hold something, and value files.
pub(crate) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let (pages, free) = page_bytes(connection)?;
    let files = Some(counter(connection, "size")?).filter(|size| *size < IMPOSSIBLE);
    let used = (pages - free).saturating_add(files.unwrap_or(0));
    Ok(u64::try_from(used).unwrap_or(0))
}

/// What must go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Excess {
    /// Bytes that may stay in use.
    pub level: u64,
    /// When the last write was: what has expired by then goes first. 0: that is not known.
    pub now: Timestamp,
    /// What stays, whatever the policy thinks of it.
    pub spared: Spared,
}

/// What an eviction spares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spared {
    /// What was written at the time of the last write or later, and what was inserted last.
    Recent,
    /// What was inserted last.
    Newest,
    /// Nothing.
    Nothing,
}

impl Spared {
    /// What is spared where nothing else is left. The newest entry of a cache stays, but another shard may need its space.
    pub fn fewer(self, may_empty: bool) -> Option<Self> {
        match self {
            Self::Recent => Some(Self::Newest),
            Self::Newest => may_empty.then_some(Self::Nothing),
            Self::Nothing => None,
        }
    }
}

/// Selects entries in the order of a policy. Neither the order nor what is excepted may need a scan: the
/// policies have one index each.
fn candidates(column: &str) -> String {
    format!(
        "SELECT rowid, expire_time, size, filename, coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0),
         key, raw FROM Cache
         WHERE (?2 IS NULL OR store_time NOT BETWEEN ?2 AND {LAST_TIME}) AND (NOT ?3 OR rowid != (SELECT max(rowid) FROM Cache))
         ORDER BY {column} LIMIT ?1"
    )
}

/// The last time of writing that is one: what has a later one is evicted last, but it is.
const LAST_TIME: Timestamp = KEPT - 1.0;

impl Write<'_> {
    /// Removes entries that have expired, at most `limit`. Returns how many.
    pub(crate) fn remove_expired(&mut self, now: Timestamp, limit: u32) -> Result<usize> {
        self.remove_expired_but(now, limit, &[])
    }

    /// The same, sparing some rows.
    pub(crate) fn remove_expired_but(&mut self, now: Timestamp, limit: u32, but: &[i64]) -> Result<usize> {
        const SELECT: &str = "SELECT rowid, expire_time, size, filename, 0 FROM Cache
            WHERE expire_time IS NOT NULL AND expire_time <= ?1 ORDER BY expire_time LIMIT ?2";
        let mut found = self.heads(SELECT, (now, limit))?;
        found.retain(|(head, _)| !but.contains(&head.rowid));
        self.remove_heads(&found)
    }

    /// Removes entries with a tag, at most `limit`. Returns how many.
    pub(crate) fn remove_tagged(&mut self, tag: &Scalar, limit: u32) -> Result<usize> {
        const SELECT: &str =
            "SELECT rowid, expire_time, size, filename, 0 FROM Cache WHERE tag = ?1 LIMIT ?2";
        let found = self.heads(SELECT, (tag, limit))?;
        self.remove_heads(&found)
    }

    /// Removes entries that have expired, or else, in the order of a policy, so many as exceed a level, at most `limit`.
    /// One whose key `may_go` refuses stays. Returns how many have gone; `None` if nothing exceeds the level.
    pub(crate) fn remove_excess(
        &mut self,
        policy: Policy,
        excess: &Excess,
        limit: u32,
        may_go: impl FnMut(&Key<'static>) -> bool,
    ) -> Result<Option<usize>> {
        let bytes = used_bytes(self.connection())?.saturating_sub(excess.level);
        let Some(column) = policy.plan().column.filter(|_| bytes > 0) else { return Ok(None) };
        let expired = if excess.now > 0.0 { self.remove_expired(excess.now, limit)? } else { 0 };
        if expired > 0 {
            return Ok(Some(expired));
        }
        self.remove_by_policy(column, bytes, excess, limit, may_go).map(Some)
    }

    fn remove_by_policy(
        &mut self,
        column: &str,
        bytes: u64,
        Excess { now, spared, .. }: &Excess,
        limit: u32,
        mut may_go: impl FnMut(&Key<'static>) -> bool,
    ) -> Result<usize> {
        let since = (*spared == Spared::Recent).then_some(now);
        // Each frees `OVERHEAD` bytes at least, unless it may not go.
        let most = limit.min(u32::try_from(bytes / OVERHEAD + SOME_STAY).unwrap_or(limit));
        let found = self.candidates(column, most, since.copied(), *spared != Spared::Nothing)?;
        let (mut freed, mut removed) = (0_u64, 0);
        for (head, inline, key) in found {
            if freed >= bytes {
                break;
            }
            if key.as_ref().is_none_or(&mut may_go) {
                let size = u64::try_from(head.size.saturating_add(inline)).unwrap_or(0);
                freed = freed.saturating_add(size).saturating_add(OVERHEAD);
                removed += 1;
                self.remove_named(&head, key)?;
            }
        }
        Ok(removed)
    }

    fn candidates(
        &self,
        column: &str,
        limit: u32,
        since: Option<Timestamp>,
        spares_newest: bool,
    ) -> Result<Vec<(Head, i64, Option<Key<'static>>)>> {
        let mut select = self.connection().prepare_cached(&candidates(column))?;
        let rows = select.query_map((limit, since, spares_newest), |row| {
            let key = Key::from_columns(row.get::<_, Stored>(5)?, &row.get(6)?);
            Ok((head(row)?, row.get(4)?, key))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn heads(&self, select: &str, arguments: impl rusqlite::Params) -> Result<Vec<(Head, i64)>> {
        let mut select = self.connection().prepare_cached(select)?;
        let rows = select.query_map(arguments, |row| Ok((head(row)?, row.get(4)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn remove_heads(&mut self, found: &[(Head, i64)]) -> Result<usize> {
        for (head, _) in found {
            self.remove_and_name(head)?;
        }
        Ok(found.len())
    }
}

fn head(row: &rusqlite::Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head {
        rowid: row.get(0)?,
        expire_time: real(row, 1)?,
        size: int(row, 2)?,
        filename: filename(row, 3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cache;

    #[test]
    fn no_policy_scans_for_what_it_evicts() -> Result<()> {
        for policy in [Policy::LeastRecentlyStored, Policy::LeastRecentlyUsed, Policy::LeastFrequentlyUsed] {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let cache = Cache::builder(directory.path()).policy(policy).open()?;
            let column = policy.plan().column.expect("this policy evicts");
            let explain = format!("EXPLAIN QUERY PLAN {}", candidates(column));
            let plan = crate::raw::sql(&cache, &explain, &[Scalar::Int(1), Scalar::Int(1), Scalar::Int(1)])?;
            let steps: Vec<_> = plan.rows.iter().filter_map(|row| row.last()?.as_text()).collect();
            let ordered = format!("SCAN Cache USING INDEX Cache_{column}");
            assert_eq!(steps, [&ordered, "SCALAR SUBQUERY 1", "SEARCH Cache"], "{policy:?}");
        }
        Ok(())
    }
}
