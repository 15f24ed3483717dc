use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bartizan_core::{Engine, Reader};
use http::header::CACHE_CONTROL;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::current::Slot;
use crate::definition::FlagSet;
use crate::layer::FlagsLayer;
use crate::overrides::{ASK_ANEW, KEEP_NOT};
use crate::snapshot::RequestFlags;

/// Middleware that hands [`RequestFlags`] to whatever is behind it.
///
/// See [`FlagsLayer`](crate::FlagsLayer) for examples.
#[derive(Clone, Debug)]
pub struct WithFlags<S> {
    pub(crate) inner: S,
    pub(crate) layer: FlagsLayer,
    pub(crate) set: Reader<FlagSet>,
}

impl<S, B, ResBody> Service<Request<B>> for WithFlags<S>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
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
        let overridden = layer.overrides.as_ref().is_some_and(|overrides| {
            let named = overrides.read(request.headers(), request.extensions());
            let count = named.map_or(0, |named| flags.override_with(named));
            if count > 0 {
                tracing::debug!(target: "bartizan::flags", name = layer.flags.name(), count, "a request overrides flags");
            }
            count > 0
        });
        if overridden {
            request.headers_mut().insert(CACHE_CONTROL, ASK_ANEW);
        }
        if layer.in_extensions {
            request.extensions_mut().insert(flags.clone());
        }
        let mut slot = Slot::new(flags);
        // Services that work already when they are called, not when they are polled, see it too.
        let future = Some(slot.enter(|| inner.call(request)));
        WithFlagsFuture { future, slot, overridden }
    }
}

pin_project! {
    /// Response future of [`WithFlags`].
    #[must_use = "futures do nothing unless polled"]
    pub struct WithFlagsFuture<F> {
        // `None` only while it is dropped.
        #[pin]
        future: Option<F>,
        slot: Slot,
        overridden: bool,
    }

    impl<F> PinnedDrop for WithFlagsFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // What the inner future does when it is dropped is part of the request, too.
            this.slot.enter(|| this.future.set(None));
        }
    }
}

impl<F, B, E> Future for WithFlagsFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let future = this.future.as_pin_mut().expect("it is there until it is dropped");
        let mut result = this.slot.enter(|| future.poll(cx));
        if *this.overridden
            && let Poll::Ready(Ok(response)) = &mut result
        {
            response.headers_mut().insert(CACHE_CONTROL, KEEP_NOT);
        }
        result
    }
}

impl<F> fmt::Debug for WithFlagsFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithFlagsFuture").finish_non_exhaustive()
    }
}
