//! How much a request matters, by what it says and by who sends it.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use bartizan_core::Principal;
use bartizan_shed::{Priority, Rank, by_header, by_route, by_tier};
use http::{HeaderName, Request};

const FIELD: HeaderName = HeaderName::from_static("x-priority");

#[test]
fn a_field_counts_from_trusted_callers_only() {
    let rank =
        by_header(FIELD, |request: &Request<()>| request.headers().contains_key("x-gateway"));
    let said = |word: &str| Request::builder().header(FIELD, word);
    let trusted = |word: &str| rank.rank(&said(word).header("x-gateway", "1").body(()).unwrap());
    assert_eq!(trusted("critical"), Priority::Critical);
    assert_eq!(trusted(" background "), Priority::Background);
    // Neither an unknown word nor none at all is better or worse than any other request.
    assert_eq!(trusted("urgent"), Priority::Default);
    assert_eq!(rank.rank(&Request::new(())), Priority::Default);
    for word in ["critical", "sheddable", "background"] {
        assert_eq!(rank.rank(&said(word).body(()).unwrap()), Priority::Default, "{word}");
    }
}

#[test]
fn of_routes_the_longest_counts_and_ends_where_a_segment_does() {
    let rank = by_route([
        ("/shop", Priority::Sheddable),
        ("/shop/checkout", Priority::Critical),
        ("/jobs/", Priority::Background),
    ]);
    for (path, priority) in [
        ("/shop", Priority::Sheddable),
        ("/shop/", Priority::Sheddable),
        ("/shop/checkout/1?q=/jobs/", Priority::Critical),
        ("/shop/checkouts", Priority::Sheddable),
        ("/shopping", Priority::Default),
        ("/jobs/1", Priority::Background),
        ("/jobs", Priority::Default),
        ("/", Priority::Default),
    ] {
        assert_eq!(rank.rank(&Request::get(path).body(()).unwrap()), priority, "{path}");
    }
}

#[test]
fn a_tier_is_that_of_the_principal() {
    let rank = by_tier([("gold", Priority::Critical), ("free", Priority::Sheddable)]);
    let of = |principal: Option<Principal>| {
        let mut request = Request::new(());
        principal.map(|principal| request.extensions_mut().insert(principal));
        rank.rank(&request)
    };
    assert_eq!(of(Some(Principal::new("bob").with_tier("gold"))), Priority::Critical);
    assert_eq!(of(Some(Principal::new("ann").with_tier("free"))), Priority::Sheddable);
    assert_eq!(of(Some(Principal::new("eve").with_tier("platinum"))), Priority::Default);
    assert_eq!(of(Some(Principal::new("joe"))), Priority::Default);
    assert_eq!(of(None), Priority::Default);
}

#[test]
fn a_closure_may_look_at_anything() {
    let rank = |request: &Request<u32>| match request.body() {
        0 => Priority::Background,
        _ => Priority::Critical,
    };
    assert_eq!(rank.rank(&Request::new(0)), Priority::Background);
    assert_eq!(rank.rank(&Request::new(1)), Priority::Critical);
}
