use bartizan_core::{Http, Plain};
use tower_layer::Layer;

use crate::triage::{WithDeadlines, WithExempt, WithPriority, WithTenant};
use crate::{Deadlines, ExemptPaths, LoadShed, LoadShedder};

/// [`Layer`] that applies [`LoadShed`].
///
/// Every service built from one layer, or from a clone of it, draws on the same limit. See the
/// [crate docs](crate) for examples.
#[derive(Clone, Debug)]
#[must_use]
pub struct LoadShedLayer<P = Http, T = ()> {
    shedder: LoadShedder,
    protocol: P,
    triage: T,
    until_head: bool,
}

impl LoadShedLayer {
    /// Creates a layer for HTTP and gRPC that draws on `shedder`.
    pub const fn new(shedder: LoadShedder) -> Self {
        Self { shedder, protocol: Http::new(), triage: (), until_head: false }
    }
}

impl<P, T> LoadShedLayer<P, T> {
    /// Reports refusals as errors, for services that do not speak HTTP.
    pub fn plain(self) -> LoadShedLayer<Plain, T> {
        self.with_protocol(Plain::default())
    }

    /// Sets how HTTP is judged and refusals are rendered.
    pub fn http(self, http: Http) -> LoadShedLayer<Http, T> {
        self.with_protocol(http)
    }

    fn with_protocol<Q>(self, protocol: Q) -> LoadShedLayer<Q, T> {
        let Self { shedder, triage, until_head, .. } = self;
        LoadShedLayer { shedder, protocol, triage, until_head }
    }

    /// Gives slots back at the response's head, and not at the end of its body: where bodies cost the
    /// service nothing but a slow client's time.
    pub const fn until_head(mut self) -> Self {
        self.until_head = true;
        self
    }

    /// Always serves requests to these paths, compared whole: probes must not be shed.
    pub fn exempt_paths<N: Into<String>>(
        self,
        paths: impl IntoIterator<Item = N>,
    ) -> LoadShedLayer<P, WithExempt<T, ExemptPaths>> {
        self.exempt_with(ExemptPaths(paths.into_iter().map(Into::into).collect()))
    }

    /// Always serves the requests that `exempt` says, as a closure `Fn(&Req) -> bool`.
    pub fn exempt_with<X>(self, exempt: X) -> LoadShedLayer<P, WithExempt<T, X>> {
        self.with_triage(|triage| WithExempt(triage, exempt))
    }

    /// Has those requests wait and served first that matter more, as a closure
    /// `Fn(&Req) -> Priority` says or [`by_header`](crate::by_header),
    /// [`by_route`](crate::by_route) or [`by_tier`](crate::by_tier). It is asked only where there is
    /// no free slot.
    pub fn priority<R>(self, rank: R) -> LoadShedLayer<P, WithPriority<T, R>> {
        self.with_triage(|triage| WithPriority(triage, rank))
    }

    /// Has those come first, of requests of the same priority, whose tenant has asked for less of
    /// late. `tenant` is a [`KeyExtractor`](bartizan_core::KeyExtractor), as
    /// `key::principal()` or a closure `Fn(&Req) -> Option<Key>`. Requests for which it is `None` are
    /// one tenant's. Go by what callers have proved: who may choose a tenant for each request always
    /// comes first.
    pub fn tenant<K>(self, tenant: K) -> LoadShedLayer<P, WithTenant<T, K>> {
        self.with_triage(|triage| WithTenant(triage, tenant))
    }

    /// Has no request wait longer than its caller does.
    pub fn deadlines(self, deadlines: Deadlines) -> LoadShedLayer<P, WithDeadlines<T>> {
        self.shedder.shared.time_heads();
        self.with_triage(|triage| WithDeadlines(triage, deadlines))
    }

    fn with_triage<U>(self, wrap: impl FnOnce(T) -> U) -> LoadShedLayer<P, U> {
        let Self { shedder, protocol, triage, until_head } = self;
        LoadShedLayer { shedder, protocol, triage: wrap(triage), until_head }
    }
}

impl<S, P: Clone, T: Clone> Layer<S> for LoadShedLayer<P, T> {
    type Service = LoadShed<S, P, T>;

    fn layer(&self, inner: S) -> Self::Service {
        LoadShed {
            inner,
            shedder: self.shedder.clone(),
            protocol: self.protocol.clone(),
            triage: self.triage.clone(),
            until_head: self.until_head,
        }
    }
}
