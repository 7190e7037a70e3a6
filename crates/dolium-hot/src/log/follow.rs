//! Owns reading the log forward: what has changed since a process looked last.

use std::sync::atomic::Ordering::Acquire;

use super::atomic::Atomic;
use super::memory::Memory;
use super::record::View;
use super::scratch::Scratch;
use crate::layout::header::field;

impl<A: Atomic> Memory<'_, A> {
    /// Shows `f` the changes from an offset on, oldest first and without fills, and returns where the log ends. Takes no
    /// lock. Returns `None` if the log has lost some of them, or has more than `most` units of them; then what `f` was
    /// shown does not count.
    pub fn follow(
        &self,
        from: u64,
        most: u64,
        scratch: &mut Scratch,
        mut f: impl FnMut(View<'_>),
    ) -> Option<u64> {
        let head = self.bounds()?.head;
        if self.field(field::TAIL).load(Acquire) > from || head.checked_sub(from)? > most {
            return None;
        }
        let mut at = from;
        while let Some((view, next)) = self.next(at, head, scratch) {
            match view {
                Some(view) if !view.kind().is_fill() => f(view),
                Some(_) => {}
                // The end of the ring, or damage.
                None if self.geometry.within(next) == 0 => {}
                None => return None,
            }
            at = next;
        }
        A::fence(Acquire);
        // As in `snatch`: a tail at or below means that no byte was used again before it was copied.
        (self.field(field::TAIL).load(Acquire) <= from).then_some(at)
    }
}
