//! The threads that wait for one flight: a few are woken when it ends, and each one that leaves wakes the next.

use dolium::host::{Asked, Ended, Joined, Space, Waiter};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const WAITERS: u32 = 60;

fn waiter(space: u64) -> Waiter {
    match Space::of_process(space).join(b"key", Asked::new()) {
        Joined::Waiter(waiter) => waiter,
        other => panic!("{other:?} in place of a waiter"),
    }
}

/// How long it takes until each of many waiters has been told, of which the first ones to be told do what `hold` says.
fn told(holding: u32) -> Duration {
    let space = Space::new_id();
    let Joined::Owner(flight) = Space::of_process(space).join(b"key", Asked::new()) else {
        panic!("the first caller computes");
    };
    let (send, receive) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    std::thread::scope(|scope| {
        for _ in 0..WAITERS {
            let (send, held) = (send.clone(), &held);
            scope.spawn(move || {
                let waiter = waiter(space);
                send.send(0).expect("heard");
                let ended = waiter.wait(None, None).expect("not interrupted");
                assert!(matches!(ended, Some(Ended::Kept)));
                // `send` counts, so the first ones are those that are told first.
                send.send(1).expect("heard");
                if holding > 0 {
                    let _ = held.lock().expect("whole").recv();
                }
                drop(waiter);
            });
        }
        for _ in 0..WAITERS {
            assert_eq!(receive.recv(), Ok(0));
        }
        std::thread::sleep(Duration::from_millis(100));
        let start = Instant::now();
        flight.end(Ended::Kept);
        for _ in 0..WAITERS {
            assert_eq!(receive.recv_timeout(Duration::from_secs(30)), Ok(1));
        }
        let took = start.elapsed();
        drop(release);
        took
    })
}

/// Each of them looks again after a quarter of a second, which would be the time without a chain.
#[test]
fn each_waiter_that_leaves_wakes_the_next() {
    let best = (0..10).map(|_| told(0)).min().expect("several");
    assert!(best < Duration::from_millis(120), "{best:?}");
}

/// Here every waiter that is told stays, so none wakes another.
#[test]
fn waiters_are_told_though_none_that_was_woken_leaves() {
    let took = told(1);
    assert!(took < Duration::from_secs(20), "{took:?}");
}
