//! A process ends at one of its steps, each in turn: between any two stores of a writer, a drainer, a direct commit, an
//! opener or a recovery. What it was told was done is done, and what it was doing is done or not.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test plays the other processes itself")]

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use dolium::{Cache, Key, Value, host};

/// What a crash point exits with.
const CRASHED: i32 = 77;
const KEYS: i64 = 12;
/// Stands for a key that is no integer, so that what the database says of its keys changes at some step.
const OTHER: i64 = 3;
/// Of the script: enough for the log to be lapped again and again.
const ROUNDS: i64 = 14;

type Map = BTreeMap<i64, i64>;

/// One thing that is done as a whole.
#[derive(Clone, Debug)]
enum Op {
    Set(i64, i64),
    Delete(i64),
    Add(i64, i64),
    Incr(i64),
    Pop(i64),
    /// Into the tier, all or none.
    SetMany(Vec<(i64, i64)>),
    /// Those that are not there, all or none.
    AddMany(Vec<(i64, i64)>),
    /// All or none. More keys than the log takes together go to the database, beside other writers.
    DeleteMany(Vec<i64>),
    /// Directly, all or none; `None`: deleted.
    Transact(Vec<(i64, Option<i64>)>),
    /// A key is read that the tier may not have.
    Get(i64),
    Flush,
    Reopen,
}

/// What a child does.
#[derive(Clone, Copy)]
enum Script {
    Everything,
    /// Keys that a transaction deletes, or sets: known to the tier, to the database only, or waiting to be drained.
    Transactions,
    /// Bulk calls that the log does not take together, of keys in each of these states.
    Bulk,
    /// Values that wait in the tier and become files.
    Files,
}

impl Script {
    fn name(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Transactions => "transactions",
            Self::Bulk => "bulk",
            Self::Files => "files",
        }
    }

    fn of_child() -> Self {
        let name = std::env::var("DOLIUM_TEST_SCRIPT").unwrap();
        [Self::Everything, Self::Transactions, Self::Bulk, Self::Files]
            .into_iter()
            .find(|script| script.name() == name)
            .unwrap()
    }

    fn ops(self) -> Vec<Op> {
        match self {
            Self::Everything => everything(),
            Self::Files => files(),
            Self::Transactions => transactions(),
            Self::Bulk => bulk(),
        }
    }
}

fn bulk() -> Vec<Op> {
    use Op::{AddMany, Delete, DeleteMany, Flush, Get, Set, SetMany};
    // A key that comes often takes space for each time, and the last one counts.
    let pairs = |number: i64| (0..36).map(|at| (at % 6, number + at)).collect();
    let round = |number: i64| {
        vec![
            Set(0, number),
            Set(1, number),
            Flush,
            Get(0),
            Set(2, number),
            Delete(1),
            SetMany(pairs(number + 1)),
            Set(3, number + 50),
            AddMany((0..36).map(|at| (at % KEYS, number + 60 + at)).collect()),
            Get(4),
            DeleteMany((0..600).map(|at| at % 5).collect()),
            Set(4, number + 99),
            Get(5),
        ]
    };
    let rounds = if is_long() { 4 } else { 1 };
    (0..rounds).map(|number| 1000 * number).flat_map(round).collect()
}

fn transactions() -> Vec<Op> {
    use Op::{Flush, Get, Set, Transact};
    let both = |number| Transact(vec![(0, None), (1, Some(number)), (2, None), (3, None)]);
    let round = |number: i64| {
        let set = |key| Set(key, number + key);
        vec![
            set(0),
            set(1),
            set(2),
            Flush,
            Get(0),
            set(2),
            set(3),
            both(number),
            set(4),
            Get(0),
            set(2),
            Get(1),
        ]
    };
    let rounds = if is_long() { 4 } else { 1 };
    (0..rounds).map(|number| 10 * number).flat_map(round).collect()
}

