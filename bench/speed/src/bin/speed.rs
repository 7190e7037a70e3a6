//! Times single operations: `cargo run --release -p dolium-bench-speed --bin speed`.

use std::hint::black_box;
use std::time::Instant;

use dolium::{Cache, Payload, PutOptions};

fn time(name: &str, count: u32, mut operation: impl FnMut(u32)) {
    let filter = std::env::args().nth(1).unwrap_or_default();
    if !name.contains(&filter) {
        return;
    }
    let start = Instant::now();
    (0..count).for_each(&mut operation);
    println!("{name:24} {:8.3} µs", start.elapsed().as_secs_f64() * 1e6 / f64::from(count));
}

fn main() -> dolium::Result<()> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let cache = Cache::open(directory.path())?;
    let value = [b'x'; 100];
    let keys: Vec<String> = (0..1000).map(|number| format!("key-{number}")).collect();
    let key = |number: u32| keys[number as usize % keys.len()].as_str();
    for number in 0..1000 {
        cache.set(key(number), &value)?;
    }
    time("set, new and old", 60_000, |number| {
        cache.set(key(number), &value).expect("set");
    });
    time("get, hit", 100_000, |number| {
        black_box(cache.get(key(number)).expect("get"));
    });
    time("get, miss", 100_000, |_| {
        black_box(cache.get("missing").expect("get"));
    });
    time("incr", 10_000, |_| {
        cache.incr("counter", 1, Some(0.into()), &PutOptions::new()).expect("incr");
    });
    time("set_many, per item", 10, |round| {
        let items = (0..10_000).map(|number| (i64::from(round * 10_000 + number), Payload::Bytes(&value)));
        cache.set_many(items, &PutOptions::new()).expect("set_many");
    });
    Ok(())
}
