use std::process::ExitCode;

/// The bars of a bench: prints each as a line, and remembers whether one was short.
#[derive(Debug, Default)]
pub struct Bars {
    short: bool,
}

impl Bars {
    /// Holds `measured` against `limit`, which it must not exceed.
    ///
    /// Figures are told with two decimals if they are not whole.
    pub fn at_most(&mut self, case: &str, measured: f64, limit: f64) {
        let met = measured <= limit;
        self.short |= !met;
        let verdict = if met { "ok" } else { "short" };
        println!("bar: {case} {} {} {verdict}", text(measured), text(limit));
    }

    /// Holds `measured` against `limit`, which it must reach.
    pub fn at_least(&mut self, case: &str, measured: f64, limit: f64) {
        let met = measured >= limit;
        self.short |= !met;
        let verdict = if met { "ok" } else { "short" };
        println!("bar: {case} {} {} {verdict}", text(measured), text(limit));
    }

    /// What the bench ends with: 1 if a bar was short.
    #[must_use]
    pub fn exit(&self) -> ExitCode {
        if self.short { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

fn text(figure: f64) -> String {
    if figure.fract() == 0.0 { format!("{figure:.0}") } else { format!("{figure:.2}") }
}
