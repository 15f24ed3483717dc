//! Ed25519 keys of small order, for which there are signatures that fit many messages, or all.

/// The last byte holds the sign of x, which makes no difference here.
const SIGN: u8 = 0x7f;

/// The y-coordinates of the eight points of small order, in each spelling that there is:
/// 0, 1, -1, the two of order 8, and 0 and 1 plus the prime.
const POINTS: [[u8; 32]; 7] = [
    [0; 32],
    small(1),
    near_prime(0xec),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    near_prime(0xed),
    near_prime(0xee),
];

const fn small(low: u8) -> [u8; 32] {
    let mut point = [0; 32];
    point[0] = low;
    point
}

/// 2^255 - 256 + `low`, little-endian; the prime is 2^255 - 19.
const fn near_prime(low: u8) -> [u8; 32] {
    let mut point = [0xff; 32];
    point[0] = low;
    point[31] = SIGN;
    point
}

pub(super) fn is_one(key: &[u8]) -> bool {
    let Ok(mut point) = <[u8; 32]>::try_from(key) else { return false };
    point[31] &= SIGN;
    POINTS.contains(&point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_are_known_with_either_sign() {
        for mut point in POINTS {
            assert!(is_one(&point));
            point[31] |= !SIGN;
            assert!(is_one(&point));
            point[5] ^= 1;
            assert!(!is_one(&point));
        }
        assert!(!is_one(&small(2)) && !is_one(&[]) && !is_one(&[0; 31]));
    }
}
