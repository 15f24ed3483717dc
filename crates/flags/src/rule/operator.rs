//! The operators that take a list of arguments.

macro_rules! operators {
    ($($variant:ident $symbol:literal $least:literal ..= $most:expr,)*) => {
        /// An operator that needs nothing but its arguments.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Operator { $($variant,)* }

        impl Operator {
            /// The operator, and how few and how many arguments it takes.
            pub(super) fn parse(symbol: &str) -> Option<(Self, usize, usize)> {
                Some(match symbol {
                    $($symbol => (Self::$variant, $least, $most),)*
                    _ => return None,
                })
            }
        }
    };
}

operators! {
    Missing "missing" 0..=usize::MAX,
    MissingSome "missing_some" 2..=2,
    If "if" 0..=usize::MAX,
    Equal "==" 2..=usize::MAX,
    StrictEqual "===" 2..=usize::MAX,
    NotEqual "!=" 2..=usize::MAX,
    StrictNotEqual "!==" 2..=usize::MAX,
    Not "!" 0..=1,
    Truthy "!!" 0..=1,
    Or "or" 0..=usize::MAX,
    And "and" 0..=usize::MAX,
    Coalesce "??" 0..=usize::MAX,
    Exists "exists" 0..=usize::MAX,
    Greater ">" 2..=usize::MAX,
    GreaterOrEqual ">=" 2..=usize::MAX,
    Less "<" 2..=usize::MAX,
    LessOrEqual "<=" 2..=usize::MAX,
    Max "max" 1..=usize::MAX,
    Min "min" 1..=usize::MAX,
    Add "+" 0..=usize::MAX,
    Subtract "-" 1..=usize::MAX,
    Multiply "*" 0..=usize::MAX,
    Divide "/" 1..=usize::MAX,
    Remainder "%" 2..=usize::MAX,
    Map "map" 2..=2,
    Filter "filter" 2..=2,
    Reduce "reduce" 2..=3,
    All "all" 2..=2,
    None "none" 2..=2,
    Some "some" 2..=2,
    Merge "merge" 0..=usize::MAX,
    In "in" 2..=2,
    Cat "cat" 0..=usize::MAX,
    Substr "substr" 2..=3,
    Throw "throw" 1..=1,
    Try "try" 1..=usize::MAX,
    StartsWith "starts_with" 2..=2,
    EndsWith "ends_with" 2..=2,
}

impl Operator {
    /// Evaluates its arguments as it needs them, so that they cannot come as one computed list.
    pub(super) const fn is_lazy(self) -> bool {
        self.compares()
            || matches!(
                self,
                Self::If
                    | Self::Or
                    | Self::And
                    | Self::Map
                    | Self::Filter
                    | Self::Reduce
                    | Self::All
                    | Self::None
                    | Self::Some
            )
    }

    /// Compares its arguments pair by pair.
    pub(super) const fn compares(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::StrictEqual
                | Self::NotEqual
                | Self::StrictNotEqual
                | Self::Greater
                | Self::GreaterOrEqual
                | Self::Less
                | Self::LessOrEqual
        )
    }
}
