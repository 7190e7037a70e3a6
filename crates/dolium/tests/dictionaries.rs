//! Dictionaries: trained on a cache's own small values, kept in its first store, and never the cause of a wrong value.

#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test plays the other programs itself")]

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use dolium::raw::{self, Frame, encoder};
use dolium::{Cache, Clock, Problem, PutOptions, ShardedCache};
use proptest::prelude::*;

const GROUP: &str = "app.record()";

/// How long the keeper may take under load.
const PATIENCE: Duration = Duration::from_mins(2);

fn record(at: u32) -> Vec<u8> {
    let digits = blake3_of(at);
    format!(
        "{{\"id\": \"{}\", \"status\": \"shipped\", \"currency\": \"EUR\", \"customer\": {{\"name\": \"n{at}\", \
         \"country\": \"DE\", \"newsletter\": false}}, \"lines\": [{{\"article\": \"{}\", \"count\": {}}}]}}",
        &digits[..12],
        &digits[12..20],
        at % 7
    )
    .into_bytes()
}

fn blake3_of(at: u32) -> String {
    // A generator is enough: what matters is that no two records share these digits.
    let mut state = u64::from(at).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut digits = String::new();
    for _ in 0..2 {
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        write!(digits, "{:016x}", state ^ (state >> 31)).unwrap();
    }
    digits
}

/// Stores a value of the group as a codec does that has no dictionary.
fn store(cache: &Cache, key: u32, value: &[u8]) {
    let group = raw::group(cache, GROUP);
    let frame = Frame::new(encoder::BYTES, value).dictionary(Some(group.number()));
    cache.set_with(key, frame, &PutOptions::new()).unwrap();
    group.count();
}

fn store_records(cache: &Cache, keys: std::ops::Range<u32>) {
    keys.for_each(|key| store(cache, key, &record(key)));
}

/// Waits until the keeper has made so many dictionaries.
fn wait_for(cache: &Cache, count: usize) -> Vec<raw::StoredDictionary> {
    let since = Instant::now();
    loop {
        let found = raw::dictionaries(cache).unwrap();
        if found.len() >= count || since.elapsed() > PATIENCE {
            assert_eq!(found.len(), count);
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn sql(cache: &Cache, statement: &str) {
    raw::sql(cache, statement, &[]).unwrap();
}

/// T39: training is bounded, judged on values that it has not seen, adopted only if it pays, and silent if not.
#[test]
fn t39_the_keeper_adopts_a_dictionary_that_pays() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    store_records(&cache, 0..400);
    assert_eq!(raw::dictionaries(&cache).unwrap(), [], "too few have come");
    store_records(&cache, 400..700);
    let found = wait_for(&cache, 1);
    let dictionary = raw::dictionary(&cache, u32::try_from(found[0].number).unwrap()).unwrap().unwrap();
    assert!(dictionary.bytes().len() <= 64 << 10);
    assert_eq!(found[0].group, GROUP);
    assert_eq!(raw::group(&cache, GROUP).current().unwrap().number(), dictionary.number());
    assert!(raw::group(&cache, "app.other()").current().is_none(), "another group has none");
    // Values that the training has not seen.
    let (mut with, mut without) = (0, 0);
    for key in 10_000..10_100 {
        let encoder = dictionary.encoder(3).unwrap();
        let value = record(key);
        let (filters, packed) = raw::Zstd::new(3).dictionary(Some(&encoder)).apply(&value).unwrap();
        with += packed.len();
        without += raw::Zstd::new(3).apply(&value).map_or(value.len(), |(_, packed)| packed.len());
        assert_eq!(raw::undo(&filters, packed, Some(dictionary.decoder())), Some((0, value)));
    }
    assert!(with * 2 < without, "{with} of {without}");
    assert_eq!(cache.check(false).unwrap(), []);
}

#[test]
fn t39_a_dictionary_that_does_not_pay_is_left_out_in_silence() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    for key in 0..700 {
        store(
            &cache,
            key,
            &blake3_of(key).as_bytes()[..8].iter().map(|digit| digit ^ 0x5a).collect::<Vec<_>>(),
        );
    }
    let tried =
        || raw::sql(&cache, "SELECT value FROM Dolium WHERE key = 'tried at app.record()'", &[]).unwrap();
    let since = Instant::now();
    while tried().rows.is_empty() && since.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!tried().rows.is_empty(), "a training began");
    // Until it has ended: another group gets its turn after it.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(raw::dictionaries(&cache).unwrap(), []);
    assert!(cache.take_warnings().is_empty());
}

