//! Owns what each command does. A command opens a store as far as it must, asks the engine, and prints.

mod backup;
mod change;
mod check;
mod codecs;
mod functions;
mod info;
mod list;
mod long;
mod read;
mod stats;
mod sweep;
mod tags;
mod top;

use std::path::PathBuf;
use std::time::Duration;

use clap::CommandFactory;
use dolium::Key;

use crate::args::{Cli, Command, Completions, OneKey, arrange};
use crate::key::Names;
use crate::open::{Access, AnyCache};
use crate::outcome::{Outcome, Result, say};
use crate::{key, transfer};

use long::each_shard;

/// Does what a command line says.
pub(crate) fn act(cli: Cli) -> Result<Outcome> {
    let timeout = cli.timeout;
    match cli.command {
        Command::Info(args) => info::act(args, timeout),
        Command::Stats(args) => stats::act(args, timeout),
        Command::Top(args) => top::act(args, timeout),
        Command::List(args) => list::act(args, timeout),
        Command::Tags(args) => tags::act(args, timeout),
        Command::Functions(args) => functions::functions(args, timeout),
        Command::Forget(args) => functions::forget(args, timeout),
        Command::Get(args) => read::get(args, timeout),
        Command::Pop(args) => read::pop(args, timeout),
        Command::Path(args) => read::path(args, timeout),
        Command::Set(args) => change::set(args, timeout),
        Command::Delete(args) => change::delete(args, timeout),
        Command::Touch(args) => change::touch(args, timeout),
        Command::Expire(args) => sweep::expire(args, timeout),
        Command::Evict(args) => sweep::evict(args, timeout),
        Command::Cull(args) => sweep::cull(args, timeout),
        Command::Clear(args) => sweep::clear(args, timeout),
        Command::Check(args) => check::act(args, timeout),
        Command::Backup(args) => backup::act(args, timeout),
        Command::Export(args) => transfer::export(args, timeout),
        Command::Import(args) => transfer::import(args, timeout),
        Command::Completions(args) => completions(&args),
    }
}

fn completions(args: &Completions) -> Result<Outcome> {
    // Written here first: the generator would panic if nobody read its output to the end.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dolium", &mut script);
    let mut output = crate::output::Output::new();
    std::io::Write::write_all(&mut output, &script)?;
    output.finish()?;
    Ok(Outcome::Done)
}

impl OneKey {
    /// Opens the store and resolves the key.
    fn open(self, access: Access, timeout: Duration) -> Result<(AnyCache, Key<'static>, Names)> {
        let wanted: &[&str] = if self.typed.is_given() { &[] } else { &["KEY"] };
        let (directory, mut rest) = arrange([self.dir, self.key], wanted)?;
        let store = AnyCache::open(&directory, access, timeout)?;
        let names = Names::of(&store)?;
        let key = self.typed.resolve(rest.pop(), &store, names)?;
        Ok((store, key, names))
    }

    /// The directory, and whether there is a key.
    fn directory_only(&self) -> Result<Option<PathBuf>> {
        if self.typed.is_given() || self.key.is_some() {
            return Ok(None);
        }
        Ok(Some(arrange([self.dir.clone()], &[])?.0))
    }
}

/// Ends a command that did not find its key.
fn not_found(key: &Key<'_>, names: Names) -> Outcome {
    say(&format!("{}: not found", key::shown(key, names)));
    Outcome::NotFound
}
