//! What responses tell the caller of the policies.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::ask::MAX_POLICIES;
use crate::grade::{Grade, ceil_secs, item};
use crate::judgement::{Judgement, Places, Standing};
use crate::rules::{RuleBook, Rules};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The form of the response fields that tell callers what is left.
///
/// The forms with one figure only ([`Draft6`](Self::Draft6), [`Draft7`](Self::Draft7),
/// [`XRateLimit`](Self::XRateLimit)) tell of the policy that is nearest to its limit, over all
/// limiters of a stack that speak the same form. A proxy in front of a service that has such fields of its
/// own should strip those: they cannot be told from a limiter's.
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

/// What there is to tell the caller of an admitted request, put into words when the response is
/// there: a future is smaller without their text.
#[derive(Debug)]
pub(crate) struct Fields {
    rules: Arc<RuleBook>,
    left: [u32; MAX_POLICIES],
    grades: [u8; MAX_POLICIES],
    enforced: Places,
    dialect: Dialect,
    cost: u32,
}

impl Fields {
    pub(crate) fn new(rules: &Arc<RuleBook>, judgement: &Judgement, dialect: Dialect) -> Self {
        let mut left = [0; MAX_POLICIES];
        for place in judgement.enforced.iter() {
            let grade = rules[place].at(judgement.grades[place]);
            left[place] = judgement.standing(grade, place).left;
        }
        Self {
            rules: Arc::clone(rules),
            left,
            grades: judgement.grades,
            enforced: judgement.enforced,
            dialect,
            cost: judgement.cost,
        }
    }

    pub(crate) fn write(&self, status: StatusCode, headers: &mut HeaderMap) {
        // A client that reads `r=0` on a redirect would not follow it.
        if status.is_redirection() {
            return;
        }
        let standings = self.enforced.iter().map(|place| Told {
            grade: self.rules[place].at(self.grades[place]),
            cost: self.cost,
            standing: Standing { left: self.left[place], wait: None },
        });
        write(self.dialect, standings, headers);
    }
}

/// Tells the caller of a refused request how it stands.
pub(crate) fn write_refused(
    rules: &[Rules],
    judgement: &Judgement,
    dialect: Dialect,
    headers: &mut HeaderMap,
) {
    let standings = judgement.enforced.iter().map(|place| {
        let grade = rules[place].at(judgement.grades[place]);
        Told { grade, cost: judgement.cost, standing: judgement.standing(grade, place) }
    });
    write(dialect, standings, headers);
}

/// How the caller stands with one policy. Policies that are not in force are not told of.
struct Told<'a> {
    grade: &'a Grade,
    cost: u32,
    standing: Standing,
}

fn write<'a>(dialect: Dialect, told: impl Iterator<Item = Told<'a>>, headers: &mut HeaderMap) {
    match dialect {
        // An item for each policy, in a field line of its own: limits further in or out have theirs
        // in the same lists.
        Dialect::Draft11 | Dialect::Draft12 => told.for_each(|told| {
            let limit = match dialect {
                Dialect::Draft12 => told.draft_12(),
                _ => told.grade.limit(told.standing.left, told.standing.wait.map(ceil_secs)),
            };
            headers.append(RATE_LIMIT_POLICY, told.grade.policy.clone());
            headers.append(RATE_LIMIT, limit);
        }),
        Dialect::Draft6 | Dialect::Draft7 | Dialect::XRateLimit => {
            let nearest =
                told.map(|told| told.figures()).min_by(|a, b| a.share.total_cmp(&b.share));
            if let Some(nearest) = nearest {
                nearest.write(dialect, headers);
            }
        }
    }
}

impl Told<'_> {
    fn draft_12(&self) -> HeaderValue {
        let grade = self.grade;
        let Standing { left, wait } = self.standing;
        let window = wait.map_or_else(|| grade.window(left), ceil_secs);
        let text = [&grade.name, ";a=", itoa::Buffer::new().format(left)].concat();
        item(&text, (";w=", window), (";c=", grade.cost(self.cost).into()))
    }

    fn figures(&self) -> Nearest {
        let Standing { left, wait } = self.standing;
        let grade = self.grade;
        let burst = grade.rate.burst();
        let used = u64::from(burst - left.min(burst));
        let refill = Duration::from_nanos(grade.rate.interval() * used);
        let reset = wait.unwrap_or(refill);
        Nearest {
            share: f64::from(left) / f64::from(burst),
            limit: burst,
            left,
            reset: if reset.is_zero() { 0 } else { ceil_secs(reset) },
            window: ceil_secs(grade.quota.window()),
        }
    }
}

/// The figures of the policy of which the smallest share is left, for the forms that have room for
/// one.
struct Nearest {
    share: f64,
    limit: u32,
    left: u32,
    /// Seconds until all is back, or until another try.
    reset: u64,
    window: u64,
}

impl Nearest {
    fn write(&self, dialect: Dialect, headers: &mut HeaderMap) {
        let Self { share, limit, left, reset, window } = *self;
        // A limiter further in may have refused, or be nearer to its limit.
        if told(dialect, headers).is_some_and(|told| told <= share) {
            return;
        }
        match dialect {
            Dialect::Draft7 => {
                let text = format!("limit={limit}, remaining={left}, reset={reset}");
                insert(headers, RATE_LIMIT, HeaderValue::try_from(text));
                insert(
                    headers,
                    RATE_LIMIT_POLICY,
                    HeaderValue::try_from(format!("{limit};w={window}")),
                );
            }
            _ => {
                let figures = [limit.into(), left.into(), reset];
                for (name, figure) in names(dialect).into_iter().zip(figures) {
                    headers.insert(HeaderName::from_static(name), HeaderValue::from(figure));
                }
            }
        }
    }
}

/// The fields of a form with one figure in each: limit, remaining, reset.
const fn names(dialect: Dialect) -> [&'static str; 3] {
    match dialect {
        Dialect::XRateLimit => ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
        _ => ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"],
    }
}

/// The share that is left by what the response says already.
fn told(dialect: Dialect, headers: &HeaderMap) -> Option<f64> {
    let (limit, left) = if dialect == Dialect::Draft7 {
        let text = headers.get(RATE_LIMIT)?.to_str().ok()?;
        let figure = |name| text.split(", ").find_map(|part| part.strip_prefix(name));
        (figure("limit=")?, figure("remaining=")?)
    } else {
        let [limit, left, _] = names(dialect);
        let figure = |name: &str| headers.get(name)?.to_str().ok();
        (figure(limit)?, figure(left)?)
    };
    let (limit, left): (u32, u32) = (limit.parse().ok()?, left.parse().ok()?);
    Some(f64::from(left) / f64::from(limit.max(1)))
}

fn insert<E>(headers: &mut HeaderMap, name: HeaderName, value: Result<HeaderValue, E>) {
    // Digits and words are always a value.
    if let Ok(value) = value {
        headers.insert(name, value);
    }
}
