//! The flags as one request sees them.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use bartizan_core::{Mode, Principal};
use http::Request;
use http::header::HeaderName;
use parking_lot::Mutex;
use serde_json::Value;

use crate::context::{Attributes, EvaluationContext, Parts, TARGETING_KEY};
use crate::definition::FlagSet;
use crate::engine::Flags;
use crate::exposure::Sink;
use crate::resolve::Resolved;
use crate::{Details, Flag, FlagType, Reason, control, current};

/// How many answers a request remembers; further flags push out the oldest.
const MEMO: usize = 16;

/// The flags as one request sees them. Clones are the same request.
///
/// Every evaluation of a request works on the set that was in force when it came, whatever comes
/// into force meanwhile; attributes are read where they lie in the request, and only those that some
/// rule mentions; and a flag that was evaluated once keeps its answer.
///
/// [`FlagsLayer`](crate::FlagsLayer) hands it on.
#[derive(Clone)]
pub struct RequestFlags(Arc<Inner>);

struct Inner {
    /// `None` only while nobody has it.
    seen: Option<Seen>,
    state: Mutex<State>,
}

struct Seen {
    flags: Flags,
    set: Arc<FlagSet>,
}

#[derive(Default)]
struct State {
    parts: Parts,
    /// What was set by hand.
    besides: EvaluationContext,
    /// Whom a split takes a caller for whom it does not know.
    drawn: Option<Box<str>>,
    /// Flags whose variants the request names, and may.
    overridden: Vec<(u32, u32)>,
    memo: Memo,
    /// Flags whose exposure has been reported, left out by chance, or is none.
    exposed: Vec<u32>,
}

/// What a flag says to whom goes by it.
pub(crate) struct Chosen<V> {
    pub(crate) resolved: Resolved,
    /// `None` where the default holds.
    pub(crate) value: Option<V>,
    /// The targeting key, which is known if some rule mentions it.
    pub(crate) key: Option<String>,
}

/// A ring of answers, by the flag's place in the set.
#[derive(Default)]
struct Memo {
    slots: Vec<(u32, Resolved)>,
    next: usize,
}

impl Memo {
    #[inline]
    fn get(&self, index: u32) -> Option<Resolved> {
        let hit = self.slots.iter().find(|(flag, _)| *flag == index);
        hit.map(|(_, resolved)| *resolved)
    }

    fn put(&mut self, index: u32, resolved: Resolved) {
        match self.slots.get_mut(self.next) {
            Some(slot) => *slot = (index, resolved),
            None => self.slots.push((index, resolved)),
        }
        self.next = (self.next + 1) % MEMO;
    }

    fn clear(&mut self) {
        self.slots.clear();
        self.next = 0;
    }
}

/// How many of them a thread keeps for requests to come.
const SPARE: usize = 64;

thread_local! {
    /// Emptied, for requests to come: a request then allocates nothing.
    static SPARES: RefCell<Vec<Arc<Inner>>> = const { RefCell::new(Vec::new()) };
}

impl RequestFlags {
    /// Takes the set in force for `request`, and of its headers those that rules may read.
    pub fn new<B>(flags: &Flags, request: &Request<B>, headers: &[HeaderName]) -> Self {
        Self::with(flags, flags.set(), request, headers)
    }

    pub(crate) fn with<B>(
        flags: &Flags,
        set: Arc<FlagSet>,
        request: &Request<B>,
        headers: &[HeaderName],
    ) -> Self {
        let spare = SPARES.try_with(|spares| spares.try_borrow_mut().ok()?.pop());
        let mut inner = spare
            .ok()
            .flatten()
            .unwrap_or_else(|| Arc::new(Inner { seen: None, state: Mutex::default() }));
        if let Some(inner) = Arc::get_mut(&mut inner) {
            let mut mentions = set.mentions;
            if flags.sink().is_some_and(Sink::asks_for_keys) {
                mentions.add(TARGETING_KEY);
            }
            inner.state.get_mut().parts.take(request, mentions, headers);
            inner.seen = Some(Seen { flags: flags.clone(), set });
        }
        Self(inner)
    }

