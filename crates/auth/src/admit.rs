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
        let is_off = matches!(decision, Decision::Off);
        let principal = match decision {
            Decision::Refused(denial) => {
                let dialect = Protocol::<_, Response<R>, E>::dialect(&self.http, &*request);
                return Err((dialect, Box::new(self.authenticator.rejection(denial))));
            }
            Decision::Known(principal) => Some(principal),
            Decision::Anonymous | Decision::Off => None,
        };
        // Also while it is off: what is elsewhere forwarded as proven does not come from outside, and
        // what the service is not to see it does not see.
        if self.strip {
            self.authenticator.strip(request.headers_mut());
        }
        self.forward.write(request.headers_mut(), principal.as_ref());
        match principal {
            _ if is_off => None,
            Some(principal) => request.extensions_mut().insert(principal),
            // Whoever put one there, it was not proven here.
            None => request.extensions_mut().remove::<Principal>(),
        };
        Ok(())
    }
}
