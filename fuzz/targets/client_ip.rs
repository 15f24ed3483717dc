//! Whatever `Forwarded` and `X-Forwarded-For` hold, a trusted hop is never passed over: with one
//! trusted hop, the address is the one that the proxy appends, in a line of its own or to the last
//! line that is there.

#![no_main]

use std::net::{Ipv4Addr, SocketAddr};

use bartizan::core::{ClientIp, PeerAddr};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, Vec<(bool, Vec<u8>)>)| {
    let (own_line, fields) = input;
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

    let by = [
        (ClientIp::trust_hops(1), "x-forwarded-for", "198.51.100.7"),
        (
            ClientIp::trust_hops(1).forwarded(),
            "forwarded",
            "for=198.51.100.7;host=\"a,for=6.6.6.6\"",
        ),
    ];
    for (by, name, own) in by {
        assert!(by.resolve(&request).is_some());
        // Whatever a caller sends comes before what the proxy appends, which alone counts.
        append(request.headers_mut(), name, own, own_line);
        let address = by.resolve(&request);
        assert_eq!(address, Some(Ipv4Addr::new(198, 51, 100, 7).into()));
    }
});

fn append(headers: &mut HeaderMap, name: &'static str, own: &'static str, own_line: bool) {
    let mut lines: Vec<_> = headers.get_all(name).iter().cloned().collect();
    match lines.last_mut() {
        Some(line) if !own_line => {
            let joined = [line.as_bytes(), b", ", own.as_bytes()].concat();
            *line = HeaderValue::from_bytes(&joined).expect("both were values");
        }
        _ => lines.push(HeaderValue::from_static(own)),
    }
    headers.remove(name);
    for line in lines {
        headers.append(name, line);
    }
}
