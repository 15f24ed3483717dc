//! The head of a response as bytes, for stores that other processes share.
//!
//! Version 3: magic, digest of all that follows, digest of the body, status, flags, times, variant,
//! fields. Integers are big-endian; texts come with their length. What another version wrote, and
//! what is not as it was written, is a miss.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use crate::key::portable_value;
use crate::state::{Freshness, Policy, Received};

const MAGIC: &[u8; 4] = b"bzc3";

/// A head as it was kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) digest: [u8; 16],
    pub(crate) length: u64,
    pub(crate) status: StatusCode,
    pub(crate) own_etag: bool,
    pub(crate) policy: Timeless,
    /// The age that the response had when it was kept, and when that was, since 1970.
    pub(crate) age: Duration,
    pub(crate) kept_at: Duration,
    pub(crate) vary: Vec<(HeaderName, [u8; 16])>,
    pub(crate) headers: HeaderMap,
}

/// A policy without the clock of a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Timeless {
    pub(crate) lifetime: Duration,
    pub(crate) revalidate_grace: Duration,
    pub(crate) error_grace: Duration,
    /// `disconnected`, `no_cache`, `forbids_stale`, `immutable`, `for_everyone`.
    pub(crate) flags: [bool; 5],
}

impl Timeless {
    pub(crate) const fn of(policy: &Policy) -> Self {
        Self {
            lifetime: policy.freshness.lifetime(),
            revalidate_grace: policy.revalidate_grace,
            error_grace: policy.error_grace,
            flags: [
                policy.disconnected,
                policy.no_cache,
                policy.forbids_stale,
                policy.immutable,
                policy.for_everyone,
            ],
        }
    }
}

impl Kept {
    /// The policy, as of now. A clock that runs behind makes nothing younger.
    pub(crate) fn policy(&self, received: Received) -> Policy {
        let age = self.age.saturating_add(received.unix.saturating_sub(self.kept_at));
        let Timeless { lifetime, revalidate_grace, error_grace, flags } = self.policy;
        let [disconnected, no_cache, forbids_stale, immutable, for_everyone] = flags;
        Policy {
            freshness: Freshness::resumed(lifetime, age, received.now),
            revalidate_grace,
            error_grace,
            disconnected,
            no_cache,
            forbids_stale,
            immutable,
            for_everyone,
        }
    }

    /// Whether it was kept for such a request.
    pub(crate) fn suits(&self, request: &HeaderMap, languages: bool) -> bool {
        self.vary.iter().all(|(name, value)| portable_value(request, name, languages) == *value)
    }

    /// Tells variants apart.
    pub(crate) fn variant(&self) -> [u8; 16] {
        let mut hash = Sha256::new();
        for (name, value) in &self.vary {
            hash.update(name.as_str());
            hash.update([0]);
            hash.update(value);
        }
        first_half(&hash)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(&self.digest);
        out.extend_from_slice(&self.length.to_be_bytes());
        out.extend_from_slice(&self.status.as_u16().to_be_bytes());
        let flags = self.policy.flags.iter().chain([&self.own_etag]);
        out.push(flags.enumerate().fold(0, |byte, (bit, flag)| byte | u8::from(*flag) << bit));
        for span in [
            self.policy.lifetime,
            self.policy.revalidate_grace,
            self.policy.error_grace,
            self.age,
            self.kept_at,
        ] {
            let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            out.extend_from_slice(&millis.to_be_bytes());
        }
        out.push(u8::try_from(self.vary.len()).unwrap_or(u8::MAX));
        for (name, value) in self.vary.iter().take(u8::MAX.into()) {
            text(&mut out, name.as_str().as_bytes());
            out.extend_from_slice(value);
        }
        for (name, value) in &self.headers {
            text(&mut out, name.as_str().as_bytes());
            text(&mut out, value.as_bytes());
        }
        let (start, said) = out.split_at_mut(MAGIC.len() + 16);
        start[MAGIC.len()..].copy_from_slice(&digest(said));
        out.into()
    }

