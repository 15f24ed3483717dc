//! The flags as one request sees them.

use std::fmt;
use std::sync::Arc;

use bartizan_core::Principal;
use http::Request;
use http::header::HeaderName;
use parking_lot::Mutex;
use serde_json::Value;

use crate::context::{EvaluationContext, Parts};
use crate::definition::FlagSet;
use crate::engine::Flags;
use crate::resolve::Resolved;
use crate::{Details, Flag, FlagType};

/// How many answers a request remembers; further flags push out the oldest.
const MEMO: usize = 16;

/// The flags as one request sees them. Clones are the same request.
///
/// Every evaluation of a request works on the set that was in force when it came, whatever comes
/// into force meanwhile; the context is built at the first evaluation that asks for it, out of the
/// attributes that some rule mentions; and a flag that was evaluated once keeps its answer.
///
/// [`FlagsLayer`](crate::FlagsLayer) puts it in the request's extensions.
#[derive(Clone)]
pub struct RequestFlags(Arc<Inner>);

struct Inner {
    flags: Flags,
    set: Arc<FlagSet>,
    state: Mutex<State>,
}

struct State {
    parts: Parts,
    context: Option<EvaluationContext>,
    memo: Memo,
}

/// A ring of answers, by the flag's place in the set.
#[derive(Default)]
struct Memo {
    slots: [Option<(u32, Resolved)>; MEMO],
    next: usize,
}

impl Memo {
    fn get(&self, index: u32) -> Option<Resolved> {
        let hit = self.slots.iter().flatten().find(|(flag, _)| *flag == index);
        hit.map(|(_, resolved)| *resolved)
    }

    fn put(&mut self, index: u32, resolved: Resolved) {
        if let Some(slot) = self.slots.get_mut(self.next % MEMO) {
            *slot = Some((index, resolved));
        }
        self.next = (self.next + 1) % MEMO;
    }
}

tokio::task_local! {
    pub(crate) static CURRENT: RequestFlags;
}

impl RequestFlags {
    /// Takes the set in force for `request`, and of its headers those that rules may read.
    pub fn new<B>(flags: &Flags, request: &Request<B>, headers: &[HeaderName]) -> Self {
        let set = flags.set();
        let parts = Parts::of(request, &set.mentions, headers);
        let state = Mutex::new(State { parts, context: None, memo: Memo::default() });
        Self(Arc::new(Inner { flags: flags.clone(), set, state }))
    }

    /// The flags of the request that the current task works on: for code that sees no request. `None`
    /// outside a [`FlagsLayer`](crate::FlagsLayer), and in tasks that were spawned.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// The engine.
    #[must_use]
    pub fn flags(&self) -> &Flags {
        &self.0.flags
    }

    /// The `version` in the metadata of the set that this request sees.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.0.set.version.as_deref()
    }

    /// Evaluates a flag.
    #[must_use]
    #[inline]
    pub fn get<T: FlagType>(&self, flag: &Flag<T>) -> T::Value {
        let index = self.0.set.index(flag.name());
        let mut resolved = self.resolve(index);
        let value = index.and_then(|index| self.0.set.value(index, &mut resolved, T::read));
        value.unwrap_or_else(|| flag.default())
    }

    /// Evaluates a flag, and tells how the value came about.
    #[must_use]
    pub fn details<T: FlagType>(&self, flag: &Flag<T>) -> Details<T::Value> {
        let index = self.0.set.index(flag.name());
        let mut resolved = self.resolve(index);
        let value = index.and_then(|index| self.0.set.value(index, &mut resolved, T::read));
        self.0.set.details(index, resolved, value.unwrap_or_else(|| flag.default()))
    }

    /// Evaluates a flag by its name, and the targeting key; `None` where the default holds.
    pub(crate) fn value_and_key<T>(
        &self,
        flag: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> (Option<T>, Option<String>) {
        let index = self.0.set.index(flag);
        let mut resolved = self.resolve(index);
        let value = index.and_then(|index| self.0.set.value(index, &mut resolved, read));
        let mut state = self.0.state.lock();
        let State { parts, context, .. } = &mut *state;
        let context = context.get_or_insert_with(|| parts.context(&self.0.set.mentions));
        let subject = || parts.principal.as_ref().map(|principal| principal.subject().to_owned());
        (value, context.key().map(str::to_owned).or_else(subject))
    }

    /// Says who calls, for what finds out only behind the layer. What was evaluated before is
    /// forgotten.
    pub fn identify(&self, principal: &Principal) {
        self.change(|state| {
            state.parts.principal = Some(principal.clone());
            state.context = None;
        });
    }

    /// Sets an attribute besides those of the request. What was evaluated before is forgotten.
    ///
    /// A later [`identify`](Self::identify) drops it, so call that first.
    pub fn attribute(&self, name: impl Into<String>, value: impl Into<Value>) {
        let mentions = &self.0.set.mentions;
        self.change(|state| {
            let context = state.context.take().unwrap_or_else(|| state.parts.context(mentions));
            state.context = Some(context.attribute(name, value));
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.state.lock();
        change(&mut state);
        state.memo = Memo::default();
    }

    fn resolve(&self, index: Option<u32>) -> Resolved {
        let Inner { flags, set, state } = &*self.0;
        flags.resolve(set, index, |index| {
            // One request holds this lock, for as long as a bounded rule runs.
            let mut state = state.lock();
            if let Some(resolved) = state.memo.get(index) {
                return resolved;
            }
            let State { parts, context, memo } = &mut *state;
            let context = context.get_or_insert_with(|| parts.context(&set.mentions));
            let resolved = set.resolve(index, context, flags.clock());
            memo.put(index, resolved);
            flags.counts().evaluated(resolved.reason());
            if let Some(sink) = flags.sink() {
                sink.offer(context.key(), || set.exposure(index, resolved));
            }
            resolved
        })
    }
}

impl fmt::Debug for RequestFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestFlags").field("version", &self.version()).finish_non_exhaustive()
    }
}

/// Takes the flags that a [`FlagsLayer`](crate::FlagsLayer) has put there; without one the handler
/// answers 500.
#[cfg(feature = "axum")]
impl<S: Sync> axum::extract::FromRequestParts<S> for RequestFlags {
    type Rejection = (http::StatusCode, &'static str);

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        const MISSING: (http::StatusCode, &str) =
            (http::StatusCode::INTERNAL_SERVER_ERROR, "the route is not behind a FlagsLayer");
        parts.extensions.get::<Self>().cloned().ok_or(MISSING)
    }
}