    /// Keeps what is left of a request that is over, unless somebody still has it.
    pub(crate) fn recycle(mut self) {
        let Some(inner) = Arc::get_mut(&mut self.0) else { return };
        inner.seen = None;
        let state = inner.state.get_mut();
        state.parts.clear();
        state.besides.clear();
        state.drawn = None;
        state.overridden.clear();
        state.memo.clear();
        state.exposed.clear();
        state.exposed.shrink_to(4 * MEMO);
        // In a thread that is about to end there is no place any more.
        let _ = SPARES.try_with(|spares| {
            if let Ok(mut spares) = spares.try_borrow_mut()
                && spares.len() < SPARE
            {
                spares.push(self.0);
            }
        });
    }

    fn seen(&self) -> &Seen {
        self.0.seen.as_ref().expect("it is taken away only from whom nobody has")
    }

    /// The flags of the request that the current task works on: for code that sees no request. `None`
    /// outside a [`FlagsLayer`](crate::FlagsLayer), and in tasks that were spawned.
    #[must_use]
    pub fn current() -> Option<Self> {
        current::look(Self::clone)
    }

    /// What a layer of these flags has put into the request or its task.
    pub(crate) fn of<B>(flags: &Flags, request: &Request<B>) -> Option<Self> {
        let own = |found: &Self| found.flags().is(flags).then(|| found.clone());
        let by_task = || current::look(own).flatten();
        request.extensions().get().and_then(own).or_else(by_task)
    }

    /// The engine.
    #[must_use]
    pub fn flags(&self) -> &Flags {
        &self.seen().flags
    }

