use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bartizan_core::{Clock, ConfigError, Engine, Key, Live, Mode, Snapshot, Switch, Timestamp};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use http::HeaderValue;
use serde_json::Value;

use crate::clock::{Instant, SharedOrigin};
use crate::fields::{self, Left};
use crate::observe::{self, Figures, Verdict};
use crate::state::Table;
use crate::{Quota, Settings};

/// Counts requests by key and says which are too many. Clones share all counts.
///
/// Give [`named`](Self::named), [`clock`](Self::clock), [`max_keys`](Self::max_keys) and
/// [`mode`](Self::mode) first, before anything is checked or cloned: each starts the limiter anew.
#[derive(Clone)]
pub struct RateLimiter(Arc<Inner>);

struct Inner {
    name: String,
    /// The name as response fields have it.
    quoted_name: String,
    clock: Clock,
    /// What the times in the table count from.
    origin: Timestamp,
    table: Table,
    active: Live<Active>,
    figures: Figures,
    switch: Switch,
    /// When the table may be swept next, in nanoseconds since the origin.
    next_sweep: AtomicU64,
}

/// What follows from the settings.
struct Active {
    settings: Settings,
    limiter: governor::RateLimiter<Key, Table, SharedOrigin, StateInformationMiddleware>,
    policy: HeaderValue,
}

/// What a limiter says about one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// Whether the request is within the quota.
    pub allowed: bool,
    /// How many more requests the key may make at once.
    pub remaining: u32,
    /// When the key's next request can be allowed, if this one is not.
    pub retry_after: Option<Duration>,
    /// When the key has its full burst back if it makes no request: rounded up to a whole interval
    /// of the quota if this one is allowed.
    pub reset: Duration,
}

/// A sweep looks at every key, so a full table is swept no more often than this.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

impl RateLimiter {
    /// Creates a limiter by the name `default`, with the system's clock.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        let settings = Settings::new(quota);
        Self::build("default".into(), Clock::system(), settings, Switch::default())
    }

    /// Names the limiter, for operators and as the policy that callers read in the response.
    ///
    /// Characters beyond printable ASCII, which the response fields cannot hold, become `_`.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        let printable = |c: char| if matches!(c, ' '..='~') { c } else { '_' };
        let name = name.chars().map(printable).collect();
        Self::build(name, self.0.clock.clone(), self.settings(), self.0.switch.clone())
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        Self::build(self.0.name.clone(), clock, self.settings(), self.0.switch.clone())
    }

    /// Keeps at most `cap` keys apart; see [`Settings::max_keys`].
    #[must_use]
    pub fn max_keys(self, cap: usize) -> Self {
        let settings = Settings { max_keys: cap, ..self.settings() };
        Self::build(self.0.name.clone(), self.0.clock.clone(), settings, self.0.switch.clone())
    }

    /// Sets the mode to start in; [`Engine::switch`] changes it later.
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        let (name, clock) = (self.0.name.clone(), self.0.clock.clone());
        Self::build(name, clock, self.settings(), Switch::new(mode))
    }

    fn build(name: String, clock: Clock, settings: Settings, switch: Switch) -> Self {
        let origin = clock.now();
        let table = Table::new(settings.max_keys);
        let quoted_name = fields::quoted(&name);
        let active = Live::new(Active::new(&quoted_name, settings, &table, &clock, origin));
        let figures = Figures::default();
        let next_sweep = AtomicU64::new(0);
        Self(Arc::new(Inner {
            name,
            quoted_name,
            clock,
            origin,
            table,
            active,
            figures,
            switch,
            next_sweep,
        }))
    }

    /// Counts a request under `key` and says whether it is within the quota.
    ///
    /// For use without a layer: the mode is not asked, since it is the caller who acts.
    #[must_use = "a refused request must be turned away by the caller"]
    pub fn check(&self, key: Key) -> Decision {
        let quota = self.settings().quota;
        match self.decide(key) {
            Ok(remaining) => {
                self.count(Verdict::Admitted);
                let used = quota.burst_size().saturating_sub(remaining);
                Decision { allowed: true, remaining, retry_after: None, reset: quota.refill(used) }
            }
            Err(wait) => {
                self.count(Verdict::Refused);
                let reset = wait.saturating_add(quota.refill(quota.burst_size() - 1));
                Decision { allowed: false, remaining: 0, retry_after: Some(wait), reset }
            }
        }
    }

    /// The settings as they stand.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.0.active.load().settings
    }

    /// Says how many more requests the key may make at once, or how long it has to wait. Uncounted.
    #[inline]
    pub(crate) fn decide(&self, key: Key) -> Result<u32, Duration> {
        self.sweep_if_full();
        match self.0.active.load().limiter.check_key(&key) {
            Ok(state) => Ok(state.remaining_burst_capacity()),
            Err(refusal) => Err(refusal.wait_time_from(Instant(self.0.clock.now()))),
        }
    }

    /// The values of `RateLimit-Policy` and `RateLimit`.
    pub(crate) fn describe(&self, left: Left) -> (HeaderValue, HeaderValue) {
        let active = self.0.active.load();
        (active.policy.clone(), fields::limit(&self.0.quoted_name, active.settings.quota, left))
    }

    #[inline]
    pub(crate) fn count(&self, verdict: Verdict) {
        self.0.figures.count(&self.0.name, verdict);
    }

    fn since_origin(&self) -> Nanos {
        self.0.clock.now().saturating_since(self.0.origin).into()
    }

    fn sweep_if_full(&self) {
        if !self.0.table.is_full() {
            return;
        }
        let (now, due) = (self.since_origin(), self.0.next_sweep.load(Relaxed));
        if now.as_u64() < due {
            return;
        }
        let next = (now + SWEEP_INTERVAL).as_u64();
        // Whoever moves the date sweeps; the others go on without waiting.
        if self.0.next_sweep.compare_exchange(due, next, Relaxed, Relaxed).is_ok() {
            self.0.table.sweep(now);
        }
    }
}

