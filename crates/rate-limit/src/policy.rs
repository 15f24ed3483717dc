use std::collections::BTreeMap;
use std::sync::Arc;

use bartizan_core::Mode;

use crate::Quota;
use crate::rules::Rules;
use crate::settings::PolicySettings;

/// One named limit of a [`RateLimiter`](crate::RateLimiter): a quota per key, and other quotas for
/// the callers of some tiers.
#[derive(Clone, Debug)]
#[must_use]
pub struct Policy {
    pub(crate) name: Arc<str>,
    pub(crate) settings: PolicySettings,
    pub(crate) memory: usize,
    pub(crate) flat: bool,
    pub(crate) outage: Outage,
}

/// What a policy does while its shared store is away.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Outage {
    /// Requests are refused, with 503 and `temporary-reduced-capacity`.
    Closed,
    /// Each process counts for itself, and allows its share of the quota.
    Local {
        /// How many processes divide the quota; at least 1. A request that costs more than the share
        /// holds takes all of it.
        nodes: u32,
    },
    /// Requests pass uncounted. The default.
    #[default]
    Open,
}

/// 131 072 keys.
const MEMORY: usize = 2 * 1024 * 1024;

impl Policy {
    /// Creates a policy that callers read by `name` in the response fields.
    ///
    /// Characters beyond printable ASCII, which the fields cannot hold, become `_`.
    pub fn new(name: &str, quota: Quota) -> Self {
        let settings = PolicySettings { quota, tiers: BTreeMap::new(), mode: None };
        Self { name: printable(name), settings, memory: MEMORY, flat: false, outage: Outage::Open }
    }

    /// Gives callers of `tier` a quota of their own. What they owe stays when their tier changes,
    /// as a time: who has used half of a day's quota has used half of that of the other tier. Whoever
    /// owes more than the other tier's burst waits until the rest has passed.
    pub fn tier(mut self, tier: impl Into<String>, quota: Quota) -> Self {
        self.settings.tiers.insert(tier.into(), quota);
        self
    }

    /// Sets the mode to start in; [`RateLimiter::policy_switch`](crate::RateLimiter::policy_switch)
    /// changes it later. `Enforce` by default.
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.settings.mode = Some(mode);
        self
    }

    /// Takes so many bytes for the keys, 16 for each: 2 MiB by default, for 131 072 keys.
    pub const fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// Counts every request as one, whatever it costs: for a limit on requests beside one on
    /// tokens or bytes.
    pub const fn flat(mut self) -> Self {
        self.flat = true;
        self
    }

    /// What happens while the store of a [shared](crate::RateLimiter::shared) limiter is away: the
    /// policy is open by default.
    pub const fn outage(mut self, outage: Outage) -> Self {
        self.outage = outage;
        self
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules::new(&self.name, self.flat, &self.settings)
    }
}

pub(crate) fn printable(name: &str) -> Arc<str> {
    name.chars().map(|c| if matches!(c, ' '..='~') { c } else { '_' }).collect::<String>().into()
}
