//! The turn to ask the service, among processes: a key that ends by itself.

use std::sync::Arc;
use std::time::Duration;

use bartizan_cache::{Lease, StoreError, StoreErrorKind, StoreKey};
use redis::Value;

use super::{Inner, millis};

/// A turn, and the token that tells this process's apart. It is given back when this is dropped.
struct Turn {
    inner: Arc<Inner>,
    lease: Vec<u8>,
    token: u64,
    /// Whether there may be something to give back.
    is_due: bool,
    /// Whether the service answered.
    answered: bool,
}

/// Takes the turn for a key, unless another has it.
pub(super) async fn take(
    inner: &Arc<Inner>,
    key: StoreKey,
    span: Duration,
) -> Result<Option<Lease>, StoreError> {
    let lease = [inner.root.as_bytes(), b"l:", key.as_bytes()].concat();
    let token = fastrand::u64(..);
    let mut run = inner.scripts.lease.run(2);
    run.arg(&lease).arg(inner.record_key(key)).arg(token).arg(millis(span).max(1));
    // From here on it may be granted, whether or not this is waited for to the end.
    let mut turn = Turn { inner: Arc::clone(inner), lease, token, is_due: true, answered: false };
    match &inner.run(&inner.scripts.lease, &run).await?[..] {
        [Value::Int(1), Value::Int(found), Value::Int(left)] => {
            let release = move |answered| {
                // All of it: it is given back at the end of this.
                let mut turn = turn;
                turn.answered = answered;
            };
            Ok(Some(Lease::new(*found == 1, release).left(*left == 1)))
        }
        [Value::Int(_), ..] => {
            turn.is_due = false;
            Ok(None)
        }
        _ => Err(StoreError::new(StoreErrorKind::Corrupt)),
    }
}

impl Drop for Turn {
    /// Beside the clients. What does not get there ends with its time.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.is_due {
            return;
        }
        let (inner, lease) = (Arc::clone(&self.inner), std::mem::take(&mut self.lease));
        let (token, answered) = (self.token, u8::from(self.answered));
        runtime.spawn(async move {
            let script = &inner.scripts.release;
            let mut run = script.run(1);
            run.arg(lease).arg(token).arg(answered);
            drop(inner.run(script, &run).await);
        });
    }
}
