use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use bartizan_core::Clock;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::MissedTickBehavior;

use crate::Redis;
use crate::lease::Quota;
use crate::leases::Leases;
use crate::script::Script;

/// A change to an arrival time that nobody waits for.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Correction {
    name: Box<str>,
    /// In nanoseconds: below 0 to give back.
    change: i64,
    capacity: u64,
    longest: u64,
}

impl Correction {
    pub(crate) fn new(name: Box<str>, quota: Quota, units: i64) -> Self {
        let Quota { capacity, longest, .. } = quota;
        Self { name, change: quota.change(units), capacity, longest }
    }
}

/// Sends corrections, by one task, and has leases end.
pub(crate) struct Corrections {
    redis: Redis,
    clock: Clock,
    leases: Arc<Leases>,
    script: Arc<Script>,
    /// To the task, if it runs.
    sender: Mutex<Option<Sender<Word>>>,
    /// Whether there is a lease that the task has not heard of, which will have to end.
    leased: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Word {
    Correct(Correction),
    /// There is something to look at.
    Wake,
}

/// So many may wait to be sent. More are dropped, and counted: the store is in trouble then.
const QUEUE: usize = 4096;
/// So many are sent in one trip.
const BATCH: usize = 64;
/// How often leases are looked at, while there are any.
const SWEEP: Duration = Duration::from_millis(250);

impl Corrections {
    pub(crate) fn new(redis: Redis, clock: Clock, leases: Arc<Leases>) -> Self {
        let script = Arc::new(Script::new(include_str!("scripts/adjust.lua")));
        Self { redis, clock, leases, script, sender: Mutex::default(), leased: Arc::default() }
    }

    pub(crate) fn send(&self, correction: Correction) {
        if !self.say(Word::Correct(correction)) {
            self.redis.figures().dropped.add(1);
        }
    }

    pub(crate) fn leased(&self) {
        self.leased.store(true, Release);
        // If the queue is full, the task is awake anyway.
        self.say(Word::Wake);
    }

    fn say(&self, word: Word) -> bool {
        let mut sender = self.sender.lock();
        if sender.as_ref().is_none_or(Sender::is_closed) {
            *sender = self.start();
        }
        sender.as_ref().is_some_and(|sender| sender.try_send(word).is_ok())
    }

    /// Starts the task; again, if the runtime that it was on has ended.
    fn start(&self) -> Option<Sender<Word>> {
        let runtime = Handle::try_current().ok()?;
        let (sender, words) = mpsc::channel(QUEUE);
        let task = Task {
            redis: self.redis.clone(),
            clock: self.clock.clone(),
            leases: Arc::clone(&self.leases),
            script: Arc::clone(&self.script),
            leased: Arc::clone(&self.leased),
            batch: Vec::new(),
        };
        runtime.spawn(task.run(words));
        Some(sender)
    }
}

struct Task {
    redis: Redis,
    clock: Clock,
    leases: Arc<Leases>,
    script: Arc<Script>,
    leased: Arc<AtomicBool>,
    batch: Vec<Correction>,
}

impl Task {
    /// Ends when there is no store any more that could say a word.
    async fn run(mut self, mut words: Receiver<Word>) {
        let mut heard = Vec::new();
        let mut leased = false;
        let mut sweeps = tokio::time::interval(SWEEP);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            leased |= self.leased.swap(false, Acquire);
            tokio::select! {
                count = words.recv_many(&mut heard, BATCH) => {
                    if count == 0 {
                        // Nobody can spend of a lease any more.
                        self.leases.sweep(u64::MAX, |correction| self.batch.push(correction));
                        return self.send().await;
                    }
                }
                _ = sweeps.tick(), if leased => {
                    let now = self.clock.now().as_nanos();
                    leased = self.leases.sweep(now, |correction| self.batch.push(correction));
                }
            }
            for word in heard.drain(..) {
                if let Word::Correct(correction) = word {
                    self.batch.push(correction);
                }
            }
            self.send().await;
        }
    }

    async fn send(&mut self) {
        for batch in self.batch.chunks(BATCH) {
            let mut run = self.script.run(batch.len());
            run.arg(batch.iter().map(|correction| &*correction.name).collect::<Vec<_>>());
            for correction in batch {
                run.arg(correction.change).arg(correction.capacity).arg(correction.longest);
            }
            let sent = self.redis.run(&self.script, &run).await;
            let figures = self.redis.figures();
            let count = if sent.is_ok() { &figures.corrected } else { &figures.dropped };
            count.add(batch.len() as u64);
        }
        self.batch.clear();
    }
}
