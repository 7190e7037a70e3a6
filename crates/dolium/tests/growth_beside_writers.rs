//! Another process fills a small tier as fast as it is drained. The process that lets it grow comes to an end all the same.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test plays the other processes itself")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dolium::{Cache, Error, PutOptions, Wait};

/// What the other process writes at once: more than may be left dirty before the append lock, and so much that twice that fits
/// the log of a tier of the first size. 320 bytes each.
const RECORDS: i64 = 360;
const FIRST: u64 = 256 << 10;

/// Drains after which the growth has no end. It needs a few.
const MANY: u32 = 20;

/// How long the other process waits where the one that lets the tier grow has the log for itself.
const TURN: Duration = Duration::from_secs(1);

const PATIENCE: Duration = Duration::from_mins(1);

fn open(directory: &Path) -> Cache {
    Cache::builder(directory).setting("hot_size", -1).open().unwrap()
}

fn write(cache: &Cache) -> dolium::Result<()> {
    let values = (0..RECORDS).map(|key| (key, &[7; 200][..]));
    cache.set_many(values, &PutOptions::new()).map(drop)
}

/// In a child: writes as often as it is told to, unless the log is taken.
#[test]
fn writer() {
    let Some(directory) = std::env::var_os("DOLIUM_TEST_DIRECTORY") else { return };
    let cache = open(Path::new(&directory)).with_wait(Wait::AtMost(TURN));
    cache.set(-2, "attached").unwrap();
    eprintln!("ready");
    for _ in std::io::stdin().lines() {
        match write(&cache) {
            Ok(()) | Err(Error::Timeout { .. }) => eprintln!("done"),
            failed => failed.unwrap(),
        }
    }
}

/// Another process that writes.
struct Writer {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStderr>,
}

impl Writer {
    fn new(directory: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env("DOLIUM_TEST_DIRECTORY", directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stderr.take().unwrap());
        let mut writer = Self { child, orders, answers };
        writer.hear("ready\n");
        writer
    }

    fn write(&mut self) {
        writeln!(self.orders).unwrap();
        self.hear("done\n");
    }

    fn hear(&mut self, expected: &str) {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, expected);
    }
}

static WRITER: Mutex<Option<Writer>> = Mutex::new(None);
static DRAINS: AtomicU32 = AtomicU32::new(0);

/// Has the other process write once a drain has committed, and before the log says so.
fn write_beside(point: &str) {
    if point != "commits counted" {
        return;
    }
    if let Some(writer) = WRITER.lock().unwrap().as_mut()
        && DRAINS.fetch_add(1, Ordering::Relaxed) < MANY
    {
        writer.write();
    }
}

#[test]
fn tier_grows_while_another_process_fills_it() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    cache.set(-1, "first").unwrap();
    let capacity = || {
        // The first use after the end of a tier makes the next one.
        assert_eq!(cache.get(-1).unwrap(), Some("first".into()));
        cache.hot_tier().unwrap().stats.map_or(FIRST, |stats| stats.capacity)
    };
    assert_eq!(capacity(), FIRST);
    *WRITER.lock().unwrap() = Some(Writer::new(directory.path()));
    dolium_hot::on_crash_point(write_beside);
    // More than a quarter of the log is dirty: the housekeeper lets the tier grow.
    write(&cache).unwrap();
    let until = Instant::now() + PATIENCE;
    while capacity() == FIRST && DRAINS.load(Ordering::Relaxed) < MANY {
        assert!(Instant::now() < until, "the tier has not grown");
        std::thread::sleep(Duration::from_millis(5));
    }
    let drains = DRAINS.load(Ordering::Relaxed);
    assert!((1..MANY).contains(&drains), "{drains} drains");
    assert!(capacity() > FIRST);
    let Writer { mut child, orders, .. } = WRITER.lock().unwrap().take().unwrap();
    drop(orders);
    assert!(child.wait().unwrap().success());
    assert_eq!(cache.check(false).unwrap(), []);
}
