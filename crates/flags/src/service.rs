use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bartizan_core::Reader;
use http::Request;
use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;
use tower_service::Service;

use crate::definition::FlagSet;
use crate::layer::FlagsLayer;
use crate::snapshot::{CURRENT, RequestFlags};

/// Middleware that hands [`RequestFlags`] to whatever is behind it.
///
/// See [`FlagsLayer`](crate::FlagsLayer) for examples.
#[derive(Clone, Debug)]
pub struct WithFlags<S> {
    pub(crate) inner: S,
    pub(crate) layer: FlagsLayer,
    pub(crate) set: Reader<FlagSet>,
}

impl<S, B> Service<Request<B>> for WithFlags<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = WithFlagsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Self { inner, layer, set } = self;
        let set = Arc::clone(set.load());
        let flags = RequestFlags::with(&layer.flags, set, &request, &layer.headers);
        if layer.in_extensions {
            request.extensions_mut().insert(flags.clone());
        }
        // Services that work already when they are called, not when they are polled, see it too.
        let future = CURRENT.sync_scope(flags.clone(), || inner.call(request));
        let spare = Spare(Some(flags.clone()));
        WithFlagsFuture { future: CURRENT.scope(flags, future), spare }
    }
}

pin_project! {
    /// Response future of [`WithFlags`].
    #[must_use = "futures do nothing unless polled"]
    pub struct WithFlagsFuture<F> {
        #[pin]
        future: TaskLocalFuture<RequestFlags, F>,
        // After the future, which has the flags as well.
        spare: Spare,
    }
}

/// Gives back what a request has needed, once it is over.
struct Spare(Option<RequestFlags>);

impl Drop for Spare {
    fn drop(&mut self) {
        if let Some(flags) = self.0.take() {
            flags.recycle();
        }
    }
}

impl<F: Future> Future for WithFlagsFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

impl<F> fmt::Debug for WithFlagsFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithFlagsFuture").finish_non_exhaustive()
    }
}
