use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::FORWARDED;
use http::{Extensions, HeaderMap, HeaderName, Request};
use ipnet::IpNet;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Key, KeyExtractor};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

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
pub struct ClientAddr(IpAddr);

impl ClientAddr {
    /// The address; never an IPv4-mapped one.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0
    }
}

/// Finds the client's address behind trusted proxies.
///
/// By default no proxy is trusted, and the address is the peer's: fields that a client can forge
/// are not read (RFC 7239 §8.1). With trusted proxies the hops of `Forwarded`, or else of
/// `X-Forwarded-For`, are read from the right, and the first that is not trusted is the client. An
/// entry that is not an address (`unknown`, `_hidden`) ends the search at the last address before
/// it.
///
/// As a key, IPv4-mapped IPv6 is its IPv4, the NAT64 prefix `64:ff9b::/96` is the IPv4 that it
/// holds (RFC 6052), and any other IPv6 is cut to a prefix, by default /64.
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientIp {
    hops: usize,
    proxies: Arc<[IpNet]>,
    prefix: u8,
}

impl ClientIp {
    /// Trusts nobody: the client is the peer.
    pub fn peer() -> Self {
        Self { hops: 0, proxies: Arc::new([]), prefix: 64 }
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
        if headers.contains_key(FORWARDED) {
            let _ = from_the_right(headers, &FORWARDED).all(|element| step(forwarded_for(element)));
        } else {
            let _ = from_the_right(headers, &X_FORWARDED_FOR).all(|entry| step(address(entry)));
        }
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

/// The members of a list field, last line and last member first. A quoted comma is not met in
/// addresses, and an element torn at one does not parse, which ends the search safely.
fn from_the_right<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    // `GetAll` can be read from its back end.
    headers.get_all(name).iter().rev().flat_map(|line| {
        // A line that is not text counts as one member that is no address.
        line.to_str().unwrap_or("").rsplit(',').map(str::trim)
    })
}

/// The `for` parameter of a `Forwarded` element (RFC 7239 §4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element
        .split(';')
        .find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
        })
        .and_then(address)
}

/// An address with or without brackets and port.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Some(addr);
    }
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Some(addr.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
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
            Some(addr) => request.extensions_mut().insert(ClientAddr(addr)),
            None => request.extensions_mut().remove::<ClientAddr>(),
        };
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
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
        let own = ClientIp::trust(["10.0.0.0/8".parse().unwrap()]);
        let lines = [
            ("forwarded", "for=6.6.6.6, For=\"[2001:db8::1]:80\";proto=https"),
            ("forwarded", "for=10.1.1.1:99"),
        ];
        assert_eq!(resolve(&own, &lines), "2001:db8::1");
    }

    #[test]
    fn what_is_no_address_ends_the_search() {
        let own = ClientIp::trust(["10.0.0.0/8".parse().unwrap()]);
        for hop in ["unknown", "_hidden", "", "1.2.3.4.5", "\"[::1\"", "a,b"] {
            let value = format!("for=6.6.6.6, for={hop}, for=10.0.0.3");
            assert_eq!(resolve(&own, &[("forwarded", &value)]), "10.0.0.3", "{hop}");
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

    proptest::proptest! {
        #[test]
        fn no_field_value_panics_or_moves_an_untrusted_peer(
            forwarded in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80),
            list in "[0-9a-f:., \"=;for\\[\\]]{0,80}",
        ) {
            let mut request = request("203.0.113.5", &[("x-forwarded-for", &list)]);
            if let Ok(value) = http::HeaderValue::from_bytes(&forwarded) {
                request.headers_mut().append(FORWARDED, value);
            }
            let trusting = ClientIp::trust(["10.0.0.0/8".parse().unwrap()]);
            for by in [ClientIp::peer(), trusting] {
                let found = by.resolve(&request).unwrap().to_string();
                proptest::prop_assert_eq!(found, "203.0.113.5");
            }
            // Whoever trusts a number of hops believes them, but must not break.
            let _ = ClientIp::trust_hops(5).resolve(&request);
        }
    }

    #[test]
    fn without_a_peer_there_is_no_key() {
        assert_eq!(key::ip().key(&Request::new(())), None);
    }
}
