//! Percentage bucketing as flagd defines it, by version.
//!
//! Both versions spread a 32-bit murmur3 hash over the total weight; they differ in the bytes that
//! are hashed. A change of version moves users between variants, so a document should name it.

use serde_json::{Number, Value};

use crate::rule::Val;

/// Which of flagd's bucketing definitions spreads keys over the variants of `fractional`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bucketing {
    /// Hashes the UTF-8 bytes of a string; the default key is flag key and targeting key joined.
    V2,
    /// Hashes deterministic CBOR of any value; the default key is the array of both keys.
    #[default]
    V3,
}

impl Bucketing {
    /// The name used in a document's `metadata.bucketing`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::V2, Self::V3].into_iter().find(|version| version.as_str() == name)
    }

    /// Hashes the value that a rule names; `None` when the version cannot hash it.
    pub(crate) fn hash(self, key: &Val<'_>) -> Option<u32> {
        let mut hash = Murmur3::default();
        match (self, key) {
            (Self::V2, key) => hash.write(key.as_str()?.as_bytes()),
            (Self::V3, Val::Text(key)) => text(key, &mut hash),
            (Self::V3, key) => match &*key.as_json() {
                Value::Null | Value::Array(_) => return None,
                value => cbor(value, &mut hash),
            },
        }
        Some(hash.finish())
    }

    /// What of the key used when a rule names none is known beforehand.
    pub(crate) fn seed(self, flag: &str) -> Seed {
        let mut hash = Murmur3::default();
        match self {
            Self::V2 => hash.write(flag.as_bytes()),
            Self::V3 => {
                head(4, 2, &mut hash);
                text(flag, &mut hash);
            }
        }
        Seed { version: self, hash }
    }
}

/// A flag's name, hashed as far as that goes without the targeting key.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    version: Bucketing,
    hash: Murmur3,
}

impl Seed {
    /// Hashes the key used when a rule names none.
    #[inline]
    pub(crate) fn hash(&self, targeting_key: &str) -> u32 {
        let mut hash = self.hash.clone();
        match self.version {
            Bucketing::V2 => hash.write(targeting_key.as_bytes()),
            Bucketing::V3 => text(targeting_key, &mut hash),
        }
        hash.finish()
    }
}

/// Picks the index of the weight that `hash` falls on; `None` if the weights sum to nothing or to
/// more than flagd allows.
pub(crate) fn pick(hash: u32, total: u32, mut weights: impl Iterator<Item = u32>) -> Option<usize> {
    if total == 0 || total > i32::MAX as u32 {
        return None;
    }
    let point = (u64::from(hash) * u64::from(total)) >> 32;
    let mut end = 0;
    weights.position(|weight| {
        end += u64::from(weight);
        point < end
    })
}

/// MurmurHash3, x86, 32 bit, seed 0, fed piece by piece: nothing is gathered on the heap.
#[derive(Clone, Debug, Default)]
struct Murmur3 {
    hash: u32,
    /// What does not fill four bytes yet, from the low end.
    tail: u32,
    length: u32,
}

