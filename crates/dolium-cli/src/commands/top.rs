//! The command `top`: what all processes together do with a cache, look after look. On a terminal a screen that is drawn
//! again and listens to keys, elsewhere a line per look.

use std::time::{Duration, Instant};

use dolium::{Cache, Counter, HotTierStatus, Scalar, TierStats};
use serde_json::{Value as Json, json};

use crate::args::Top;
use crate::help::COLUMNS;
use crate::keyboard::Keyboard;
use crate::open::{Access, AnyCache};
use crate::outcome::{Outcome, Result};
use crate::output::Output;
use crate::{human, interrupt, json};

use super::info::limit_text;

/// What is shown as a rate.
const RATES: [Counter; 8] = [
    Counter::Hits,
    Counter::Misses,
    Counter::Sets,
    Counter::Deletes,
    Counter::Fills,
    Counter::Evictions,
    Counter::Direct,
    Counter::Drained,
];

/// The last line of a screen.
const KEYS: &str = "q leaves, ? explains";

/// Lines of a table after which its head is repeated.
const PAGE: usize = 20;

/// Moves the cursor to the corner and clears the screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) fn act(args: Top, timeout: Duration) -> Result<Outcome> {
    let store = AnyCache::open(&args.cache.resolve()?, Access::Look, timeout)?;
    let mut output = Output::new();
    let is_screen = output.is_terminal && !args.json;
    // Elsewhere a signal ends the program at once, as it ends any other in a pipe.
    let keyboard = is_screen.then(Keyboard::new);
    let mut before = Look::at(&store)?;
    let mut looks = 0;
    while args.count.is_none_or(|count| looks < count) {
        match &keyboard {
            None => std::thread::sleep(args.interval),
            Some(keyboard) if leaves(keyboard, args.interval, &mut output)? => break,
            Some(_) => {}
        }
        let now = Look::at(&store)?;
        let change = Change { seconds: (now.time - before.time).as_secs_f64(), before: &before, now: &now };
        if args.json {
            output.json(&change.json())?;
        } else if is_screen {
            change.draw(&store, &mut output)?;
        } else {
            change.print(looks, &mut output)?;
        }
        output.show()?;
        before = now;
        looks += 1;
    }
    store.close()?;
    Ok(Outcome::Done)
}

/// Waits until the next look is due. Returns whether the user leaves before.
fn leaves(keyboard: &Keyboard, interval: Duration, output: &mut Output) -> Result<bool> {
    let end = Instant::now() + interval;
    loop {
        match keyboard.wait(end.saturating_duration_since(Instant::now())) {
            Some(b'q' | b'Q') => return Ok(true),
            Some(b'?' | b'h') => {
                output.line(&format!("{CLEAR}{COLUMNS}\n\nany key goes back"))?;
                output.show()?;
                return Ok(
                    matches!(keyboard.wait(Duration::MAX), Some(b'q' | b'Q')) || interrupt::is_wanted()
                );
            }
            Some(_) => {}
            None => return Ok(interrupt::is_wanted()),
        }
    }
}

/// A cache at a moment.
struct Look {
    time: Instant,
    entries: usize,
    volume: u64,
    limit: Option<u64>,
    policy: Option<String>,
    tier: HotTierStatus,
}

impl Look {
    fn at(store: &AnyCache) -> Result<Self> {
        Ok(Self {
            time: Instant::now(),
            entries: store.sum(Cache::len)?,
            volume: store.sum(Cache::volume)?,
            limit: store.size_limit()?,
            policy: store.setting("eviction_policy")?.as_ref().and_then(Scalar::as_text).map(str::to_owned),
            tier: store.hot_tier()?,
        })
    }

    /// Zero without a tier.
    fn counted(&self, counter: Counter) -> u64 {
        self.tier.stats.as_ref().map_or(0, |stats| stats.counted(counter))
    }
}

/// What happened between two looks.
struct Change<'a> {
    seconds: f64,
    before: &'a Look,
    now: &'a Look,
}

