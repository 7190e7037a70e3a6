//! The named points at which a test may end the process. Without the feature `crash-points` there are none.

/// What is called at each step, with its name, until the process ends.
#[cfg(feature = "crash-points")]
static HOOK: std::sync::OnceLock<fn(&'static str)> = std::sync::OnceLock::new();

/// Has a function called at each step, so that a test can have something happen there. Only the first call counts.
#[cfg(feature = "crash-points")]
pub fn on_point(hook: fn(&'static str)) {
    let _ = HOOK.set(hook);
}

/// A step is done. With the feature: exits at the step whose number `DOLIUM_CRASH` names, counted from 1.
#[cfg(feature = "crash-points")]
pub fn point(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    static FATAL: OnceLock<Option<u64>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    if let Some(hook) = HOOK.get() {
        hook(name);
    }
    let fatal = FATAL.get_or_init(|| std::env::var("DOLIUM_CRASH").ok().and_then(|step| step.parse().ok()));
    if *fatal == Some(PASSED.fetch_add(1, Relaxed) + 1) {
        eprintln!("crashed at: {name}");
        // SAFETY: ends the process at once, without destructors: that is the point.
        unsafe { libc::_exit(77) };
    }
}

/// A step is done. Without the feature that is nothing.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_: &'static str) {}