#[test]
fn t39_a_group_is_tried_again_when_it_has_doubled() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    store_records(&cache, 0..700);
    wait_for(&cache, 1);
    // Other values than before, so that the second one pays.
    for key in 1000..3000 {
        let digits = blake3_of(key);
        let value = format!(
            "<order no='{}'><state>underway to the customer since {key}</state></order>",
            &digits[..9]
        );
        store(&cache, key, value.as_bytes());
    }
    let found = wait_for(&cache, 2);
    assert!(found[1].adopted > found[0].adopted);
    let current = raw::group(&cache, GROUP).current().unwrap();
    assert_eq!(i64::from(current.number()), found[1].number);
}

/// Stores a value as a codec does.
fn store_packed(cache: &Cache, key: u32, value: &[u8]) -> Option<u32> {
    let (packed, number) = raw::group(cache, GROUP).compress(raw::Zstd::new(3), value);
    let (filters, body) = packed.unwrap_or_else(|| (vec![], value.to_vec()));
    let frame = Frame::new(encoder::BYTES, &body).filtered(&filters, value.len() as u64).dictionary(number);
    cache.set_with(key, frame, &PutOptions::new()).unwrap();
    filters.contains(&raw::filter::ZSTD_DICTIONARY).then_some(number).flatten()
}

fn read(cache: &Cache, key: u32) -> Option<dolium::Value> {
    raw::framed(cache, key).unwrap().map(|found| found.value.value)
}

#[test]
fn values_with_a_dictionary_come_back_in_every_process() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    let mut key = 0;
    let since = Instant::now();
    while store_packed(&cache, key, &record(key)).is_none() {
        key += 1;
        assert!(since.elapsed() < PATIENCE);
    }
    let all = || (0..=key).map(|key| (key, read(&Cache::open(directory.path()).unwrap(), key)));
    assert!(all().all(|(key, found)| found == Some(record(key)[..].into())));
    assert!(child("read", directory.path()).env("FIRST", key.to_string()).status().unwrap().success());
    // One that is gone makes its values misses, and no others.
    sql(&cache, "DELETE FROM DoliumDictionary");
    assert!(child("miss", directory.path()).env("FIRST", key.to_string()).status().unwrap().success());
}

/// What has been stored counts for all processes, and none needs to see 512 values itself.
#[test]
fn values_of_short_processes_add_up() {
    let directory = tempfile::tempdir().unwrap();
    for run in 0..20 {
        let status = child("store", directory.path()).env("FIRST", (run * 64).to_string()).status().unwrap();
        assert!(status.success());
        if !raw::dictionaries(&Cache::open(directory.path()).unwrap()).unwrap().is_empty() {
            return;
        }
    }
    wait_for(&Cache::open(directory.path()).unwrap(), 1);
}

fn child(what: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "as_a_child", "--nocapture"]).env("CHILD", what).env("DIRECTORY", directory);
    command
}

/// What the child processes of other tests do.
#[test]
fn as_a_child() {
    let (Ok(what), Ok(directory)) = (std::env::var("CHILD"), std::env::var("DIRECTORY")) else { return };
    let first: u32 = std::env::var("FIRST").map_or(0, |first| first.parse().unwrap());
    let cache = Cache::open(directory).unwrap();
    match what.as_str() {
        "store" => {
            store_records(&cache, first..first + 64);
            // As long as the keeper needs to see them.
            std::thread::sleep(Duration::from_millis(300));
        }
        "read" => {
            assert_eq!(read(&cache, first), Some(record(first)[..].into()));
            assert_eq!(read(&cache, 0), Some(record(0)[..].into()));
        }
        "miss" => {
            assert_eq!(read(&cache, first), None);
            assert_eq!(read(&cache, 0), Some(record(0)[..].into()));
        }
        _ => {
            store_records(&cache, first..first + 700);
            wait_for(&cache, 1);
        }
    }
}

