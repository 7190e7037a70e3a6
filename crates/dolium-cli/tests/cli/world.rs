//! Runs the program on directories of its own, with a signing key of its own.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;
use tempfile::TempDir;

/// A place for caches and files.
pub struct World {
    pub home: TempDir,
}

/// What a run of the program left behind.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Run {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("the output is text")
    }

    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn lines(&self) -> Vec<&str> {
        self.text().lines().collect()
    }

    /// Checks the exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("the program was not killed"),
            out: output.stdout,
            err: String::from_utf8(output.stderr).expect("messages are text"),
        }
    }
}

impl World {
    pub fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a temporary directory") }
    }

    /// The path of a cache or file in this world.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The program, about to be run here.
    pub fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dolium"));
        command
            .args(args)
            .current_dir(self.home.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .env_remove("DOLIUM_DIR")
            .env_remove("DOLIUM_SIGNING_KEY");
        command
    }

    pub fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Run {
        self.command(args).stdin(Stdio::null()).output().expect("the program runs").into()
    }

    pub fn run_with_input<'a>(&self, args: impl IntoIterator<Item = &'a str>, input: &[u8]) -> Run {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        // The program may end without reading everything.
        let _ = child.stdin.take().expect("a pipe").write_all(input);
        child.wait_with_output().expect("the program ends").into()
    }

    /// A copy of the directory that diskcache made.
    pub fn diskcache(&self, name: &str) -> PathBuf {
        let target = self.path(name);
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/diskcache"), &target);
        target
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Every file below a directory, with its length and a hash of its bytes.
pub fn snapshot(directory: &Path) -> Vec<(PathBuf, usize, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(snapshot(&path));
        } else {
            let bytes = fs::read(&path).expect("a file");
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            found.push((path, bytes.len(), hasher.finish()));
        }
    }
    found.sort();
    found
}
