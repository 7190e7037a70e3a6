//! The command `backup`: a copy of a cache as it is now, while programs use it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::args::{Backup, arrange};
use crate::open::{Access, AnyCache};
use crate::outcome::{Outcome, Result, say};
use crate::output::Output;
use crate::progress::Progress;
use crate::{human, interrupt};

pub(super) fn act(args: Backup, timeout: Duration) -> Result<Outcome> {
    let (directory, rest) = arrange([args.dir, args.destination], &["DEST"])?;
    let destination = PathBuf::from(rest.into_iter().next().unwrap_or_default());
    interrupt::ask_first();
    // Not only to look: what programs that have died left in the hot tier is stored first, so that the copy has it.
    let store = AnyCache::open(&directory, Access::Change, timeout)?;
    let mut progress: Option<Progress> = None;
    let made = store.backup(&destination, args.force, &mut |done, total| {
        progress.get_or_insert_with(|| Progress::of_bytes(total, "copying")).reach(done);
        !interrupt::is_wanted()
    });
    drop(progress);
    let made = made?;
    store.close()?;
    let mut output = Output::new();
    if args.json {
        output.json(&json!({
            "entries": made.entries,
            "value_files": made.files,
            "left_out": made.left_out,
        }))?;
    } else {
        let entries = usize::try_from(made.entries).unwrap_or(usize::MAX);
        output.line(&format!("{} in {}", human::entries(entries), destination.display()))?;
    }
    output.finish()?;
    if made.left_out > 0 {
        say(&format!(
            "{}: {} without a sound value file were left out; `dolium check` lists them",
            directory.display(),
            human::entries(usize::try_from(made.left_out).unwrap_or(usize::MAX)),
        ));
    }
    Ok(Outcome::from(made.left_out == 0))
}