    /// The `version` in the metadata of the set that this request sees.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.seen().set.version.as_deref()
    }

    /// Evaluates a flag.
    #[must_use]
    #[inline]
    pub fn get<T: FlagType>(&self, flag: &Flag<T>) -> T::Value {
        let (_, value) = self.value(flag, T::read);
        value.unwrap_or_else(|| flag.default())
    }

    /// Evaluates a flag, and tells how the value came about.
    #[must_use]
    pub fn details<T: FlagType>(&self, flag: &Flag<T>) -> Details<T::Value> {
        let Seen { flags, set } = self.seen();
        let (resolved, value) = self.value(flag, T::read);
        let index = set.index(flag.name(), flag.hash());
        flags.dated(set.details(index, resolved, value.unwrap_or_else(|| flag.default())))
    }

    /// What the flag says of a layer's mode, if this is a request of that engine.
    pub(crate) fn mode(&self, engine: u64, flag: &Flag<&'static str>) -> Option<Mode> {
        if self.flags().id() != engine {
            return None;
        }
        self.value(flag, control::mode).1
    }

    /// Gives flags the variants that the request names. Those that the set does not know, or that
    /// are off, stay as they are. Returns how many there are.
    pub(crate) fn override_with<'a>(
        &self,
        named: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> usize {
        let set = &self.seen().set;
        let mut state = self.0.state.lock();
        state.overridden.extend(named.filter_map(|(flag, variant)| set.place(flag, variant)));
        state.memo.clear();
        state.overridden.len()
    }

    /// Evaluates a flag for what goes by its answer, and tells by [`expose`](Self::expose) if it does.
    pub(crate) fn choose<T: FlagType, V>(
        &self,
        flag: &Flag<T>,
        read: impl FnOnce(&Value) -> Option<V>,
    ) -> Chosen<V> {
        let (resolved, value) = self.evaluate(flag, read);
        let state = self.0.state.lock();
        Chosen { resolved, value, key: state.attributes().key().map(str::to_owned) }
    }

    /// Whether it is known who calls, by more than what a split has drawn.
    pub(crate) fn has_key(&self) -> bool {
        let state = self.0.state.lock();
        let key = state.attributes().key();
        key.is_some() && key != state.drawn.as_deref()
    }

    /// Whom a split takes the caller for: the same at each attempt of a request.
    pub(crate) fn draw(&self, draw: impl FnOnce() -> String) -> String {
        let drawn = &mut self.0.state.lock().drawn;
        drawn.get_or_insert_with(|| draw().into()).to_string()
    }

    #[inline]
    fn value<T: FlagType, V>(
        &self,
        flag: &Flag<T>,
        read: impl FnOnce(&Value) -> Option<V>,
    ) -> (Resolved, Option<V>) {
        let (resolved, value) = self.evaluate(flag, read);
        if self.flags().sink().is_some() {
            self.expose(flag, resolved);
        }
        (resolved, value)
    }

    #[inline]
    fn evaluate<T: FlagType, V>(
        &self,
        flag: &Flag<T>,
        read: impl FnOnce(&Value) -> Option<V>,
    ) -> (Resolved, Option<V>) {
        let Seen { flags, set } = self.seen();
        let index = set.index(flag.name(), flag.hash());
        let mut remembered = false;
        let mut resolved = flags.resolve(set, index, |index| {
            // One request holds this lock, for as long as a bounded rule runs.
            let mut state = self.0.state.lock();
            if let Some(resolved) = state.memo.get(index) {
                remembered = true;
                return resolved;
            }
            let overridden = state.overridden.iter().find(|(flag, _)| *flag == index);
            let resolved = match overridden {
                Some((_, variant)) => Resolved::Variant(*variant, Reason::Override),
                None => set.resolve(index, state.attributes(), flags.time()),
            };
            state.memo.put(index, resolved);
            resolved
        });
        let value = index.and_then(|index| set.value(index, &mut resolved, read));
        if !remembered {
            flags.counts().evaluated(resolved.reason());
        }
        (resolved, value)
    }

    /// Reports which variant the request got of a flag, if it is the first.
    pub(crate) fn expose<T>(&self, flag: &Flag<T>, resolved: Resolved) {
        let Seen { flags, set } = self.seen();
        let (Some(sink), Resolved::Variant(..)) = (flags.sink(), resolved) else { return };
        let Some(index) = set.index(flag.name(), flag.hash()) else { return };
        let mut state = self.0.state.lock();
        if !state.exposed.contains(&index) {
            state.exposed.push(index);
            sink.offer(state.attributes().key(), || set.exposure(index, resolved));
        }
    }

    /// Reports nothing of a flag any more: the request does not get what the flag says.
    pub(crate) fn conceal<T>(&self, flag: &Flag<T>) {
        let Seen { flags, set } = self.seen();
        let index = flags.sink().and_then(|_| set.index(flag.name(), flag.hash()));
        self.0.state.lock().exposed.extend(index);
    }

    /// Says who calls, for what finds out only behind the layer. What was evaluated before is
    /// forgotten.
    pub fn identify(&self, principal: &Principal) {
        let mut state = self.0.state.lock();
        state.parts.identify(principal.clone());
        state.memo.clear();
    }

    /// Sets an attribute, over what the request says. What was evaluated before is forgotten.
    pub fn attribute(&self, name: impl Into<String>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        let mut state = self.0.state.lock();
        state.besides.set(name, value);
        state.memo.clear();
    }
}

impl State {
    const fn attributes(&self) -> Attributes<'_> {
        Attributes::of_request(&self.parts, &self.besides)
    }
}

impl fmt::Debug for RequestFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestFlags").field("version", &self.version()).finish_non_exhaustive()
    }
}

/// Takes the flags that a [`FlagsLayer`](crate::FlagsLayer) has handed on; without one the handler
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
        parts.extensions.get().cloned().or_else(Self::current).ok_or(MISSING)
    }
}