fn files() -> Vec<Op> {
    use Op::{Add, Delete, Flush, Pop, Reopen, Set, Transact};
    vec![
        Set(0, 1),
        Set(1, 2),
        Flush,
        Set(0, 3),
        Delete(1),
        Add(1, 4),
        Flush,
        Pop(0),
        Set(2, 5),
        Transact(vec![(2, Some(6)), (3, Some(7))]),
        Set(3, 8),
        Reopen,
    ]
}

fn everything() -> Vec<Op> {
    use Op::{Add, Delete, Flush, Get, Incr, Pop, Reopen, Set, SetMany, Transact};
    let round = |round: i64| {
        let (key, value) = (round % KEYS, round * 100);
        let near = move |step: i64| (key + step) % KEYS;
        let mut ops = vec![
            Set(key, value),
            Set(near(1), value + 1),
            Incr(key),
            SetMany((0..6).map(|step| (near(step), value + 10 + step)).collect()),
            Delete(near(2)),
            Add(near(2), value + 20),
            Get(near(7)),
            Pop(near(3)),
            Set(near(4), value + 21),
        ];
        match round % 5 {
            1 => {
                let pairs = vec![(near(4), Some(value + 30)), (near(5), Some(value + 31)), (near(6), None)];
                ops.extend([Transact(pairs), Incr(near(5))]);
            }
            2 => ops.extend([Flush, Get(near(1)), Delete(near(1))]),
            3 => ops.extend([Reopen, Incr(near(4))]),
            _ => {}
        }
        ops
    };
    (0..ROUNDS).flat_map(round).collect()
}

/// What an operation makes of what is there.
fn predict(map: &mut Map, op: &Op) {
    match op {
        Op::Set(key, value) => drop(map.insert(*key, *value)),
        Op::Delete(key) | Op::Pop(key) => drop(map.remove(key)),
        Op::Add(key, value) => drop(map.entry(*key).or_insert(*value)),
        Op::Incr(key) => *map.entry(*key).or_insert(0) += 1,
        Op::SetMany(pairs) => map.extend(pairs.iter().copied()),
        Op::AddMany(pairs) => pairs.iter().for_each(|(key, value)| predict(map, &Op::Add(*key, *value))),
        Op::DeleteMany(keys) => keys.iter().for_each(|key| predict(map, &Op::Delete(*key))),
        Op::Transact(pairs) => {
            for (key, new) in pairs {
                predict(map, &new.map_or(Op::Delete(*key), |new| Op::Set(*key, new)));
            }
        }
        Op::Get(_) | Op::Flush | Op::Reopen => {}
    }
}

fn is_long() -> bool {
    std::env::var_os("DOLIUM_TORTURE").is_some()
}

fn open(directory: &Path) -> Cache {
    let builder = Cache::builder(directory.join("cache")).setting("hot_size", 64 << 10).size_limit(None);
    let is_of_files = directory.join("files.txt").exists();
    builder.setting("disk_min_file_size", if is_of_files { 512 } else { 32 << 10 }).open().unwrap()
}

/// Values are so long that the log is short.
fn value(number: i64) -> Vec<u8> {
    number.to_le_bytes().repeat(150)
}

fn number(found: &Value) -> i64 {
    match found {
        Value::Int(number) => *number,
        Value::Bytes(bytes) => {
            let word = i64::from_le_bytes(bytes[..8].try_into().unwrap());
            assert_eq!(*bytes, value(word), "a value in pieces");
            word
        }
        other => panic!("never stored: {other:?}"),
    }
}

fn name(key: i64) -> Key<'static> {
    if key == OTHER { Key::Float(3.5) } else { Key::Int(key) }
}

