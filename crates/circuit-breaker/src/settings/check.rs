use bartizan_core::ConfigError;

use super::Settings;
use crate::state::Window;

/// Probes are searched one by one.
const MAX_PROBES: u32 = 1024;
const MAX_RAMP: usize = 8;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Settings {
    /// Reads what an operator sends.
    pub(crate) fn from_json(json: serde_json::Value) -> Result<Self, ConfigError> {
        serde_json::from_value(json).map_err(|error| {
            let fix = "see `bartizan_circuit_breaker::Settings`";
            ConfigError::new("circuit_breaker", error.to_string(), fix)
        })
    }

    /// Checks that the settings can be lived by.
    pub(crate) fn validated(self) -> Result<Self, ConfigError> {
        self.check_window()?;
        self.check_rules()?;
        self.check_recovery()?;
        Ok(self)
    }

    fn check_window(&self) -> Result<(), ConfigError> {
        let calls = u64::from(self.window);
        ensure(
            (1..=Window::MAX_CALLS).contains(&calls),
            ("window", "not from 1 to 262144", "use 100 if in doubt"),
        )?;
        ensure(
            self.window_ms.is_none_or(|millis| (10..=DAY_MS).contains(&millis)),
            ("window_ms", "not from 10 ms to a day", "use 10000 if in doubt"),
        )?;
        let most = if self.window_ms.is_some() { u32::MAX } else { self.window };
        ensure(
            (1..=most).contains(&self.minimum_calls),
            (
                "minimum_calls",
                "not from 1 to `window`: no share would ever be judged",
                "lower it, or widen the window",
            ),
        )
    }

    fn check_rules(&self) -> Result<(), ConfigError> {
        ensure(
            self.failure_rate.is_none_or(is_share),
            ("failure_rate", "not above 0 and up to 1", "use 0.5 for one half"),
        )?;
        ensure(
            self.slow_call_ms.is_none_or(|millis| (1..=DAY_MS).contains(&millis)),
            ("slow_call_ms", "not from 1 ms to a day", "use null for no limit"),
        )?;
        ensure(
            is_share(self.slow_rate),
            ("slow_rate", "not above 0 and up to 1", "use 0.5 for one half"),
        )?;
        ensure(
            !self.slow_when_abandoned || self.slow_call_ms.is_some(),
            ("slow_when_abandoned", "no call is ever slow", "set `slow_call_ms` too"),
        )?;
        ensure(
            self.consecutive_failures != Some(0),
            ("consecutive_failures", "open before any failure", "use null for no limit"),
        )?;
        ensure(
            self.failure_rate.is_some()
                || self.slow_call_ms.is_some()
                || self.consecutive_failures.is_some(),
            (
                "failure_rate",
                "off like every other rule: the breaker could never open",
                "set it, `slow_call_ms` or `consecutive_failures`",
            ),
        )
    }

    fn check_recovery(&self) -> Result<(), ConfigError> {
        ensure(
            (1..=DAY_MS).contains(&self.open_wait_ms),
            ("open_wait_ms", "not from 1 ms to a day", "use 5000 if in doubt"),
        )?;
        ensure(
            (self.open_wait_ms..=DAY_MS).contains(&self.max_open_wait_ms),
            ("max_open_wait_ms", "not from `open_wait_ms` to a day", "raise or lower it"),
        )?;
        ensure(
            (0.0..=1.0).contains(&self.open_jitter),
            ("open_jitter", "not from 0 to 1", "use 0.1 for up to a tenth"),
        )?;
        ensure(
            (1..=MAX_PROBES).contains(&self.half_open_probes),
            ("half_open_probes", "not from 1 to 1024", "use 1 if in doubt"),
        )?;
        ensure(
            (1..=DAY_MS).contains(&self.probe_deadline_ms),
            ("probe_deadline_ms", "not from 1 ms to a day", "use 30000 if in doubt"),
        )?;
        let grows = self.ramp.is_sorted_by(|share, next| share < next);
        let shares = self.ramp.iter().all(|&share| share > 0.0 && share < 1.0);
        ensure(
            grows && shares && self.ramp.len() <= MAX_RAMP,
            ("ramp", "not up to 8 growing shares between 0 and 1", "use [0.01, 0.05, 0.25, 0.5]"),
        )?;
        ensure(
            self.ramp_calls > 0,
            ("ramp_calls", "a step that no call judges", "use 20 if in doubt"),
        )
    }
}

