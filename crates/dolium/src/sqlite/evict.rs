//! The statements of eviction: which rows go by age, by tag or by policy, and how much is in use.

use rusqlite::Connection;

use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::value::key::Key;
use crate::value::scalar::Scalar;

use super::columns::{filename, int, real};
use super::schema::counter;
use super::statements::page_bytes;
use super::{Head, Write};

/// Bytes that a row costs beside its key and value: columns, and its places in the indexes.
pub(crate) const OVERHEAD: u64 = 128;

/// Bytes in use: pages of the database that hold something, and value files.
pub(crate) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let (pages, free) = page_bytes(connection)?;
    let used = (pages - free).saturating_add(counter(connection, "size")?);
    Ok(u64::try_from(used).unwrap_or(0))
}

/// Selects entries in the order of a policy. Neither the order nor what is excepted may need a scan: the
/// policies have one index each.
fn candidates(column: &str) -> String {
    format!(
        "SELECT rowid, expire_time, size, filename, coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0)
         FROM Cache WHERE rowid IS NOT ?2 AND (NOT ?3 OR rowid != (SELECT max(rowid) FROM Cache)) ORDER BY {column} LIMIT ?1"
    )
}

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

    /// Removes entries in the order of a policy until about `excess` bytes are freed, at most `limit`.
    /// What was written last stays, and, if it is spared, what was inserted last, whatever the policy thinks of it.
    pub(crate) fn remove_by_policy(
        &mut self,
        column: &str,
        excess: u64,
        last: Option<&Key<'_>>,
        spares_newest: bool,
        limit: u32,
    ) -> Result<usize> {
        let last = last.map(|key| self.head(key)).transpose()?.flatten().map(|head| head.rowid);
        let mut freed = 0;
        let mut found = self.heads(&candidates(column), (limit, last, spares_newest))?;
        let needed = found.iter().position(|(head, inline)| {
            let bytes = u64::try_from(head.size.saturating_add(*inline)).unwrap_or(0);
            freed = u64::saturating_add(freed, bytes).saturating_add(OVERHEAD);
            freed >= excess
        });
        found.truncate(needed.map_or(found.len(), |last| last + 1));
        self.remove_heads(&found)
    }

    fn heads(&self, select: &str, arguments: impl rusqlite::Params) -> Result<Vec<(Head, i64)>> {
        let mut select = self.connection().prepare_cached(select)?;
        let rows = select.query_map(arguments, |row| {
            let head = Head {
                rowid: row.get(0)?,
                expire_time: real(row, 1)?,
                size: int(row, 2)?,
                filename: filename(row, 3)?,
            };
            Ok((head, row.get(4)?))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn remove_heads(&mut self, found: &[(Head, i64)]) -> Result<usize> {
        for (head, _) in found {
            self.remove_and_name(head)?;
        }
        Ok(found.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cache;
    use crate::value::policy::Policy;

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
