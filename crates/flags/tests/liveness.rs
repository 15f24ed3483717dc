//! What waits for what: evaluations wait for nothing, and what is bound to a flag for nobody.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::sync::mpsc::{channel, sync_channel};
use std::thread;
use std::time::Duration;

use bartizan_core::{Engine, Mode, Switch};
use bartizan_flags::{EvaluationContext, Flag, Flags, Reason};
use serde_json::json;

static MODE: Flag<&str> = Flag::new("mode", "none");

const MINUTE: Duration = Duration::from_secs(60);
/// Far longer than anything here takes, unless it waits for a lock that nobody gives back.
const LONG: Duration = Duration::from_secs(10);

fn document(mode: &str) -> String {
    json!({"flags": {"mode": {
        "state": "ENABLED", "variants": {"enforce": "enforce", "shadow": "shadow"},
        "defaultVariant": mode,
    }}})
    .to_string()
}

/// Does it on a thread of its own, so that what hangs fails the test.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = channel();
    thread::spawn(move || tell.send(work()));
    told.recv_timeout(LONG).expect("it neither hangs nor panics")
}

#[test]
fn a_bound_flag_may_go_stale() {
    let modes = in_time(|| {
        let flags = Flags::from_json(&document("shadow")).unwrap();
        let switch = Switch::default();
        flags.stale_after(MINUTE);
        flags.feed(0).confirm();
        flags.control("mode", switch.clone());
        let bound = switch.setting().0;
        flags.replace(&document("enforce")).unwrap();
        assert!(flags.age().is_some());
        (bound, switch.setting().0)
    });
    assert_eq!(modes, (Mode::Shadow, Mode::Enforce));
}

#[test]
fn evaluations_do_not_wait_while_a_document_comes_into_force() {
    let flags = Flags::from_json(&document("shadow")).unwrap();
    flags.stale_after(MINUTE);
    flags.feed(0).confirm();
    let (entered, inside) = channel();
    let (go_on, held) = sync_channel::<()>(0);
    let own = flags.clone();
    let install = thread::spawn(move || {
        own.bind(&MODE, move |mode| {
            if mode == "enforce" {
                entered.send(()).unwrap();
                held.recv_timeout(LONG).unwrap();
            }
            Ok(())
        });
        own.replace(&document("enforce"))
    });
    inside.recv_timeout(LONG).unwrap();
    let (reason, age, stale) = in_time(move || {
        let details = MODE.details(&flags, &EvaluationContext::new());
        let stale = flags.snapshot().value("bartizan_flags_stale", "");
        (details.reason, flags.age(), stale)
    });
    assert_eq!((reason, stale), (Reason::Static, Some(0.0)));
    assert!(age.is_some_and(|age| age < MINUTE));
    go_on.send(()).unwrap();
    install.join().unwrap().unwrap();
}