/// Written so that what is not a number is none.
fn is_share(share: f64) -> bool {
    share > 0.0 && share <= 1.0
}

fn ensure(
    holds: bool,
    (field, problem, fix): (&'static str, &'static str, &'static str),
) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::new(field, problem, fix)) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn errors_name_the_field() {
        let named = |settings: Settings, field: &str| {
            let error = settings.validated().unwrap_err();
            assert_eq!(error.field(), field, "{error}");
        };
        let fine = Settings::default;
        let (zero, second) = (Duration::ZERO, Duration::from_secs(1));
        let day = Duration::from_secs(86_400);
        named(fine().window(0, 1), "window");
        named(fine().window(262_145, 1), "window");
        named(fine().window(10, 11), "minimum_calls");
        named(fine().window(10, 0), "minimum_calls");
        named(fine().window_time(second, 0), "minimum_calls");
        named(fine().window_time(Duration::from_millis(9), 1), "window_ms");
        named(fine().window_time(day * 2, 1), "window_ms");
        named(fine().failure_rate(f64::NAN), "failure_rate");
        named(fine().failure_rate(0.0), "failure_rate");
        named(fine().failure_rate(None), "failure_rate");
        named(fine().slow_calls(zero, 0.5), "slow_call_ms");
        named(fine().slow_calls(second, 1.5), "slow_rate");
        named(fine().slow_when_abandoned(true), "slow_when_abandoned");
        named(fine().consecutive_failures(0), "consecutive_failures");
        named(fine().open_wait(zero, zero), "open_wait_ms");
        named(fine().open_wait(second * 2, second), "max_open_wait_ms");
        named(fine().open_wait(second, day * 2), "max_open_wait_ms");
        named(fine().open_jitter(f64::NAN), "open_jitter");
        named(fine().open_jitter(-0.1), "open_jitter");
        named(fine().half_open_probes(0), "half_open_probes");
        named(fine().probe_deadline(zero), "probe_deadline_ms");
        named(fine().ramp([0.5, 0.1], 1), "ramp");
        named(fine().ramp([0.5, f64::NAN], 1), "ramp");
        named(fine().ramp([0.0], 1), "ramp");
        named(fine().ramp([1.0], 1), "ramp");
        named(fine().ramp([0.1], 0), "ramp_calls");
    }

    #[test]
    fn what_a_rule_needs_is_enough() {
        let rules = [
            Settings::default().failure_rate(None).consecutive_failures(5),
            Settings::default().failure_rate(None).slow_calls(Duration::from_millis(1), 1.0),
            Settings::default().window_time(Duration::from_secs(10), 1_000),
            Settings::default().ramp([0.01, 0.05, 0.25, 0.5], 10),
        ];
        assert!(rules.into_iter().all(|settings| settings.validated().is_ok()));
    }

    #[test]
    fn settings_are_read_back_from_their_json() {
        let settings = Settings::default()
            .window_time(Duration::from_secs(10), 5)
            .slow_calls(Duration::from_millis(100), 0.3)
            .consecutive_failures(7)
            .ramp([0.25], 3)
            .forced(crate::Forced::Open);
        let json = serde_json::to_value(&settings).unwrap();
        assert_eq!(json["forced"], "open");
        assert_eq!(serde_json::from_value::<Settings>(json).unwrap(), settings);
    }
}
