use std::process::ExitCode;

/// The bars of a bench: prints each as a line, and remembers whether one was short.
#[derive(Debug, Default)]
pub struct Bars {
    short: bool,
    known: &'static [&'static str],
}

impl Bars {
    /// Creates bars of which some are known to be short: those are told, and do not fail the bench.
    #[must_use]
    pub const fn knowing(known: &'static [&'static str]) -> Self {
        Self { short: false, known }
    }

    /// Holds `measured` against `limit`, which it must not exceed.
    ///
    /// Figures are told with two decimals if they are not whole.
    pub fn at_most(&mut self, case: &str, measured: f64, limit: f64) {
        let met = measured <= limit;
        self.note(case, met);
        let verdict = if met { "ok" } else { "short" };
        println!("bar: {case} {} {} {verdict}", text(measured), text(limit));
    }

    /// Holds `measured` against `limit`, which it must reach.
    pub fn at_least(&mut self, case: &str, measured: f64, limit: f64) {
        let met = measured >= limit;
        self.note(case, met);
        let verdict = if met { "ok" } else { "short" };
        println!("bar: {case} {} {} {verdict}", text(measured), text(limit));
    }

    fn note(&mut self, case: &str, met: bool) {
        self.short |= !met && !self.known.contains(&case);
    }

    /// What the bench ends with: 1 if a bar was short that is not known to be.
    #[must_use]
    pub fn exit(&self) -> ExitCode {
        if self.short { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

fn text(figure: f64) -> String {
    if figure.fract() == 0.0 { format!("{figure:.0}") } else { format!("{figure:.2}") }
}
