use std::convert::Infallible;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bartizan_core::{Http, HttpDialect, Mode, Principal, Protocol, ResponseBody};
use http::{Request, Response, request};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::Authenticator;
use crate::hooks::Asked;

/// A policy of one's own, as one that asks a policy engine or looks up who owns an order.
///
/// Closures and functions are policies.
///
/// ```
/// use bartizan_auth::{Authenticator, AuthorizeLayer, Principal, Ruling};
/// use http::request::Parts;
///
/// let owners = |caller: Option<&Principal>, request: &Parts| {
///     let (caller, path) = (caller.cloned(), request.uri.path().to_owned());
///     async move {
///         let Some(caller) = caller else { return Ruling::Forbid };
///         // Here one would wait for the owner of what the path names.
///         if path.ends_with(caller.subject()) { Ruling::Allow } else { Ruling::Hide }
///     }
/// };
/// let layer = AuthorizeLayer::new(Authenticator::new("api"), owners);
/// # let _ = layer;
/// ```
pub trait Authorizer {
    /// Resolves to the ruling.
    type Future: Future<Output = Ruling>;

    /// Rules on a request. `caller` is who auth found, if anyone.
    fn authorize(&self, caller: Option<&Principal>, request: &request::Parts) -> Self::Future;
}

impl<F, T> Authorizer for F
where
    F: Fn(Option<&Principal>, &request::Parts) -> T,
    T: Future<Output = Ruling>,
{
    type Future = T;

    fn authorize(&self, caller: Option<&Principal>, request: &request::Parts) -> T {
        self(caller, request)
    }
}

/// What an [`Authorizer`] says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Ruling {
    /// The request passes.
    Allow,
    /// It does not: 403, or 401 if nobody is known.
    Forbid,
    /// It does not, and whether there is anything is not told: 404.
    Hide,
    /// The policy cannot be asked: 503, never a pass.
    Unavailable,
}

/// [`Layer`] that applies [`Authorize`]: asks an [`Authorizer`] about every request.
///
/// It belongs inside the [`AuthLayer`](crate::AuthLayer) of the same [`Authenticator`], whose
/// switch turns it and whose counters and audit trail tell of it.
#[derive(Clone, Debug)]
#[must_use]
pub struct AuthorizeLayer<A> {
    authenticator: Authenticator,
    authorizer: A,
    http: Http,
}

impl<A> AuthorizeLayer<A> {
    /// Asks `authorizer`.
    pub const fn new(authenticator: Authenticator, authorizer: A) -> Self {
        Self { authenticator, authorizer, http: Http::new() }
    }

    /// Sets how refusals are rendered.
    pub fn http(mut self, http: Http) -> Self {
        self.http = http;
        self
    }
}

impl<S, A: Clone> Layer<S> for AuthorizeLayer<A> {
    type Service = Authorize<S, A>;

    fn layer(&self, inner: S) -> Authorize<S, A> {
        Authorize { inner, layer: self.clone() }
    }
}

/// Middleware that does what an [`Authorizer`] says.
///
/// See [`AuthorizeLayer`].
#[derive(Clone, Debug)]
pub struct Authorize<S, A> {
    inner: S,
    layer: AuthorizeLayer<A>,
}

impl<S, A, B, R> Service<Request<B>> for Authorize<S, A>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    A: Authorizer,
    R: Body,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = AuthorizeFuture<S, A::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let AuthorizeLayer { authenticator, authorizer, http } = &self.layer;
        let http = http.clone();
        let dialect = Protocol::<_, S::Response, S::Error>::dialect(&http, &request);
        if authenticator.mode() == Mode::Off
            || authenticator.passes_preflight(request.method(), request.headers())
        {
            let state = State::Admitted { future: self.inner.call(request) };
            return AuthorizeFuture { http, dialect, state };
        }
        let (parts, body) = request.into_parts();
        let ruling = authorizer.authorize(parts.extensions.get::<Principal>(), &parts);
        // The clone is not ready; the one that was made ready is called.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let waiting = Some(Waiting { inner, parts, body, authenticator: authenticator.clone() });
        AuthorizeFuture { http, dialect, state: State::Asking { ruling, waiting } }
    }
}

struct Waiting<S, B> {
    inner: S,
    parts: request::Parts,
    body: B,
    authenticator: Authenticator,
}

pin_project! {
    /// Response future of [`Authorize`].
    #[must_use = "futures do nothing unless polled"]
    pub struct AuthorizeFuture<S, P, B>
    where
        S: Service<Request<B>>,
    {
        http: Http,
        dialect: HttpDialect,
        #[pin]
        state: State<S, S::Future, P, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, P, B> {
        Asking { #[pin] ruling: P, waiting: Option<Waiting<S, B>> },
        Admitted { #[pin] future: F },
    }
}

impl<S, P, B, R> Future for AuthorizeFuture<S, P, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    P: Future<Output = Ruling>,
    R: Body,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Asking { ruling, waiting } => {
                    let ruling = ready!(ruling.poll(cx));
                    let Waiting { mut inner, parts, body, authenticator } =
                        waiting.take().expect("polled after completion");
                    let principal = parts.extensions.get::<Principal>();
                    let enacted = authenticator.enact(&Asked::parts(&parts), principal, ruling);
                    if let Err(rejection) = enacted {
                        let refused: Result<_, Infallible> =
                            Protocol::<Request<()>, Response<R>, Infallible>::refuse(
                                this.http,
                                *this.dialect,
                                *rejection,
                            );
                        let Ok(response) = refused;
                        return Poll::Ready(Ok(response));
                    }
                    let future = inner.call(Request::from_parts(parts, body));
                    this.state.set(State::Admitted { future });
                }
                StateProj::Admitted { future } => {
                    let result = ready!(future.poll(cx));
                    return Poll::Ready(Protocol::<Request<()>, _, _>::deliver(
                        this.http,
                        result,
                        (),
                    ));
                }
            }
        }
    }
}

impl<S: Service<Request<B>>, P, B> fmt::Debug for AuthorizeFuture<S, P, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizeFuture").finish_non_exhaustive()
    }
}
