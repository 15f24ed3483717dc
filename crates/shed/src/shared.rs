use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use bartizan_core::{Clock, Live, Mode, Outcome, Switch, Timestamp};

use crate::control::Control;
use crate::door::Door;
use crate::gate::Entry;
use crate::limit::{Limit, Sample};
use crate::lobby::Lobby;
use crate::observe::{self, Counts};
use crate::priority::{Claim, Priority, level};
use crate::queue::{Budget, Newcomer, Place};
use crate::slot::Held;
use crate::usage::Usage;
use crate::{Reason, Settings, Slot};

/// Until anything is known about the service.
const FIRST_BUDGET: Budget = Budget {
    calm: Duration::from_millis(20),
    patient: Duration::from_millis(80),
    standing: Duration::from_millis(5),
    interval: Duration::from_millis(100),
};

/// Spreads consecutive numbers, so that traffic with a period is not sampled in step with it.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What all clones of a shedder share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) lobby: Lobby,
    /// Calls whose hash has none of these bits are timed.
    mask: AtomicU64,
    /// Whether anybody needs to know when responses' heads come.
    times_heads: AtomicBool,
    /// Calls that did not end well.
    failed: AtomicU64,
    pub(crate) clock: Clock,
    pub(crate) switch: Switch,
    pub(crate) name: String,
    pub(crate) settings: Live<Settings>,
    pub(crate) counts: Counts,
    pub(crate) door: Door,
    usage: Usage,
    /// Critical exchanges beyond the limit.
    extra: AtomicU32,
    /// In nanoseconds.
    base: AtomicU64,
    typical: AtomicU64,
    control: Mutex<Control>,
}

/// What becomes of a request for which there is no free slot.
pub(crate) enum Decision {
    Admit(Slot),
    Refuse(Reason),
    Wait(Place, Limited),
}

/// How a wait ends if nothing else ends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limited {
    pub(crate) after: Duration,
    pub(crate) reason: Reason,
}

impl Shared {
    pub(crate) fn new(
        name: String,
        clock: Clock,
        switch: Switch,
        settings: Settings,
        mut limit: Box<dyn Limit>,
    ) -> Self {
        limit.bound(settings.bounds());
        let lobby = Lobby::new(limit.limit(), FIRST_BUDGET.within(settings.max_wait()));
        lobby.gate.set_limit(limit.limit(), settings.forced_share() == 0.0);
        Self {
            lobby,
            mask: AtomicU64::new(0),
            times_heads: AtomicBool::new(false),
            failed: AtomicU64::new(0),
            clock,
            switch,
            name,
            settings: Live::new(settings),
            counts: Counts::default(),
            door: Door::new(),
            usage: Usage::new(),
            extra: AtomicU32::new(0),
            base: AtomicU64::new(0),
            typical: AtomicU64::new(0),
            control: Mutex::new(Control::new(limit)),
        }
    }

    /// A slot, if one is free.
    #[inline]
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Slot> {
        self.lobby.gate.enter_fast().map(|entry| self.slot(entry, false))
    }

    /// Makes a slot of a way in.
    #[inline]
    pub(crate) fn slot(self: &Arc<Self>, entry: Entry, is_extra: bool) -> Slot {
        let is_timed = entry.number.wrapping_mul(SPREAD) >> 32 & self.mask.load(Relaxed) == 0;
        let start = is_timed.then(|| self.clock.now());
        Slot::held(Held::new(Arc::clone(self), start, is_extra))
    }

    /// Decides on a request for which no slot is free. It may wait if `can_wait`.
    #[cold]
    pub(crate) fn knock(self: &Arc<Self>, mode: Mode, claim: Claim, can_wait: bool) -> Decision {
        let decision = self.decide(claim, can_wait && mode == Mode::Enforce);
        let Decision::Refuse(reason) = decision else { return decision };
        if mode == Mode::Enforce {
            self.refused(reason);
            return decision;
        }
        if !(reason == Reason::Limit && can_wait && self.would_be_served()) {
            self.counts.shadow_refused.add(1);
        }
        let entry = self.lobby.gate.force();
        Decision::Admit(entry.map_or(Slot::uncounted(), |entry| self.slot(entry, false)))
    }

    /// Whether somebody who may not wait, since nobody does in shadow mode, would have been served from the
    /// queue: if those beyond the limit took their turns, as fast as the limit's calls end.
    fn would_be_served(&self) -> bool {
        let (limit, inside) = (self.lobby.gate.limit(), self.lobby.gate.inside());
        let beyond = inside.saturating_sub(limit) as usize;
        let turns = (beyond + 1) as f64 / f64::from(limit.max(1));
        beyond < self.settings.load().queue_capacity()
            && self.base().mul_f64(turns) <= self.lobby.budget().calm
    }