fn apply(cache: &mut Cache, directory: &Path, op: &Op) -> dolium::Result<()> {
    match op {
        Op::Set(key, new) => drop(cache.set(name(*key), &value(*new))?),
        Op::Delete(key) => drop(cache.delete(name(*key))?),
        Op::Pop(key) => drop(cache.pop(name(*key))?),
        Op::Add(key, new) => drop(cache.add(name(*key), &value(*new), &dolium::PutOptions::new())?),
        Op::Incr(key) => {
            let now = cache.get(name(*key))?.map_or(0, |found| number(&found));
            // As a program in Python does it; what `Set` stores is too long for that.
            if !host::try_set(cache, &name(*key), now + 1, &dolium::PutOptions::new()) {
                cache.set(name(*key), now + 1)?;
            }
        }
        Op::SetMany(pairs) => {
            let values: Vec<_> = pairs.iter().map(|(key, new)| (name(*key), value(*new))).collect();
            cache.set_many(
                values.iter().map(|(key, new)| (key.clone(), &new[..])),
                &dolium::PutOptions::new(),
            )?;
        }
        Op::AddMany(pairs) => {
            let values: Vec<_> = pairs.iter().map(|(key, new)| (name(*key), value(*new))).collect();
            cache.add_many(
                values.iter().map(|(key, new)| (key.clone(), &new[..])),
                &dolium::PutOptions::new(),
            )?;
        }
        Op::DeleteMany(keys) => {
            let keys: Vec<_> = keys.iter().copied().map(name).collect();
            cache.delete_many(&keys)?;
        }
        Op::Transact(pairs) => {
            let transaction = cache.transact()?;
            for (key, new) in pairs {
                match new {
                    Some(new) => cache.set(name(*key), &value(*new))?,
                    None => cache.delete(name(*key))?,
                };
            }
            transaction.commit()?;
        }
        Op::Get(key) => drop(cache.get(name(*key))?),
        Op::Flush => cache.flush()?,
        Op::Reopen => {
            cache.close()?;
            *cache = open(directory);
        }
    }
    Ok(())
}

/// In a child: does the script and says after each operation that it is done; or only opens, looks and closes.
#[test]
fn child() {
    let Some(directory) = std::env::var_os("DOLIUM_TEST_DIRECTORY") else { return };
    let directory = Path::new(&directory);
    let mut cache = open(directory);
    if std::env::var_os("DOLIUM_TEST_LOOK").is_some() {
        look(&cache);
        cache.set(KEYS, 0).unwrap();
        cache.close().unwrap();
        return;
    }
    let mut done = OpenOptions::new().append(true).create(true).open(directory.join("done.txt")).unwrap();
    for op in Script::of_child().ops() {
        apply(&mut cache, directory, &op).unwrap();
        done.write_all(b".").unwrap();
    }
    cache.close().unwrap();
}

fn command(test: &str, directory: &Path, step: usize) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env("DOLIUM_TEST_DIRECTORY", directory)
        .env("DOLIUM_TEST_SCRIPT", Script::Everything.name())
        .env("DOLIUM_CRASH", step.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn spawn(directory: &Path, script: Script, step: usize, look: bool) -> ExitStatus {
    let mut command = command("child", directory, step);
    command.stderr(Stdio::null());
    command.env("DOLIUM_TEST_SCRIPT", script.name());
    if look {
        command.env("DOLIUM_TEST_LOOK", "1");
    }
    command.status().unwrap()
}

fn look(cache: &Cache) -> Map {
    let found = |key| cache.get(name(key)).unwrap().map(|found| (key, number(&found)));
    (0..KEYS).filter_map(found).collect()
}

/// The states after so many operations and after one more.
fn expected(script: Script, done: usize) -> [Map; 2] {
    let mut before = Map::new();
    let ops = script.ops();
    ops[..done].iter().for_each(|op| predict(&mut before, op));
    let mut after = before.clone();
    ops.get(done).into_iter().for_each(|op| predict(&mut after, op));
    [before, after]
}

/// Whether the database says that all keys are integers although one is not.
fn is_wrong_about_keys(directory: &Path) -> bool {
    let database = rusqlite::Connection::open(directory.join("cache/cache.db")).unwrap();
    let select = "SELECT EXISTS (SELECT 1 FROM Dolium AS note, Dolium AS now
        WHERE note.key = 'integers' AND now.key = 'foreign' AND note.value = now.value)
        AND EXISTS (SELECT 1 FROM Cache WHERE typeof(key) != 'integer')";
    database.query_row(select, [], |row| row.get(0)).unwrap()
}

