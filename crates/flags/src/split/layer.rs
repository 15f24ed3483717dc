use std::fmt;
use std::sync::Arc;

use bartizan_core::{Clock, ConfigError, Http};
use tower_layer::Layer;

use super::engine::Rollout;
use super::service::Split;
use super::settings::RolloutSettings;
use crate::Flag;
use crate::engine::Flags;

pub(super) type Available = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// [`Layer`] that serves a request by the variant which a string flag names: canary, A/B, blue and
/// green.
///
/// The wrapped service is stable, and known by the flag's default; the others are named when the
/// layer is made. Who gets what is the flag's business: a `fractional` places a caller by the
/// targeting key, so that the same caller keeps the same variant, and a growing weight moves callers
/// one way only. Weights change with the document.
///
/// Only the chosen service is made ready, and behind a clone of its own, so that a sick variant holds
/// up nobody. Stable serves instead of a variant that is not ready at once, is not
/// [`available`](Self::available), has been rolled back, or is not let through by the ramp yet.
///
/// A variant is rolled back once its failures or its latency are worse than stable's by the stated
/// margin; see [`RolloutSettings`]. A panic is a failure; so is a caller who leaves when stable, by its
/// mean latency, would have answered long since. It stays back in this process until
/// [`Rollout::resume`]; other processes judge for themselves, and one that starts anew knows nothing of
/// it. To take a variant back everywhere and for good, set its weight in the flag to 0.
///
/// # Examples
///
/// ```
/// use std::convert::Infallible;
///
/// use bartizan_flags::{Flag, Flags, SplitLayer};
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::util::BoxCloneService;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// static SEARCH: Flag<&str> = Flag::new("search", "stable");
///
/// type Page = Response<Full<Bytes>>;
///
/// fn says(text: &'static str) -> BoxCloneService<Request<()>, Page, Infallible> {
///     BoxCloneService::new(service_fn(move |_| async move { Ok(Response::new(Full::from(text))) }))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let flags = Flags::from_json(r#"{"flags": {"search": {
///     "state": "ENABLED",
///     "variants": {"stable": "stable", "canary": "canary"},
///     "defaultVariant": "canary"
/// }}}"#)?;
/// let split = SplitLayer::new(flags, SEARCH, [("canary", says("new"))]);
/// let service = ServiceBuilder::new().layer(split).service(says("old"));
/// let response = service.oneshot(Request::new(())).await?;
/// # let _ = response;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct SplitLayer<S> {
    pub(super) flags: Flags,
    pub(super) rollout: Rollout,
    pub(super) services: Vec<S>,
    pub(super) protocol: Http,
    pub(super) cookie: Option<Arc<str>>,
    pub(super) available: Option<Available>,
}

impl<S> SplitLayer<S> {
    /// Creates a layer that asks `flag` which of `variants` serves; its default names stable.
    pub fn new<N: Into<String>>(
        flags: Flags,
        flag: Flag<&'static str>,
        variants: impl IntoIterator<Item = (N, S)>,
    ) -> Self {
        let mut names = vec![flag.default()];
        let mut services = Vec::new();
        for (name, service) in variants {
            names.push(name.into());
            services.push(service);
        }
        let rollout = Rollout::new(flag, names, Clock::system());
        Self { flags, rollout, services, protocol: Http::new(), cookie: None, available: None }
    }

    /// Sets when a variant is taken back, and how it grows.
    ///
    /// # Errors
    ///
    /// Names the setting that is out of range.
    pub fn settings(self, settings: RolloutSettings) -> Result<Self, ConfigError> {
        self.rollout.set(settings)?;
        Ok(self)
    }

    /// Sets the clock, before the layer is used: windows and ramp start with it.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.rollout = self.rollout.with_clock(clock);
        self
    }

    /// Sets how exchanges are judged.
    pub fn protocol(mut self, protocol: Http) -> Self {
        self.protocol = protocol;
        self
    }

    /// Keeps callers whom nobody has authenticated with their variant by a cookie of that name. It
    /// holds a random number that becomes the targeting key. Whoever has a
    /// [`Principal`](bartizan_core::Principal), or a targeting key in
    /// [`RequestFlags`](crate::RequestFlags), is known.
    pub fn cookie(mut self, name: impl Into<Arc<str>>) -> Self {
        self.cookie = Some(name.into());
        self
    }

    /// Asks `available` before a variant is chosen: say whether its breaker is closed, so that stable
    /// serves while it is open.
    pub fn available(mut self, available: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.available = Some(Arc::new(available));
        self
    }

    /// The engine: counters, rollbacks, settings that change while running.
    #[must_use]
    pub fn rollout(&self) -> Rollout {
        self.rollout.clone()
    }
}

impl<S: Clone> Layer<S> for SplitLayer<S> {
    type Service = Split<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Split { stable: inner, layer: self.clone() }
    }
}

impl<S> fmt::Debug for SplitLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitLayer").field("rollout", &self.rollout).finish_non_exhaustive()
    }
}
