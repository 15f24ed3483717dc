use bartizan_core::{Http, HttpDialect, Principal, Protocol, Rejection};
use http::{Request, Response};
use http_body::Body;

use crate::forward::Forward;
use crate::{Authenticator, Decision};

/// How a layer lets requests in: what it removes from them, and what it adds.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub(crate) authenticator: Authenticator,
    pub(crate) http: Http,
    pub(crate) strip: bool,
    pub(crate) forward: Forward,
}

impl Admission {
    /// Makes of `request` what the service is to see, or says how it is refused.
    pub(crate) fn admit<B, R: Body, E>(
        &self,
        request: &mut Request<B>,
        decision: Decision,
    ) -> Result<(), (HttpDialect, Box<Rejection>)> {
        let principal = match decision {
            Decision::Off => return Ok(()),
            Decision::Refused(denial) => {
                let dialect = Protocol::<_, Response<R>, E>::dialect(&self.http, &*request);
                return Err((dialect, Box::new(self.authenticator.rejection(denial))));
            }
            Decision::Known(principal) => Some(principal),
            Decision::Anonymous => None,
        };
        if self.strip {
            self.authenticator.strip(request.headers_mut());
        }
        self.forward.write(request.headers_mut(), principal.as_ref());
        match principal {
            Some(principal) => request.extensions_mut().insert(principal),
            // Whoever put one there, it was not proven here.
            None => request.extensions_mut().remove::<Principal>(),
        };
        Ok(())
    }
}
