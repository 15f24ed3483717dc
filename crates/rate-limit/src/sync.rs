//! What the table is made of, so that loom can take its place.

#[cfg(all(loom, test))]
pub(crate) use self::model::{AtomicU64, Lock, Ordering};
#[cfg(not(all(loom, test)))]
pub(crate) use self::real::{AtomicU64, Lock, Ordering};

#[cfg(not(all(loom, test)))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

    /// A lock of one byte, on which waiting threads sleep.
    #[derive(Debug, Default)]
    pub(crate) struct Lock(parking_lot::Mutex<()>);

    impl Lock {
        pub(crate) fn hold<T>(&self, f: impl FnOnce() -> T) -> T {
            let _held = self.0.lock();
            f()
        }
    }
}

#[cfg(all(loom, test))]
mod model {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

    #[derive(Debug, Default)]
    pub(crate) struct Lock(loom::sync::Mutex<()>);

    impl Lock {
        pub(crate) fn hold<T>(&self, f: impl FnOnce() -> T) -> T {
            let _held = self.0.lock().unwrap();
            f()
        }
    }
}