    /// `None` if it is anything else than a head of this version, whole and well-formed.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let sum: [u8; 16] = *take(&mut rest)?;
        if sum != digest(rest) {
            return None;
        }
        Self::read(rest)
    }

    /// `None` if it is not well-formed: these bytes may be anything.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let digest = *take(&mut rest)?;
        let length = u64::from_be_bytes(*take(&mut rest)?);
        let status = StatusCode::from_u16(u16::from_be_bytes(*take(&mut rest)?)).ok()?;
        let [byte] = *take(&mut rest)?;
        let flag = |bit: u8| byte & 1 << bit != 0;
        let mut span = || Some(Duration::from_millis(u64::from_be_bytes(*take(&mut rest)?)));
        let policy = Timeless {
            lifetime: span()?,
            revalidate_grace: span()?,
            error_grace: span()?,
            flags: [flag(0), flag(1), flag(2), flag(3), flag(4)],
        };
        let (age, kept_at) = (span()?, span()?);
        let [count] = *take(&mut rest)?;
        let mut vary = Vec::new();
        for _ in 0..count {
            let name = HeaderName::from_bytes(untext(&mut rest)?).ok()?;
            vary.push((name, *take(&mut rest)?));
        }
        let mut headers = HeaderMap::new();
        while !rest.is_empty() {
            let name = HeaderName::from_bytes(untext(&mut rest)?).ok()?;
            let value = HeaderValue::from_bytes(untext(&mut rest)?).ok()?;
            headers.try_append(name, value).ok()?;
        }
        Some(Self {
            digest,
            length,
            status,
            own_etag: flag(5),
            policy,
            age,
            kept_at,
            vary,
            headers,
        })
    }
}

/// What bytes are recognised by.
pub(crate) fn digest(bytes: &[u8]) -> [u8; 16] {
    first_half(&Sha256::new_with_prefix(bytes))
}

fn first_half(hash: &Sha256) -> [u8; 16] {
    let digest = hash.clone().finalize();
    std::array::from_fn(|at| digest[at])
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(text);
}

fn untext<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u32::from_be_bytes(*take(rest)?) as usize;
    let (text, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(text)
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::tests::{RECEIVED, headers};

    fn kept() -> Kept {
        let request = headers(&[("accept", "a")]);
        let accept = HeaderName::from_static("accept");
        Kept {
            digest: digest(b"hello"),
            length: 5,
            status: StatusCode::OK,
            own_etag: true,
            policy: Timeless {
                lifetime: Duration::from_secs(60),
                revalidate_grace: Duration::from_secs(5),
                error_grace: Duration::MAX,
                flags: [true, false, true, false, true],
            },
            age: Duration::from_secs(10),
            kept_at: RECEIVED.unix,
            vary: vec![(accept.clone(), portable_value(&request, &accept, false))],
            headers: headers(&[("link", "<a>"), ("link", "<b>"), ("etag", "\"1\"")]),
        }
    }

    #[test]
    fn what_is_kept_comes_back() {
        let back = Kept::decode(&kept().encode()).unwrap();
        assert_eq!((back.digest, back.length, back.own_etag), (digest(b"hello"), 5, true));
        assert_eq!(back.headers, kept().headers);
        assert_eq!(back.policy.flags, kept().policy.flags);
        assert!(back.suits(&headers(&[("accept", "a"), ("x", "1")]), false));
        assert!(!back.suits(&headers(&[("accept", "b")]), false));
        assert_eq!(back.variant(), kept().variant());
        let later = Received { unix: RECEIVED.unix + Duration::from_secs(7), ..RECEIVED };
        assert_eq!(back.policy(later).freshness.age(later.now), Duration::from_secs(17));
        let earlier = Received { unix: Duration::ZERO, ..RECEIVED };
        assert_eq!(back.policy(earlier).freshness.age(earlier.now), Duration::from_secs(10));
    }

    #[test]
    fn what_is_cut_short_or_changed_or_of_another_version_is_none() {
        let whole = kept().encode();
        for len in 0..whole.len() {
            assert!(Kept::decode(&whole[..len]).is_none(), "{len} of {}", whole.len());
        }
        for at in 0..8 * whole.len() {
            let mut other = whole.to_vec();
            other[at / 8] ^= 1 << (at % 8);
            assert!(Kept::decode(&other).is_none(), "bit {at}");
        }
        let mut other = whole.to_vec();
        other[3] = b'1';
        assert!(Kept::decode(&other).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_head_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            Kept::decode(&bytes);
            Kept::read(&bytes);
        }

        #[test]
        fn a_flipped_bit_never_panics(at in 0_usize..200, bit in 0_u8..8) {
            let mut bytes = kept().encode()[MAGIC.len() + 16..].to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Some(kept) = Kept::read(&bytes) {
                kept.policy(RECEIVED);
            }
        }
    }
}
