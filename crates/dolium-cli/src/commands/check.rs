//! Owns `check`. Without `--fix` nothing is changed, a damaged store not even quarantined.

use std::time::Duration;

use dolium::Problem;
use serde_json::json;

use crate::args::Check;
use crate::interrupt;
use crate::open::{Access, AnyCache};
use crate::outcome::{Outcome, Result, say};
use crate::output::Output;

use super::each_shard;

pub(super) fn act(args: Check, timeout: Duration) -> Result<Outcome> {
    let directory = args.cache.resolve()?;
    interrupt::ask_first();
    let access = if args.fix { Access::Change } else { Access::Look };
    let store = AnyCache::open(&directory, access, timeout)?;
    let found = look(&store, args.fix)?;
    let left = if args.fix && !found.is_empty() { look(&store, false)? } else { Vec::new() };
    let left = if args.fix { left.len() } else { found.len() };
    store.close()?;
    let mut output = Output::new();
    if args.json {
        let problems: Vec<_> = found.iter().map(problem_json).collect();
        output.json(&json!({ "problems": problems, "remaining": left }))?;
    } else {
        for problem in &found {
            output.line(&problem.to_string())?;
        }
        say(&match (found.len(), args.fix) {
            (0, _) => "no problems".to_owned(),
            (count, false) => format!("{count} problems; `dolium check --fix` puts them right"),
            (count, true) if left == 0 => format!("{count} problems, all put right"),
            (count, true) => format!("{count} problems, {left} remain"),
        });
    }
    output.finish()?;
    Ok(Outcome::from(left == 0))
}

fn look(store: &AnyCache, fix: bool) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    each_shard(store, |shard, watch| {
        problems.extend(shard.check_with(fix, watch)?);
        Ok(())
    })
    .map_err(|ended| {
        let found = problems.len();
        ended.into_failure(|phase, shards| {
            let changed = if fix {
                "the cache is sound, and what was not fixed remains"
            } else {
                "nothing was changed"
            };
            format!("interrupted while {phase}{shards}, after {found} problems; {changed}")
        })
    })?;
    Ok(problems)
}

fn problem_json(problem: &Problem) -> serde_json::Value {
    let kind = match problem {
        Problem::Integrity(_) => "integrity",
        Problem::WrongSize { .. } => "wrong_size",
        Problem::Missing(_) => "missing",
        Problem::Unknown(_) => "unknown",
        Problem::EmptyDirectory(_) => "empty_directory",
        Problem::Dictionary(_) => "dictionary",
        Problem::Counter { .. } => "counter",
        _ => "other",
    };
    let path = match problem {
        Problem::WrongSize { path, .. }
        | Problem::Missing(path)
        | Problem::Unknown(path)
        | Problem::EmptyDirectory(path) => Some(path.display().to_string()),
        _ => None,
    };
    json!({ "kind": kind, "message": problem.to_string(), "path": path })
}
