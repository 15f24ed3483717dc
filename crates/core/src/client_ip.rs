use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Extensions, Request};
use ipnet::IpNet;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Key, KeyExtractor, hops};

/// The address at the other end of the connection, in the request's extensions.
///
/// A server that is not axum puts it there, so that layers can tell clients apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PeerAddr(SocketAddr);

impl PeerAddr {
    /// Wraps a socket's peer address.
    #[must_use]
    pub const fn new(addr: SocketAddr) -> Self {
        Self(addr)
    }
}

/// The client's address as [`ClientIpLayer`] found it, in the request's extensions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientAddr {
    addr: IpAddr,
    /// How many bits of it make a key, if it is IPv6.
    prefix: u8,
}

impl ClientAddr {
    /// The address; never an IPv4-mapped one.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.addr
    }

    #[inline]
    pub(crate) fn key(self) -> Key {
        prefix_key(self.addr, self.prefix)
    }
}

/// Finds the client's address behind trusted proxies.
///
/// By default no proxy is trusted, and the address is the peer's: fields that a client can forge
/// are not read (RFC 7239 §8.1). With trusted proxies the hops of `X-Forwarded-For` are read from
/// the right, and the first that is not trusted is the client. An entry that is not an address
/// (`unknown`, `_hidden`) ends the search at the last address before it.
///
/// Proxies that append to `Forwarded` (RFC 7239) have [`forwarded`](Self::forwarded). Only the field
/// that is named is read: the other one passes through a proxy as a client wrote it.
///
/// As a key, IPv4-mapped IPv6 is its IPv4, the NAT64 prefix `64:ff9b::/96` is the IPv4 that it
/// holds (RFC 6052), and any other IPv6 is cut to a prefix, by default /64.
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientIp {
    hops: usize,
    proxies: Arc<[IpNet]>,
    forwarded: bool,
    prefix: u8,
}

impl ClientIp {
    /// Trusts nobody: the client is the peer.
    pub fn peer() -> Self {
        Self { hops: 0, proxies: Arc::new([]), forwarded: false, prefix: 64 }
    }

    /// Trusts that the last `hops` hops, the peer included, are proxies of one's own.
    ///
    /// Only for a service that cannot be reached but through them.
    pub fn trust_hops(hops: usize) -> Self {
        Self { hops, ..Self::peer() }
    }

    /// Trusts proxies by address; fields from any other peer are ignored.
    pub fn trust(proxies: impl IntoIterator<Item = IpNet>) -> Self {
        Self { proxies: proxies.into_iter().collect(), ..Self::peer() }
    }

    /// Reads `Forwarded` and never `X-Forwarded-For`, for proxies that append to it.
    pub const fn forwarded(mut self) -> Self {
        self.forwarded = true;
        self
    }

    /// Sets how many bits of an IPv6 address make a key, 128 at most. The default is 64.
    pub fn ipv6_prefix(mut self, bits: u8) -> Self {
        self.prefix = bits.min(128);
        self
    }

    /// The client's address, or `None` if not even the peer's is known.
    #[must_use]
    pub fn resolve<B>(&self, request: &Request<B>) -> Option<IpAddr> {
        let mut client = peer(request.extensions())?;
        if self.hops == 0 && self.proxies.is_empty() {
            return Some(client);
        }
        let mut passed = 0;
        let mut is_proxy = |addr: IpAddr| {
            passed += 1;
            passed <= self.hops || self.proxies.iter().any(|net| net.contains(&addr))
        };
        let headers = request.headers();
        let mut step = |hop: Option<IpAddr>| {
            // Goes on while the address at hand is a proxy's and the next hop is an address.
            if !is_proxy(client) {
                return false;
            }
            match hop {
                Some(addr) => {
                    client = canonical(addr);
                    true
                }
                None => false,
            }
        };
        let _ = if self.forwarded {
            hops::forwarded(headers).all(&mut step)
        } else {
            hops::x_forwarded_for(headers).all(&mut step)
        };
        Some(client)
    }
}

impl Default for ClientIp {
    fn default() -> Self {
        Self::peer()
    }
}

impl<B> KeyExtractor<Request<B>> for ClientIp {
    fn key(&self, request: &Request<B>) -> Option<Key> {
        self.resolve(request).map(|addr| prefix_key(addr, self.prefix))
    }
}

