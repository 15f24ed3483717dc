//! The flags of the request that this thread works on.

use std::cell::RefCell;
use std::mem;

use crate::RequestFlags;

thread_local! {
    static CURRENT: RefCell<Option<RequestFlags>> = const { RefCell::new(None) };
}

/// Looks at the flags of the request that is worked on, if there is one.
pub(crate) fn look<T>(look: impl FnOnce(&RequestFlags) -> T) -> Option<T> {
    // A thread that is about to end has none.
    CURRENT.try_with(|current| current.try_borrow().ok()?.as_ref().map(look)).ok().flatten()
}

/// A request's flags, which are this thread's own while it works on that request. They are moved
/// there and back: neither is counted or copied. What is left of them in the end is kept for requests
/// to come.
#[derive(Debug)]
pub(crate) struct Slot(Option<RequestFlags>);

impl Slot {
    pub(crate) const fn new(flags: RequestFlags) -> Self {
        Self(Some(flags))
    }

    /// Works on the request.
    #[inline]
    pub(crate) fn enter<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.swap();
        // Also if the work panics.
        let back = Back(self);
        let result = work();
        drop(back);
        result
    }

    fn swap(&mut self) {
        // It cannot be borrowed: whoever looks at it does nothing else meanwhile.
        let _ = CURRENT.try_with(|current| {
            if let Ok(mut current) = current.try_borrow_mut() {
                mem::swap(&mut *current, &mut self.0);
            }
        });
    }
}

struct Back<'a>(&'a mut Slot);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        self.0.swap();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(flags) = self.0.take() {
            flags.recycle();
        }
    }
}
