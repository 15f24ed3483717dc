//! What responses tell the caller of the policies.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::RateLimiter;
use crate::grade::{ceil_secs, item};
use crate::judgement::{Judgement, Standing};
use crate::limit::Limit;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The form of the response fields that tell callers what is left.
///
/// The forms with one figure only ([`Draft6`](Self::Draft6), [`Draft7`](Self::Draft7),
/// [`XRateLimit`](Self::XRateLimit)) tell of the policy that is nearest to its limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Dialect {
    /// `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset`, as in drafts 3 to 6 of
    /// draft-ietf-httpapi-ratelimit-headers.
    Draft6,
    /// `RateLimit: limit=100, remaining=50, reset=5` and `RateLimit-Policy: 100;w=60`.
    Draft7,
    /// `RateLimit: "name";r=50;t=30` and `RateLimit-Policy: "name";q=100;w=60`, an item for each
    /// policy. The default.
    #[default]
    Draft11,
    /// What the draft is about to become (its pull request 166): as draft 11, but
    /// `RateLimit: "name";a=50;w=30;c=1`, with the cost of this request.
    Draft12,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`, the last in seconds
    /// from now.
    XRateLimit,
}

/// The fields of one response, written when it is there: a future is smaller without their text.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) limiter: RateLimiter,
    pub(crate) judgement: Judgement,
    pub(crate) dialect: Dialect,
}

impl Fields {
    pub(crate) fn write(&self, status: StatusCode, headers: &mut HeaderMap) {
        // A client that reads `r=0` on a redirect would not follow it.
        if status.is_redirection() {
            return;
        }
        match self.dialect {
            Dialect::Draft11 => self.write_items(headers, |limit, place, standing| {
                let wait = standing.wait.map(ceil_secs);
                limit.rules.load().at(self.judgement.grades[place]).limit(standing.left, wait)
            }),
            Dialect::Draft12 => self.write_items(headers, |limit, place, standing| {
                let rules = limit.rules.load();
                let grade = rules.at(self.judgement.grades[place]);
                let window = standing.wait.map_or_else(|| grade.window(standing.left), ceil_secs);
                let text = [&grade.name, ";a=", itoa::Buffer::new().format(standing.left)].concat();
                let cost = limit.cost(self.judgement.cost);
                item(&text, (";w=", window), (";c=", cost.into()))
            }),
            Dialect::Draft6 | Dialect::Draft7 | Dialect::XRateLimit => self.write_nearest(headers),
        }
    }

    /// An item for each policy, in a field line of its own: limits further in or out have theirs in
    /// the same lists.
    fn write_items(
        &self,
        headers: &mut HeaderMap,
        limit: impl Fn(&Limit, usize, Standing) -> HeaderValue,
    ) {
        for (place, policy) in self.shown() {
            let standing = self.judgement.standing(policy, place);
            let grade = self.judgement.grades[place];
            headers.append(RATE_LIMIT_POLICY, policy.rules.load().at(grade).policy.clone());
            headers.append(RATE_LIMIT, limit(policy, place, standing));
        }
    }

    /// The figures of the policy of which the smallest share is left.
    fn write_nearest(&self, headers: &mut HeaderMap) {
        let standings = self.shown().map(|(place, limit)| {
            let standing = self.judgement.standing(limit, place);
            let rules = limit.rules.load();
            let grade = rules.at(self.judgement.grades[place]);
            let reset = standing.wait.map_or_else(
                || {
                    let used = grade.rate.burst() - standing.left.min(grade.rate.burst());
                    grade.rate.interval() * u64::from(used)
                },
                |wait| wait.as_nanos() as u64,
            );
            let reset = reset.div_ceil(1_000_000_000);
            let window = ceil_secs(grade.quota.window());
            let share = f64::from(standing.left) / f64::from(grade.rate.burst());
            (share, grade.rate.burst(), standing.left, reset, window)
        });
        let Some((_, limit, left, reset, window)) = standings.min_by(|a, b| a.0.total_cmp(&b.0))
        else {
            return;
        };
        let names = match self.dialect {
            Dialect::Draft7 => {
                let text = format!("limit={limit}, remaining={left}, reset={reset}");
                insert(headers, RATE_LIMIT, HeaderValue::try_from(text));
                let text = format!("{limit};w={window}");
                insert(headers, RATE_LIMIT_POLICY, HeaderValue::try_from(text));
                return;
            }
            Dialect::XRateLimit => {
                ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
            }
            _ => ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"],
        };
        for (name, figure) in names.into_iter().zip([limit.into(), left.into(), reset]) {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(figure));
        }
    }

    /// Policies that are not in force, or did not count the request, are not told of.
    fn shown(&self) -> impl Iterator<Item = (usize, &Limit)> {
        self.judgement.enforced.iter().map(|place| (place, self.limiter.limit(place)))
    }
}

fn insert<E>(headers: &mut HeaderMap, name: HeaderName, value: Result<HeaderValue, E>) {
    // Digits and words are always a value.
    if let Ok(value) = value {
        headers.insert(name, value);
    }
}