#[expect(clippy::cast_precision_loss, reason = "rates and means")]
impl Change<'_> {
    /// A tier that was made since counts from 0.
    fn count(&self, counter: Counter) -> u64 {
        let (before, now) = (self.before.counted(counter), self.now.counted(counter));
        now.checked_sub(before).unwrap_or(now)
    }

    fn per_second(&self, counter: Counter) -> f64 {
        self.count(counter) as f64 / self.seconds
    }

    /// Milliseconds that a commit of a drain took.
    fn drain_time(&self) -> Option<f64> {
        let drains = self.count(Counter::Drains);
        (drains > 0).then(|| self.count(Counter::DrainTime) as f64 / 1000.0 / drains as f64)
    }

    fn hit_ratio(&self) -> Option<f64> {
        let (hits, misses) = (self.count(Counter::Hits), self.count(Counter::Misses));
        (hits + misses > 0).then(|| 100.0 * hits as f64 / (hits + misses) as f64)
    }

    fn dirty_bytes(&self) -> u64 {
        self.now.tier.stats.as_ref().map_or(0, |stats| stats.dirty_bytes)
    }

    fn json(&self) -> Json {
        let rates: serde_json::Map<String, Json> = RATES
            .iter()
            .map(|counter| (counter.name().to_owned(), json!(self.per_second(*counter))))
            .collect();
        json!({
            "seconds": self.seconds,
            "entries": self.now.entries,
            "volume": self.now.volume,
            "size_limit": self.now.limit,
            "eviction_policy": self.now.policy,
            "per_second": rates,
            "drain_milliseconds": self.drain_time(),
            "hot_tier": json::hot_tier(&self.now.tier),
        })
    }

    fn print(&self, looks: usize, output: &mut Output) -> Result<()> {
        if looks.is_multiple_of(PAGE) {
            let names: Vec<String> = RATES.iter().map(|counter| format!("{}/s", counter.name())).collect();
            let head = columns(names.iter().map(String::as_str));
            output.line(&format!(
                "{head}{:>10}{:>12}{:>10}{:>10}",
                "drain ms", "dirty", "entries", "processes"
            ))?;
        }
        let rates: Vec<String> = RATES.iter().map(|counter| rate(self.per_second(*counter))).collect();
        let drain = self.drain_time().map_or_else(|| "-".to_owned(), |time| format!("{time:.1}"));
        let (dirty, entries) = (human::size(self.dirty_bytes()), human::count(self.now.entries));
        let line = columns(rates.iter().map(String::as_str));
        output.line(&format!("{line}{drain:>10}{dirty:>12}{entries:>10}{:>10}", self.now.tier.processes))
    }

    fn draw(&self, store: &AnyCache, output: &mut Output) -> Result<()> {
        output.line(&format!("{CLEAR}{}", store.directory().display()))?;
        output.line("")?;
        let entries = human::count(self.now.entries);
        output.field("entries", &format!("{entries}, {}", human::size(self.now.volume)))?;
        output.field("limit", &limit_text(self.now.limit, self.now.volume))?;
        if let Some(policy) = &self.now.policy {
            output.field("policy", policy)?;
        }
        output.field("processes", &self.now.tier.processes.to_string())?;
        match &self.now.tier.stats {
            Ok(stats) => self.draw_tier(stats, output)?,
            Err(why) => output.field("hot tier", &format!("none: {why}"))?,
        }
        output.line("")?;
        output.line(KEYS)
    }

    fn draw_tier(&self, stats: &TierStats, output: &mut Output) -> Result<()> {
        let keys = human::count(stats.keys);
        let (size, reason) = (human::size(stats.capacity), self.now.tier.size_reason());
        output.field("hot tier", &format!("{size} ({reason}), {keys} keys"))?;
        output.field("dirty", &human::size(stats.dirty_bytes))?;
        let none = || "-".to_owned();
        output.field("hit ratio", &self.hit_ratio().map_or_else(none, |ratio| format!("{ratio:.1} %")))?;
        output.field("a drain", &self.drain_time().map_or_else(none, |time| format!("{time:.1} ms")))?;
        let refused = stats.counted(Counter::Refused);
        if refused > 0 {
            output.field("lost", &format!("{} entries that the database refused", human::count(refused)))?;
        }
        output.line("")?;
        output.line(&format!("{:<14}{:>14}{:>18}", "", "per second", "in all"))?;
        for counter in RATES {
            let all = human::count(stats.counted(counter));
            output.line(&format!("{:<14}{:>14}{all:>18}", counter.name(), rate(self.per_second(counter))))?;
        }
        Ok(())
    }
}

fn columns<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    cells.fold(String::new(), |line, cell| format!("{line}{cell:>13}"))
}

fn rate(per_second: f64) -> String {
    human::count(format_args!("{per_second:.0}"))
}
