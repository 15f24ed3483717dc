use std::sync::Arc;

use http::HeaderName;
use tower_layer::Layer;

use crate::WithFlags;
use crate::engine::Flags;

/// [`Layer`] that hands [`RequestFlags`](crate::RequestFlags) to whatever is behind it: in the
/// request's extensions, and as [`RequestFlags::current`](crate::RequestFlags::current).
///
/// # Examples
///
/// ```
/// use std::convert::Infallible;
///
/// use bartizan_flags::{Flag, Flags, FlagsLayer, RequestFlags};
/// use http::{HeaderName, Request, Response};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// static GREETING: Flag<&str> = Flag::new("greeting", "hello");
///
/// async fn handle(request: Request<()>) -> Result<Response<String>, Infallible> {
///     let flags = request.extensions().get::<RequestFlags>().expect("the layer put it there");
///     Ok(Response::new(flags.get(&GREETING)))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Infallible> {
/// let layer = FlagsLayer::new(Flags::empty()).headers([HeaderName::from_static("x-beta")]);
/// let service = ServiceBuilder::new().layer(layer).service_fn(handle);
/// assert_eq!(service.oneshot(Request::new(())).await?.body(), "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct FlagsLayer {
    flags: Flags,
    headers: Arc<[HeaderName]>,
}

impl FlagsLayer {
    /// Creates a layer that hands out `flags`.
    pub fn new(flags: Flags) -> Self {
        Self { flags, headers: Arc::new([]) }
    }

    /// Sets which headers rules may read, as `headers.<name>`. None by default: anyone can send any
    /// of them.
    pub fn headers(mut self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        self.headers = headers.into_iter().collect();
        self
    }
}

impl<S> Layer<S> for FlagsLayer {
    type Service = WithFlags<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WithFlags { inner, flags: self.flags.clone(), headers: Arc::clone(&self.headers) }
    }
}
