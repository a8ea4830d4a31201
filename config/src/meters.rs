//! Meters: how the file names them, and which the plans have.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_domain::{MeterName, Quota};

use crate::billing::BilledMeter;
use crate::item::Item;
use crate::plans::{self, Plans};
use crate::reader::Reader;
use crate::suggest::nearest;

/// The most meters of a plan. Each is a counter of every account.
const METERS_MAX: usize = 32;

/// What answers call the limits on calls by; a meter of that name could not be told from them.
const TAKEN: [&str; 7] = ["burst", "calls", "day", "hour", "minute", "month", "quota"];

/// Reads a value that names a meter. Which plans have it shows when the file is taken as a whole.
pub(crate) fn name(item: &Item<'_>) -> Option<MeterName> {
    item.parse(NAME, MeterName::new)
}

const NAME: &str = "the name of a meter: up to 32 of a-z, 0-9 and `_`, beginning with a letter";

/// Reads the meters of a plan; `false` when not all of them could be read.
pub(crate) fn read(item: &Item<'_>, meters: &mut BTreeMap<MeterName, Quota>) -> bool {
    if !item.is_table() {
        item.expected::<()>("a table such as { tokens = \"1_000_000/month\" }");
        return false;
    }
    let Some(table) = item.table("plans.*.meters") else { return false };
    let mut all_good = true;
    for (key, item) in table.own_keys() {
        let Some(name) = MeterName::new(key) else {
            let message = format!("`{}` is not {NAME}", key.escape_debug());
            item.reader.error(item.key_offset, message);
            all_good = false;
            continue;
        };
        if TAKEN.contains(&key) {
            let message = format!("`{key}` is what answers call a limit on calls; choose another name for the meter");
            item.reader.error(item.key_offset, message);
        }
        // A meter whose limit is wrong is known all the same.
        meters.insert(name, plans::read_quota(&item).unwrap_or_default());
    }
    if meters.len() > METERS_MAX {
        item.error(format!("a plan has at most {METERS_MAX} meters, not {}", meters.len()));
    }
    all_good
}

/// The meters that the plans have.
pub(crate) struct Known<'p> {
    names: BTreeSet<&'p str>,
    /// Whether there may be others that the file was meant to have.
    lost: bool,
}

impl<'p> Known<'p> {
    pub(crate) fn of(plans: &'p Plans, reader: &Reader<'_>) -> Self {
        let names = plans.iter().flat_map(|placed| placed.plan.meters.keys()).map(MeterName::as_str).collect();
        Self { names, lost: plans.lost_meters() || reader.lost_plans() }
    }

    /// As [`Known::check`], where the word for calls would do as well.
    pub(crate) fn check_billed(&self, meter: &MeterName, offset: usize, reader: &Reader<'_>) {
        let known = self.lost || self.names.contains(meter.as_str());
        if !known
            && nearest(meter.as_str(), self.names.iter().copied().chain([BilledMeter::CALLS]))
                == Some(BilledMeter::CALLS)
        {
            reader.error(offset, format!("no plan has the meter \"{meter}\"; did you mean \"calls\"?"));
        } else {
            self.check(meter, offset, reader);
        }
    }

    /// Reports a meter that no plan has: nothing could ever be counted in it.
    pub(crate) fn check(&self, meter: &MeterName, offset: usize, reader: &Reader<'_>) {
        if self.lost || self.names.contains(meter.as_str()) {
            return;
        }
        let advice = match nearest(meter.as_str(), self.names.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if self.names.is_empty() => format!("write `meters = {{ {meter} = \"…/month\" }}` in a plan"),
            None => format!("there are {}", self.names.iter().copied().collect::<Vec<_>>().join(", ")),
        };
        reader.error(offset, format!("no plan has the meter \"{meter}\"; {advice}"));
    }
}
