//! The set in force, as each thread has it at hand.
//!
//! A look at a shared cell costs two atomic exchanges; a thread that remembers what it saw last asks
//! only whether that is still it. A thread keeps the sets of few engines, each until it looks again.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bartizan_core::Reader;

use super::Inner;
use crate::definition::FlagSet;

/// How many engines a thread remembers.
const MOST: usize = 4;

thread_local! {
    static NEAR: RefCell<Vec<(u64, Reader<FlagSet>)>> = const { RefCell::new(Vec::new()) };
}

/// Another number for each engine.
pub(super) fn id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Relaxed)
}

/// Looks at the set in force; `None` if this thread cannot have it at hand, as where one evaluation
/// is within another, or the thread about to end.
#[inline]
pub(super) fn look<T>(engine: &Inner, look: impl FnOnce(&FlagSet) -> T) -> Option<T> {
    let seen = NEAR.try_with(|near| {
        let near = &mut *near.try_borrow_mut().ok()?;
        let known = near.iter().position(|(id, _)| *id == engine.id);
        let at = known.unwrap_or_else(|| remember(near, engine));
        let (_, set) = near.get_mut(at)?;
        Some(look(set.load()))
    });
    seen.ok().flatten()
}

#[cold]
fn remember(near: &mut Vec<(u64, Reader<FlagSet>)>, engine: &Inner) -> usize {
    if near.len() >= MOST {
        near.remove(0);
    }
    near.push((engine.id, engine.set.reader()));
    near.len() - 1
}