/// The address at the other end of the connection, in its canonical form.
#[inline]
pub(crate) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    if let Some(PeerAddr(addr)) = extensions.get() {
        return Some(canonical(addr.ip()));
    }
    #[cfg(feature = "axum")]
    if let Some(axum::extract::ConnectInfo(addr)) =
        extensions.get::<axum::extract::ConnectInfo<SocketAddr>>()
    {
        return Some(canonical(addr.ip()));
    }
    #[cfg(feature = "tonic")]
    if let Some(addr) = extensions
        .get::<tonic::transport::server::TcpConnectInfo>()
        .and_then(tonic::transport::server::TcpConnectInfo::remote_addr)
    {
        return Some(canonical(addr.ip()));
    }
    None
}

/// IPv4-mapped IPv6 is its IPv4 (RFC 4291 §2.5.5.2), and so is NAT64's well-known prefix.
#[inline]
fn canonical(addr: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = addr else { return addr };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            let [.., a, b, c, d] = v6.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        _ => addr,
    }
}

/// The key of a canonical address, IPv6 by its first `bits` bits.
#[inline]
pub(crate) fn prefix_key(addr: IpAddr, bits: u8) -> Key {
    match addr {
        IpAddr::V4(v4) => Key::of(&v4.to_bits()),
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            Key::of(&(v6.to_bits() & mask))
        }
    }
}

/// [`Layer`] that finds the client's address once, for all layers behind it: it puts a
/// [`ClientAddr`] into the request's extensions.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ClientIpLayer {
    client_ip: ClientIp,
}

impl ClientIpLayer {
    /// Creates the layer.
    pub const fn new(client_ip: ClientIp) -> Self {
        Self { client_ip }
    }
}

impl<S> Layer<S> for ClientIpLayer {
    type Service = ClientIpService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ClientIpService { inner, client_ip: self.client_ip.clone() }
    }
}

/// Middleware that puts a [`ClientAddr`] into each request.
#[derive(Clone, Debug)]
pub struct ClientIpService<S> {
    inner: S,
    client_ip: ClientIp,
}

