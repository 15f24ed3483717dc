//! What a flight does: the service's future, then its body.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use crate::body::BoxError;
use crate::exchange::{self, Concluded};
use crate::flight::{self, Flight, Work};
use crate::observe::Fate;
use crate::stream::{End, Stream};

/// What the leader's body is.
#[derive(Debug)]
pub(crate) enum Delivery<B> {
    /// The service's own: it is not stored.
    Own(B),
    /// The flight's.
    Shared,
    /// From the store.
    Stored(Bytes),
    /// The flight's, which the leader does not want: it has it.
    Unread,
}

/// What comes before the service's future is polled, of which nobody waits for the leader's own
/// answer: what is the answer in its place, if anything is.
pub(crate) type Ahead = Pin<Box<dyn Future<Output = Option<flight::Stage>> + Send>>;

/// The leader's own answer.
pub(crate) type Answer<B, E> = Result<Response<Delivery<B>>, E>;

pin_project! {
    pub(crate) struct Leg<F, B, E> {
        #[pin]
        stage: Stage<F, B>,
        answer: Option<Answer<B, E>>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F, B> {
        Head { ahead: Option<Ahead>, #[pin] future: F },
        Body { #[pin] body: B },
        Done,
    }
}

impl<F, B, E> Leg<F, B, E> {
    pub(crate) const fn new(ahead: Option<Ahead>, future: F) -> Self {
        Self { stage: Stage::Head { ahead, future }, answer: None }
    }
}

impl<F, B, E> Work for Leg<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: Send + 'static,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>, flight: &Arc<Flight>) -> Poll<()> {
        let mut this = self.project();
        match this.stage.as_mut().project() {
            StageProj::Head { ahead, future } => {
                if let Some(looking) = ahead {
                    if let Some(stage) = ready!(looking.as_mut().poll(cx)) {
                        this.stage.set(Stage::Done);
                        exchange::close(flight, stage);
                        return Poll::Ready(());
                    }
                    *ahead = None;
                    flight.fetch.is_asked_now();
                }
                let result = ready!(future.poll(cx));
                let (answer, body) = match exchange::conclude(flight, result) {
                    Concluded::Open { response, body } => (Ok(response), Some(body)),
                    Concluded::Closed(answer) => (answer, None),
                };
                *this.answer = Some(answer);
                match body {
                    // No server polls a body that is at its end from the start.
                    Some(body) if body.is_end_stream() => {
                        this.stage.set(Stage::Done);
                        finish(flight);
                    }
                    Some(body) => this.stage.set(Stage::Body { body }),
                    None => this.stage.set(Stage::Done),
                }
                Poll::Ready(())
            }
            StageProj::Body { mut body } => {
                if !flight.has_room() {
                    return Poll::Pending;
                }
                let over = match ready!(body.as_mut().poll_frame(cx)) {
                    None => true,
                    Some(Err(error)) => {
                        spoil(flight, Fate::Broken, End::Broken(Some(error.into())));
                        this.stage.set(Stage::Done);
                        return Poll::Ready(());
                    }
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => {
                            let over = body.is_end_stream();
                            let push = |stream: &mut Stream| stream.push(data);
                            let failed =
                                if over { flight.quietly(push) } else { flight.with_stream(push) };
                            if let Some(fate) = failed {
                                give_up(flight, fate);
                            }
                            over
                        }
                        Err(frame) => {
                            // A stored response could not repeat them.
                            let end = frame.into_trailers().map_or(End::Whole, End::Trailers);
                            spoil(flight, Fate::Oversized, end);
                            this.stage.set(Stage::Done);
                            return Poll::Ready(());
                        }
                    },
                };
                if over {
                    this.stage.set(Stage::Done);
                    finish(flight);
                }
                Poll::Ready(())
            }
            StageProj::Done => Poll::Pending,
        }
    }

    fn take(self: Pin<&mut Self>, out: &mut dyn Any) {
        if let Some(out) = out.downcast_mut::<Option<Answer<B, E>>>() {
            *out = self.project().answer.take();
        }
    }
}

/// The body is over: it is stored if it is complete.
fn finish(flight: &Flight) {
    match flight.quietly(Stream::complete) {
        Ok(Some(filled)) => flight.fetch.store(filled),
        Ok(None) => {}
        Err(fate) => flight.fetch.count(fate),
    }
    flight.leave();
    flight.with_stream(|stream| stream.end(End::Whole));
}

/// The body is not stored, and nobody joins it from now on.
fn spoil(flight: &Flight, fate: Fate, end: End) {
    let was_filling = flight.with_stream(|stream| {
        let fill = stream.pass();
        stream.end(end);
        fill.is_some()
    });
    if was_filling {
        give_up(flight, fate);
    }
}

fn give_up(flight: &Flight, fate: Fate) {
    flight.fetch.count(fate);
    flight.leave();
    if fate == Fate::Oversized {
        exchange::outgrown(flight);
    }
}
