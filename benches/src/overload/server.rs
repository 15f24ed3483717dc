use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tower_service::Service;

use super::plan::Discipline;

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "benches read it")]
pub struct Ask {
    /// The time that it takes a worker, in nanoseconds.
    pub size: u64,
    /// Who sends it.
    pub group: u8,
}

/// The service that the layer under test protects. Clones are one server.
#[derive(Clone, Debug)]
pub struct Worker(Arc<Mutex<Server>>);

/// A server in virtual time.
#[derive(Debug)]
pub(crate) struct Server {
    discipline: Discipline,
    workers: u32,
    now: u64,
    jobs: Vec<Job>,
    free: Vec<usize>,
    /// Of [`Discipline::Queue`]: who waits for a worker.
    queue: VecDeque<usize>,
    busy: u32,
    /// Of [`Discipline::Thrash`]: how much each call has had since the beginning, in nanoseconds of
    /// work, and who is done when it has reached what.
    shared: f64,
    ends: BinaryHeap<Reverse<(Amount, usize, u64)>>,
    running: u32,
    epoch: u64,
    /// What is to be told to the loop: when to look at which job.
    pub(crate) events: Vec<(u64, usize, u64)>,
}

#[derive(Debug, Default)]
struct Job {
    /// Which use of this place it is.
    number: u64,
    size: u64,
    state: State,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    Waits,
    Runs,
    Done,
    #[default]
    Gone,
}

/// An amount of work that can be compared.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Amount(f64);

impl Eq for Amount {}

impl Ord for Amount {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Worker {
    pub(crate) fn new(discipline: Discipline, workers: u32) -> Self {
        Self(Arc::new(Mutex::new(Server {
            discipline,
            workers,
            now: 0,
            jobs: Vec::new(),
            free: Vec::new(),
            queue: VecDeque::new(),
            busy: 0,
            shared: 0.0,
            ends: BinaryHeap::new(),
            running: 0,
            epoch: 0,
            events: Vec::new(),
        })))
    }

    pub(crate) fn server(&self) -> MutexGuard<'_, Server> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Moves time on.
    pub(crate) fn advance(&mut self, now: u64) {
        self.shared += (now - self.now) as f64 * self.pace();
        self.now = now;
    }

    pub(crate) fn set_workers(&mut self, workers: u32) {
        self.workers = workers;
        match self.discipline {
            Discipline::Queue => self.start_waiting(),
            Discipline::Thrash => self.plan_end(),
        }
    }

    /// How much of a worker each call has.
    fn pace(&self) -> f64 {
        if self.running == 0 {
            return 0.0;
        }
        let (running, workers) = (f64::from(self.running), f64::from(self.workers));
        let lost = ((running - 2.0 * workers) / (2.0 * workers)).max(0.0);
        (workers / running).min(1.0) / (1.0 + lost)
    }

    fn submit(&mut self, size: u64) -> usize {
        let place = self.free.pop().unwrap_or_else(|| {
            self.jobs.push(Job::default());
            self.jobs.len() - 1
        });
        let job = &mut self.jobs[place];
        job.number += 1;
        job.size = size;
        job.state = State::Waits;
        match self.discipline {
            Discipline::Queue => {
                self.queue.push_back(place);
                self.start_waiting();
            }
            Discipline::Thrash => {
                job.state = State::Runs;
                let end = Amount(self.shared + size as f64);
                self.ends.push(Reverse((end, place, job.number)));
                self.running += 1;
                self.plan_end();
            }
        }
        place
    }

    fn start_waiting(&mut self) {
        while self.busy < self.workers
            && let Some(place) = self.queue.pop_front()
        {
            let job = &mut self.jobs[place];
            // Those who left are still in line.
            if job.state == State::Waits {
                job.state = State::Runs;
                self.busy += 1;
                self.events.push((self.now + job.size, place, job.number));
            }
        }
    }

    /// The next call to end, of those that share the workers.
    fn plan_end(&mut self) {
        while let Some(Reverse((_, place, number))) = self.ends.peek()
            && (self.jobs[*place].number != *number || self.jobs[*place].state != State::Runs)
        {
            self.ends.pop();
        }
        self.epoch += 1;
        if let Some(Reverse((end, place, _))) = self.ends.peek() {
            let wait = ((end.0 - self.shared) / self.pace()).max(0.0).ceil() as u64;
            self.events.push((self.now + wait, *place, self.epoch));
        }
    }

    /// Looks at a job as an event had it.
    pub(crate) fn look(&mut self, place: usize, number: u64) -> Option<Waker> {
        match self.discipline {
            Discipline::Queue => {
                let job = &mut self.jobs[place];
                if job.number != number || job.state != State::Runs {
                    return None;
                }
                job.state = State::Done;
                self.busy -= 1;
                let waker = job.waker.take();
                self.start_waiting();
                waker
            }
            Discipline::Thrash => {
                if self.epoch != number {
                    return None;
                }
                self.ends.pop();
                self.running -= 1;
                let job = &mut self.jobs[place];
                job.state = State::Done;
                let waker = job.waker.take();
                self.plan_end();
                waker
            }
        }
    }

    /// The caller has its answer, or has gone.
    fn leave(&mut self, place: usize) {
        let job = &mut self.jobs[place];
        let state = std::mem::replace(&mut job.state, State::Gone);
        job.waker = None;
        match (state, self.discipline) {
            (State::Runs, Discipline::Queue) => {
                self.busy -= 1;
                self.free.push(place);
                self.start_waiting();
            }
            (State::Runs, Discipline::Thrash) => {
                self.running -= 1;
                self.free.push(place);
                self.plan_end();
            }
            // Still in line: the place is not free before it has been passed.
            (State::Waits, _) => {
                self.queue.retain(|waiting| *waiting != place);
                self.free.push(place);
            }
            (State::Done | State::Gone, _) => self.free.push(place),
        }
    }
}

/// The server's answer, which comes when the work is done.
#[derive(Debug)]
pub struct Work {
    worker: Worker,
    place: usize,
}

impl Future for Work {
    type Output = Result<Response<Empty<Bytes>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut server = self.worker.server();
        let job = &mut server.jobs[self.place];
        if job.state == State::Done {
            return Poll::Ready(Ok(Response::new(Empty::new())));
        }
        job.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.worker.server().leave(self.place);
    }
}

impl Service<Request<Ask>> for Worker {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Work;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Ask>) -> Work {
        let place = self.server().submit(request.body().size);
        Work { worker: self.clone(), place }
    }
}
