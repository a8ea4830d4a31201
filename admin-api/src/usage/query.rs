//! Which part of the past is asked for: the parameters of a history, read strictly, with defaults and bounds.

use tollgate_domain::{AccountId, DAY_US, HOUR_US, KeyId, MeterName, Period, RouteName, Timestamp};
use tollgate_store::{GroupBy, HistoryQuery, Step};

use super::event_rows::dimension_name;
use super::meters::CALLS;
use crate::fields::shown;
use crate::inputs;
use crate::problem::Problem;
use crate::request::Parameters;

/// What parameters that name a dimension begin with.
const DIMENSION_PREFIX: &str = "dimension.";
/// Dimensions a history may be filtered by.
const FILTERS_MAX: usize = 16;

/// A history that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) query: HistoryQuery,
    /// `group_by` as it was written; `None` where it was left out.
    pub(super) group_by: Option<String>,
    /// `format`, where it was named.
    pub(super) format: Option<Format>,
}

/// How a history is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Csv,
}

/// Reads what is asked for of an account's past.
///
/// # Errors
/// Everything that is wrong with the parameters.
pub(super) fn read(mut parameters: Parameters, account: AccountId, now: Timestamp) -> Result<Asked, Problem> {
    let step = parameters.take("step", step).unwrap_or(Step::Day);
    let from = parameters.take("from", inputs::instant);
    let to = parameters.take("to", inputs::instant);
    let group = parameters.take("group_by", |text| Ok((group_by(text)?, text.to_owned())));
    let meter = parameters.take("meter", meter);
    // What was sent is not repeated: it may be a raw key in the wrong place.
    let key =
        parameters.take("key", |text| text.parse::<KeyId>().map_err(|_| "this is not a key's id (key_…)".to_owned()));
    let route = parameters.take("route", |text| match RouteName::new(text) {
        Some(route) => Ok(route.as_str().to_owned()),
        None => Err(format!("`{}` is not a route's name", shown(text))),
    });
    let format = parameters.take("format", |text| match text {
        "json" => Ok(Format::Json),
        "csv" => Ok(Format::Csv),
        _ => Err(format!("`{}` is not a format: `json` or `csv`", shown(text))),
    });
    let dimensions = parameters.take_prefixed(DIMENSION_PREFIX, |name, value| {
        dimension_name(name)?;
        Ok(value.to_owned())
    });
    if dimensions.len() > FILTERS_MAX {
        parameters.refuse("dimension.*", format!("at most {FILTERS_MAX} dimensions may be filtered by at once"));
    }
    let (from, to) = match stretch(step, from, to, now) {
        Ok(stretch) => stretch,
        Err((name, detail)) => {
            parameters.refuse(name, detail);
            (now, now)
        }
    };
    parameters.finish()?;
    let (group_by, written) = group.map_or((GroupBy::Nothing, None), |(group_by, written)| (group_by, Some(written)));
    let query = HistoryQuery { account, from, to, step, group_by, meter, key, route, dimensions };
    Ok(Asked { query, group_by: written, format })
}

/// The word of a step.
pub(super) fn step_word(step: Step) -> &'static str {
    match step {
        Step::Hour => "hour",
        Step::Day => "day",
        Step::Month => "month",
    }
}

fn step(text: &str) -> Result<Step, String> {
    [Step::Hour, Step::Day, Step::Month]
        .into_iter()
        .find(|step| step_word(*step) == text)
        .ok_or_else(|| format!("`{}` is not a step: `hour`, `day` or `month`", shown(text)))
}

/// Rows are told apart by meter in any case, so `meter` alone adds nothing to that.
fn group_by(text: &str) -> Result<GroupBy, String> {
    match (text, text.strip_prefix("dimension:")) {
        ("route", _) => Ok(GroupBy::Route),
        ("key", _) => Ok(GroupBy::Key),
        ("status", _) => Ok(GroupBy::Status),
        ("meter", _) => Ok(GroupBy::Nothing),
        (_, Some(name)) => dimension_name(name).map(|()| GroupBy::Dimension(name.to_owned())),
        (_, None) => Err(format!(
            "`{}` is nothing to group by: `route`, `key`, `status`, `meter` or `dimension:NAME`",
            shown(text)
        )),
    }
}

