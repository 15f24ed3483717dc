//! CVE-2017-15361: RSA keys whose primes a broken generator drew from powers of 65537.

/// The odd primes that the generator's moduli are powers of 65537 for.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// True if `modulus`, big-endian, bears the mark. Chance marks one sound key in 2^27 or more.
pub(crate) fn is_weak(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| is_power_of_65537(residue(modulus, *prime), *prime))
}

fn residue(number: &[u8], prime: u32) -> u32 {
    number.iter().fold(0, |residue, byte| (residue * 256 + u32::from(*byte)) % prime)
}

fn is_power_of_65537(residue: u32, prime: u32) -> bool {
    let mut power = 1;
    loop {
        if power == residue {
            return true;
        }
        power = power * 65537 % prime;
        if power == 1 || power == 0 {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_told_from_the_rest() {
        // 65537 = 10 mod 11, whose powers are 1 and 10.
        let powers: Vec<u32> = (0..11).filter(|n| is_power_of_65537(*n, 11)).collect();
        assert_eq!(powers, [1, 10]);
        assert_eq!(residue(&[1, 0, 1], 7), 65537 % 7);
        assert!(is_weak(&[1, 0, 1]));
        assert!(!is_weak(&[2]));
    }
}
