use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bartizan_core::Reader;
use http::Request;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::current::Slot;
use crate::definition::FlagSet;
use crate::layer::FlagsLayer;
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
        let mut slot = Slot::new(flags);
        // Services that work already when they are called, not when they are polled, see it too.
        let future = Some(slot.enter(|| inner.call(request)));
        WithFlagsFuture { future, slot }
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
    }

    impl<F> PinnedDrop for WithFlagsFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // What the inner future does when it is dropped is part of the request, too.
            this.slot.enter(|| this.future.set(None));
        }
    }
}

impl<F: Future> Future for WithFlagsFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let future = this.future.as_pin_mut().expect("it is there until it is dropped");
        this.slot.enter(|| future.poll(cx))
    }
}

impl<F> fmt::Debug for WithFlagsFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithFlagsFuture").finish_non_exhaustive()
    }
}