/// `calls`, or a meter by its name, also one that no plan has any more: it has a past.
fn meter(text: &str) -> Result<Option<MeterName>, String> {
    if text == CALLS {
        return Ok(None);
    }
    MeterName::new(text).map(Some).ok_or_else(|| format!("`{}` is not a meter's name, nor `{CALLS}`", shown(text)))
}

/// From and to, laid on the steps' boundaries so that what is shown is whole steps: `from` back, `to` forward.
fn stretch(
    step: Step,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), (&'static str, String)> {
    let (usual_days, days_max) = match step {
        Step::Hour => (1, 31),
        Step::Day => (30, 400),
        Step::Month => (365, 3_660),
    };
    let word = step_word(step);
    // What was counted at this very instant is among what is shown.
    let end = ceiling(step, to.unwrap_or(now + 1));
    let start = floor(step, from.unwrap_or(end + -usual_days * DAY_US));
    if start >= end {
        let name = if to.is_some() { "to" } else { "from" };
        let detail = format!("{start} does not lie before {end}: `from` lies before `to`, which is now if left out");
        return Err((name, detail));
    }
    // A step at either end may be laid further out than what was asked for.
    if end - start > (days_max + 2 * longest_days(step)) * DAY_US {
        let name = if from.is_some() { "from" } else { "to" };
        return Err((name, format!("by `step={word}`, at most {days_max} days are shown at once; ask for less")));
    }
    Ok((start, end))
}

fn longest_days(step: Step) -> i64 {
    match step {
        Step::Hour | Step::Day => 1,
        Step::Month => 31,
    }
}

fn floor(step: Step, at: Timestamp) -> Timestamp {
    match step {
        Step::Hour => at.start_of_hour(),
        Step::Day => at + -at.as_micros().rem_euclid(DAY_US),
        Step::Month => Period::calendar_month(at).start,
    }
}

fn ceiling(step: Step, at: Timestamp) -> Timestamp {
    let start = floor(step, at);
    if start == at {
        return at;
    }
    match step {
        Step::Hour => start + HOUR_US,
        Step::Day => start + DAY_US,
        Step::Month => Period::calendar_month(at).end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect(text)
    }

    #[test]
    fn what_is_shown_is_whole_steps() {
        let now = at("2026-03-10T12:34:56Z");
        for (step, from, to, expected) in [
            (Step::Day, None, None, ("2026-02-09", "2026-03-11")),
            (Step::Hour, None, None, ("2026-03-09T13:00:00Z", "2026-03-10T13:00:00Z")),
            (Step::Month, None, None, ("2025-04-01", "2026-04-01")),
            (Step::Day, Some("2026-03-01T05:00:00Z"), Some("2026-03-02T00:00:01Z"), ("2026-03-01", "2026-03-03")),
            (Step::Day, Some("2026-03-01"), Some("2026-03-02"), ("2026-03-01", "2026-03-02")),
            (Step::Month, Some("2026-02-17"), Some("2026-02-18"), ("2026-02-01", "2026-03-01")),
            (Step::Hour, Some("2026-03-10T12:59:59Z"), None, ("2026-03-10T12:00:00Z", "2026-03-10T13:00:00Z")),
            (Step::Day, None, Some("2025-01-31"), ("2025-01-01", "2025-01-31")),
        ] {
            let found = stretch(step, from.map(at), to.map(at), now);
            assert_eq!(found, Ok((at(expected.0), at(expected.1))), "{step:?} {from:?} {to:?}");
        }
    }

    #[test]
    fn too_much_or_nothing_is_refused_by_name() {
        let now = at("2026-03-10T12:34:56Z");
        for (step, from, to, name) in [
            (Step::Hour, Some("2026-01-01"), None, "from"),
            (Step::Day, Some("2024-01-01"), None, "from"),
            (Step::Month, Some("1970-01-01"), None, "from"),
            (Step::Day, Some("0000-01-01"), Some("9999-12-31"), "from"),
            (Step::Day, Some("2026-03-10"), Some("2026-03-10"), "to"),
            (Step::Day, Some("2026-03-10"), Some("2026-03-01"), "to"),
            (Step::Day, Some("2027-01-01"), None, "from"),
        ] {
            let refused = stretch(step, from.map(at), to.map(at), now);
            assert_eq!(refused.map_err(|(name, _)| name), Err(name), "{step:?} {from:?} {to:?}");
        }
    }
}
