//! Quota periods that a paid invoice opens before the one before is over. The new one begins at zero: what was used
//! before its beginning is given back in the periods that it overlaps, and remembered, for it was used and is billed.

use std::collections::BTreeMap;

use serde_json::json;
use tollgate_domain::limit::UNITS_MAX;
use tollgate_domain::{AccountId, KeyId, MeterName, Period};

use super::credit::{Given, give_back};
use super::database::{Connection, Row, query};
use super::insert::{Insert, Kind};
use super::ledger::{self, OPENING, Origin};
use super::row::{Fields, meter_column};
use super::{audit, seed};
use crate::error::StoreError;
use crate::record::{Change, NewAudit};

const OPENINGS: Insert = Insert {
    table: "period_openings",
    columns: &[
        ("account", Kind::Text),
        ("meter", Kind::Text),
        ("period_start_us", Kind::Int),
        ("period_end_us", Kind::Int),
        ("opened_us", Kind::Int),
        ("units", Kind::Int),
    ],
    on_conflict: " ON CONFLICT (account, meter, period_start_us, period_end_us, opened_us) \
        DO UPDATE SET units = period_openings.units + excluded.units",
};

/// What is used in every period that overlaps the one from `$2` to `$3`.
pub(crate) const OVERLAPPING: &str = "SELECT meter, period_start_us, period_end_us, key, \
    units_charged - units_refunded AS units FROM usage_periods \
    WHERE account = $1 AND period_start_us < $3 AND period_end_us > $2";
/// What of it was used since `$2`. What an opening gave back was used before.
pub(crate) const SINCE: &str = "SELECT meter, period_start_us, period_end_us, key, \
    CAST(SUM(units_charged - units_refunded) AS BIGINT) AS units FROM usage_lines \
    WHERE account = $1 AND at_us >= $2 AND period_start_us < $3 AND period_end_us > $2 AND kind <> $4 \
    GROUP BY meter, period_start_us, period_end_us, key";

/// One sum of a period: the latest comes last.
type Place = (Period, Option<KeyId>);

/// Gives back what was used before `opened` began in the periods that it overlaps; what the gateways must hear.
pub(super) async fn credit(
    connection: &mut Connection,
    account: AccountId,
    opened: Period,
    audit: &NewAudit,
) -> Result<Vec<Change>, StoreError> {
    let newest = ledger::begin(connection).await?;
    let before = used_before(connection, account, opened).await?;
    let mut given = Vec::new();
    for (meter, places) in &before {
        let used = seed::used(connection, account, meter.as_ref(), opened).await?;
        // What an operator gave back beside the keys stands below zero, and lowers what is left to be given back.
        let units: i64 = places.values().sum();
        let mut left = u64::try_from(units).unwrap_or(0).min(used);
        for ((period, key), units) in places.iter().rev() {
            let units = u64::try_from(*units).unwrap_or(0).min(left).min(UNITS_MAX);
            left -= units;
            if units > 0 {
                given.push(Given { meter: meter.as_ref(), period: *period, key: *key, units });
            }
        }
    }
    if given.is_empty() {
        return Ok(Vec::new());
    }
    remember(connection, account, opened, &given, audit).await?;
    give_back(connection, newest, Origin::Opening(audit.at), account, &given).await
}

/// What was used of each quota before a period began, in those that it overlaps.
async fn used_before(
    connection: &mut Connection,
    account: AccountId,
    opened: Period,
) -> Result<BTreeMap<Option<MeterName>, BTreeMap<Place, i64>>, StoreError> {
    let Period { start, end } = opened;
    let bound = |text| query(text).bind(account.to_string()).bind(start.as_micros()).bind(end.as_micros());
    let mut sums: BTreeMap<Option<MeterName>, BTreeMap<Place, i64>> = BTreeMap::new();
    for row in &bound(OVERLAPPING).fetch_all(connection).await? {
        let (meter, place, units) = sum(row, "usage_periods")?;
        // What is charged in the new one already, such as an event that was reported late, belongs there.
        if place.0 != opened {
            sums.entry(meter).or_default().insert(place, units);
        }
    }
    for row in &bound(SINCE).bind(OPENING).fetch_all(connection).await? {
        let (meter, place, since) = sum(row, "usage_lines")?;
        if let Some(units) = sums.get_mut(&meter).and_then(|places| places.get_mut(&place)) {
            *units -= since;
        }
    }
    Ok(sums)
}

fn sum(row: &Row, table: &'static str) -> Result<(Option<MeterName>, Place, i64), StoreError> {
    let fields = Fields::of(table, &["meter", "period_start_us", "period_end_us", "key"], row);
    Ok((fields.meter("meter")?, (fields.period()?, fields.key("key")?), fields.get("units")?))
}

async fn remember(
    connection: &mut Connection,
    account: AccountId,
    opened: Period,
    given: &[Given<'_>],
    audit: &NewAudit,
) -> Result<(), StoreError> {
    let mut sums: BTreeMap<(Option<&MeterName>, Period), i64> = BTreeMap::new();
    for given in given {
        let units = i64::try_from(given.units).expect("2^53 fits a signed number");
        *sums.entry((given.meter, given.period)).or_default() += units;
    }
    let rows: Vec<_> = sums.into_iter().collect();
    OPENINGS
        .rows(connection, &rows, |((meter, period), units)| {
            [
                account.to_string().into(),
                meter_column(*meter).into(),
                period.start.as_micros().into(),
                period.end.as_micros().into(),
                opened.start.as_micros().into(),
                (*units).into(),
            ]
        })
        .await?;
    let detail = rows.iter().map(|((meter, period), units)| {
        json!({
            "meter": meter.map_or("calls", |meter| meter.as_str()),
            "period_start": period.start.as_secs(),
            "period_end": period.end.as_secs(),
            "units": units,
        })
    });
    let opened = NewAudit {
        actor: audit.actor.clone(),
        action: "quota.open",
        at: audit.at,
        detail: json!({ "opened_at": opened.start.as_secs(), "credited": detail.collect::<Vec<_>>() }),
    };
    audit::append(connection, &opened, Some(account), None).await
}
