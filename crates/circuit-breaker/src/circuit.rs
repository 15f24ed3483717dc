use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use bartizan_core::{Key, Mode, Outcome, Timestamp};

use crate::common::Common;
use crate::observe;
use crate::state::{
    AnotherFilling, Call, Change, Flight, Machine, Slice, Tag, Tally, Window, is_slow, judge,
};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{Mutex, MutexGuard};
use crate::token::{Token, Word};
use crate::{Open, State, Transition};

/// One breaker.
#[derive(Debug)]
pub(crate) struct Circuit {
    common: Arc<Common>,
    key: Key,
    /// Written under the lock.
    word: AtomicU64,
    /// Every call is refused until then, in nanoseconds. Written under the lock.
    until: AtomicU64,
    window: Window,
    flight: OnceLock<Box<Flight>>,
    machine: Mutex<Machine>,
}

impl Circuit {
    pub(crate) fn new(common: Arc<Common>, key: Key) -> Self {
        let settings = common.settings.load_full();
        let now = common.clock.now();
        let is_held = settings.held_to().is_some();
        let machine = Machine::new(if is_held { Arc::default() } else { Arc::clone(&settings) });
        common.keys.fetch_add(1, Relaxed);
        let circuit = Self {
            common,
            key,
            word: AtomicU64::new(Word::of(&machine, &settings).0),
            until: AtomicU64::new(0),
            window: Window::new(settings.shape(), now),
            flight: OnceLock::new(),
            machine: Mutex::new(machine),
        };
        if is_held {
            circuit.adopt(now);
        }
        circuit
    }

    pub(crate) fn common(&self) -> &Arc<Common> {
        &self.common
    }

    pub(crate) fn state(&self) -> State {
        self.word().state()
    }

    #[inline]
    fn word(&self) -> Word {
        Word(self.word.load(Acquire))
    }

    /// Gives leave to make a call, as far as `mode` has a say in it. `None` is leave for a call
    /// that does not count.
    #[inline]
    pub(crate) fn admit(&self, mode: Mode) -> Result<Option<Token>, Open> {
        if mode == Mode::Off {
            return Ok(None);
        }
        match self.acquire() {
            Ok(token) => Ok(Some(token)),
            Err(retry_after) if mode == Mode::Enforce => {
                self.common.counts.refused.add(1);
                observe::refused(&self.common.name);
                Err(Open::new(retry_after))
            }
            Err(_) => {
                self.common.counts.shadow_refused.add(1);
                Ok(None)
            }
        }
    }

    /// Admits a call, or says how long to wait.
    #[inline]
    fn acquire(&self) -> Result<Token, Duration> {
        let word = self.word();
        if word.is_plain() {
            // Should it open meanwhile, the generation makes the outcome void.
            return Ok(Token { word, mark: 0 });
        }
        self.acquire_any(word)
    }

    #[inline(never)]
    fn acquire_any(&self, word: Word) -> Result<Token, Duration> {
        if word.state() != State::Closed {
            // Most refusals need neither the lock nor the exact time.
            match self.refusal(self.common.clock.now_coarse()) {
                Some(wait) => Err(wait),
                None => self.acquire_guarded(self.common.clock.now()),
            }
        } else if self.common.limits.slow_limit() == 0 {
            Ok(Token { word, mark: 0 })
        } else {
            self.acquire_timed(word)
        }
    }

    /// From a closed breaker, where the time that calls take matters.
    fn acquire_timed(&self, word: Word) -> Result<Token, Duration> {
        let now = self.common.clock.now();
        let slice = Slice::of(now.as_nanos(), self.common.limits.slow_limit());
        let flight = match self.flight.get() {
            Some(flight) => flight,
            None => self.begin_flight(),
        };
        if flight.is_time_to_look(slice) && flight.overdue(word.tag(), slice) > 0 {
            self.suspect(word, now);
            if self.word().state() != State::Closed {
                return self.acquire_guarded(now);
            }
        }
        flight.enter(word.tag(), slice);
        Ok(Token { word, mark: now.as_nanos() })
    }