#[test]
fn a_kill_during_training_leaves_a_sound_cache() {
    let directory = tempfile::tempdir().unwrap();
    for run in 0..6 {
        let first = run * 700;
        let mut running = child("train", directory.path()).env("FIRST", first.to_string()).spawn().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        // Somewhere between the first value and the dictionary.
        let (since, key) = (Instant::now(), first + 699);
        while !cache.contains(key).unwrap() && since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(u64::from(run) * 30));
        running.kill().unwrap();
        running.wait().unwrap();
        assert_eq!(cache.check(true).unwrap(), []);
        assert_eq!(cache.get(first).unwrap(), Some(record(first)[..].into()));
    }
    // What a kill has prevented is made up for.
    let cache = Cache::open(directory.path()).unwrap();
    store_records(&cache, 100_000..106_000);
    assert!(!wait_for_any(&cache).is_empty());
}

fn wait_for_any(cache: &Cache) -> Vec<raw::StoredDictionary> {
    let since = Instant::now();
    loop {
        let found = raw::dictionaries(cache).unwrap();
        if !found.is_empty() || since.elapsed() > PATIENCE {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn processes_that_see_the_same_values_adopt_one_dictionary() {
    let directory = tempfile::tempdir().unwrap();
    let started =
        |run: u32| child("train", directory.path()).env("FIRST", (run * 1000).to_string()).spawn().unwrap();
    for mut running in (0..3).map(started).collect::<Vec<_>>() {
        assert!(running.wait().unwrap().success());
    }
    let cache = Cache::open(directory.path()).unwrap();
    let found = raw::dictionaries(&cache).unwrap();
    let mut numbers: Vec<_> = found.iter().map(|stored| stored.number).collect();
    numbers.dedup();
    assert!(!found.is_empty() && numbers.len() == found.len());
    assert!(found.iter().all(|stored| stored.bytes.is_some()));
    assert_eq!(cache.check(false).unwrap(), []);
}

#[test]
fn a_sharded_cache_keeps_them_in_its_first_shard() {
    let directory = tempfile::tempdir().unwrap();
    let cache = ShardedCache::open(directory.path(), 4).unwrap();
    for key in 0..900 {
        store(cache.shard(key), key, &record(key));
    }
    let found = wait_for(&cache.shards()[3], 1);
    let table = "SELECT name FROM sqlite_master WHERE name = 'DoliumDictionary'";
    let has_table = |shard: &Cache| !raw::sql(shard, table, &[]).unwrap().rows.is_empty();
    assert_eq!(cache.shards().iter().map(has_table).collect::<Vec<_>>(), [true, false, false, false]);
    let number = u32::try_from(found[0].number).unwrap();
    for shard in cache.shards() {
        assert_eq!(raw::group(shard, GROUP).current().unwrap().number(), number);
        assert!(raw::dictionary(shard, number).unwrap().is_some());
        assert_eq!(shard.check(true).unwrap(), []);
    }
}

fn dictionary_of(bytes: &[u8]) -> raw::StoredDictionary {
    raw::StoredDictionary::new(GROUP, 1000.0, bytes.to_vec())
}

#[test]
fn there_are_at_most_sixteen() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    for number in 0..16 {
        assert!(raw::restore_dictionary(&cache, &dictionary_of(&[number; 100])).unwrap());
    }
    assert!(!raw::restore_dictionary(&cache, &dictionary_of(&[16; 100])).unwrap());
    assert!(raw::restore_dictionary(&cache, &dictionary_of(&[3; 100])).unwrap(), "it is there");
    assert_eq!(raw::dictionaries(&cache).unwrap().len(), 16);
    // The keeper takes that as well.
    store_records(&cache, 0..700);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(raw::dictionaries(&cache).unwrap().len(), 16);
}

#[test]
fn a_flipped_byte_makes_a_dictionary_missing_and_check_tells() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    let stored = dictionary_of(&[7; 100]);
    raw::restore_dictionary(&cache, &stored).unwrap();
    for change in [
        "bytes = CAST(X'2a' || substr(bytes, 2) AS BLOB)",
        "hash = CAST(X'2a' || substr(hash, 2) AS BLOB)",
        "bytes = substr(bytes, 2)",
        "bytes = zeroblob(3000000), hash = zeroblob(32)",
        "bytes = 'text', hash = 5",
    ] {
        sql(&cache, &format!("UPDATE DoliumDictionary SET {change}"));
        let number = u32::try_from(stored.number).unwrap();
        assert_eq!(raw::dictionary(&cache, number).unwrap().map(|found| found.number()), None, "{change}");
        assert_eq!(cache.check(false).unwrap(), [Problem::Dictionary(stored.number)], "{change}");
        assert_eq!(cache.check(true).unwrap(), [Problem::Dictionary(stored.number)], "{change}");
        assert_eq!(raw::dictionaries(&cache).unwrap(), [], "{change}");
        raw::restore_dictionary(&cache, &stored).unwrap();
    }
    assert!(raw::dictionary(&cache, u32::try_from(stored.number).unwrap()).unwrap().is_some());
}

/// A number means the same bytes everywhere, so bytes under another number are damaged, even with their right hash.
#[test]
fn a_dictionary_under_another_number_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    raw::restore_dictionary(&cache, &dictionary_of(&[7; 100])).unwrap();
    sql(&cache, "UPDATE DoliumDictionary SET number = 5");
    assert!(raw::dictionary(&cache, 5).unwrap().is_none());
    assert_eq!(cache.check(false).unwrap(), [Problem::Dictionary(5)]);
}

