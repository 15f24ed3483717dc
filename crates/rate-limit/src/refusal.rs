//! How a refusal is answered.

use std::time::Duration;

use bartizan_core::{Protocol, Rejection};
use http::StatusCode;

use crate::fields::write_refused;
use crate::judgement::{Judgement, Verdict};
use crate::rules::Rules;
use crate::{Dialect, RateLimiter};

/// The member that names the policies, as the draft's problem types have it.
const VIOLATED: &str = "violated-policies";

const QUOTA_EXCEEDED: Rejection =
    Rejection::new(StatusCode::TOO_MANY_REQUESTS, "quota-exceeded", "too many requests")
        .problem_type("https://iana.org/assignments/http-problem-types#quota-exceeded");

/// When to ask again that a shared store may be back.
pub(crate) const AWAY: Duration = Duration::from_secs(1);

/// Without `Retry-After`: the same request can never be admitted.
const COST_EXCEEDS_QUOTA: Rejection = Rejection::new(
    StatusCode::FORBIDDEN,
    "cost-exceeds-quota",
    "the request costs more than the quota ever holds",
);

const STORE_AWAY: Rejection = Rejection::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "temporary-reduced-capacity",
    "requests cannot be counted just now",
)
.problem_type("https://iana.org/assignments/http-problem-types#temporary-reduced-capacity");

const KEY_MISSING: Rejection = Rejection::new(
    StatusCode::BAD_REQUEST,
    "rate-limit-key-missing",
    "the request does not say whom it is counted under",
);

/// Answers a request that `judgement` refuses.
pub(crate) fn refuse<P, Req, Res, E>(
    protocol: &P,
    dialect: P::Dialect,
    limiter: &RateLimiter,
    rules: &[Rules],
    judgement: &Judgement,
    fields: Option<Dialect>,
) -> Result<P::Response<()>, P::Error>
where
    P: Protocol<Req, Res, E>,
{
    let rejection = match judgement.verdict {
        Verdict::Away => STORE_AWAY.retry_after(AWAY),
        Verdict::NoKey => KEY_MISSING,
        Verdict::Never => COST_EXCEEDS_QUOTA.member(VIOLATED, violated(limiter, judgement)),
        Verdict::Refused(wait) => {
            quota_exceeded(limiter, judgement).retry_after(Duration::from_nanos(wait))
        }
        Verdict::Admitted => unreachable!("only refusals are answered here"),
    };
    let mut result = protocol.refuse(dialect, rejection);
    if let (Some(fields), Ok(response)) = (fields, &mut result) {
        protocol.annotate(response, |_, headers| {
            write_refused(rules, judgement, fields, headers);
        });
    }
    result
}

/// The rejection of those who exceed the policy `name`.
pub(crate) fn of(name: &str) -> Rejection {
    QUOTA_EXCEEDED.member(VIOLATED, vec![name].into()).prepared()
}

fn quota_exceeded(limiter: &RateLimiter, judgement: &Judgement) -> Rejection {
    let mut places = judgement.exceeded.iter().filter(|place| judgement.enforced.has(*place));
    match (places.next(), places.next()) {
        (Some(only), None) => limiter.limit(only).refusal.clone(),
        _ => QUOTA_EXCEEDED.member(VIOLATED, violated(limiter, judgement)),
    }
}

/// The names of the policies that refuse.
fn violated(limiter: &RateLimiter, judgement: &Judgement) -> serde_json::Value {
    let places = judgement.exceeded.iter().filter(|place| judgement.enforced.has(*place));
    places.map(|place| &*limiter.limit(place).name).collect()
}
