use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;

use crate::body::Pending;
use crate::{Outcome, Refused, Rejection, ResponseBody, Verdict, Watch, grpc, retry_after};

/// How a layer speaks with the service that it wraps: how it refuses a request, adds to a
/// response, and knows that an exchange is over and how it went.
///
/// [`Http`] serves HTTP and gRPC, [`Plain`] everything else.
pub trait Protocol<Req, Res, Err>: Clone {
    /// What has to be known of a request to answer it later.
    type Dialect: Copy;
    /// The response that callers receive.
    type Response<W: Watch>;
    /// The error that callers receive.
    type Error;

    /// Notes how `request` wants to be answered.
    fn dialect(&self, request: &Req) -> Self::Dialect;

    /// What the service's result says about the exchange before its body has come.
    fn judge(&self, result: &Result<Res, Err>) -> Verdict;

    /// Hands the service's own result on, and has `watch` told how the exchange ends.
    ///
    /// # Errors
    ///
    /// Returns the service's own error.
    fn deliver<W: Watch>(
        &self,
        result: Result<Res, Err>,
        watch: W,
    ) -> Result<Self::Response<W>, Self::Error>;

    /// Lets `write` add fields to a response. Does nothing where responses have no fields.
    fn annotate<W: Watch>(
        &self,
        response: &mut Self::Response<W>,
        write: impl FnOnce(StatusCode, &mut HeaderMap),
    );

    /// Answers a request that is turned away.
    ///
    /// # Errors
    ///
    /// Returns an error if the protocol reports refusals as errors.
    fn refuse<W: Watch>(
        &self,
        dialect: Self::Dialect,
        rejection: Rejection,
    ) -> Result<Self::Response<W>, Self::Error>;

    /// Converts an error of the service, as from `poll_ready`.
    fn error(&self, error: Err) -> Self::Error;
}

/// HTTP and gRPC: a refusal is a response, and the error type stays as it is.
///
/// A request whose `Content-Type` is `application/grpc` is answered with a `grpc-status`, any other
/// with problem details (RFC 9457). By default 5xx, errors, broken bodies and the failing gRPC
/// statuses (2, 4, 8, 13, 14, 15) are failures, and a refusal by a layer further in is neither
/// failure nor success.
#[derive(Clone, Default)]
pub struct Http {
    // One pointer, absent in the usual case: a request pays for nothing that was not asked for.
    custom: Option<Arc<Custom>>,
}

#[derive(Clone, Default)]
struct Custom {
    classify: Option<Classify>,
    respond: Option<Respond>,
}

type Classify = Arc<dyn Fn(StatusCode, &HeaderMap) -> Verdict + Send + Sync>;
type Respond = Arc<dyn Fn(HttpDialect, &Rejection) -> Option<Response<Bytes>> + Send + Sync>;

impl Http {
    /// Creates the protocol with its defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self { custom: None }
    }

    /// Replaces the judgement of responses by one's own, from status and fields.
    #[must_use]
    pub fn classify_with(
        self,
        classify: impl Fn(StatusCode, &HeaderMap) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        let mut custom = self.custom.map_or_else(Custom::default, Arc::unwrap_or_clone);
        custom.classify = Some(Arc::new(classify));
        Self { custom: Some(Arc::new(custom)) }
    }

    /// Renders refusals oneself. A rejection for which `respond` returns `None` is rendered as
    /// usual.
    #[must_use]
    pub fn respond_with(
        self,
        respond: impl Fn(HttpDialect, &Rejection) -> Option<Response<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        let mut custom = self.custom.map_or_else(Custom::default, Arc::unwrap_or_clone);
        custom.respond = Some(Arc::new(respond));
        Self { custom: Some(Arc::new(custom)) }
    }

    // Not left to the optimiser: as a call it costs 60 instructions more per exchange and layer.
    #[inline(always)]
    fn judge_head<B: Body>(&self, response: &Response<B>) -> Verdict {
        if response.extensions().get::<Refused>().is_some() {
            return Verdict::Known(Outcome::Refused);
        }
        let (status, headers) = (response.status(), response.headers());
        if let Some(classify) = self.custom.as_ref().and_then(|custom| custom.classify.as_ref()) {
            return classify(status, headers);
        }
        if status.is_server_error() {
            Verdict::Known(Outcome::Failure)
        } else if status.is_informational() {
            // An upgrade: what follows is no longer an HTTP body.
            Verdict::Known(Outcome::Success)
        } else if grpc::is_grpc(headers) {
            if grpc::is_trailers_only(headers) {
                Verdict::Known(grpc::outcome(headers))
            } else {
                Verdict::AtEnd(grpc::end)
            }
        } else {
            Verdict::AtEnd(|_| Outcome::Success)
        }
    }
}