#[test]
fn a_table_of_another_program_is_no_dictionary() {
    for table in [
        "CREATE TABLE DoliumDictionary (a, b)",
        "CREATE TABLE DoliumDictionary (number TEXT, \"group\", adopted, unused, hash, bytes)",
        "CREATE VIEW DoliumDictionary AS SELECT 1 AS number",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        cache.set("key", 1).unwrap();
        sql(&cache, table);
        if table.contains("TEXT") {
            sql(
                &cache,
                "INSERT INTO DoliumDictionary VALUES ('x', X'00', 'y', 'z', 1, 2), (NULL, 1, 1, 1, 1, 1)",
            );
        }
        assert_eq!(raw::dictionaries(&cache).unwrap(), [], "{table}");
        assert!(raw::dictionary(&cache, 1).unwrap().is_none(), "{table}");
        assert!(raw::group(&cache, GROUP).current().is_none(), "{table}");
        store_records(&cache, 0..700);
        assert_eq!(cache.check(true).unwrap(), [], "{table}");
        assert_eq!(cache.get(699).unwrap(), Some(record(699)[..].into()), "{table}");
    }
}

#[test]
fn check_removes_a_dictionary_that_no_value_uses() {
    let directory = tempfile::tempdir().unwrap();
    let open = |time| Cache::builder(directory.path()).clock(Clock::manual(time)).open().unwrap();
    let cache = open(2000.0);
    let used = dictionary_of(&[1; 100]);
    let unused = raw::StoredDictionary::new("another group", 1000.0, vec![2; 100]);
    for stored in [&used, &unused] {
        raw::restore_dictionary(&cache, stored).unwrap();
    }
    let frame = Frame::new(encoder::BYTES, b"x").dictionary(Some(u32::try_from(used.number).unwrap()));
    cache.set_with("key", frame, &PutOptions::new()).unwrap();
    let there = || raw::dictionaries(&cache).unwrap().iter().map(|stored| stored.number).collect::<Vec<_>>();
    assert_eq!(cache.check(false).unwrap(), []);
    assert_eq!(cache.check(true).unwrap(), []);
    assert_eq!(there().len(), 2, "a process may be about to use it");
    open(2030.0).check(true).unwrap();
    assert_eq!(there().len(), 2, "a process may still be about to use it");
    open(2061.0).check(true).unwrap();
    assert_eq!(there(), [used.number]);
    cache.clear().unwrap();
    open(2100.0).check(true).unwrap();
    open(2200.0).check(true).unwrap();
    assert!(there().is_empty());
}