    /// From a breaker that is not closed.
    fn acquire_guarded(&self, now: Timestamp) -> Result<Token, Duration> {
        let admitted = self.change(now, |machine, change| {
            let number = machine.acquire(change)?;
            let mark = if machine.state() == State::Closed { 0 } else { number };
            Some(Token { word: Word::of(machine, change.settings), mark })
        });
        admitted.ok_or_else(|| self.refusal(now).unwrap_or_else(|| self.common.limits.wait()))
    }

    /// How long to wait, if every call is refused now.
    #[inline]
    pub(crate) fn refusal(&self, now: Timestamp) -> Option<Duration> {
        let until = Timestamp::from_nanos(self.until.load(Acquire));
        if now >= until {
            return None;
        }
        let limits = &self.common.limits;
        // Nobody knows when probes end, or for how long an operator holds it open.
        let most = if self.state() == State::Open { limits.max_wait() } else { limits.wait() };
        Some(until.saturating_since(now).min(most))
    }

    /// Takes note of how a call ended.
    #[inline]
    pub(crate) fn settle(&self, token: Token, outcome: Outcome) {
        // How most calls end: well, and in the period that they began in.
        let word = self.word();
        if outcome == Outcome::Success && word == token.word && word.is_plain() {
            match self.window.record_good(word.tag()) {
                Ok(true) => return,
                Ok(false) => return self.weigh_all(word),
                Err(AnotherFilling) => {}
            }
        }
        self.settle_any(token, outcome);
    }

    /// Judges what the window holds. Not inlined: most hold no fault.
    #[inline(never)]
    fn weigh_all(&self, word: Word) {
        self.weigh(word, &self.window.tally(), None);
    }

    /// Records a call, and judges what that makes of the window. False if the window is being
    /// emptied or reshaped.
    fn record(&self, word: Word, call: Call, in_a_row: bool, now: Option<Timestamp>) -> bool {
        let Ok(tally) = self.window.record(word.tag(), call, in_a_row) else { return false };
        self.weigh(word, &tally, now);
        true
    }

    /// Opens a closed breaker if `tally` demands it.
    fn weigh(&self, word: Word, tally: &Tally, now: Option<Timestamp>) {
        if self.common.limits.suspects(tally) {
            self.suspect(word, now.unwrap_or_else(|| self.common.clock.now()));
        }
    }

    /// Takes note of any end.
    #[inline(never)]
    pub(crate) fn settle_any(&self, token: Token, outcome: Outcome) {
        let timed = token.mark != 0;
        // Read once, and only where time matters.
        let mut now = None;
        let mut slow = false;
        if timed || self.window.is_timed() {
            let time = self.common.clock.now();
            now = Some(time);
            slow = timed && self.land(token, time);
        }
        loop {
            let word = self.word();
            if word.generation() != token.word.generation() {
                self.common.counts.late.add(1);
                return;
            }
            if word.state() != State::Closed {
                let now = now.unwrap_or_else(|| self.common.clock.now());
                self.settle_guarded(token, outcome, now);
                return;
            }
            let by_choice = slow && self.common.limits.slow_when_abandoned();
            let Some(call) = judge(outcome, slow, by_choice) else {
                self.common.counts.ignored.add(1);
                return;
            };
            if let Some(now) = now
                && self.window.is_behind(now)
            {
                self.roll(now);
            }
            let in_a_row = self.common.limits.count_in_a_row();
            if self.record(word, call, in_a_row, now) {
                self.common.counts.recorded(outcome, call);
                return;
            }
            // Somebody empties or reshapes the window: once the lock is free, that is done.
            drop(self.lock());
        }
    }

    /// A timed call has ended: whether it was slow.
    #[inline]
    fn land(&self, token: Token, now: Timestamp) -> bool {
        let limit = self.common.limits.slow_limit();
        let started = Timestamp::from_nanos(token.mark);
        if let Some(flight) = self.flight.get()
            && limit > 0
        {
            flight.leave(token.word.tag(), Slice::of(token.mark, limit));
        }
        is_slow(started, now, limit)
    }

    /// A call has ended that the machine itself admitted.
    fn settle_guarded(&self, token: Token, outcome: Outcome, now: Timestamp) {
        let call = self.change(now, |machine, change| {
            let in_time = machine.generation() == token.word.generation();
            in_time.then(|| machine.settle(token.mark, outcome, change)).flatten()
        });
        match call {
            Some(call) => self.common.counts.probed(outcome, call.slow),
            None => self.common.counts.ignored.add(1),
        }
    }