impl<S, B> Service<Request<B>> for ClientIpService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        // A stale address from elsewhere must not be believed.
        match self.client_ip.resolve(&request) {
            Some(addr) => {
                let prefix = self.client_ip.prefix;
                request.extensions_mut().insert(ClientAddr { addr, prefix })
            }
            None => request.extensions_mut().remove::<ClientAddr>(),
        };
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::FORWARDED;

    use super::*;
    use crate::key;

    fn request(peer: &str, fields: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        let addr = SocketAddr::new(peer.parse().unwrap(), 4711);
        request.extensions_mut().insert(PeerAddr::new(addr));
        for (name, value) in fields {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    }

    fn resolve(by: &ClientIp, fields: &[(&'static str, &str)]) -> String {
        by.resolve(&request("10.0.0.9", fields)).unwrap().to_string()
    }

    #[test]
    fn u01_spoofed_elements_are_ignored() {
        let forged = [("x-forwarded-for", "6.6.6.6, 198.51.100.7")];
        assert_eq!(resolve(&ClientIp::peer(), &forged), "10.0.0.9");
        assert_eq!(resolve(&ClientIp::trust_hops(1), &forged), "198.51.100.7");
        let own = ClientIp::trust(["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(resolve(&own, &forged), "198.51.100.7");
        let direct = request("203.0.113.5", &forged);
        assert_eq!(own.resolve(&direct).unwrap().to_string(), "203.0.113.5");
        assert_eq!(resolve(&own, &[("x-real-ip", "6.6.6.6")]), "10.0.0.9");
    }

    #[test]
    fn forwarded_is_read_from_the_right_over_lines() {
        let own = ClientIp::trust(["10.0.0.0/8".parse().unwrap()]).forwarded();
        let lines = [
            ("forwarded", "for=6.6.6.6, For=\"[2001:db8::1]:80\";proto=https"),
            ("forwarded", "for=10.1.1.1:99"),
        ];
        assert_eq!(resolve(&own, &lines), "2001:db8::1");
    }

    #[test]
    fn a_field_that_the_proxy_does_not_write_is_not_read() {
        let own = ClientIp::trust_hops(1);
        let fields = [("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "203.0.113.5")];
        assert_eq!(resolve(&own, &fields), "203.0.113.5");
        assert_eq!(resolve(&own, &fields[..1]), "10.0.0.9");
        let fields = [("forwarded", "for=203.0.113.5"), ("x-forwarded-for", "6.6.6.6")];
        assert_eq!(resolve(&own.clone().forwarded(), &fields), "203.0.113.5");
        assert_eq!(resolve(&own.forwarded(), &fields[1..]), "10.0.0.9");
    }

    #[test]
    fn a_quoted_parameter_is_no_element() {
        let own = ClientIp::trust_hops(1).forwarded();
        for host in ["shop,for=6.6.6.6", "shop;for=6.6.6.6", r#"\",for=6.6.6.6"#, r"\\"] {
            let value = format!(r#"for=6.6.6.6, for=203.0.113.5;host="{host}";proto=https"#);
            assert_eq!(resolve(&own, &[("forwarded", &value)]), "203.0.113.5", "{host}");
        }
    }

    #[test]
    fn what_a_client_sends_does_not_spoil_what_the_proxy_appends() {
        let own = ClientIp::trust_hops(1);
        for sent in [&b"\xff"[..], b"\xc3", b"\"", b"for=\"", b"for=\"x\\\"", b"\\", b"", b";="] {
            for (by, name, appended) in [
                (own.clone(), "x-forwarded-for", "203.0.113.5"),
                (own.clone().forwarded(), "forwarded", "for=\"203.0.113.5\";host=\"a,b\""),
            ] {
                let value = [sent, b", ", appended.as_bytes()].concat();
                let mut request = request("10.0.0.9", &[]);
                request.headers_mut().insert(name, HeaderValue::from_bytes(&value).unwrap());
                let found = by.resolve(&request).unwrap().to_string();
                assert_eq!(found, "203.0.113.5", "{}", value.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_address_ends_the_search() {
        let own = ClientIp::trust(["10.0.0.0/8".parse().unwrap()]);
        let rfc7239 = own.clone().forwarded();
        for hop in ["unknown", "_hidden", "", "1.2.3.4.5", "\"[::1\"", "a,b"] {
            let value = format!("for=6.6.6.6, for={hop}, for=10.0.0.3");
            assert_eq!(resolve(&rfc7239, &[("forwarded", &value)]), "10.0.0.3", "{hop}");
        }
        let plain = [("x-forwarded-for", "6.6.6.6, nonsense")];
        assert_eq!(resolve(&own, &plain), "10.0.0.9");
    }

    #[test]
    fn u02_ipv6_is_keyed_by_prefix_and_mapped_is_ipv4() {
        let of = |peer| key::ip().key(&request(peer, &[])).unwrap();
        assert_eq!(of("2001:db8:1:1::1"), of("2001:db8:1:1:ffff::2"));
        assert_ne!(of("2001:db8:1:1::1"), of("2001:db8:1:2::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(of("64:ff9b::c000:201"), of("192.0.2.1"));
        assert_ne!(of("64:ff9b::c000:202"), of("192.0.2.1"));
        let by = |bits| ClientIp::peer().ipv6_prefix(bits).key(&request("2001:db8::1", &[]));
        assert_ne!(by(128), by(48));
        assert_eq!(by(0), ClientIp::peer().ipv6_prefix(0).key(&request("fe80::2", &[])));
    }

    /// Answers with what it would count a request under.
    struct KeyOf;

    impl Service<Request<()>> for KeyOf {
        type Response = Option<Key>;
        type Error = std::convert::Infallible;
        type Future = std::future::Ready<Result<Option<Key>, Self::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            std::future::ready(Ok(key::ip().key(&request)))
        }
    }

    #[test]
    fn the_layers_prefix_is_the_keys() {
        let of = |bits, peer| {
            let layer = ClientIpLayer::new(ClientIp::peer().ipv6_prefix(bits));
            layer.layer(KeyOf).call(request(peer, &[])).into_inner().unwrap()
        };
        assert_eq!(of(48, "2001:db8:1:1::1"), of(48, "2001:db8:1:2::1"));
        assert_ne!(of(64, "2001:db8:1:1::1"), of(64, "2001:db8:1:2::1"));
        assert_ne!(of(128, "2001:db8::1"), of(128, "2001:db8::2"));
    }

    proptest::proptest! {
        #[test]
        fn no_field_value_panics_or_moves_an_untrusted_peer(
            forwarded in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80),
            list in "[0-9a-f:., \"=;for\\[\\]]{0,80}",
        ) {
            let mut request = request("203.0.113.5", &[("x-forwarded-for", &list)]);
            if let Ok(value) = HeaderValue::from_bytes(&forwarded) {
                request.headers_mut().append(FORWARDED, value);
            }
            let trusting = ClientIp::trust(["10.0.0.0/8".parse().unwrap()]);
            for by in [ClientIp::peer(), trusting.clone(), trusting.forwarded()] {
                let found = by.resolve(&request).unwrap().to_string();
                proptest::prop_assert_eq!(found, "203.0.113.5");
            }
            // Whoever trusts a number of hops believes them, but must not break.
            let _ = ClientIp::trust_hops(5).resolve(&request);
            let _ = ClientIp::trust_hops(5).forwarded().resolve(&request);
        }
    }

    #[test]
    fn without_a_peer_there_is_no_key() {
        assert_eq!(key::ip().key(&Request::new(())), None);
    }
}
