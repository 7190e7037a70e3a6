//! Owns what an import tells afterwards: how much was copied, and what was not, or not as it might seem.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use dolium::Key;

use crate::outcome::{Outcome, Result, say};
use crate::output::Output;
use crate::{human, json, key};

/// How many refusals of a kind are named on standard error. All are in the JSON.
const NAMED: usize = 20;

#[derive(Default)]
pub(super) struct Report {
    pub imported: usize,
    /// Entries whose keys had values already.
    pub kept: usize,
    pub expired: usize,
    /// Foreign pickles that were signed, since the user vouches for them.
    pub vouched: usize,
    /// Keys that were written anew in their canonical form.
    pub rewritten: usize,
    /// Entries that could not be read or stored.
    refused: Vec<(Option<Key<'static>>, String)>,
    /// Pickles that were copied but that readers will not run, with the names that they use.
    untrusted: Vec<(Key<'static>, Vec<String>)>,
}

impl Report {
    pub fn refuse(&mut self, key: Option<Key<'static>>, reason: impl Into<String>) {
        self.refused.push((key, reason.into()));
    }

    pub fn distrust(&mut self, key: Key<'static>, names: Vec<String>) {
        self.untrusted.push((key, names));
    }

    pub fn print(&self, as_json: bool) -> Result<Outcome> {
        let mut output = Output::new();
        if as_json {
            output.json(&self.json())?;
        } else {
            self.tell();
            output.line(&self.sentence())?;
        }
        output.finish()?;
        Ok(Outcome::from(self.refused.is_empty()))
    }

    fn sentence(&self) -> String {
        let mut text = format!("{} imported", human::entries(self.imported));
        for (count, what) in [
            (self.kept, "left alone, since their keys have values"),
            (self.expired, "left out, since they have expired"),
            (self.vouched, "foreign pickles signed"),
            (self.rewritten, "keys rewritten in their canonical form"),
            (
                self.untrusted.len(),
                "foreign pickles copied unsigned: readers refuse them unless told to trust them",
            ),
            (self.refused.len(), "refused"),
        ] {
            if count > 0 {
                let _ = write!(text, "\n{} {what}", human::count(count));
            }
        }
        text
    }

    fn tell(&self) {
        for (key, reason) in self.refused.iter().take(NAMED) {
            match key {
                Some(key) => say(&format!("refused: {}: {reason}", key::shown(key, key::Names::Plain))),
                None => say(&format!("refused: {reason}")),
            }
        }
        for (key, names) in self.untrusted.iter().take(NAMED) {
            say(&format!("unsigned: {}: uses {}", key::shown(key, key::Names::Plain), names.join(", ")));
        }
        let left = self.refused.len().saturating_sub(NAMED) + self.untrusted.len().saturating_sub(NAMED);
        if left > 0 {
            say(&format!("and {left} more; --json lists all"));
        }
    }

    fn json(&self) -> Json {
        let named = |key: &Key<'_>| json!({ "key": json::key(key), "argument": key::argument(key, key::Names::Plain) });
        let refused: Vec<_> = self
            .refused
            .iter()
            .map(|(key, reason)| json!({ "entry": key.as_ref().map(named), "reason": reason }))
            .collect();
        let untrusted: Vec<_> =
            self.untrusted.iter().map(|(key, names)| json!({ "entry": named(key), "uses": names })).collect();
        json!({
            "imported": self.imported,
            "kept": self.kept,
            "expired": self.expired,
            "vouched": self.vouched,
            "rewritten": self.rewritten,
            "refused": refused,
            "untrusted": untrusted,
        })
    }
}