#[test]
fn usage_counts_values_by_how_they_are_stored() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    store(&cache, 1, &[1; 100]);
    store(&cache, 2, &[2; 200]);
    let large = vec![3; 50_000];
    cache.set_with(3, Frame::new(encoder::BYTES, &large), &PutOptions::new()).unwrap();
    cache.set("plain", "text").unwrap();
    let number = Some(raw::group(&cache, GROUP).number());
    let mut found = raw::usage(&cache).unwrap();
    found.sort_by_key(|(_, usage)| usage.entries);
    let [(large_how, large), (small_how, small)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((large_how, large.entries, large.before), (&(encoder::BYTES, vec![], None), 1, 50_000));
    assert_eq!((small_how, small.entries, small.before), (&(encoder::BYTES, vec![], number), 2, 300));
    assert_eq!((large.stored, small.stored), (50_007, 300 + 9 + 10));
}

#[test]
fn a_backup_has_the_dictionaries() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path().join("cache")).unwrap();
    let stored = dictionary_of(&[1; 100]);
    raw::restore_dictionary(&cache, &stored).unwrap();
    cache.backup(directory.path().join("copy")).unwrap();
    assert_eq!(raw::dictionaries(&Cache::open(directory.path().join("copy")).unwrap()).unwrap(), [stored]);
}

#[test]
fn a_dictionary_larger_than_its_share_of_the_limit_is_not_adopted() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::builder(directory.path()).size_limit(Some(300_000)).open().unwrap();
    store_records(&cache, 0..700);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(raw::dictionaries(&cache).unwrap(), []);
}

#[test]
fn a_cache_without_groups_has_no_table() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    cache.set("key", 1).unwrap();
    assert_eq!(raw::dictionaries(&cache).unwrap(), []);
    cache.check(true).unwrap();
    let tables =
        raw::sql(&cache, "SELECT name FROM sqlite_master WHERE name LIKE '%Dictionary'", &[]).unwrap();
    assert!(tables.rows.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Restore(u8),
    Damage(u8),
    Remove(u8),
    Check,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..24_u8).prop_map(Step::Restore),
        1 => (0..24_u8).prop_map(Step::Damage),
        1 => (0..24_u8).prop_map(Step::Remove),
        1 => Just(Step::Check),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever happens to the table, a number leads to the bytes that it was made of, or to nothing.
    #[test]
    fn a_number_leads_to_its_bytes_or_to_nothing(steps in proptest::collection::vec(step(), 1..40)) {
        let directory = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(directory.path()).unwrap();
        let bytes = |seed: u8| vec![seed; 64 + usize::from(seed)];
        for step in steps {
            let key = |seed: u8| dictionary_of(&bytes(seed)).number;
            match step {
                Step::Restore(seed) => {
                    raw::restore_dictionary(&cache, &dictionary_of(&bytes(seed))).unwrap();
                }
                Step::Damage(seed) if !raw::dictionaries(&cache).unwrap().is_empty() => sql(
                    &cache,
                    &format!("UPDATE DoliumDictionary SET bytes = X'2a2a' WHERE number = {}", key(seed)),
                ),
                Step::Remove(seed) if !raw::dictionaries(&cache).unwrap().is_empty() => {
                    sql(&cache, &format!("DELETE FROM DoliumDictionary WHERE number = {}", key(seed)));
                }
                Step::Damage(_) | Step::Remove(_) => {}
                Step::Check => {
                    cache.check(true).unwrap();
                    prop_assert_eq!(cache.check(false).unwrap(), []);
                }
                Step::Reopen => {
                    cache.close().unwrap();
                    cache = Cache::open(directory.path()).unwrap();
                }
            }
            let stored = raw::dictionaries(&cache).unwrap();
            prop_assert!(stored.len() <= 16);
            for seed in 0..24 {
                let found = raw::dictionary(&cache, u32::try_from(key(seed)).unwrap()).unwrap();
                let is_stored = stored.iter().any(|stored| stored.number == key(seed) && stored.bytes.is_some());
                if let Some(found) = &found {
                    prop_assert_eq!(found.bytes(), bytes(seed));
                }
                prop_assert!(found.is_some() || !is_stored);
            }
        }
    }
}
