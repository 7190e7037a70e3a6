//! Others write to the store too: any column of a row may hold any of SQLite's types. A row that is spoilt so
//! harms no other, and no operation fails for it.

#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]

use dolium::{Cache, Error, Key, Order, Policy, PutOptions, Side, Value, raw};

const COLUMNS: [&str; 11] = [
    "key",
    "raw",
    "store_time",
    "expire_time",
    "access_time",
    "access_count",
    "tag",
    "size",
    "mode",
    "filename",
    "value",
];

const VALUES: [&str; 12] = [
    "NULL",
    "5",
    "-5",
    "1.5",
    "9e999",
    "'text'",
    "''",
    "x'ff'",
    "CAST(x'ff' AS TEXT)",
    "9223372036854775807",
    "'../cache.db'",
    "'cache.db'",
];

const SOUND: [&str; 3] = ["a", "ok", "z"];

/// Two rows are spoilt alike, between and in front of sound ones; one belongs to a queue.
fn spoilt(policy: Policy, column: &str, value: &str) -> (tempfile::TempDir, Cache) {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::builder(directory.path())
        .policy(policy)
        .size_limit(Some(1 << 20))
        .setting("disk_min_file_size", 1000)
        .setting("tag_index", 1)
        .open()
        .unwrap();
    cache.set("bad", "value").unwrap();
    for key in SOUND {
        cache.set_with(key, &[7; 5000], &PutOptions::new().tag("t")).unwrap();
    }
    cache.push("first", None, Side::Back, &PutOptions::new()).unwrap();
    cache.push("second", None, Side::Back, &PutOptions::new()).unwrap();
    let spoil =
        format!("UPDATE OR IGNORE Cache SET {column} = {value} WHERE key IN ('bad', 500000000000000)");
    raw::sql(&cache, &spoil, &[]).unwrap();
    (directory, cache)
}

fn keys(cache: &Cache, order: Order) -> Vec<Key<'static>> {
    cache.keys(order).unwrap().map(Result::unwrap).collect()
}

fn sound_ones_are_met(cache: &Cache) {
    for order in [Order::Insertion, Order::InsertionReversed, Order::Sorted, Order::SortedReversed] {
        let met = keys(cache, order);
        for key in SOUND {
            assert!(met.contains(&Key::from(key)), "{order:?}: {met:?}");
        }
    }
    let tagged = cache.keys_where(Order::Insertion, Some("t".into()), None).unwrap();
    assert!(tagged.map(Result::unwrap).count() >= SOUND.len());
    let beginning = cache.keys_where(Order::Sorted, None, Some("o")).unwrap();
    assert_eq!(beginning.map(Result::unwrap).collect::<Vec<_>>(), [Key::from("ok")]);
}

fn read_everything(cache: &Cache) {
    for key in ["bad", "ok"] {
        cache.get(key).unwrap();
        raw::row(cache, key).unwrap();
        cache.contains(key).unwrap();
        cache.info(key).unwrap();
        match cache.open_value(key) {
            Ok(_) | Err(Error::Type(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let found = cache.get_many(&["bad".into(), "ok".into()]).unwrap();
    assert_eq!(found[1], Some(Value::Bytes(vec![7; 5000])));
    cache.len().unwrap();
    cache.volume().unwrap();
    cache.stats().unwrap();
    sound_ones_are_met(cache);
    cache.check(false).unwrap();
}

fn change_everything(cache: &Cache) {
    cache.touch("bad", dolium::Expiry::Never).unwrap();
    cache.peek_item(true).unwrap();
    cache.peek_item(false).unwrap();
    cache.peek(None, Side::Front).unwrap();
    cache.push("third", None, Side::Back, &PutOptions::new()).unwrap();
    cache.push("zeroth", None, Side::Front, &PutOptions::new()).unwrap();
    cache.pull(None, Side::Front).unwrap();
    cache.pull(None, Side::Front).unwrap();
    cache.flush().unwrap();
    match cache.incr("bad", 1, Some(0.into()), &PutOptions::new()) {
        Ok(_) | Err(Error::NotANumber | Error::Overflow) => {}
        Err(error) => panic!("{error}"),
    }
    cache.expire(None).unwrap();
    sound_ones_are_met(cache);
    cache.pop("bad").unwrap();
    cache.set("bad", "good").unwrap();
    assert_eq!(cache.get("bad").unwrap(), Some("good".into()));
    assert!(cache.delete("bad").unwrap());
    cache.flush().unwrap();
    cache.check(true).unwrap();
    assert_eq!(cache.check(false).unwrap(), []);
    sound_ones_are_met(cache);
}

#[test]
fn any_type_in_any_column_harms_no_other() {
    for column in COLUMNS {
        for value in VALUES {
            let (directory, cache) = spoilt(Policy::LeastRecentlyUsed, column, value);
            read_everything(&cache);
            change_everything(&cache);
            assert!(directory.path().join("cache.db").exists(), "{column} = {value}");
            assert_eq!(cache.take_warnings(), [], "{column} = {value}");
        }
    }
}

#[test]
fn clearing_and_evicting_meet_no_row_that_stops_them() {
    for column in COLUMNS {
        for value in VALUES {
            let (_directory, cache) = spoilt(Policy::LeastFrequentlyUsed, column, value);
            cache.evict(&"t".into()).unwrap();
            for key in 0..40 {
                cache.set(key, &vec![7; 50_000]).unwrap();
            }
            cache.clear().unwrap();
            cache.flush().unwrap();
            cache.check(true).unwrap();
            assert_eq!(cache.check(false).unwrap(), [], "{column} = {value}");
            let (_directory, cache) = spoilt(Policy::LeastRecentlyStored, column, value);
            cache.cull().unwrap();
            assert!(cache.contains("ok").unwrap(), "{column} = {value}");
            cache.clear().unwrap();
            cache.close().unwrap();
        }
    }
}

#[test]
fn a_walk_goes_on_past_batches_of_spoilt_keys() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    cache.set("first", 1).unwrap();
    raw::sql(
&cache,
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
             INSERT INTO Cache (key, raw) SELECT NULL, 1 FROM n UNION ALL SELECT CAST(x'ff' || i AS TEXT), 1 FROM n
             UNION ALL SELECT i, NULL FROM n",
            &[],
        )
        .unwrap();
    cache.set("last", 1).unwrap();
    cache.set(b"bytes", 1).unwrap();
    for order in [Order::Insertion, Order::InsertionReversed, Order::Sorted, Order::SortedReversed] {
        let met = keys(&cache, order);
        assert_eq!(met.len(), 3, "{order:?}: {met:?}");
    }
    assert_eq!(cache.peek_item(true).unwrap().unwrap().0, Key::from(b"bytes"));
}
