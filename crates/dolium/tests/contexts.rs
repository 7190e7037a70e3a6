//! Transactions and the contexts that they belong to: which is part of one, which may end it, and which outlives it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dolium::host::{Context, NO_CONTEXT, set_context_hook};
use dolium::{Cache, Error, Wait, host};

thread_local! {
    static CURRENT: Cell<u32> = const { Cell::new(0) };
}

/// Runs `f` as a context, as a host's scheduler does.
fn within<T>(context: &Context, f: impl FnOnce() -> T) -> T {
    set_context_hook(|| CURRENT.get());
    let before = CURRENT.replace(context.number());
    let result = f();
    CURRENT.set(before);
    result
}

fn open(directory: &tempfile::TempDir) -> Cache {
    Cache::builder(directory.path()).timeout(Duration::from_secs(20)).open().expect("opened")
}

fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "it did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_transaction_left_in_another_thread_ends() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    for commits in [true, false] {
        let transaction = host::transact_owned(&cache, None).unwrap();
        cache.set(i64::from(commits), 1).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| if commits { transaction.commit().unwrap() } else { transaction.rollback() });
        });
        assert!(!cache.in_transaction());
        assert_eq!(cache.contains(i64::from(commits)).unwrap(), commits);
    }
}

#[test]
fn a_thread_that_ends_inside_is_rolled_back() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    let begin = || {
        let transaction = host::transact_owned(&cache, None).unwrap();
        let inner = host::transact_owned(&cache, None).unwrap();
        cache.set("a", 1).unwrap();
        (transaction, inner)
    };
    let (transaction, inner) = std::thread::scope(|scope| scope.spawn(begin).join().unwrap());
    cache.set("b", 2).unwrap();
    assert!(!cache.contains("a").unwrap());
    assert!(matches!(inner.commit(), Err(Error::Orphaned { .. })));
    assert!(matches!(transaction.commit(), Err(Error::Orphaned { .. })));
    assert_eq!(cache.len().unwrap(), 1);
}

#[test]
fn an_orphan_ends_though_nobody_asks() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    let context = Arc::new(Context::new());
    let transaction = within(&context, || host::transact_owned(&cache, Some(Arc::clone(&context))).unwrap());
    within(&context, || cache.set("a", 1)).unwrap();
    assert!(within(&context, || cache.in_transaction()));
    context.end();
    until(|| !within(&context, || cache.in_transaction()));
    assert!(matches!(transaction.commit(), Err(Error::Orphaned { .. })));
    assert!(cache.is_empty().unwrap());
}

#[test]
fn an_orphan_ends_after_close_too() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    cache.set("b", 1).unwrap();
    let context = Arc::new(Context::new());
    let transaction = within(&context, || host::transact_owned(&cache, Some(Arc::clone(&context))).unwrap());
    within(&context, || cache.set("a", 1)).unwrap();
    std::thread::scope(|scope| scope.spawn(|| cache.close()).join().unwrap()).unwrap();
    context.end();
    until(|| !within(&context, || cache.in_transaction()));
    drop(transaction);
}

#[test]
fn neighbors_are_refused_and_read_the_state_before() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    cache.set("a", 1).unwrap();
    let (mine, other) = (Arc::new(Context::new()), Context::new());
    let transaction = within(&mine, || host::transact_owned(&cache, Some(Arc::clone(&mine))).unwrap());
    within(&mine, || cache.set("a", 2)).unwrap();
    let patient = cache.with_wait(Wait::Forever);
    let strangers = Context::new();
    assert_ne!(strangers.number(), NO_CONTEXT);
    for context in [&other, &strangers] {
        within(context, || {
            assert!(host::is_held_by_neighbor(&patient));
            assert_eq!(patient.get("a").unwrap(), Some(1.into()));
            assert_eq!(patient.len().unwrap(), 1);
            assert!(matches!(patient.set("b", 1), Err(Error::Neighbor { .. })));
            assert!(matches!(host::transact_owned(&patient, None), Err(Error::Neighbor { .. })));
            assert!(matches!(patient.clear(), Err(Error::Neighbor { .. })));
        });
    }
    let waits = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            patient.set("c", 3).unwrap();
            assert!(!waits.load(Ordering::SeqCst), "it did not wait");
        });
        std::thread::sleep(Duration::from_millis(50));
        waits.store(false, Ordering::SeqCst);
        assert!(within(&other, || transaction.commit()).unwrap());
        thread.join().unwrap();
    });
    assert_eq!(cache.get("a").unwrap(), Some(2.into()));
    within(&other, || cache.set("b", 1)).unwrap();
}

#[test]
fn a_dropped_transaction_is_undone() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    let transaction = host::transact_owned(&cache, None).unwrap();
    cache.set("a", 1).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| drop(transaction));
    });
    cache.set("b", 1).unwrap();
    assert_eq!(cache.len().unwrap(), 1);
}
