use std::sync::LazyLock;
use std::time::Duration;

use bartizan_core::Rejection;
use http::StatusCode;

/// Rendered once: every refusal says the same.
static CIRCUIT_OPEN: LazyLock<Rejection> = LazyLock::new(|| {
    let detail = "the service behind this one fails; calls to it are suspended";
    Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "circuit-open", detail)
        .problem_type("https://iana.org/assignments/http-problem-types#temporary-reduced-capacity")
        .prepared()
});

/// The call is refused, because the breaker is open or its probes are under way.
///
/// As a [`Rejection`] it has the status 503 and the code `circuit-open`, by which a layer further
/// out tells it from the service's own answers: responses carry the code in their
/// [`Refused`](bartizan_core::Refused) extension.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Open {
    retry_after: Duration,
}

impl Open {
    pub(crate) const fn new(retry_after: Duration) -> Self {
        Self { retry_after }
    }

    /// How long until another try makes sense.
    #[must_use]
    pub const fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl std::fmt::Display for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the circuit is open for another {:?}", self.retry_after)
    }
}

impl std::error::Error for Open {}

impl From<Open> for Rejection {
    fn from(open: Open) -> Self {
        CIRCUIT_OPEN.clone().retry_after(open.retry_after)
    }
}
