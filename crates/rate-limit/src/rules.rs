use crate::grade::{Grade, KEPT, kept};
use crate::settings::PolicySettings;
use crate::state::Rate;

/// The rules of all policies, by their place.
pub(crate) type RuleBook = Box<[Rules]>;

/// What follows from a policy's settings.
#[derive(Debug)]
pub(crate) struct Rules {
    base: Grade,
    tiers: Vec<(String, Grade)>,
}

impl Rules {
    pub(crate) fn new(name: &str, flat: bool, settings: &PolicySettings) -> Self {
        let (tiers, waits) = (settings.tiers.iter(), kept(KEPT));
        let quotas = settings.tiers.values().chain([&settings.quota]);
        let longest = quotas.map(|quota| Rate::new(*quota).capacity()).max().unwrap_or_default();
        let grade = |quota| Grade::new(name, flat, quota, longest, &waits);
        Self {
            base: grade(settings.quota),
            tiers: tiers.map(|(tier, quota)| (tier.clone(), grade(*quota))).collect(),
        }
    }

    /// The settings, but for the mode.
    pub(crate) fn settings(&self) -> PolicySettings {
        let tiers = self.tiers.iter().map(|(tier, grade)| (tier.clone(), grade.quota));
        PolicySettings { quota: self.base.quota, tiers: tiers.collect(), mode: None }
    }

    /// A rate that may have been in force before, beside these.
    pub(crate) fn beside(&self, rate: Rate) -> Rate {
        rate.beside(rate.longest().max(self.base.rate.longest()))
    }

    /// The grade of a tier, and its place; the base for callers without one, or with one that is
    /// not known here.
    #[inline]
    pub(crate) fn grade(&self, tier: Option<&str>) -> (u8, &Grade) {
        let Some(tier) = tier else { return (0, &self.base) };
        match self.tiers.iter().position(|(known, _)| known == tier) {
            Some(place) => (place as u8 + 1, &self.tiers[place].1),
            None => (0, &self.base),
        }
    }

    /// The grade at a place; the base if it has gone.
    #[inline]
    pub(crate) fn at(&self, place: u8) -> &Grade {
        let tier = usize::from(place).checked_sub(1).and_then(|tier| self.tiers.get(tier));
        tier.map_or(&self.base, |(_, grade)| grade)
    }
}
