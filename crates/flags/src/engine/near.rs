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

/// Looks at the set in force.
#[inline]
pub(super) fn look<T>(engine: &Inner, look: impl FnOnce(&FlagSet) -> T) -> T {
    let mut look = Some(look);
    let seen = NEAR.try_with(|near| {
        // It is borrowed while one evaluation is within another, as in what a flag sets.
        let near = &mut *near.try_borrow_mut().ok()?;
        let at = match near.iter().position(|(id, _)| *id == engine.id) {
            Some(at) => at,
            None => remember(near, engine),
        };
        let (_, set) = near.get_mut(at)?;
        let set = set.load();
        look.take().map(|look| look(set))
    });
    match (seen.ok().flatten(), look) {
        (Some(seen), _) => seen,
        (None, Some(look)) => look(&engine.set.load()),
        (None, None) => unreachable!("what has looked has seen"),
    }
}

#[cold]
fn remember(near: &mut Vec<(u64, Reader<FlagSet>)>, engine: &Inner) -> usize {
    if near.len() >= MOST {
        near.remove(0);
    }
    near.push((engine.id, engine.set.reader()));
    near.len() - 1
}
