//! Which addresses are anybody's to reach, and which only those of one's own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// True for addresses of the internet at large (after IANA's special-purpose registries).
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        // This network, one's own, loopback, link-local.
        [0 | 10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [169, 254, ..]
            // Behind a carrier's translation, protocol assignments, benchmarks, examples.
            | [100, 64..=127, ..] | [192, 0, 0 | 2, _] | [198, 18..=19, ..]
            | [198, 51, 100, _] | [203, 0, 113, _]
            // Multicast and whatever is reserved.
            | [224..=255, ..]
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [.., g, h] = address.segments();
    let [a, b, c, d] = [g >> 8, g & 255, h >> 8, h & 255].map(|byte| byte as u8);
    let embedded = Ipv4Addr::new(a, b, c, d);
    match address.segments() {
        // An IPv4 address under another form: mapped (RFC 4291 §2.5.5.2), translated (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(embedded),
        // By 6to4 (RFC 3056) and Teredo (RFC 4380) one reaches any IPv4 address too; examples.
        [0x2002, ..] | [0x2001, 0 | 0xdb8, ..] => false,
        // All that is given out for the internet; the rest is local, multicast or reserved.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api7_addresses_of_ones_own_network_are_told_apart() {
        let is = |address: &str| is_public(address.parse().unwrap());
        for address in [
            "8.8.8.8",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "100.128.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(is(address), "{address}");
        }
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is(address), "{address}");
        }
    }
}
