//! Where things are in `cache.hot`: the header, the parts behind it, and their mapping into memory.

pub(crate) mod geometry;
pub(crate) mod header;
pub(crate) mod map;