impl Active {
    fn new(
        quoted_name: &str,
        settings: Settings,
        table: &Table,
        clock: &Clock,
        origin: Timestamp,
    ) -> Self {
        let clock = SharedOrigin::new(clock.clone(), origin);
        let quota = settings.quota.to_governor();
        let limiter = governor::RateLimiter::new(quota, table.clone(), clock);
        Self { settings, limiter, policy: fields::policy(quoted_name, settings.quota) }
    }
}

impl Engine for RateLimiter {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn kind(&self) -> &'static str {
        "rate_limit"
    }

    fn switch(&self) -> &Switch {
        &self.0.switch
    }

    fn snapshot(&self) -> Snapshot {
        let snapshot = Snapshot::new(&self.0.name, self.kind(), self.0.switch.setting().0)
            .sample(&observe::KEYS, "", self.0.table.len() as f64)
            .sample(&observe::OVERFLOW, "", self.0.table.overflowed() as f64);
        self.0.figures.add_to(snapshot)
    }

    /// Takes [`Settings`] as JSON. Keys keep what they have used, but nobody waits longer than an
    /// exhausted key of the new quota does.
    fn apply(&self, settings: Value) -> Result<(), ConfigError> {
        let settings = Settings::from_json(settings)?;
        let Inner { quoted_name, clock, origin, table, active, .. } = &*self.0;
        table.set_cap(settings.max_keys);
        active.store(Active::new(quoted_name, settings, table, clock, *origin));
        table.forgive(self.since_origin() + settings.quota.refill(settings.quota.burst_size()));
        Ok(())
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("name", &self.0.name)
            .field("settings", &self.settings())
            .field("switch", &self.0.switch)
            .field("keys", &self.0.table.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SECOND: Duration = Duration::from_secs(1);

    fn limiter(quota: &str) -> (RateLimiter, Clock) {
        let clock = Clock::manual();
        (RateLimiter::new(quota.parse().unwrap()).clock(clock.clone()), clock)
    }

    fn allowed(limiter: &RateLimiter, key: &str, tries: usize) -> usize {
        (0..tries).filter(|_| limiter.check(Key::of(key)).allowed).count()
    }

    #[test]
    fn the_burst_is_spent_and_comes_back_one_by_one() {
        let (limiter, clock) = limiter("60/min;burst=3");
        let first = limiter.check(Key::of("a"));
        assert_eq!((first.allowed, first.remaining, first.reset), (true, 2, SECOND));
        assert_eq!(allowed(&limiter, "a", 5), 2);
        let refused = limiter.check(Key::of("a"));
        assert_eq!((refused.retry_after, refused.reset), (Some(SECOND), 3 * SECOND));
        clock.advance(SECOND - Duration::from_nanos(1));
        assert_eq!(allowed(&limiter, "a", 1), 0);
        clock.advance(Duration::from_nanos(1));
        assert_eq!(allowed(&limiter, "a", 5), 1);
        clock.advance(100 * SECOND);
        assert_eq!(allowed(&limiter, "a", 5), 3);
        assert_eq!(allowed(&limiter, "b", 5), 3);
    }

    #[test]
    fn keys_are_bounded_and_idle_ones_make_room() {
        let (limiter, clock) = limiter("1/s");
        let limiter = limiter.max_keys(2);
        assert_eq!(allowed(&limiter, "a", 1) + allowed(&limiter, "b", 1), 2);
        // Both share the bucket of the overflow.
        assert_eq!(allowed(&limiter, "c", 1) + allowed(&limiter, "d", 1), 1);
        assert_eq!(limiter.snapshot().value("bartizan_rate_limit_keys", ""), Some(2.0));
        clock.advance(SECOND);
        assert_eq!(allowed(&limiter, "c", 1) + allowed(&limiter, "d", 1), 2);
        assert_eq!(limiter.snapshot().value("bartizan_rate_limit_overflow_total", ""), Some(2.0));
    }

    #[test]
    fn settings_change_while_running() {
        let (limiter, clock) = limiter("1/day");
        let twin = limiter.clone();
        assert_eq!(allowed(&limiter, "a", 2), 1);
        assert_eq!(limiter.apply(json!({"quota": "0/s"})).unwrap_err().field(), "quota.limit");
        assert_eq!(limiter.settings().quota.to_string(), "1/day");

        limiter.apply(json!({"quota": "2/s"})).unwrap();
        // What was used stays used, but the day's wait is forgiven.
        assert_eq!(allowed(&twin, "a", 1), 0);
        clock.advance(SECOND / 2);
        assert_eq!(allowed(&twin, "a", 2), 1);
    }

    #[test]
    fn names_fit_into_fields() {
        let (limiter, _) = limiter("1/s");
        assert_eq!(limiter.named("für\n").name(), "f_r_");
    }
}
