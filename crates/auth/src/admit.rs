use bartizan_core::{Http, HttpDialect, KeyExtractor, Principal, Protocol, Rejection, key};
use http::{Request, Response};
use http_body::Body;

use crate::forward::Forward;
use crate::hooks::Asked;
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
    /// What the authenticator is told of a request.
    pub(crate) fn asked<'a, B>(&self, request: &'a Request<B>) -> Asked<'a> {
        let wanted = self.authenticator.wants_addresses();
        let address = if wanted { key::ip().key(request) } else { None };
        Asked::of(request).at_address(address)
    }

    /// Makes of `request` what the service is to see, or says how it is refused.
    pub(crate) fn admit<B, R: Body, E>(
        &self,
        request: &mut Request<B>,
        decision: Decision,
    ) -> Result<(), (HttpDialect, Box<Rejection>)> {
        let principal = match decision {
            Decision::Off => {
                // What is forwarded elsewhere as proven must not come from outside here.
                self.forward.write(request.headers_mut(), None);
                return Ok(());
            }
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
