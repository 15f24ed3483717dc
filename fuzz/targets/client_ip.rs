//! Whatever `Forwarded` and `X-Forwarded-For` hold, a trusted hop is never passed over: with one
//! trusted hop, the address is the peer's or the last one that is named.

#![no_main]

use std::net::{Ipv4Addr, SocketAddr};

use bartizan::core::{ClientIp, PeerAddr};
use http::{HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|fields: Vec<(bool, Vec<u8>)>| {
    let mut request = Request::new(());
    let peer = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 9), 443));
    request.extensions_mut().insert(PeerAddr::new(peer));
    for (forwarded, value) in fields {
        let name = if forwarded { "forwarded" } else { "x-forwarded-for" };
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    assert_eq!(ClientIp::peer().resolve(&request), Some(peer.ip()));
    assert!(ClientIp::trust_hops(1).resolve(&request).is_some());

    // Whatever a caller sends comes before what the proxy appends, which alone counts.
    let name =
        if request.headers().contains_key("forwarded") { "forwarded" } else { "x-forwarded-for" };
    let own = if name == "forwarded" { "for=198.51.100.7" } else { "198.51.100.7" };
    request.headers_mut().append(name, HeaderValue::from_static(own));
    let address = ClientIp::trust_hops(1).resolve(&request);
    assert_eq!(address, Some(Ipv4Addr::new(198, 51, 100, 7).into()));
});