    /// The service asked not to be called for so long.
    pub(crate) fn heed(&self, token: Token, wait: Duration) {
        self.change(self.common.clock.now(), |machine, change| {
            if machine.generation() == token.word.generation() {
                machine.heed(wait, change);
            }
        });
    }

    /// Opens a closed breaker if what its window holds demands it.
    #[cold]
    fn suspect(&self, word: Word, now: Timestamp) {
        self.change(now, |machine, change| {
            if machine.generation() != word.generation() || machine.state() != State::Closed {
                return;
            }
            self.window.roll(now);
            let rules = change.settings.rules();
            let mut tally = self.window.tally();
            let mut reason = rules.judge(&tally);
            if reason.is_none() {
                // Calls that go on for too long count too, but must not water a judgement down.
                let overdue = self.overdue(machine.tag(), change);
                tally.calls += overdue;
                tally.slow += overdue;
                reason = rules.judge(&tally);
            }
            if let Some(reason) = reason
                && self.common.may_open()
            {
                machine.trip(reason, tally, change);
            }
        });
    }

    fn overdue(&self, tag: Tag, change: &Change<'_>) -> u64 {
        match (self.flight.get(), change.settings.slow_limit()) {
            (None, _) | (_, 0) => 0,
            (Some(flight), limit) => flight.overdue(tag, Slice::of(change.now.as_nanos(), limit)),
        }
    }

    /// Moves a window of time on. Whoever finds the lock taken leaves it to the other.
    #[cold]
    fn roll(&self, now: Timestamp) {
        if let Ok(_machine) = self.machine.try_lock() {
            self.window.roll(now);
        }
    }

    /// Takes on the settings in force, if it has not yet.
    pub(crate) fn adopt(&self, now: Timestamp) {
        self.change(now, |machine, change| {
            let adopted = machine.adopt(change);
            if change.transition.is_some() || machine.state() != State::Closed {
                return;
            }
            if adopted.refills {
                self.window.reshape(machine.tag(), change.settings.shape(), now);
                if let Some(flight) = self.flight.get() {
                    flight.reset(machine.tag());
                }
            }
            if adopted.counts_in_a_row {
                self.window.forget_streak(machine.tag());
            }
        });
    }

    pub(crate) fn reset(&self) {
        self.change(self.common.clock.now(), Machine::reset);
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the machine under the lock, and reports a transition after it: a subscriber may be
    /// slow, or panic.
    fn change<T>(&self, now: Timestamp, f: impl FnOnce(&mut Machine, &mut Change<'_>) -> T) -> T {
        let mut machine = self.lock();
        // Not before: another may have had others put in force while this waited for the lock.
        let settings = self.common.settings.load();
        let mut change = Change { settings: &settings, now, transition: None };
        let result = f(&mut machine, &mut change);
        let transition = change.transition;
        if transition.is_some() && machine.state() == State::Closed {
            // No outcome of the new period can come before the word is out.
            self.window.reset(machine.tag(), settings.shape(), now);
            if let Some(flight) = self.flight.get() {
                flight.reset(machine.tag());
            }
        }
        let until = machine.refuses_until(&settings).map_or(0, Timestamp::as_nanos);
        self.until.store(until, Release);
        self.word.store(Word::of(&machine, &settings).0, Release);
        drop(machine);
        if let Some(transition) = transition {
            let key = self.common.is_keyed.then_some(self.key);
            self.common.report(&Transition { key, ..transition });
        }
        result
    }

    /// How many calls the window has ever recorded.
    pub(crate) fn recorded(&self) -> u64 {
        self.window.recorded()
    }

    #[cold]
    fn begin_flight(&self) -> &Flight {
        // Under the lock, so that no transition empties it without knowing of it.
        let machine = self.lock();
        self.flight.get_or_init(|| {
            let flight = Box::<Flight>::default();
            flight.reset(machine.tag());
            flight
        })
    }
}

impl Drop for Circuit {
    fn drop(&mut self) {
        let common = &self.common;
        common.counts.retired.add(self.recorded());
        common.keys.fetch_sub(1, Relaxed);
        if self.state() != State::Closed {
            common.open_keys.fetch_sub(1, Relaxed);
        }
    }
}
