use bartizan_core::{KeyExtractor, Outcome, Watch};

use crate::{CircuitBreaker, KeyedCircuitBreaker, Open, Permit};

/// Finds the breaker that a request is up to: the one there is, or the one of its key.
pub trait Guard<Req> {
    /// Takes leave to make the call.
    ///
    /// # Errors
    ///
    /// Says how long to wait if the call is refused.
    fn admit(&self, request: &Req) -> Result<Permit, Open>;

    /// Whether any request would be refused now, so that none has to wait for the service to be
    /// ready.
    fn refusal(&self) -> Option<Open>;

    /// The service says that it never will be ready again, or not now.
    fn unready(&self);
}

impl<Req> Guard<Req> for CircuitBreaker {
    #[inline]
    fn admit(&self, _: &Req) -> Result<Permit, Open> {
        self.try_acquire()
    }

    fn refusal(&self) -> Option<Open> {
        Self::refusal(self)
    }

    fn unready(&self) {
        if Self::refusal(self).is_none()
            && let Ok(permit) = self.try_acquire()
        {
            permit.settle(Outcome::Failure);
        }
    }
}

/// A table of breakers and where a request's key comes from.
#[derive(Clone, Debug)]
pub struct ByKey<K> {
    pub(crate) breakers: KeyedCircuitBreaker,
    pub(crate) key: K,
}

impl<K, Req> Guard<Req> for ByKey<K>
where
    K: KeyExtractor<Req>,
{
    fn admit(&self, request: &Req) -> Result<Permit, Open> {
        match self.key.key(request) {
            Some(key) => self.breakers.try_acquire(key),
            None => Ok(self.breakers.without_key()),
        }
    }

    /// Nobody knows yet which key is asked for.
    fn refusal(&self) -> Option<Open> {
        None
    }

    fn unready(&self) {}
}
