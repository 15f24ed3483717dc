//! The hash by which flags are found, made once where a handle is declared.

/// Hashes a flag's name. Whoever writes a document is trusted, so the hash needs no secret.
pub(crate) const fn hash(name: &str) -> u64 {
    let mut hash = name.len() as u64;
    let mut rest = name.as_bytes();
    while let Some((word, tail)) = rest.split_first_chunk() {
        hash = mix(hash ^ u64::from_le_bytes(*word));
        rest = tail;
    }
    let mut last = 0;
    while let Some((byte, tail)) = rest.split_first() {
        last = last << 8 | *byte as u64;
        rest = tail;
    }
    mix(hash ^ last)
}

/// Folds a product of 128 bits, so that every bit of `word` reaches both ends.
const fn mix(word: u64) -> u64 {
    let product = (word ^ 0x9e37_79b9_7f4a_7c15) as u128 * 0xd6e8_feb8_6659_fd93_u128;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_spread() {
        let names = (0..4096).map(|n| format!("flag-{n}"));
        let all: BTreeSet<u64> = names.map(|name| hash(&name)).collect();
        assert_eq!(all.len(), 4096);
        // Both ends count: tables look at the high bits and at the low ones.
        let low: BTreeSet<u64> = all.iter().map(|hash| hash & 0xff).collect();
        let high: BTreeSet<u64> = all.iter().map(|hash| hash >> 57).collect();
        assert_eq!((low.len(), high.len()), (256, 128));
    }
}
