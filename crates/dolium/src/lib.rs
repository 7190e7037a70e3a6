//! dolium
