use super::{Bounds, Limit, Sample};

/// A limit that somebody knows.
///
/// Best where it is right: about 1.4 times what the service works on at once. It does not follow a
/// service that changes.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    wanted: u32,
    limit: u32,
}

impl Fixed {
    /// Creates the limit.
    #[must_use]
    pub const fn new(limit: u32) -> Self {
        Self { wanted: limit, limit }
    }
}

impl Limit for Fixed {
    fn record(&mut self, _: &Sample) {}

    fn limit(&self) -> u32 {
        self.limit
    }

    fn bound(&mut self, bounds: Bounds) {
        self.limit = bounds.clamp(self.wanted.into()) as u32;
    }
}
