use fastrand::Rng;

/// One second, in nanoseconds.
pub(crate) const SECOND: u64 = 1_000_000_000;
/// The mean time that a call takes a worker, in seconds.
pub(crate) const MEAN: f64 = 0.010;
/// Callers wait this long, in nanoseconds: what comes later is worth nothing.
pub(crate) const DEADLINE: u64 = SECOND / 4;

/// How the times differ that calls take. The mean is 10 ms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "benches name them")]
pub enum Spread {
    /// One in ten takes 82 ms, the others 2 ms.
    Bimodal,
    /// Not at all.
    Constant,
    /// Exponentially distributed.
    Exponential,
}

impl Spread {
    /// A time in nanoseconds.
    pub(crate) fn draw(self, rng: &mut Rng) -> u64 {
        let seconds = match self {
            Self::Bimodal => {
                if rng.f64() < 0.1 {
                    0.082
                } else {
                    0.002
                }
            }
            Self::Constant => MEAN,
            Self::Exponential => MEAN * exponential(rng),
        };
        (seconds * SECOND as f64) as u64
    }

    /// The 99th percentile in milliseconds: that of calls to an idle server.
    #[must_use]
    pub fn p99(self) -> f64 {
        match self {
            Self::Bimodal => 82.0,
            Self::Constant => 10.0,
            Self::Exponential => 46.05,
        }
    }
}

/// Exponentially distributed, of mean 1.
pub(crate) fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

/// What a server does with more calls than it has workers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "benches name them")]
pub enum Discipline {
    /// Each waits for a worker, in order of arrival.
    Queue,
    /// All share the workers, and beyond twice as many calls as workers, work is lost to the
    /// sharing: what gets done falls in proportion.
    Thrash,
}

/// What happens in the course of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "benches name them")]
pub enum Story {
    /// From second 20 to second 40 there is half the number of workers.
    Halved,
    /// Three times the capacity is offered from second 20 to second 25.
    Spike,
    /// Nothing.
    Steady,
    /// Half the capacity is offered until second 20.
    Step,
}

/// Who sends the requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "benches name them")]
pub enum Mix {
    /// One kind.
    One,
    /// A tenth of group 0, three tenths each of groups 1, 2 and 3.
    Priorities,
    /// Group 1 sends twenty times what group 0 sends.
    Tenants,
}

impl Mix {
    pub(crate) fn draw(self, rng: &mut Rng) -> u8 {
        match self {
            Self::One => 0,
            Self::Priorities => match rng.u8(..10) {
                0 => 0,
                1..4 => 1,
                4..7 => 2,
                _ => 3,
            },
            Self::Tenants => u8::from(rng.u8(..21) > 0),
        }
    }
}

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "benches name what differs from the default")]
pub struct Plan {
    /// The number of workers.
    pub workers: u32,
    /// How the times differ that calls take.
    pub spread: Spread,
    /// What the server does with too many calls.
    pub discipline: Discipline,
    /// What is offered, in times the capacity.
    pub load: f64,
    /// Whether callers who leave take their call along, so that no more work is done for it.
    pub cancel: bool,
    /// How often callers try again at once.
    pub retries: u8,
    /// What happens.
    pub story: Story,
    /// Who sends.
    pub mix: Mix,
    /// When measuring begins, in seconds.
    pub from: u64,
    /// When the run ends.
    pub to: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            workers: 16,
            spread: Spread::Exponential,
            discipline: Discipline::Queue,
            load: 1.0,
            cancel: false,
            retries: 0,
            story: Story::Steady,
            mix: Mix::One,
            from: 10,
            to: 40,
        }
    }
}

impl Plan {
    /// The number of workers at a time in nanoseconds.
    pub(crate) fn workers_at(&self, time: u64) -> u32 {
        let is_halved = (20 * SECOND..40 * SECOND).contains(&time);
        if self.story == Story::Halved && is_halved { self.workers / 2 } else { self.workers }
    }

    /// What is offered at a time in nanoseconds, in calls per second.
    pub(crate) fn rate_at(&self, time: u64) -> f64 {
        let load = match self.story {
            Story::Spike if (20 * SECOND..25 * SECOND).contains(&time) => 3.0,
            Story::Step if time < 20 * SECOND => 0.5,
            _ => self.load,
        };
        load * f64::from(self.workers) / MEAN
    }
}
