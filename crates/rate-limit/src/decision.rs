use std::sync::Arc;
use std::time::Duration;

use crate::judgement::{Judgement, Verdict};
use crate::refusal::AWAY;
use crate::rules::Rules;
use crate::{Outage, RateLimiter};

/// What a limiter says about one request: of the policy that refuses it, else of the one of which
/// the smallest share is left.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// Whether the request is within every quota.
    pub allowed: bool,
    /// The policy that the other figures are of.
    pub policy: Arc<str>,
    /// How much more the key may spend at once.
    pub remaining: u32,
    /// When this request can be allowed, if it is not; `None` then means never, since it costs more
    /// than the policy's burst. A second while a shared store is away and a policy is closed then: it
    /// may be back, and nobody knows what remains.
    pub retry_after: Option<Duration>,
    /// When the key has its full burst back if it makes no request.
    pub reset: Duration,
}

impl Decision {
    pub(crate) fn new(limiter: &RateLimiter, rules: &[Rules], judgement: &Judgement) -> Self {
        let told = judgement.enforced.iter().map(|place| {
            let grade = rules[place].at(judgement.grades[place]);
            let standing = judgement.standing(grade, place);
            let burst = judgement.rate(grade, place).burst();
            // The one that refuses for longest, or else the one of which least is left.
            let rank = match (judgement.exceeded.has(place), standing.wait) {
                (true, None) => (0, 0.0),
                (true, Some(wait)) => (1, -wait.as_secs_f64()),
                (false, _) => (2, f64::from(standing.left) / f64::from(burst)),
            };
            (rank, place, standing)
        });
        let first = told.min_by(|(a, ..), (b, ..)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let allowed = matches!(judgement.verdict, Verdict::Admitted);
        if judgement.verdict == Verdict::Away {
            let closed = limiter.limits().iter().find(|limit| limit.outage == Outage::Closed);
            let policy = Arc::clone(&closed.unwrap_or_else(|| limiter.limit(0)).name);
            let (remaining, retry_after) = (0, Some(AWAY));
            return Self { allowed, policy, remaining, retry_after, reset: AWAY };
        }
        let Some((_, place, standing)) = first else {
            // Nothing is in force, so nothing is limited.
            let policy = Arc::clone(&limiter.limit(0).name);
            let (remaining, reset) = (u32::MAX, Duration::ZERO);
            return Self { allowed, policy, remaining, retry_after: None, reset };
        };
        Self {
            allowed,
            policy: Arc::clone(&limiter.limit(place).name),
            remaining: standing.left,
            retry_after: standing.wait,
            reset: Duration::from_nanos(judgement.arrivals[place].saturating_sub(judgement.now)),
        }
    }
}
