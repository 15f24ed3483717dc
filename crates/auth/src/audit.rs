use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use bartizan_core::{Counter, Principal};
use http::{HeaderMap, HeaderName, Method};

use crate::observe;

/// How many events wait for the sink by default.
const CAPACITY: usize = 4096;
/// The longest request id that is taken over.
const MAX_ID: usize = 128;

/// Who was let in or turned away, and why.
///
/// It holds no credential. It names the caller, since that is what an audit is for; `Debug` does
/// not.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuditEvent {
    /// When, as the time since 1970.
    pub at: Duration,
    /// The [`Authenticator`](crate::Authenticator)'s name.
    pub engine: String,
    /// Which question was decided.
    pub stage: AuditStage,
    /// What was decided.
    pub decision: AuditDecision,
    /// Why, in one word: `authenticated`, `anonymous`, a denial's word as in the metrics, `met`,
    /// `insufficient_scope`, `insufficient_user_authentication`, or a policy's.
    pub reason: &'static str,
    /// The name in challenges of the scheme that decided who calls: of [`AllOf`](crate::AllOf) the
    /// first. None where there was no credential, or another question.
    pub scheme: Option<&'static str>,
    /// The caller, if one was known.
    pub principal: Option<Principal>,
    /// What was required, where that was the question.
    pub requirement: Option<String>,
    /// The request's method.
    pub method: Method,
    /// The request's path, without the query, which may hold secrets; empty where it was not told.
    pub path: String,
    /// The request's id, if it has one in the form of a word; see [`Audit::request_id_header`].
    pub request_id: Option<String>,
}

/// Which question an [`AuditEvent`] answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AuditStage {
    /// Who calls.
    Authenticate,
    /// Whether they may.
    Authorize,
}

/// What an [`AuditEvent`] says was done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AuditDecision {
    /// The request passed.
    Allowed,
    /// It was turned away.
    Refused,
    /// It passed, since the engine is in the shadow mode, and would have been turned away.
    ShadowRefused,
}

/// Takes audit events, one after the other, on a thread of its own: it may block.
pub trait AuditSink: Send + 'static {
    /// Takes one event. A panic loses this event only.
    fn record(&mut self, event: &AuditEvent);
}

impl<F: FnMut(&AuditEvent) + Send + 'static> AuditSink for F {
    fn record(&mut self, event: &AuditEvent) {
        self(event);
    }
}

/// Writes events by `tracing`, with the target `bartizan::audit`: what was allowed at the level
/// INFO, what was not at WARN.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TracingSink;

impl TracingSink {
    /// Creates a sink.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl AuditSink for TracingSink {
    fn record(&mut self, event: &AuditEvent) {
        observe::audited(event);
    }
}

/// An audit trail: a bounded queue to an [`AuditSink`]. Clones are one trail.
///
/// A request never waits for it. What finds no room is dropped and counted
/// (`bartizan_auth_audit_total`, `dropped`).
///
/// ```
/// use bartizan_auth::{Audit, AuditEvent, Authenticator, TracingSink};
///
/// let auth = Authenticator::new("api").audit(Audit::new(TracingSink::new()));
/// // Or what one likes better:
/// let auth = auth.audit(Audit::new(|event: &AuditEvent| {
///     println!("{} {:?} {}", event.path, event.decision, event.reason);
/// }));
/// # let _ = auth;
/// ```
#[derive(Clone)]
#[must_use]
pub struct Audit {
    queue: SyncSender<Message>,
    counts: Arc<Counts>,
    request_id: HeaderName,
    refusals_only: bool,
}

#[derive(Debug, Default)]
struct Counts {
    recorded: Counter,
    dropped: Counter,
}

enum Message {
    Event(Box<AuditEvent>),
    Flush(SyncSender<()>),
}

impl Audit {
    /// Starts a trail to `sink` that holds 4096 events. Its thread ends with the last clone, after
    /// what is left was recorded.
    pub fn new(sink: impl AuditSink) -> Self {
        Self::with_capacity(sink, CAPACITY)
    }

    /// Starts a trail to `sink` that holds so many events.
    pub fn with_capacity(sink: impl AuditSink, events: usize) -> Self {
        let (queue, events) = sync_channel(events.max(1));
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        let thread = std::thread::Builder::new().name("bartizan-audit".to_owned());
        // Without the thread nobody receives, so that all events count as dropped.
        if let Err(error) = thread.spawn(move || drain(sink, &events, &counted)) {
            observe::audit_failed(&error);
        }
        let request_id = HeaderName::from_static("x-request-id");
        Self { queue, counts, request_id, refusals_only: false }
    }

