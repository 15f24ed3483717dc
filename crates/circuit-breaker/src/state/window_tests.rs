//! The window beside queues that forget by hand.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::slices::SLICES;
use super::*;

const SLICE: u64 = 100;

/// What a window holds, found by looking at all of it.
#[derive(Default)]
struct Naive {
    calls: VecDeque<(u64, Call)>,
    streak: u64,
}

impl Naive {
    fn record(&mut self, now: u64, call: Call) {
        self.calls.push_back((now / SLICE, call));
        self.streak = if call.failed { self.streak + 1 } else { 0 };
    }

    fn forget(&mut self, shape: Shape, now: u64) {
        match shape {
            Shape::Calls(calls) => {
                while self.calls.len() as u64 > calls {
                    self.calls.pop_front();
                }
            }
            Shape::Time(_) => self.calls.retain(|(slice, _)| slice + SLICES > now / SLICE),
        }
    }

    fn tally(&self) -> Tally {
        let count = |what: fn(&Call) -> bool| {
            self.calls.iter().filter(|(_, call)| what(call)).count() as u64
        };
        Tally {
            calls: self.calls.len() as u64,
            failures: count(|call| call.failed),
            slow: count(|call| call.slow),
            streak: self.streak,
        }
    }
}

fn calls() -> impl Strategy<Value = Vec<(u64, bool, bool)>> {
    // Mostly close together, at times with a pause that is longer than the window.
    let pause = prop_oneof![9 => 0_u64..30, 1 => 0_u64..3_000];
    prop::collection::vec((pause, any::<bool>(), any::<bool>()), 0..1500)
}

fn record(window: &Window, tag: Tag, call: Call) {
    assert!(window.record(tag, call, false).is_ok());
}

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

proptest! {
    #[test]
    fn agrees_with_a_queue(capacity in 1_u64..80, timed: bool, calls in calls(), start in 0_u64..5_000) {
        let shape = if timed { Shape::Time(SLICE) } else { Shape::Calls(capacity) };
        let (window, tag) = (Window::new(shape, at(start)), Tag::default());
        let (mut naive, mut now) = (Naive::default(), start);
        for (pause, failed, slow) in calls {
            now += pause;
            let call = Call { failed, slow };
            if window.is_behind(at(now)) {
                window.roll(at(now));
            }
            let tally = window.record(tag, call, true);
            naive.record(now, call);
            naive.forget(shape, now);
            prop_assert_eq!(tally, Ok(naive.tally()));
            prop_assert_eq!(window.tally(), naive.tally());
        }
    }

    #[test]
    fn a_window_of_calls_keeps_the_latest_when_it_is_resized(
        sizes in prop::collection::vec(1_u64..3_000, 1..6),
        calls in calls(),
    ) {
        let (window, mut tag) = (Window::new(Shape::Calls(5), at(0)), Tag::default());
        let (mut naive, mut shape) = (Naive::default(), Shape::Calls(5));
        let every = calls.len() / sizes.len() + 1;
        for (index, (_, failed, slow)) in calls.into_iter().enumerate() {
            if index % every == 0 {
                shape = Shape::Calls(sizes[index / every]);
                tag = tag.next();
                window.reshape(tag, shape, at(0));
                naive.forget(shape, 0);
                prop_assert_eq!(window.tally(), naive.tally());
            }
            let tally = window.record(tag, Call { failed, slow }, true);
            naive.record(0, Call { failed, slow });
            naive.forget(shape, 0);
            prop_assert_eq!(tally, Ok(naive.tally()));
        }
    }
}

#[test]
fn the_tally_survives_a_change_between_calls_and_time() {
    let (window, tag) = (Window::new(Shape::Calls(100), at(0)), Tag::default());
    for index in 0..90_u32 {
        record(&window, tag, Call { failed: index % 3 == 0, slow: index % 9 == 0 });
    }
    let before = window.tally();
    assert_eq!((before.calls, before.failures, before.slow), (90, 30, 10));
    window.reshape(tag.next(), Shape::Time(SLICE), at(950));
    assert_eq!(window.tally(), before);
    assert!(window.record(tag, Call { failed: true, slow: true }, true).is_err());
    // What was known at the change is forgotten one window after it.
    window.roll(at(950 + SLICES * SLICE - 51));
    assert_eq!(window.tally(), before);
    window.reshape(tag.next().next(), Shape::Calls(45), at(0));
    let after = window.tally();
    assert_eq!((after.calls, after.failures, after.slow), (45, 15, 5));
}

#[test]
fn a_pause_longer_than_the_window_empties_it() {
    let (window, tag) = (Window::new(Shape::Time(SLICE), at(7)), Tag::default());
    record(&window, tag, Call { failed: true, slow: false });
    window.roll(at(u64::MAX / 2));
    assert_eq!(window.tally(), Tally::default());
    // Time that stands still, or went back on another core, is the current slice.
    window.roll(at(0));
    record(&window, tag, Call { failed: true, slow: false });
    assert_eq!(window.tally().failures, 1);
}

#[test]
fn what_was_meant_for_another_filling_changes_nothing() {
    let (window, old) = (Window::new(Shape::Calls(10), at(0)), Tag::default());
    window.reset(old.next(), Shape::Calls(10), at(0));
    assert!(window.record(old, Call { failed: true, slow: true }, true).is_err());
    assert_eq!(window.tally(), Tally::default());
}
