use std::time::Duration;

use bartizan_core::{Outcome, Timestamp};

use super::window::Window;
use crate::Settings;

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum State {
    /// Calls pass, and are judged.
    Closed,
    /// A few calls pass, as probes; all others are refused.
    HalfOpen,
    /// Every call is refused until the wait is over.
    Open,
}

/// Ties an admitted call to the period it was admitted in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    generation: u64,
    /// Unused in a closed breaker.
    probe: u64,
}

impl Token {
    /// A token for a call that a closed breaker of that generation admits.
    pub(crate) const fn closed(generation: u64) -> Self {
        Self { generation, probe: 0 }
    }

    pub(crate) const fn generation(self) -> u64 {
        self.generation
    }
}

/// Decides by outcomes which calls pass. Pure: it is told the time.
#[derive(Debug)]
pub(crate) struct Machine {
    settings: Settings,
    phase: Phase,
    /// Counts the transitions, so that late outcomes are known as such.
    generation: u64,
    window: Window,
    /// How long the breaker opens the next time that probes fail.
    wait: Duration,
    next_probe: u64,
}

#[derive(Debug)]
enum Phase {
    Closed,
    HalfOpen { probes: Vec<Probe>, ended: u32, failed: u32 },
    Open { until: Timestamp },
}

#[derive(Debug)]
struct Probe {
    id: u64,
    deadline: Timestamp,
}

impl Machine {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::Closed,
            generation: 0,
            window: Window::new(settings.window_len()),
            wait: settings.wait(),
            next_probe: 0,
        }
    }

    pub(crate) const fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::HalfOpen { .. } => State::HalfOpen,
            Phase::Open { .. } => State::Open,
        }
    }

    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Replaces the settings and keeps state and window.
    pub(crate) fn apply(&mut self, settings: Settings, now: Timestamp) {
        self.window.resize(settings.window_len());
        self.wait = match self.phase {
            Phase::Closed => settings.wait(),
            _ => self.wait.clamp(settings.wait(), settings.max_wait()),
        };
        self.settings = settings;
        // With fewer probes wanted, those that ended may be enough.
        self.judge_probes(now);
    }

    /// Admits a call, or says how long to wait.
    pub(crate) fn acquire(&mut self, now: Timestamp) -> Result<Token, Duration> {
        if let Phase::Open { until } = self.phase {
            if now < until {
                return Err(until.saturating_since(now));
            }
            // ## Open => Half-open
            // The wait is over and a call is there to probe with.
            self.enter(Phase::HalfOpen { probes: Vec::new(), ended: 0, failed: 0 });
        }
        let generation = self.generation;
        let Phase::HalfOpen { probes, ended, .. } = &mut self.phase else {
            return Ok(Token::closed(generation));
        };
        // A probe that hangs must not keep the breaker from ever finding out.
        probes.retain(|probe| now < probe.deadline);
        let taken = probes.len().saturating_add(*ended as usize);
        if taken >= self.settings.probes() as usize {
            let soonest = probes.iter().map(|probe| probe.deadline).min().unwrap_or(now);
            return Err(soonest.saturating_since(now).min(self.settings.wait()));
        }
        self.next_probe = self.next_probe.wrapping_add(1);
        let deadline = now.saturating_add(self.settings.deadline());
        probes.push(Probe { id: self.next_probe, deadline });
        Ok(Token { generation, probe: self.next_probe })
    }

    /// Takes note of how a call ended.
    pub(crate) fn settle(&mut self, token: Token, outcome: Outcome, now: Timestamp) {
        // The call is from another period: it says nothing about this one.
        if token.generation != self.generation {
            return;
        }
        let failure = match outcome {
            Outcome::Failure => Some(true),
            Outcome::Success => Some(false),
            _ => None,
        };
        match &mut self.phase {
            Phase::Closed => {
                let Some(failure) = failure else { return };
                self.window.record(failure);
                let (failures, calls) = (self.window.failures(), self.window.len());
                if calls >= self.settings.minimum() && self.is_too_much(failures, calls) {
                    // ## Closed => Open
                    // Too many of the last calls failed.
                    self.wait = self.settings.wait();
                    self.enter(Phase::Open { until: now.saturating_add(self.wait) });
                }
            }
            Phase::HalfOpen { probes, ended, failed } => {
                let Some(index) = probes.iter().position(|probe| probe.id == token.probe) else {
                    return; // Reclaimed meanwhile: another probe has its slot.
                };
                probes.swap_remove(index);
                let Some(failure) = failure else { return };
                *ended = ended.saturating_add(1);
                *failed = failed.saturating_add(u32::from(failure));
                self.judge_probes(now);
            }
            Phase::Open { .. } => {}
        }
    }

    /// Decides, once enough probes have ended.
    fn judge_probes(&mut self, now: Timestamp) {
        let Phase::HalfOpen { ended, failed, .. } = self.phase else { return };
        if ended < self.settings.probes() {
            return;
        }
        if self.is_too_much(failed as usize, ended as usize) {
            // ## Half-open => Open
            // The service is still ill: leave it alone for longer.
            self.wait = self.wait.saturating_mul(2).min(self.settings.max_wait());
            self.enter(Phase::Open { until: now.saturating_add(self.wait) });
        } else {
            // ## Half-open => Closed
            // The service is well. What came before is no longer held against it.
            self.wait = self.settings.wait();
            self.enter(Phase::Closed);
        }
    }

    fn is_too_much(&self, failures: usize, calls: usize) -> bool {
        // Above all a healthy service must not pay for a division with each call.
        if failures == 0 {
            return false;
        }
        // A quotient is rounded as the setting was: 55 of 100 are 0.55, but 0.55 * 100 is above 55.
        failures as f64 / calls as f64 >= self.settings.rate()
    }

    fn enter(&mut self, phase: Phase) {
        self.window.clear();
        self.phase = phase;
        self.generation = self.generation.wrapping_add(1);
    }
}

#[cfg(test)]
#[path = "scenarios.rs"]
mod scenarios;
