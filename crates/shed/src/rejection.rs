use std::sync::LazyLock;
use std::time::Duration;

use bartizan_core::Rejection;
use http::StatusCode;

use crate::Reason;

const PROBLEM: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

/// Callers are asked to come back after as many milliseconds as chance draws from here: all at once
/// would be the next overload.
const RETRY_AFTER: std::ops::Range<u64> = 500..3_000;

/// Rendered once.
static REJECTIONS: LazyLock<[Rejection; Reason::ALL.len()]> = LazyLock::new(|| {
    Reason::ALL.map(|reason| {
        let detail = match reason {
            Reason::Deadline => "the answer would come too late",
            Reason::Forced => "requests are being refused on purpose",
            Reason::Limit => "too many requests are in flight",
            Reason::Priority => "too many requests are in flight that come first",
            Reason::Queue => "waited too long for others to be served",
        };
        Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
            .problem_type(PROBLEM)
            .prepared()
    })
});

pub(crate) fn rejection(reason: Reason) -> Rejection {
    REJECTIONS[reason as usize]
        .clone()
        .retry_after(Duration::from_millis(fastrand::u64(RETRY_AFTER)))
}