/// Ends a process at its step of that number, and sees to what it leaves. How many have died then; `None`: it had no
/// such step.
fn crash_at(script: Script, step: usize) -> Option<usize> {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    if matches!(script, Script::Files) {
        std::fs::write(directory.join("files.txt"), "").unwrap();
    }
    // Every other time this process has the cache open, lives on, and recovers what it needs.
    let witness = step.is_multiple_of(2).then(|| {
        let cache = open(directory);
        cache.set(KEYS, 0).unwrap();
        cache
    });
    let mut dead = 1;
    let status = spawn(directory, script, step, false);
    assert!(matches!(status.code(), Some(0 | CRASHED)), "step {step}: {status}");
    let done = std::fs::read(directory.join("done.txt")).unwrap_or_default().len();
    let expected = expected(script, done);
    let check = |found: &Map, when: &str| {
        assert!(
            expected.contains(found),
            "{when}, step {step}, {done} done: {found:?} is none of {expected:?}"
        );
    };
    if let Some(witness) = &witness {
        // Readers ask for one key after the other, and may see the first of what is stored as a whole.
        let (seen, [before, after]) = (look(witness), &expected);
        for key in 0..KEYS {
            let found = seen.get(&key);
            let is_known = found == before.get(&key) || found == after.get(&key);
            assert!(is_known, "step {step}, {done} done: {key} is {found:?}, not as in {expected:?}");
        }
        // The next writer recovers. What was under way may only now be done, but not be undone.
        witness.set(KEYS, 1).unwrap();
        let recovered = look(witness);
        check(&recovered, "recovered by the living");
        assert!(seen == *before || recovered == *after, "step {step}: from {seen:?} to {recovered:?}");
    } else {
        // A process that opens it may die of that, too: at the first step, at the second, and so on.
        let dies = |step: &usize| spawn(directory, script, *step, true).code() == Some(CRASHED);
        dead += (1..1000).take_while(dies).count();
        assert!(dead > 1, "opening has steps");
    }
    let cache = witness.unwrap_or_else(|| open(directory));
    let found = look(&cache);
    check(&found, "in the end");
    cache.flush().unwrap();
    assert!(!is_wrong_about_keys(directory), "step {step}");
    cache.close().unwrap();
    assert_eq!(look(&open(directory)), found, "step {step}: it was drained to something else");
    if matches!(script, Script::Files) {
        // A process that dies between a file and its row leaves a file that no row names.
        let problems = cache.check(true).unwrap();
        let is_left = |problem: &dolium::Problem| {
            matches!(problem, dolium::Problem::Unknown(_) | dolium::Problem::EmptyDirectory(_))
        };
        assert!(problems.iter().all(is_left), "step {step}: {problems:?}");
    }
    assert_eq!(cache.check(false).unwrap(), [], "step {step}");
    (status.code() == Some(CRASHED)).then_some(dead)
}

#[test]
fn whatever_step_a_process_ends_at_what_was_done_is_done() {
    // In the short form every step of the first operations, and some of the others.
    let stride = |step: usize| if is_long() || step < 24 { 1 } else { 29 };
    let steps = std::iter::successors(Some(1), |step| Some(step + stride(*step)));
    let dead: Vec<usize> = steps.map_while(|step| crash_at(Script::Everything, step)).collect();
    println!("{} crashes, {} with those of openers", dead.len(), dead.iter().sum::<usize>());
    assert!(dead.len() > 24, "only {} crashes", dead.len());
}

#[test]
fn what_a_transaction_deleted_stays_away_whatever_step_its_process_ends_at() {
    let dead: Vec<usize> = (1..).map_while(|step| crash_at(Script::Transactions, step)).collect();
    println!("{} crashes, {} with those of openers", dead.len(), dead.iter().sum::<usize>());
    assert!(dead.len() > 30, "only {} crashes", dead.len());
}

#[test]
fn a_bulk_call_beyond_the_log_is_whole_or_not_whatever_step_its_process_ends_at() {
    let dead: Vec<usize> = (1..).map_while(|step| crash_at(Script::Bulk, step)).collect();
    println!("{} crashes, {} with those of openers", dead.len(), dead.iter().sum::<usize>());
    assert!(dead.len() > 30, "only {} crashes", dead.len());
}

