use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use fastrand::Rng;
use http::{Request, Response, StatusCode};
use tower::ServiceExt;
use tower::util::Oneshot;
use tower_service::Service;

use super::plan::{DEADLINE, Plan, SECOND, exponential};
use super::server::{Ask, Worker};
use super::tally::Tally;

/// Virtual time starts here, so that whoever looks back a day finds one.
const ORIGIN: u64 = 1_000_000 * SECOND;

static NOW: AtomicU64 = AtomicU64::new(ORIGIN);

/// Virtual time in nanoseconds, as of the event that is being dealt with.
#[must_use]
pub fn now() -> u64 {
    NOW.load(Relaxed)
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    /// The next request comes.
    Arrive,
    /// The server has something to look at.
    Look(usize, u64),
    /// A caller has waited for long enough.
    GiveUp(usize, u64),
    /// The number of workers may have changed.
    Turn,
}

/// A call that is going on.
struct Call<F> {
    number: u64,
    future: Pin<Box<F>>,
    order: Order,
    /// Whether the caller is gone, and the call goes on for nothing.
    is_given_up: bool,
}

/// What a caller wants.
#[derive(Clone, Copy)]
struct Order {
    sent: u64,
    ask: Ask,
    retries: u8,
}

/// Puts a call among those that are to be polled.
struct Bell {
    place: usize,
    rung: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).push(self.place);
    }
}

struct Simulation<S, F> {
    plan: Plan,
    service: S,
    worker: Worker,
    tally: Tally,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    calls: Vec<Option<Call<F>>>,
    bells: Vec<Waker>,
    free: Vec<usize>,
    rung: Arc<Mutex<Vec<usize>>>,
    number: u64,
    time: u64,
}

/// Runs `plan` against the service that `make` puts before the server. `tick` is told how far time
/// moves on, in nanoseconds.
pub fn run<S, B>(
    plan: &Plan,
    seed: u64,
    make: impl FnOnce(Worker) -> S,
    mut tick: impl FnMut(u64),
) -> Tally
where
    S: Service<Request<Ask>, Response = Response<B>> + Clone,
{
    NOW.store(ORIGIN, Relaxed);
    let worker = Worker::new(plan.discipline, plan.workers);
    let mut simulation = Simulation {
        plan: *plan,
        service: make(worker.clone()),
        worker,
        tally: Tally::new(*plan),
        events: BinaryHeap::new(),
        sequence: 0,
        calls: Vec::new(),
        bells: Vec::new(),
        free: Vec::new(),
        rung: Arc::default(),
        number: 0,
        time: 0,
    };
    // Streams of their own, so that every contestant is sent the same at the same times.
    let mut arrivals = Rng::with_seed(seed);
    let mut sizes = Rng::with_seed(seed ^ 0x0051_57e5);
    // What a layer draws by chance is the same in every run, too.
    fastrand::seed(seed ^ 0x00c4_a9ce);
    simulation.schedule(0, Event::Arrive);
    for second in [20, 40] {
        simulation.schedule(second * SECOND, Event::Turn);
    }
    while let Some(Reverse((time, _, event))) = simulation.events.pop() {
        if time >= plan.to * SECOND {
            break;
        }
        tick(time - simulation.time);
        simulation.time = time;
        NOW.store(ORIGIN + time, Relaxed);
        simulation.worker.server().advance(time);
        match event {
            Event::Arrive => {
                let gap = exponential(&mut arrivals) / plan.rate_at(time) * SECOND as f64;
                simulation.schedule(time + gap as u64 + 1, Event::Arrive);
                let ask =
                    Ask { size: plan.spread.draw(&mut sizes), group: plan.mix.draw(&mut sizes) };
                simulation.tally.sent(time, ask.group);
                simulation.send(Order { sent: time, ask, retries: plan.retries });
            }
            Event::Look(place, number) => {
                let waker = simulation.worker.server().look(place, number);
                waker.into_iter().for_each(Waker::wake);
            }
            Event::GiveUp(place, number) => simulation.give_up(place, number),
            Event::Turn => {
                let workers = plan.workers_at(time);
                simulation.worker.server().set_workers(workers);
            }
        }
        simulation.settle();
    }
    simulation.tally
}

impl<S, B> Simulation<S, Oneshot<S, Request<Ask>>>
where
    S: Service<Request<Ask>, Response = Response<B>> + Clone,
{
    fn schedule(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((time, self.sequence, event)));
    }

    fn send(&mut self, order: Order) {
        let place = self.free.pop().unwrap_or_else(|| {
            let bell = Bell { place: self.calls.len(), rung: Arc::clone(&self.rung) };
            self.bells.push(Waker::from(Arc::new(bell)));
            self.calls.push(None);
            self.calls.len() - 1
        });
        self.number += 1;
        let future = Box::pin(self.service.clone().oneshot(Request::new(order.ask)));
        let call = Call { number: self.number, future, order, is_given_up: false };
        self.calls[place] = Some(call);
        if self.poll(place) && (self.plan.cancel || self.plan.retries > 0) {
            self.schedule(self.time + DEADLINE, Event::GiveUp(place, self.number));
        }
    }

    /// Polls a call. True if it goes on.
    fn poll(&mut self, place: usize) -> bool {
        let Some(call) = &mut self.calls[place] else { return false };
        let mut cx = Context::from_waker(&self.bells[place]);
        let Poll::Ready(answer) = call.future.as_mut().poll(&mut cx) else { return true };
        let is_served = answer.is_ok_and(|response| response.status() == StatusCode::OK);
        let Some(Call { order, is_given_up, .. }) = self.calls[place].take() else { return false };
        self.free.push(place);
        if is_given_up {
            return false;
        }
        if is_served {
            self.tally.served(order.sent, self.time, order.ask.size, order.ask.group);
        } else if order.retries > 0 {
            self.send(Order { retries: order.retries - 1, ..order });
        } else {
            self.tally.refused(order.sent);
        }
        false
    }

    fn give_up(&mut self, place: usize, number: u64) {
        let Some(call) = &mut self.calls[place] else { return };
        if call.number != number {
            return;
        }
        let order = call.order;
        call.is_given_up = true;
        if self.plan.cancel {
            self.calls[place] = None;
            self.free.push(place);
        }
        if order.retries > 0 {
            // It is too late for the first try: this one is for a caller who does not know.
            self.send(Order { sent: self.time, retries: order.retries - 1, ..order });
        }
    }

    /// Polls whatever was woken, and passes on what the server has planned.
    fn settle(&mut self) {
        loop {
            let rung =
                std::mem::take(&mut *self.rung.lock().unwrap_or_else(PoisonError::into_inner));
            let planned = std::mem::take(&mut self.worker.server().events);
            if rung.is_empty() && planned.is_empty() {
                return;
            }
            for (time, place, number) in planned {
                self.schedule(time, Event::Look(place, number));
            }
            for place in rung {
                self.poll(place);
            }
        }
    }
}