    fn decide(self: &Arc<Self>, claim: Claim, can_wait: bool) -> Decision {
        let settings = self.settings.load();
        let is_critical = claim.priority == Priority::Critical;
        if claim.timeout == Some(Duration::ZERO) {
            return Decision::Refuse(Reason::Deadline);
        }
        if settings.forced_share() > 0.0
            && !is_critical
            && fastrand::f64() < settings.forced_share()
        {
            return Decision::Refuse(Reason::Forced);
        }
        if let Some(entry) = self.lobby.gate.enter() {
            return Decision::Admit(self.slot(entry, false));
        }
        if is_critical && let Some(slot) = self.enter_extra(&settings) {
            return Decision::Admit(slot);
        }
        let typical = Duration::from_nanos(self.typical.load(Relaxed));
        // Without a queue, what would come too late is turned away as all else is.
        let Some(spare) = claim.timeout.unwrap_or(Duration::MAX).checked_sub(typical) else {
            return Decision::Refuse(Reason::Deadline);
        };
        if settings.queue_capacity() == 0 || !can_wait {
            return Decision::Refuse(Reason::Limit);
        }
        let now = self.clock.now();
        let share = claim.tenant.map_or(0.0, |tenant| self.usage.share(now, tenant));
        let level = level(claim.priority, share);
        self.door.update(now);
        if !self.door.lets_in(level) {
            let is_plain = claim.tenant.is_none() && claim.priority == Priority::Default;
            return Decision::Refuse(if is_plain { Reason::Limit } else { Reason::Priority });
        }
        let deadline = now.saturating_add(spare);
        let is_patient = is_critical || self.door.favours(level);
        let longest = self.lobby.budget().longest(is_patient);
        let reason = if spare < longest { Reason::Deadline } else { Reason::Queue };
        let (place, served) = self.lobby.join(
            now,
            Newcomer { level, is_patient, deadline },
            settings.queue_capacity(),
        );
        self.door.served(served);
        match place {
            Some(place) => {
                self.door.joined();
                Decision::Wait(place, Limited { after: spare.min(longest), reason })
            }
            None => Decision::Refuse(Reason::Queue),
        }
    }

    /// One of the few slots beyond the limit.
    fn enter_extra(self: &Arc<Self>, settings: &Settings) -> Option<Slot> {
        let limit = f64::from(self.lobby.gate.limit());
        let most = (limit * settings.critical_share()).ceil() as u32;
        let one_more = |extra: u32| (extra < most).then_some(extra + 1);
        self.extra.fetch_update(Relaxed, Relaxed, one_more).ok()?;
        match self.lobby.gate.force() {
            Some(entry) => Some(self.slot(entry, true)),
            None => {
                self.extra.fetch_sub(1, Relaxed);
                None
            }
        }
    }

    pub(crate) fn refused(&self, reason: Reason) {
        self.counts.refused(reason);
        observe::refused(&self.name, reason);
    }

    /// Somebody does not wait any more, of their own accord.
    pub(crate) fn leave(&self, place: Place) {
        if self.lobby.leave(self.clock.now(), place) {
            self.failed.fetch_add(1, Relaxed);
        }
    }

    #[inline]
    pub(crate) fn give_back(&self, held: &Held) {
        if held.is_extra() {
            self.extra.fetch_sub(1, Relaxed);
        }
        if held.outcome() != Outcome::Success {
            self.failed.fetch_add(1, Relaxed);
        }
        let (is_full, served) = self.lobby.exit(|| self.clock.now());
        if served > 0 {
            self.door.served(served);
        }
        if let Some(start) = held.start() {
            self.learn(held, start, is_full);
        }
    }

    #[inline(never)]
    fn learn(&self, held: &Held, start: Timestamp, is_full: bool) {
        let now = self.clock.now();
        let latency = now.saturating_since(start);
        let mut control = match self.control.try_lock() {
            Ok(control) => control,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody else is teaching: one call more or less does not matter.
            Err(TryLockError::WouldBlock) => return,
        };
        let is_overload = held.outcome() != Outcome::Success;
        if is_overload && (held.outcome() == Outcome::Refused || latency < control.telling()) {
            // A fast error, or a caller who soon lost interest, says nothing of what a call takes.
            return;
        }
        let (entered, inside) = self.lobby.gate.count();
        let ended = entered.saturating_sub(inside.into());
        let sample = Sample {
            now,
            latency,
            in_flight: inside + 1,
            is_full,
            is_overload,
            completed: ended.saturating_sub(self.failed.load(Relaxed)),
        };
        control.refusals.note(now, ended, || self.counts.refused_for_room());
        if control.record(&sample, held.to_head()) {
            self.publish(&control);
        }
        drop(control);
        let waiting = self.lobby.gate.waiting();
        self.door.update(now);
        if waiting > 0 {
            // There may be more room now.
            self.door.served(self.lobby.serve(now));
        }
    }

    /// Has everybody act by what was learned.
    fn publish(&self, control: &Control) {
        let settings = self.settings.load();
        let limit = control.limit.limit();
        if limit != self.lobby.gate.limit() {
            self.lobby.gate.set_limit(limit, settings.forced_share() == 0.0);
        }
        if let Some(budget) = control.budget(&settings) {
            self.lobby.set_budget(budget);
        }
        self.mask.store(control.mask, Relaxed);
        self.base.store(control.base().latency.as_nanos() as u64, Relaxed);
        self.typical.store(control.typical().as_nanos() as u64, Relaxed);
    }

    pub(crate) fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes on new settings.
    pub(crate) fn adopt(&self, settings: Settings) {
        let mut control = self.control();
        let old = self.settings.load_full();
        self.settings.store(settings);
        if old.limits_otherwise(&settings) {
            // The new one starts from where the old one is.
            control.limit = settings.make_limit(control.limit.limit());
        }
        control.bound(settings.bounds());
        self.lobby.set_budget(self.lobby.budget().within(settings.max_wait()));
        self.lobby.gate.set_limit(control.limit.limit(), settings.forced_share() == 0.0);
        drop(control);
        self.lobby.serve(self.clock.now());
    }

    /// Has the time to responses' heads taken from now on, which costs each call a reading of the clock: it is
    /// what deadlines are held against.
    pub(crate) fn time_heads(&self) {
        self.times_heads.store(true, Relaxed);
    }

    #[inline]
    pub(crate) fn times_heads(&self) -> bool {
        self.times_heads.load(Relaxed)
    }

    pub(crate) fn base(&self) -> Duration {
        Duration::from_nanos(self.base.load(Relaxed))
    }
}
