//! flagd's `sem_ver` operator.

use std::cmp::Ordering;

/// How two versions are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    SameMajor,
    SameMinor,
}

impl Relation {
    pub(crate) fn parse(symbol: &str) -> Option<Self> {
        Some(match symbol {
            "=" => Self::Equal,
            "!=" => Self::NotEqual,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            "^" => Self::SameMajor,
            "~" => Self::SameMinor,
            _ => return None,
        })
    }

    pub(crate) fn holds(self, left: &Version<'_>, right: &Version<'_>) -> bool {
        let order = left.compare(right);
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::SameMajor => left.core[0] == right.core[0],
            Self::SameMinor => left.core[..2] == right.core[..2],
        }
    }
}

/// A version; a `v` in front is skipped, absent parts are zero, build metadata is ignored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Version<'a> {
    core: [u64; 3],
    pre_release: &'a str,
}

impl<'a> Version<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let (numbers, pre_release) = match text.split_once('-') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (text, ""),
        };
        let mut core = [0; 3];
        let mut parts = numbers.split('.');
        for (index, part) in parts.by_ref().take(3).enumerate() {
            // `u64::from_str` alone would let a plus sign through.
            if !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            core[index] = part.parse().ok()?;
        }
        parts.next().is_none().then_some(Self { core, pre_release })
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.core.cmp(&other.core).then_with(|| {
            match (self.pre_release.is_empty(), other.pre_release.is_empty()) {
                // A release comes after its pre-releases.
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                _ => {
                    let (a, b) = (self.pre_release.split('.'), other.pre_release.split('.'));
                    a.map(Identifier::of).cmp(b.map(Identifier::of))
                }
            }
        })
    }
}

/// Numbers come before words; the derived order says so.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Identifier<'a> {
    Number(u64),
    Word(&'a str),
}

impl<'a> Identifier<'a> {
    fn of(text: &'a str) -> Self {
        text.parse().map_or(Self::Word(text), Self::Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_semver_orders_them() {
        let ordered = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "v1.1",
            "2+build",
        ];
        for pair in ordered.windows(2) {
            let (a, b) = (Version::parse(pair[0]).unwrap(), Version::parse(pair[1]).unwrap());
            assert!(Relation::Less.holds(&a, &b), "{pair:?}");
            assert!(Relation::NotEqual.holds(&a, &b), "{pair:?}");
        }
    }

    #[test]
    fn malformed_versions_are_refused() {
        for text in ["", "1.", "1.2.3.4", "+1", "a.b", "1.0.0-", "99999999999999999999"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