fn scramble(k: u32) -> u32 {
    k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

impl Murmur3 {
    #[inline]
    fn mix(&mut self, k: u32) {
        let hash = (self.hash ^ scramble(k)).rotate_left(13);
        self.hash = hash.wrapping_mul(5).wrapping_add(0xe654_6b64);
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let shift = self.length % 4 * 8;
        // The length is taken modulo 2^32, as in the reference.
        self.length = self.length.wrapping_add(bytes.len() as u32);
        let (chunks, rest) = bytes.as_chunks();
        for chunk in chunks {
            let k = u32::from_le_bytes(*chunk);
            self.mix(self.tail | k << shift);
            // The part of `k` that did not fit; a shift by all 32 bits would be none at all.
            self.tail = (u64::from(k) >> (32 - shift)) as u32;
        }
        let mut shift = shift;
        for byte in rest {
            self.tail |= u32::from(*byte) << shift;
            shift += 8;
            if shift == 32 {
                self.mix(self.tail);
                (self.tail, shift) = (0, 0);
            }
        }
    }

    fn finish(self) -> u32 {
        let mut h = self.hash ^ scramble(self.tail);
        h ^= self.length;
        h = (h ^ h >> 16).wrapping_mul(0x85eb_ca6b);
        h = (h ^ h >> 13).wrapping_mul(0xc2b2_ae35);
        h ^ h >> 16
    }
}

/// Where bytes of CBOR go: into the hash, or into a list if they have to be sorted first.
trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Murmur3 {
    fn put(&mut self, bytes: &[u8]) {
        self.write(bytes);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Writes deterministic CBOR (RFC 8949, section 4.2.1).
fn cbor(value: &Value, out: &mut impl Sink) {
    match value {
        Value::Null => out.put(&[0xf6]),
        Value::Bool(flag) => out.put(&[0xf4 + u8::from(*flag)]),
        Value::Number(number) => cbor_number(number, out),
        Value::String(string) => text(string, out),
        Value::Array(items) => {
            head(4, items.len() as u64, out);
            items.iter().for_each(|item| cbor(item, out));
        }
        Value::Object(members) => {
            head(5, members.len() as u64, out);
            let mut pairs: Vec<_> = members
                .iter()
                .map(|(name, value)| {
                    let mut key = Vec::with_capacity(name.len() + 2);
                    text(name, &mut key);
                    (key, value)
                })
                .collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            for (key, value) in pairs {
                out.put(&key);
                cbor(value, out);
            }
        }
    }
}

fn head(major: u8, argument: u64, out: &mut impl Sink) {
    let major = major << 5;
    // Each arm has checked that the argument fits.
    match argument {
        0..=23 => out.put(&[major | argument as u8]),
        24..=0xff => out.put(&[major | 24, argument as u8]),
        0x100..=0xffff => {
            out.put(&[major | 25]);
            out.put(&(argument as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.put(&[major | 26]);
            out.put(&(argument as u32).to_be_bytes());
        }
        _ => {
            out.put(&[major | 27]);
            out.put(&argument.to_be_bytes());
        }
    }
}

fn text(string: &str, out: &mut impl Sink) {
    head(3, string.len() as u64, out);
    out.put(string.as_bytes());
}

fn cbor_number(number: &Number, out: &mut impl Sink) {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    if let Some(unsigned) = number.as_u64() {
        head(0, unsigned, out);
    } else if let Some(negative) = number.as_i64() {
        // CBOR stores -1 - n, which is the complement in two's complement.
        head(1, !negative as u64, out);
    } else if let Some(float) = number.as_f64() {
        // Integral floats hash as the integer they equal, so that 1 and 1.0 share a bucket.
        if float.fract() == 0.0 && (0.0..2.0 * TWO_63).contains(&float) {
            head(0, float as u64, out);
        } else if float.fract() == 0.0 && (-TWO_63..0.0).contains(&float) {
            head(1, !(float as i64) as u64, out);
        } else {
            cbor_float(float, out);
        }
    }
}

/// Writes a float in the shortest form that keeps its value.
fn cbor_float(float: f64, out: &mut impl Sink) {
    let single = float as f32;
    if f64::from(single).to_bits() != float.to_bits() {
        out.put(&[0xfb]);
        out.put(&float.to_be_bytes());
    } else if let Some(half) = half(single) {
        out.put(&[0xf9]);
        out.put(&half.to_be_bytes());
    } else {
        out.put(&[0xfa]);
        out.put(&single.to_be_bytes());
    }
}

/// The half-precision bits of a finite, non-zero float, if they hold it exactly.
fn half(single: f32) -> Option<u16> {
    let bits = single.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let exponent = (bits >> 23 & 0xff) as i32 - 127;
    let mantissa = bits & 0x7f_ffff;
    match exponent {
        -14..=15 if mantissa & 0x1fff == 0 => {
            Some(sign | ((exponent + 15) as u16) << 10 | (mantissa >> 13) as u16)
        }
        -24..=-15 => {
            let shift = (-1 - exponent) as u32;
            let full = mantissa | 0x80_0000;
            (full & ((1 << shift) - 1) == 0).then_some(sign | (full >> shift) as u16)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn murmur3_agrees_with_reference_vectors() {
        for (input, hash) in [
            ("", 0),
            ("hello", 0x248b_fa47),
            ("hello, world", 0x149b_bb7f),
            ("The quick brown fox jumps over the lazy dog", 0x2e4f_f723),
        ] {
            for split in 0..=input.len() {
                let mut murmur3 = Murmur3::default();
                let (head, tail) = input.as_bytes().split_at(split);
                murmur3.write(head);
                murmur3.write(tail);
                assert_eq!(murmur3.finish(), hash, "{input} split at {split}");
            }
        }
    }

    #[test]
    fn cbor_agrees_with_rfc_8949_appendix_a() {
        for (value, hex) in [
            (json!(0), "00"),
            (json!(24), "1818"),
            (json!(1_000_000), "1a000f4240"),
            (json!(u64::MAX), "1bffffffffffffffff"),
            (json!(-1000), "3903e7"),
            (json!(-0.0), "00"),
            (json!(1.0), "01"),
            (json!(1.5), "f93e00"),
            (json!(1.1), "fb3ff199999999999a"),
            (json!(5.960_464_477_539_063e-8), "f90001"),
            (json!(0.000_061_035_156_25), "f90400"),
            (json!(3.402_823_466_385_288_6e38), "fa7f7fffff"),
            (json!([1, [2, 3]]), "8201820203"),
            (json!({"b": [2, 3], "a": 1}), "a26161016162820203"),
            (json!([false, true, null, "ü"]), "84f4f5f662c3bc"),
        ] {
            let mut bytes = Vec::new();
            cbor(&value, &mut bytes);
            let written: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(written, hex, "{value}");
        }
    }

    fn pick(hash: u32, weights: &[u32]) -> Option<usize> {
        let total = weights.iter().fold(0u32, |sum, weight| sum.saturating_add(*weight));
        super::pick(hash, total, weights.iter().copied())
    }

    #[test]
    fn one_percent_is_one_percent() {
        for version in [Bucketing::V2, Bucketing::V3] {
            let hits = (0..100_000)
                .filter(|user| {
                    let hash = version.seed("rollout").hash(&format!("user-{user}"));
                    pick(hash, &[1, 99]) == Some(0)
                })
                .count();
            let percent = hits as f64 / 1000.0;
            assert!((percent - 1.0).abs() < 0.1, "{version:?}: {percent} %");
        }
    }

    #[test]
    fn growing_a_weight_moves_users_one_way() {
        for user in 0..1000 {
            let hash = Bucketing::V3.seed("ramp").hash(&user.to_string());
            let (before, after) = (pick(hash, &[10, 90]), pick(hash, &[20, 80]));
            assert!(before != Some(0) || after == Some(0), "user {user} was moved off");
        }
    }

    #[test]
    fn weights_without_a_legal_sum_pick_nothing() {
        assert_eq!(pick(7, &[0, 0]), None);
        assert_eq!(pick(7, &[]), None);
        assert_eq!(pick(7, &[u32::MAX, 1]), None);
        assert_eq!(pick(u32::MAX, &[0, 1, 0]), Some(1));
    }
}
