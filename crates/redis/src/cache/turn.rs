//! The turn to ask the service, among processes: a key that ends by itself.

use std::sync::Arc;
use std::time::Duration;

use bartizan_cache::{Lease, StoreError, StoreErrorKind, StoreKey, Turn};
use redis::Value;

use super::{Inner, millis};

/// A turn, and the token that tells this process's apart. It is given back when this is dropped.
struct Held {
    inner: Arc<Inner>,
    lease: Vec<u8>,
    token: u64,
    /// Whether there may be something to give back.
    is_due: bool,
    /// Whether the service's answer was not for others.
    unshared: bool,
}

/// Takes the turn for a key, unless another has it, or nobody needs one.
pub(super) async fn take(
    inner: &Arc<Inner>,
    key: StoreKey,
    span: Duration,
) -> Result<Turn, StoreError> {
    let lease = [inner.root.as_bytes(), b"l:", key.as_bytes()].concat();
    let token = fastrand::u64(..);
    let mut run = inner.scripts.lease.run(2);
    run.arg(&lease).arg(inner.record_key(key)).arg(token).arg(millis(span).max(1));
    // From here on it may be granted, whether or not this is waited for to the end.
    let mut held = Held { inner: Arc::clone(inner), lease, token, is_due: true, unshared: false };
    match &inner.run(&inner.scripts.lease, &run).await?[..] {
        [Value::Int(1), Value::Int(found)] => {
            let release = move |unshared| {
                // All of it: it is given back at the end of this.
                let mut held = held;
                held.unshared = unshared;
            };
            Ok(Turn::Mine(Lease::new(*found == 1, release)))
        }
        [Value::Int(taken), _] => {
            held.is_due = false;
            Ok(if *taken == 0 { Turn::Taken } else { Turn::Unshared })
        }
        _ => Err(StoreError::new(StoreErrorKind::Corrupt)),
    }
}

impl Drop for Held {
    /// Beside the clients. What does not get there ends with its time.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.is_due {
            return;
        }
        let (inner, lease) = (Arc::clone(&self.inner), std::mem::take(&mut self.lease));
        let (token, unshared) = (self.token, u8::from(self.unshared));
        runtime.spawn(async move {
            let script = &inner.scripts.release;
            let mut run = script.run(1);
            run.arg(lease).arg(token).arg(unshared);
            drop(inner.run(script, &run).await);
        });
    }
}
