//! Models that loom runs through every order of steps that its bound allows:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p bartizan-shed --lib model`.

use std::sync::Arc;
use std::time::Duration;

use bartizan_core::Timestamp;
use loom::model::Builder;
use loom::thread;

use crate::gate::Gate;
use crate::lobby::Lobby;
use crate::queue::{Budget, Newcomer};

const NOW: Timestamp = Timestamp::from_nanos(1);
const NEWCOMER: Newcomer =
    Newcomer { level: 0, is_patient: false, deadline: Timestamp::from_nanos(u64::MAX) };
const BUDGET: Budget = Budget {
    calm: Duration::from_secs(1),
    patient: Duration::from_secs(1),
    standing: Duration::from_secs(1),
    interval: Duration::from_secs(1),
};

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn no_more_enter_than_the_limit_and_all_are_counted() {
    check(|| {
        let gate = Arc::new(Gate::new(1));
        let come_and_go = |gate: &Gate| {
            let entered = gate.enter_fast().is_some();
            if entered {
                assert_eq!(gate.inside(), 1);
                gate.exit();
            }
            u64::from(entered)
        };
        let other = Arc::clone(&gate);
        let other = thread::spawn(move || come_and_go(&other));
        let here = come_and_go(&gate);
        let entered = here + other.join().unwrap_or(0);
        assert_eq!(gate.count(), (entered, 0));
    });
}

#[test]
fn who_waits_is_not_forgotten_by_who_leaves() {
    check(|| {
        let lobby = Arc::new(Lobby::new(1, BUDGET));
        let entry = lobby.gate.enter();
        assert!(entry.is_some());
        let other = Arc::clone(&lobby);
        let leaver = thread::spawn(move || {
            other.exit(|| NOW);
        });
        let (place, _) = lobby.join(NOW, NEWCOMER, 9);
        assert!(leaver.join().is_ok());
        // Whichever came first, the slot is theirs now.
        let verdict = place.and_then(|place| lobby.poll(place, std::task::Waker::noop()));
        assert!(matches!(verdict, Some(Ok(_))));
        assert_eq!((lobby.gate.inside(), lobby.gate.waiting()), (1, 0));
    });
}

#[test]
fn a_slot_given_to_who_goes_away_goes_to_the_next() {
    check(|| {
        let lobby = Arc::new(Lobby::new(1, BUDGET));
        assert!(lobby.gate.enter().is_some());
        let (first, _) = lobby.join(NOW, NEWCOMER, 9);
        let (second, _) = lobby.join(NOW, NEWCOMER, 9);
        let other = Arc::clone(&lobby);
        let goer = thread::spawn(move || {
            first.into_iter().for_each(|place| {
                other.leave(NOW, place);
            });
        });
        lobby.exit(|| NOW);
        assert!(goer.join().is_ok());
        let verdict = second.and_then(|place| lobby.poll(place, std::task::Waker::noop()));
        assert!(matches!(verdict, Some(Ok(_))));
        assert_eq!((lobby.gate.inside(), lobby.gate.waiting()), (1, 0));
    });
}
