use std::time::Duration;

use bartizan_core::Timestamp;

use super::tally::{Call, Tally};
use crate::Settings;

/// How a half-open breaker finds out whether the service is well.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    stage: Stage,
    /// What has ended in this stage.
    pub(crate) tally: Tally,
}

#[derive(Debug)]
enum Stage {
    /// A few calls at once, each in a slot of its own.
    Probes { slots: Vec<Slot>, last: u64 },
    /// A share of the calls: so many are under way, and since then none has ended, nor was it but one.
    Ramp { step: usize, credit: f64, under_way: u32, since: Timestamp },
}

#[derive(Debug)]
struct Slot {
    probe: u64,
    started: Timestamp,
    deadline: Timestamp,
}

impl HalfOpen {
    pub(crate) const fn probing() -> Self {
        Self::at(Stage::Probes { slots: Vec::new(), last: 0 })
    }

    const fn at(stage: Stage) -> Self {
        Self { stage, tally: Tally { calls: 0, failures: 0, slow: 0, streak: 0 } }
    }

    /// What follows this stage if it goes well; `None` if it is the last.
    pub(crate) fn next(&self, settings: &Settings) -> Option<Self> {
        let step = match self.stage {
            Stage::Probes { .. } => 0,
            Stage::Ramp { step, .. } => step + 1,
        };
        let share = settings.ramp_share(step)?;
        // The first call is let through, so that a share of few calls still begins.
        let (credit, since) = (1.0 - share, Timestamp::default());
        Some(Self::at(Stage::Ramp { step, credit, under_way: 0, since }))
    }

    /// Admits a call under the number that [`HalfOpen::settle`] asks for.
    pub(crate) fn acquire(&mut self, settings: &Settings, now: Timestamp) -> Option<u64> {
        let ended = self.tally.calls;
        match &mut self.stage {
            Stage::Probes { slots, last } => {
                // A probe that hangs must not keep the breaker from ever finding out.
                slots.retain(|slot| now < slot.deadline);
                if slots.len() as u64 + ended >= u64::from(settings.probes()) {
                    return None;
                }
                *last += 1;
                let deadline = now.saturating_add(settings.deadline());
                slots.push(Slot { probe: *last, started: now, deadline });
                Some(*last)
            }
            Stage::Ramp { step, credit, under_way, since } => {
                // Without such a step any more, new settings have it end here; let calls judge.
                *credit += settings.ramp_share(*step).unwrap_or(1.0);
                if *credit < 1.0 {
                    return None;
                }
                *credit -= 1.0;
                // One alone may be a long one, so that it is no fault of those that join it.
                if *under_way < 2 {
                    *since = now;
                }
                *under_way += 1;
                Some(now.as_nanos())
            }
        }
    }

    /// A call ends that was admitted under `number`. `None` if its slot has been reclaimed;
    /// otherwise when it began.
    pub(crate) fn release(&mut self, number: u64, now: Timestamp) -> Option<Timestamp> {
        match &mut self.stage {
            Stage::Probes { slots, .. } => {
                let index = slots.iter().position(|slot| slot.probe == number)?;
                Some(slots.swap_remove(index).started)
            }
            Stage::Ramp { under_way, since, .. } => {
                *under_way = under_way.saturating_sub(1);
                *since = now;
                Some(Timestamp::from_nanos(number))
            }
        }
    }

    /// Whether several calls of the ramp have been under way for longer than a probe may take, and none
    /// has ended: a service that hangs would never be judged.
    pub(crate) fn is_stuck(&self, settings: &Settings, now: Timestamp) -> bool {
        let Stage::Ramp { under_way, since, .. } = self.stage else { return false };
        under_way > 1 && now.saturating_since(since) > settings.deadline()
    }

    pub(crate) const fn record(&mut self, call: Call) {
        self.tally.calls += 1;
        self.tally.failures += call.failed as u64;
        self.tally.slow += call.slow as u64;
    }

    /// Whether enough calls have ended to judge.
    pub(crate) fn is_complete(&self, settings: &Settings) -> bool {
        let wanted = match self.stage {
            Stage::Probes { .. } => settings.probes(),
            Stage::Ramp { step, .. } if settings.ramp_share(step).is_none() => 0,
            Stage::Ramp { .. } => settings.ramp_step_calls(),
        };
        self.tally.calls >= u64::from(wanted)
    }

    /// Until when no call can be admitted, unless one ends before; `None` if one can be now.
    pub(crate) fn full_until(&self, settings: &Settings) -> Option<Timestamp> {
        match &self.stage {
            Stage::Probes { slots, .. } => {
                let taken = slots.len() as u64 + self.tally.calls;
                let soonest = slots.iter().map(|slot| slot.deadline).min();
                soonest.filter(|_| taken >= u64::from(settings.probes()))
            }
            Stage::Ramp { .. } => None,
        }
    }
}

/// How long a call took, as far as that makes it slow.
pub(crate) fn is_slow(started: Timestamp, now: Timestamp, limit: u64) -> bool {
    limit > 0 && now.saturating_since(started) > Duration::from_nanos(limit)
}
