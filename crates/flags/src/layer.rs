use std::sync::Arc;

use http::HeaderName;
use tower_layer::Layer;

use crate::engine::Flags;
use crate::{Overrides, WithFlags};

/// [`Layer`] that hands [`RequestFlags`](crate::RequestFlags) to whatever is behind it: as
/// [`RequestFlags::current`](crate::RequestFlags::current) and, with the feature `axum`, as an
/// extractor. That costs no allocation; a request's extensions would, so they are on
/// [demand](Self::in_extensions).
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
/// async fn handle(_: Request<()>) -> Result<Response<String>, Infallible> {
///     let flags = RequestFlags::current().expect("the handler is behind the layer");
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
    pub(crate) flags: Flags,
    pub(crate) headers: Arc<[HeaderName]>,
    pub(crate) in_extensions: bool,
    pub(crate) overrides: Option<Arc<Overrides>>,
}

impl FlagsLayer {
    /// Creates a layer that hands out `flags`.
    pub fn new(flags: Flags) -> Self {
        Self { flags, headers: Arc::new([]), in_extensions: false, overrides: None }
    }

    /// Sets which headers rules may read, as `headers.<name>`. None by default: anyone can send any
    /// of them.
    pub fn headers(mut self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        self.headers = headers.into_iter().collect();
        self
    }
}

impl FlagsLayer {
    /// Puts the handle in the request's extensions as well: for what works in another task than the
    /// one that called, as behind a buffer. Costs what `http` allocates for that.
    pub const fn in_extensions(mut self) -> Self {
        self.in_extensions = true;
        self
    }

    /// Lets requests that may do so name the variants that they want. None may by default.
    pub fn overrides(mut self, overrides: Overrides) -> Self {
        self.overrides = Some(Arc::new(overrides));
        self
    }
}

impl<S> Layer<S> for FlagsLayer {
    type Service = WithFlags<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WithFlags { inner, layer: self.clone(), set: self.flags.reader() }
    }
}
