//! Tables by key.

use std::hash::{BuildHasherDefault, Hasher};

/// A key is a keyed hash already: its low half is taken as it is.
pub(crate) type ByKey = BuildHasherDefault<LowHalf>;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LowHalf(u64);

impl Hasher for LowHalf {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Keys are written whole; anything else would still be told apart, if badly.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}