/// How many bytes a response's field says that its body has.
#[inline]
fn declared(headers: &HeaderMap) -> Option<u64> {
    if headers.is_empty() {
        return None;
    }
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("custom", &self.custom.is_some()).finish()
    }
}

/// What kind of answer an HTTP request wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum HttpDialect {
    /// gRPC, trailers-only.
    Grpc,
    /// Problem details in JSON.
    Problem,
}

impl HttpDialect {
    /// The dialect of a request with these fields.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        if grpc::is_grpc(headers) { Self::Grpc } else { Self::Problem }
    }
}

impl<B, ResBody, E> Protocol<Request<B>, Response<ResBody>, E> for Http
where
    ResBody: Body,
{
    type Dialect = HttpDialect;
    type Response<W: Watch> = Response<ResponseBody<ResBody, W>>;
    type Error = E;

    fn dialect(&self, request: &Request<B>) -> HttpDialect {
        HttpDialect::of(request.headers())
    }

    fn judge(&self, result: &Result<Response<ResBody>, E>) -> Verdict {
        match result {
            Ok(response) => self.judge_head(response),
            Err(_) => Verdict::Known(Outcome::Failure),
        }
    }

    fn deliver<W: Watch>(
        &self,
        result: Result<Response<ResBody>, E>,
        watch: W,
    ) -> Result<Self::Response<W>, E> {
        match result {
            Ok(response) if !W::CARES => {
                Ok(response.map(|body| ResponseBody::inner(body, Pending::NONE)))
            }
            Ok(response) => {
                let pending = match self.judge_head(&response) {
                    Verdict::Known(outcome) => {
                        if outcome == Outcome::Failure
                            && let Some(wait) = retry_after(response.headers())
                        {
                            watch.retry_after(wait);
                        }
                        watch.settle(outcome);
                        Pending::NONE
                    }
                    // No server polls a body that is at its end from the start.
                    Verdict::AtEnd(judge) if response.body().is_end_stream() => {
                        watch.settle(judge(None));
                        Pending::NONE
                    }
                    Verdict::AtEnd(judge) => {
                        Pending::at_end(watch, judge, declared(response.headers()))
                    }
                };
                Ok(response.map(|body| ResponseBody::inner(body, pending)))
            }
            Err(error) => {
                watch.settle(Outcome::Failure);
                Err(error)
            }
        }
    }

    fn annotate<W: Watch>(
        &self,
        response: &mut Self::Response<W>,
        write: impl FnOnce(StatusCode, &mut HeaderMap),
    ) {
        write(response.status(), response.headers_mut());
    }

    fn refuse<W: Watch>(
        &self,
        dialect: HttpDialect,
        rejection: Rejection,
    ) -> Result<Self::Response<W>, E> {
        let own = self
            .custom
            .as_ref()
            .and_then(|custom| custom.respond.as_ref())
            .and_then(|respond| respond(dialect, &rejection));
        let response = match (own, dialect) {
            (Some(mut response), _) => {
                response.extensions_mut().insert(Refused { code: rejection.code() });
                response
            }
            (None, HttpDialect::Grpc) => rejection.into_grpc(),
            (None, HttpDialect::Problem) => rejection.into_problem(),
        };
        Ok(response.map(ResponseBody::refusal))
    }

    fn error(&self, error: E) -> E {
        error
    }
}

/// Any other service: a refusal is an error, so the error type must be able to hold a
/// [`Rejection`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Plain;

impl<Req, Res, E> Protocol<Req, Res, E> for Plain
where
    E: From<Rejection>,
{
    type Dialect = ();
    type Response<W: Watch> = Res;
    type Error = E;

    fn dialect(&self, _: &Req) {}

    fn judge(&self, result: &Result<Res, E>) -> Verdict {
        Verdict::Known(outcome(result))
    }

    fn deliver<W: Watch>(&self, result: Result<Res, E>, watch: W) -> Result<Res, E> {
        watch.settle(outcome(&result));
        result
    }

    fn annotate<W: Watch>(&self, _: &mut Res, _: impl FnOnce(StatusCode, &mut HeaderMap)) {}

    fn refuse<W: Watch>(&self, (): (), rejection: Rejection) -> Result<Res, E> {
        Err(rejection.into())
    }

    fn error(&self, error: E) -> E {
        error
    }
}

fn outcome<Res, E>(result: &Result<Res, E>) -> Outcome {
    if result.is_ok() { Outcome::Success } else { Outcome::Failure }
}
