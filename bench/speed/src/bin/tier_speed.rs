//! Times single operations of the tier: `cargo run --release -p dolium-bench-speed --bin tier_speed`.

use dolium_hot::{
    Access, BackingStore, Cell, Key, Kind, Limit, Patience, PendingRecord, Records, Row, Shared,
};
use std::hint::black_box;
use std::time::Instant;

struct NoDatabase;

impl BackingStore for NoDatabase {
    fn applied(&mut self) -> Result<Option<(u64, u64)>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(None)
    }

    fn begin(
        &mut self,
        _: Option<u64>,
        _: Records<'_>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

fn time(name: &str, count: u32, mut operation: impl FnMut(u32)) {
    let start = Instant::now();
    (0..count).for_each(&mut operation);
    println!("{name:24} {:8.1} ns", start.elapsed().as_secs_f64() * 1e9 / f64::from(count));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let start = Instant::now();
    let shared = Shared::attach_tier(
        directory.path(),
        Access::private(),
        Patience::default(),
        16 << 20,
        &mut NoDatabase,
        None,
    )?;
    println!("attach                   {:8.1} us", start.elapsed().as_secs_f64() * 1e6);
    let tier = shared.tier().expect("a tier was asked for");
    let keys: Vec<String> = (0..1000).map(|number| format!("key-{number:06}")).collect();
    let key =
        |number: u32| Key { kind: 3, spelling: 0, bytes: keys[number as usize % keys.len()].as_bytes() };
    let row = Row {
        store_time: 1.0,
        expire_time: None,
        tag: Cell::Null,
        size: 0,
        mode: 1,
        filename: None,
        value: Cell::Blob(&[7; 100]),
        note: 0,
    };
    let mut drains = 0;
    time("set", 1_000_000, |number| {
        let mut record = PendingRecord::row(Kind::Set, key(number), &row);
        let mut writing = tier.lock(None, &mut || true, &mut |_| None).expect("T is free");
        while writing.append(&mut record).is_err() {
            drop(writing);
            let batch = tier.pending(0, Limit { keys: usize::MAX, bytes: u64::MAX });
            tier.drained(&batch);
            drains += 1;
            writing = tier.lock(None, &mut || true, &mut |_| None).expect("T is free");
        }
    });
    println!("{drains} drains");
    time("get, hit", 3_000_000, |number| {
        black_box(tier.get(key(number), |view, _| view.row().map(|row| row.size)).expect("a hit"));
    });
    time("get, absent", 3_000_000, |_| {
        black_box(tier.get(Key { kind: 3, spelling: 0, bytes: b"missing" }, |_, _| ()).is_none());
    });
    Ok(())
}
