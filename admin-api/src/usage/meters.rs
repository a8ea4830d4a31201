//! The meters there are: those that some plan has.

use std::collections::BTreeSet;

use tollgate_domain::{MeterName, PlanTable};

use crate::fields::shown;

/// The word for calls where a meter's name may stand.
pub(super) const CALLS: &str = "calls";

/// A meter's name, or the word for calls.
pub(crate) fn meter_word(meter: Option<&MeterName>) -> String {
    meter.map_or_else(|| CALLS.to_owned(), ToString::to_string)
}

/// Every meter of every plan.
#[derive(Clone, Debug)]
pub(crate) struct KnownMeters(BTreeSet<MeterName>);

impl KnownMeters {
    /// The meters of these plans.
    pub(crate) fn of(plans: &PlanTable) -> Self {
        Self(plans.iter().flat_map(|plan| plan.meters.keys().cloned()).collect())
    }

    /// The meter of this name.
    ///
    /// # Errors
    /// There is none; says which there are.
    pub(crate) fn named(&self, text: &str) -> Result<MeterName, String> {
        self.0.get(text).cloned().ok_or_else(|| format!("there is no meter `{}`; {}", shown(text), self.listed()))
    }

    fn listed(&self) -> String {
        if self.0.is_empty() {
            return "no plan has any: add one under `meters` of a plan".into();
        }
        let names: Vec<&str> = self.0.iter().map(MeterName::as_str).collect();
        format!("there are {}", names.join(", "))
    }
}
