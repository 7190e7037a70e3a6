//! What the hot tier forgets before a commit that changes rows past it.

use crate::value::key::Key;

/// Changed keys above which the hot tier forgets all it knows rather than each. Each takes a tenth of a microsecond, while
/// others wait; what a tier of the usual size knows is not more.
const MANY: usize = 1 << 17;

/// The hot tier forgets keys, or with `None` all that is clean.
pub(crate) fn forget(writing: &mut dolium_hot::Writing, changed: Option<Vec<Key<'static>>>) {
    match changed.filter(|keys| keys.len() <= MANY) {
        Some(keys) => keys.iter().for_each(|key| key.with_hot(|key| writing.forget(key))),
        None => writing.forget_clean(),
    }
}

/// Does the same where the tier may know more than the database of any key. Returns `false` if it does of one of these.
pub(crate) fn forget_unless_dirty(
    writing: &mut dolium_hot::Writing,
    tier: &dolium_hot::Tier,
    changed: Option<Vec<Key<'static>>>,
) -> bool {
    match changed {
        Some(keys) => keys.iter().all(|key| key.with_hot(|key| writing.evict(key))),
        None if tier.is_dirty() => false,
        None => {
            writing.forget_clean();
            true
        }
    }
}