    /// Leaves out what was allowed.
    pub const fn refusals_only(mut self) -> Self {
        self.refusals_only = true;
        self
    }

    /// Takes the request's id from this field: `x-request-id` by default. It is the caller's word
    /// unless something further out sets it; more than 128 characters, or other than visible ASCII,
    /// are not taken over.
    pub fn request_id_header(mut self, field: HeaderName) -> Self {
        self.request_id = field;
        self
    }

    /// Waits until all that was queued before was recorded, as before the process ends. Blocks.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.send(Message::Flush(done)).is_ok() {
            // An error means that the thread is gone, and nothing is left to wait for.
            let _ = wait.recv();
        }
    }

    /// How many events were recorded, and how many were dropped.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.counts.recorded.get(), self.counts.dropped.get())
    }

    pub(crate) fn wants(&self, decision: AuditDecision) -> bool {
        !self.refusals_only || decision != AuditDecision::Allowed
    }

    pub(crate) fn record(&self, event: AuditEvent) {
        match self.queue.try_send(Message::Event(Box::new(event))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counts.dropped.add(1);
            }
        }
    }

    pub(crate) fn request_id(&self, headers: &HeaderMap) -> Option<String> {
        let id = headers.get(&self.request_id)?.as_bytes();
        let is_word = (1..=MAX_ID).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
        is_word.then(|| String::from_utf8_lossy(id).into_owned())
    }
}

fn drain(mut sink: impl AuditSink, messages: &Receiver<Message>, counts: &Counts) {
    for message in messages {
        match message {
            Message::Event(event) => match catch_unwind(AssertUnwindSafe(|| sink.record(&event))) {
                Ok(()) => counts.recorded.add(1),
                Err(_) => counts.dropped.add(1),
            },
            // Whoever waited may have gone.
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

impl AuditStage {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authenticate => "authenticate",
            Self::Authorize => "authorize",
        }
    }
}

impl AuditDecision {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::ShadowRefused => "shadow_refused",
        }
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit")
            .field("counts", &self.counts)
            .field("refusals_only", &self.refusals_only)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn event(path: &str) -> AuditEvent {
        AuditEvent {
            at: Duration::ZERO,
            engine: "api".to_owned(),
            stage: AuditStage::Authenticate,
            decision: AuditDecision::Refused,
            reason: "missing",
            scheme: None,
            principal: None,
            requirement: None,
            method: Method::GET,
            path: path.to_owned(),
            request_id: None,
        }
    }

    #[test]
    #[allow(clippy::disallowed_types, reason = "the sink is not on the pass path")]
    fn what_finds_no_room_is_dropped_and_counted_and_nobody_waits() {
        let (release, held) = sync_channel::<()>(0);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let seen = Arc::clone(&seen);
            move |event: &AuditEvent| {
                let _ = held.recv();
                seen.lock().unwrap().push(event.path.clone());
            }
        };
        let audit = Audit::with_capacity(sink, 2);
        // One is in the sink's hands at most, two in the queue.
        for path in 0..10 {
            audit.record(event(&path.to_string()));
        }
        let (recorded, dropped) = audit.counts();
        assert_eq!(recorded, 0);
        assert!((7..=8).contains(&dropped), "{dropped}");
        drop(release);
        audit.flush();
        assert_eq!(audit.counts(), (10 - dropped, dropped));
        assert_eq!(seen.lock().unwrap()[..2], ["0", "1"]);
    }

    #[test]
    fn a_sink_that_panics_loses_one_event() {
        let audit = Audit::new(|event: &AuditEvent| assert_ne!(event.path, "/bad"));
        for path in ["/bad", "/good"] {
            audit.record(event(path));
        }
        audit.flush();
        assert_eq!(audit.counts(), (1, 1));
    }

    #[test]
    fn ids_are_words() {
        let audit = Audit::new(TracingSink::new());
        let id = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("x-request-id", value.try_into().unwrap());
            audit.request_id(&headers)
        };
        assert_eq!(id(b"b3-7_f/2").as_deref(), Some("b3-7_f/2"));
        assert_eq!(id(&[b'a'; 128]).map(|id| id.len()), Some(128));
        for bad in [&b"a b"[..], b"", b"\xe9", &[b'a'; 129]] {
            assert_eq!(id(bad), None);
        }
        assert_eq!(audit.request_id(&HeaderMap::new()), None);
    }
}
