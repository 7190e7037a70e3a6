//! Owns `stats`.

use std::time::Duration;

use dolium::{Cache, Scalar};
use serde_json::json;

use super::codecs;
use crate::args::Stats;
use crate::human;
use crate::open::{Access, AnyCache};
use crate::outcome::{Outcome, Result};
use crate::output::Output;

pub(super) fn act(args: Stats, timeout: Duration) -> Result<Outcome> {
    let changes = args.reset || args.enable || args.disable;
    let access = if changes { Access::Change } else { Access::Look };
    let store = AnyCache::open(&args.cache.resolve()?, access, timeout)?;
    if args.codecs {
        return codecs::act(store, args.json);
    }
    let dolium::Stats { hits, misses, .. } = store.sum(Cache::stats)?;
    for shard in store.shards() {
        if args.enable || args.disable {
            shard.change_setting("statistics", &Scalar::from(args.enable), true)?;
        }
        if args.reset {
            shard.reset_stats()?;
        }
    }
    let counts = store.setting("statistics")?.and_then(|value| value.as_int()) == Some(1);
    let mut output = Output::new();
    if args.json {
        output.json(&json!({
            "statistics": counts,
            "hits": hits,
            "misses": misses,
            "ratio": share(hits, misses),
        }))?;
    } else {
        output.field("hits", &human::count(hits))?;
        output.field("misses", &human::count(misses))?;
        if let Some(share) = share(hits, misses) {
            output.field("ratio", &format!("{:.1} %", 100.0 * share))?;
        }
        if !counts {
            output.field(
                "counted",
                "while a program uses the cache; `dolium stats --enable` keeps the numbers",
            )?;
        }
    }
    output.finish()?;
    store.close()?;
    Ok(Outcome::Done)
}

/// The part of all reads that found something.
#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn share(hits: i64, misses: i64) -> Option<f64> {
    (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64)
}

/// `123 of 456 reads (27.0 %)`.
pub(super) fn ratio(hits: i64, misses: i64) -> String {
    let share = share(hits, misses).map(|share| format!(" ({:.1} %)", 100.0 * share));
    format!("{} of {} reads{}", human::count(hits), human::count(hits + misses), share.unwrap_or_default())
}
