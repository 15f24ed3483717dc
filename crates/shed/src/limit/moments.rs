use super::Window;

/// Of more calls than that, the older ones count less and less.
const MEMORY: f64 = 1000.0;

/// How the times differ that calls take which wait for nothing.
///
/// The moments are averaged and not the windows' own variations: a window in which none of the rare
/// long calls happens to end would say that there are none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    calls: f64,
    mean: f64,
    square: f64,
}

impl Moments {
    pub(crate) fn learn(&mut self, window: &Window) {
        let calls = f64::from(window.calls);
        self.calls = (self.calls + calls).min(MEMORY.max(calls));
        let weight = calls / self.calls.max(1.0);
        self.mean += weight * (window.mean() - self.mean);
        self.square += weight * (window.square() - self.square);
    }

    /// The calls that it rests on.
    pub(crate) fn calls(&self) -> f64 {
        self.calls
    }

    /// The squared coefficient of variation; that of exponentially distributed times while nothing is
    /// known.
    pub(crate) fn variation(&self) -> f64 {
        let square = self.mean * self.mean;
        if square > 0.0 { (self.square / square - 1.0).max(0.0) } else { 1.0 }
    }
}
