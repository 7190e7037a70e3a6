//! Which pickles a store loads.

/// Which pickles may be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// All.
    All,
    /// Our own, and plain data.
    Signed,
    /// Plain data only.
    Nothing,
}
