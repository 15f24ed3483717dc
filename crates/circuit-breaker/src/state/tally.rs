use super::tagged::Tagged;

/// What counts of a call that has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Call {
    pub(crate) failed: bool,
    pub(crate) slow: bool,
}

impl Call {
    pub(crate) const BITS: u32 = 2;

    /// A call without fault.
    pub(crate) const GOOD: Self = Self { failed: false, slow: false };

    pub(crate) const fn bits(self) -> u64 {
        self.failed as u64 | (self.slow as u64) << 1
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self { failed: bits & 1 != 0, slow: bits & 2 != 0 }
    }
}

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) slow: u64,
    /// The failures since the last success, if they are counted.
    pub(crate) streak: u64,
}

/// Failures and slow calls in one number of 52 bits: 26 signed bits of failures below, slow calls
/// above.
///
/// As a number it is `slow * 2^26 + failures`, so that sums and differences hold for both parts,
/// whatever carries between them. A part may be below 0 for a moment, where a call that overwrites
/// another is counted before that one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Faults(u64);

const PART: u32 = Tagged::BITS / 2;

impl Faults {
    pub(crate) const fn of(call: Call) -> Self {
        Self((call.failed as u64).wrapping_add((call.slow as u64) << PART))
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    pub(crate) const fn minus(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }

    /// Failures and slow calls.
    #[inline]
    pub(crate) const fn split(self) -> (u64, u64) {
        // What most windows hold most of the time.
        if self.0 == 0 {
            return (0, 0);
        }
        let failures = signed(self.0);
        let slow = signed((self.0 as i64).wrapping_sub(failures) as u64 >> PART);
        (if failures < 0 { 0 } else { failures as u64 }, if slow < 0 { 0 } else { slow as u64 })
    }
}

/// The low part as a signed number.
const fn signed(bits: u64) -> i64 {
    (bits as i64) << (u64::BITS - PART) >> (u64::BITS - PART)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_and_differences_hold_for_both_parts(
            calls in prop::collection::vec((any::<bool>(), any::<bool>()), 0..200),
            cut in 0_usize..200,
        ) {
            let all = |calls: &[(bool, bool)]| {
                calls.iter().fold(Faults::default(), |sum, &(failed, slow)| {
                    sum.plus(Faults::of(Call { failed, slow }))
                })
            };
            let (old, new) = calls.split_at(cut.min(calls.len()));
            let (failed, slow): (Vec<_>, Vec<_>) = new.iter().copied().unzip();
            let count = |flags: Vec<bool>| flags.into_iter().filter(|flag| *flag).count() as u64;
            // Cut to 52 bits, as a cell does.
            let rest = all(&calls).minus(all(old)).bits() << 12 >> 12;
            prop_assert_eq!(Faults::from_bits(rest).split(), (count(failed), count(slow)));
        }
    }

    #[test]
    fn a_part_below_zero_shows_as_none_and_heals() {
        let failed = Faults::of(Call { failed: true, slow: false });
        let slow = Faults::of(Call { failed: false, slow: true });
        let early = slow.minus(failed);
        assert_eq!(early.split(), (0, 1));
        assert_eq!(early.plus(failed).split(), (0, 1));
        assert_eq!(failed.minus(slow).split(), (1, 0));
    }
}
