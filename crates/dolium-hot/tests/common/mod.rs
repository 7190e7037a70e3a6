//! Helpers of the tests: other processes (this binary again, in a role), what they say, and their deaths.
#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses its own part")]

use dolium_hot::{Access, Guard, Shared};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Generous: a loaded machine must not fail a test, a hang must.
pub const LONG: Duration = Duration::from_mins(1);

/// How many owners of a lock a test kills, each while a waiter waits for it.
pub const KILLS: usize = 30;

/// Waiters probe every 16 ms at least, so a lock is free within 100 ms of its owner's death. The median says so: on a
/// loaded machine a waiter may be kept from the processor for longer.
pub fn assert_free_soon(lock: &str, mut waited: Vec<Duration>) {
    waited.sort();
    let (median, worst) = (waited[waited.len() / 2], waited[waited.len() - 1]);
    println!(
        "after a kill -9 {lock} was had within {median:?} (median of {}), {worst:?} (worst)",
        waited.len()
    );
    assert!(median < Duration::from_millis(100), "{waited:?}");
    assert!(worst < Duration::from_secs(2), "{waited:?}");
}

pub fn attach(directory: &Path) -> Shared {
    Shared::attach(directory, Access::private()).expect("attach")
}

pub fn take(shared: &Shared) -> Guard {
    shared.lock().acquire(Some(LONG), &mut || true).expect("acquire")
}

/// Another process running `role` of the same test binary, in which a test named `child` calls [`role`].
pub struct Other {
    pub process: Child,
    output: BufReader<ChildStdout>,
}

impl Other {
    pub fn start(role: &str, directory: &Path, extra: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("own path"))
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env("DOLIUM_HOT_ROLE", role)
            .env("DOLIUM_HOT_DIRECTORY", directory)
            .env("DOLIUM_HOT_EXTRA", extra)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("spawn");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        Self { process, output }
    }

    /// The next thing it says; `None` when it has ended.
    pub fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).ok()? == 0 {
                return None;
            }
            // What the test harness prints has no such mark.
            if let Some((_, said)) = line.trim_end().split_once("@@") {
                return Some(String::from(said));
            }
        }
    }

    pub fn expect(&mut self, expected: &str) {
        assert_eq!(self.hear().as_deref(), Some(expected));
    }

    /// Lets a role that waits in [`listen`] go on.
    pub fn tell(&mut self) {
        self.process.stdin.as_mut().expect("piped").write_all(b"go\n").expect("write");
    }

    pub fn signal(&self, signal: i32) {
        let pid = self.pid();
        // SAFETY: a plain system call; the process is our child and not reaped yet.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).expect("a pid")
    }

    /// SIGKILL, and wait until it is gone.
    pub fn kill(&mut self) {
        self.process.kill().expect("kill");
        self.process.wait().expect("wait");
    }

    pub fn succeed(&mut self) {
        assert!(self.process.wait().expect("wait").success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In a child: what to do, where, and one parameter.
pub fn role() -> Option<(String, PathBuf, String)> {
    Some((
        std::env::var("DOLIUM_HOT_ROLE").ok()?,
        std::env::var_os("DOLIUM_HOT_DIRECTORY")?.into(),
        std::env::var("DOLIUM_HOT_EXTRA").ok()?,
    ))
}

/// In a child: says something to the parent.
pub fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@@{what}").expect("stdout");
    out.flush().expect("stdout");
}

/// In a child: waits to be told, and ends when the parent is gone.
pub fn listen() {
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).unwrap_or(0) == 0 {
        std::process::exit(3);
    }
}

/// A number in a file, changed by reading and writing apart: increments are lost unless something excludes.
pub struct Counter(std::fs::File);

impl Counter {
    pub fn open(directory: &Path) -> Self {
        Self(
            std::fs::File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(directory.join("counter"))
                .expect("counter"),
        )
    }

    pub fn get(&self) -> u64 {
        let mut bytes = [0; 8];
        // A short read is a new file.
        let _ = self.0.read_at(&mut bytes, 0).expect("read");
        u64::from_le_bytes(bytes)
    }

    pub fn set(&self, number: u64) {
        self.0.write_all_at(&number.to_le_bytes(), 0).expect("write");
    }

    pub fn increment(&self) {
        self.set(self.get() + 1);
    }
}

/// Waits until `happened`, and says how long that took.
pub fn until(what: &str, mut happened: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < LONG, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
    start.elapsed()
}
