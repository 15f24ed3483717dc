//! Whatever a caller writes into the field of overrides: ignored or obeyed, and never believed
//! without the signature.

#![no_main]

use std::convert::Infallible;
use std::future::ready;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bartizan::flags::{Flag, Flags, FlagsLayer, Overrides, Reason, RequestFlags};
use http::{HeaderValue, Request, Response};
use libfuzzer_sys::fuzz_target;
use tower::{Layer, Service, service_fn};

static BETA: Flag<bool> = Flag::new("beta", false);

fuzz_target!(|field: &[u8]| {
    let Ok(field) = HeaderValue::from_bytes(field) else { return };
    let document = r#"{"flags": {"beta": {"state": "ENABLED", "variants": {"on": true, "off": false},
        "defaultVariant": "off"}}}"#;
    let flags = Flags::from_json(document).expect("a sound document");
    let overrides = Overrides::signed(&[7; 32]).expect("it is long enough");
    let layer = FlagsLayer::new(flags).overrides(overrides);
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        let details = RequestFlags::current().expect("it is behind the layer").details(&BETA);
        assert_eq!((details.value, details.reason), (false, Reason::Static));
        ready(Ok::<_, Infallible>(Response::new(())))
    }));
    let request = Request::builder().header("x-flag-overrides", field).body(());
    let response = pin!(service.call(request.expect("a sound request")));
    let response = response.poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(response, Poll::Ready(Ok(_))));
});