#[test]
fn a_value_becomes_a_whole_file_wherever_its_process_ends() {
    // An odd step is followed by each death of an opener, which takes long.
    let steps = (1..).filter(|step| is_long() || step % 2 == 0 || step % 9 == 0);
    let dead: Vec<usize> = steps.map_while(|step| crash_at(Script::Files, step)).collect();
    println!("{} crashes, {} with those of openers", dead.len(), dead.iter().sum::<usize>());
    assert!(dead.len() > 24, "only {} crashes", dead.len());
}

#[test]
fn who_closes_after_a_writer_died_between_a_record_and_its_number_comes_to_an_end() {
    let mut met = 0;
    for step in 6..60 {
        let directory = tempfile::tempdir().unwrap();
        let witness = open(directory.path());
        witness.set(KEYS, 0).unwrap();
        witness.len().unwrap();
        let died = command("child", directory.path(), step).output().unwrap();
        if !String::from_utf8_lossy(&died.stderr).contains("crashed at: head stored") {
            continue;
        }
        met += 1;
        // Only looks, which drains what the dead process has left, but takes the append lock from no other thread.
        witness.len().unwrap();
        let (done, closed) = mpsc::channel();
        std::thread::spawn(move || done.send(witness.close()));
        let closed = closed.recv_timeout(Duration::from_secs(20));
        closed.unwrap_or_else(|_| panic!("step {step}: it does not end")).unwrap();
        if met == 3 {
            return;
        }
    }
    panic!("only {met} such steps");
}

/// In a child: changes two keys in a transaction when it is told to.
#[test]
fn changer() {
    let Some(directory) = std::env::var_os("DOLIUM_TEST_DIRECTORY") else { return };
    let cache = open(Path::new(&directory));
    let _ = look(&cache);
    eprintln!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let transaction = cache.transact().unwrap();
    cache.set(0, 2).unwrap();
    // From here on it is one of SQLite's.
    cache.len().unwrap();
    cache.set(1, 2).unwrap();
    transaction.commit().unwrap();
    cache.close().unwrap();
}

/// Reads two keys, and so many others between them, while a transaction that changes both dies at a step. Returns both,
/// and what the dead said.
fn read_around(step: usize, others: i64, after: Duration) -> ([Option<i64>; 2], String) {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    cache.set(0, 1).unwrap();
    cache.set(1, 1).unwrap();
    // Only the first is in the tier: the last is asked of SQLite, in the end.
    cache.close().unwrap();
    cache.set(2, 0).unwrap();
    assert_eq!(cache.get(0).unwrap(), Some(Value::Int(1)));
    cache.len().unwrap();
    let keys: Vec<_> = std::iter::once(0).chain(100..100 + others).chain([1]).map(Key::from).collect();
    let mut changer = command("changer", directory.path(), step).spawn().unwrap();
    let mut errors = changer.stderr.take().unwrap();
    let mut ready = [0; 6];
    errors.read_exact(&mut ready).unwrap();
    let mut input = changer.stdin.take().unwrap();
    let told = std::thread::spawn(move || {
        std::thread::sleep(after);
        input.write_all(b"now\n")
    });
    let found = cache.get_many(&keys).unwrap();
    // It may have died before it could hear.
    let _ = told.join().unwrap();
    changer.wait().unwrap();
    let mut said = String::from_utf8_lossy(&ready).into_owned();
    errors.read_to_string(&mut said).unwrap();
    ([&found[0], &found[found.len() - 1]].map(|found| found.as_ref().map(number)), said)
}

#[test]
fn what_get_many_finds_is_of_one_moment_while_a_transaction_is_in_sqlite_and_not_counted() {
    let said = |step: &usize| read_around(*step, 0, Duration::ZERO).1;
    let step = (1..100).find(|step| said(step).contains("crashed at: committed directly"));
    for after in [0, 2, 4, 8, 16].map(Duration::from_millis) {
        let (found, said) = read_around(step.expect("a transaction has that step"), 300_000, after);
        assert_eq!(found[0], found[1], "{after:?}: {said}");
    }
}
