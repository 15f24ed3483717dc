use std::sync::Arc;

use arc_swap::{ArcSwap, Cache, Guard};

/// Settings that can be swapped while they are read. Clones share the value.
#[derive(Debug)]
pub struct Live<T>(Arc<ArcSwap<T>>);

impl<T> Live<T> {
    /// Creates a cell that holds `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// The value as it stands; wait-free. Do not hold it across an await.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<T>> {
        self.0.load()
    }

    /// The value as it stands, to keep.
    #[must_use]
    pub fn load_full(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// A reader of its own for whoever reads often: see [`Reader`].
    #[must_use]
    pub fn reader(&self) -> Reader<T> {
        Reader(Cache::new(Arc::clone(&self.0)))
    }

    /// Replaces the value.
    pub fn store(&self, value: T) {
        self.0.store(Arc::new(value));
    }

    /// Replaces the value by what `f` makes of it. `f` runs again if another writer comes between.
    pub fn update(&self, mut f: impl FnMut(&T) -> T) {
        self.0.rcu(|value| f(value));
    }
}

/// Reads a [`Live`] value for the price of one relaxed load, as long as it stays the same.
///
/// It keeps the value that it last read alive until it reads again.
#[derive(Debug)]
pub struct Reader<T>(Cache<Arc<ArcSwap<T>>, Arc<T>>);

impl<T> Reader<T> {
    /// The value as it stands.
    #[inline]
    pub fn load(&mut self) -> &Arc<T> {
        self.0.load()
    }
}

impl<T> Clone for Reader<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Default> Default for Live<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_what_is_stored() {
        let live = Live::new(1);
        let mut reader = live.reader();
        let mut twin = reader.clone();
        assert_eq!(**reader.load(), 1);
        live.store(2);
        live.update(|value| value + 1);
        assert_eq!((**reader.load(), **twin.load(), *live.load_full()), (3, 3, 3));
    }
}
