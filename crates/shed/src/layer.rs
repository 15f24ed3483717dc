use bartizan_core::{Http, Plain};
use tower_layer::Layer;

use crate::{ExemptPaths, LoadShed, LoadShedder, NoneExempt};

/// [`Layer`] that applies [`LoadShed`].
///
/// Every service built from one layer, or from a clone of it, draws on the same limit. See the
/// [crate docs](crate) for examples.
#[derive(Clone, Debug)]
#[must_use]
pub struct LoadShedLayer<P = Http, X = NoneExempt> {
    shedder: LoadShedder,
    protocol: P,
    exempt: X,
}

impl LoadShedLayer {
    /// Creates a layer for HTTP and gRPC that draws on `shedder`.
    pub const fn new(shedder: LoadShedder) -> Self {
        Self { shedder, protocol: Http::new(), exempt: NoneExempt }
    }
}

impl<P, X> LoadShedLayer<P, X> {
    /// Reports refusals as errors, for services that do not speak HTTP.
    pub fn plain(self) -> LoadShedLayer<Plain, X> {
        LoadShedLayer { shedder: self.shedder, protocol: Plain::default(), exempt: self.exempt }
    }

    /// Sets how HTTP is judged and refusals are rendered.
    pub fn http(self, http: Http) -> LoadShedLayer<Http, X> {
        LoadShedLayer { shedder: self.shedder, protocol: http, exempt: self.exempt }
    }

    /// Always serves requests to these paths, compared whole: probes must not be shed.
    pub fn exempt_paths<T: Into<String>>(
        self,
        paths: impl IntoIterator<Item = T>,
    ) -> LoadShedLayer<P, ExemptPaths> {
        self.exempt_with(ExemptPaths(paths.into_iter().map(Into::into).collect()))
    }

    /// Always serves the requests that `exempt` says, as a closure `Fn(&Req) -> bool`.
    pub fn exempt_with<Y>(self, exempt: Y) -> LoadShedLayer<P, Y> {
        LoadShedLayer { shedder: self.shedder, protocol: self.protocol, exempt }
    }
}

impl<S, P: Clone, X: Clone> Layer<S> for LoadShedLayer<P, X> {
    type Service = LoadShed<S, P, X>;

    fn layer(&self, inner: S) -> Self::Service {
        LoadShed {
            inner,
            shedder: self.shedder.clone(),
            protocol: self.protocol.clone(),
            exempt: self.exempt.clone(),
        }
    }
}
