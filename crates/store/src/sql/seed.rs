//! Reads the ledger back: what a limiter is seeded with, and how much of a quota is used. It writes nothing.

use tollgate_domain::limit::{Debited, QuotaUse, Seed, Spending};
use tollgate_domain::{AccountId, HOUR_US, KeyId, MeterName, Period, Timestamp};

use super::database::{Connection, query};
use super::ledger;
use super::row::{Fields, meter_column};
use crate::error::StoreError;
use crate::record::{QuotaUsed, SeedQuery};

/// The newest hours are read line by line even where groups may be long: a bucket is rebuilt from them.
const EXACT_HOURS: i64 = 2;

/// Keys whose use counts for a key: itself, and every other of its chain of rotations.
macro_rules! chain_of {
    ($key:literal) => {
        concat!(
            "(SELECT id FROM keys WHERE lineage = (SELECT lineage FROM keys WHERE id = ",
            $key,
            ") UNION SELECT CAST(",
            $key,
            " AS TEXT))"
        )
    };
}

/// Rows of one key of the account and of its chain of rotations.
macro_rules! of_key {
    ($key:literal) => {
        concat!("account = $1 AND key IN ", chain_of!($key))
    };
}

/// Debits out of lines alone since `$2`. No line of a meter has any, as the table itself sees to, grouped by slots of `$3` microseconds.
macro_rules! debits_by_line {
    ($($whose:tt)+) => {
        concat!(
            "SELECT MAX(at_us) AS newest_us, CAST(SUM(units_debited) AS BIGINT) AS units FROM usage_lines WHERE ",
            $($whose)+,
            " AND at_us >= $2 AND units_debited > 0 GROUP BY at_us / $3 ORDER BY 1"
        )
    };
}

/// Debits out of whole hours from `$4` up to `$5`, and out of lines before and after them. An hour that two slots
/// share is a group of its own, so that no group is longer than a slot.
macro_rules! debits_by_hour {
    ($($whose:tt)+) => {
        concat!(
            "SELECT MAX(newest_us) AS newest_us, CAST(SUM(units) AS BIGINT) AS units FROM (",
            "SELECT at_us / $3 AS from_slot, at_us / $3 AS to_slot, at_us AS newest_us, units_debited AS units ",
            "FROM usage_lines WHERE ", $($whose)+, " AND at_us >= $2 AND at_us < $4 ",
            "UNION ALL SELECT hour_us / $3, newest_us / $3, newest_us, units_debited ",
            "FROM usage_hours WHERE ", $($whose)+, " AND hour_us >= $4 AND hour_us < $5 AND meter = '' ",
            "UNION ALL SELECT at_us, at_us, at_us, units_debited ",
            "FROM usage_lines WHERE ", $($whose)+, " AND at_us >= $5",
            ") AS debits WHERE units > 0 GROUP BY from_slot, to_slot ORDER BY 1"
        )
    };
}

/// Sums of the newest periods. A limit that changes its periods more often than that while use is carried over is
/// beyond what is told apart.
macro_rules! periods {
    ($($from:tt)+) => {
        concat!(
            "SELECT period_start_us, period_end_us, CAST(SUM(units_charged) AS BIGINT) AS units_charged, ",
            "CAST(SUM(units_refunded) AS BIGINT) AS units_refunded, MIN(first_us) AS first_us, ",
            "MAX(newest_us) AS newest_us FROM ", $($from)+,
            " GROUP BY period_start_us, period_end_us ORDER BY period_start_us DESC, period_end_us DESC LIMIT 16"
        )
    };
}

/// Sums over every period of calls or of one meter that overlaps the one from `$2` up to `$3`.
macro_rules! used {
    ($($whose:tt)+) => {
        concat!(
            "SELECT CAST(COALESCE(SUM(calls), 0) AS BIGINT) AS calls, ",
            "CAST(COALESCE(SUM(units_charged), 0) AS BIGINT) AS units_charged, ",
            "CAST(COALESCE(SUM(units_refunded), 0) AS BIGINT) AS units_refunded FROM usage_periods WHERE ", $($whose)+,
            " AND period_start_us < $3 AND period_end_us > $2"
        )
    };
}

pub(crate) const ACCOUNT_DEBITS_BY_LINE: &str = debits_by_line!("account = $1");
pub(crate) const ACCOUNT_DEBITS_BY_HOUR: &str = debits_by_hour!("account = $1");
pub(crate) const ACCOUNT_PERIODS: &str = periods!("usage_periods WHERE account = $1 AND meter = $2");
pub(crate) const KEY_DEBITS_BY_LINE: &str = debits_by_line!(of_key!("$4"));
pub(crate) const KEY_DEBITS_BY_HOUR: &str = debits_by_hour!(of_key!("$6"));
/// Joined in this order: an account may have far more keys than one chain.
pub(crate) const KEY_PERIODS: &str = periods!(concat!(
    chain_of!("$2"),
    " AS chain CROSS JOIN usage_periods WHERE account = $1 AND key = chain.id AND meter = ''"
));
pub(crate) const ACCOUNT_USED: &str = used!("account = $1 AND meter = $4");
pub(crate) const KEY_USED: &str = used!(concat!(of_key!("$4"), " AND meter = ''"));
/// The newest hour in which bucket and windows were debited.
pub(crate) const NEWEST_HOUR: &str = "SELECT hour_us FROM usage_hours \
    WHERE account = $1 AND hour_us >= $2 AND meter = '' AND units_debited > 0 ORDER BY hour_us DESC LIMIT 1";

pub(super) async fn seed(connection: &mut Connection, asked: &SeedQuery) -> Result<Seed, StoreError> {
    let account = Spending {
        debits: debits(connection, asked, None).await?,
        quota: open_quota(connection, asked.account, Of::Calls).await?,
    };
    let key = match asked.key {
        None => None,
        Some(key) => {
            let debits = debits(connection, asked, Some(key)).await?;
            let quota = open_quota(connection, asked.account, Of::Key(key)).await?;
            Some((key, Spending { debits, quota }))
        }
    };
    let meter = match &asked.meter {
        None => None,
        Some(meter) => {
            let quota = open_quota(connection, asked.account, Of::Meter(meter)).await?;
            Some((meter.id(), Spending { debits: Vec::new(), quota }))
        }
    };
    let ledger_position = ledger::position(connection).await?;
    Ok(Seed { since: asked.since, account, key, meter, ledger_position })
}

async fn debits(
    connection: &mut Connection,
    asked: &SeedQuery,
    key: Option<KeyId>,
) -> Result<Vec<Debited>, StoreError> {
    let resolution_us = asked.resolution_us.max(1);
    let hours = if resolution_us >= HOUR_US { whole_hours(connection, asked).await? } else { None };
    let text = match (key, hours) {
        (None, None) => ACCOUNT_DEBITS_BY_LINE,
        (None, Some(_)) => ACCOUNT_DEBITS_BY_HOUR,
        (Some(_), None) => KEY_DEBITS_BY_LINE,
        (Some(_), Some(_)) => KEY_DEBITS_BY_HOUR,
    };
    let mut selected = query(text).bind(asked.account.to_string()).bind(asked.since.as_micros()).bind(resolution_us);
    if let Some((from, to)) = hours {
        selected = selected.bind(from.as_micros()).bind(to.as_micros());
    }
    if let Some(key) = key {
        selected = selected.bind(key.to_string());
    }
    let rows = selected.fetch_all(connection).await?;
    let table = if hours.is_some() { "usage_hours" } else { "usage_lines" };
    rows.iter()
        .map(|row| {
            let fields = Fields::of(table, &["newest_us"], row);
            let units = fields.count("units").map_err(|_| StoreError::Corrupt {
                table,
                column: "units_debited",
                row: asked.account.to_string(),
            })?;
            Ok(Debited { at: fields.timestamp("newest_us")?, units })
        })
        .collect()
}

/// The whole hours that may be read from the hourly sums: from the first that begins since the lookback's start up to
/// the newest [`EXACT_HOURS`] in which the account called.
async fn whole_hours(
    connection: &mut Connection,
    asked: &SeedQuery,
) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
    let from = asked.since.plus_micros(HOUR_US - 1).start_of_hour();
    let row =
        query(NEWEST_HOUR).bind(asked.account.to_string()).bind(from.as_micros()).fetch_optional(connection).await?;
    let newest = row.map(|row| Fields::of("usage_hours", &[], &row).timestamp("hour_us")).transpose()?;
    let to = newest.map(|hour| hour.plus_micros((1 - EXACT_HOURS) * HOUR_US));
    Ok(to.filter(|to| from < *to).map(|to| (from, to)))
}

/// Which of an account's quotas.
#[derive(Clone, Copy)]
enum Of<'a> {
    Calls,
    /// Of calls, the part of a key and its chain.
    Key(KeyId),
    Meter(&'a MeterName),
}

async fn open_quota(
    connection: &mut Connection,
    account: AccountId,
    of: Of<'_>,
) -> Result<Option<QuotaUse>, StoreError> {
    let (text, which) = match of {
        Of::Calls => (ACCOUNT_PERIODS, meter_column(None)),
        Of::Key(key) => (KEY_PERIODS, key.to_string()),
        Of::Meter(meter) => (ACCOUNT_PERIODS, meter_column(Some(meter))),
    };
    let rows = query(text).bind(account.to_string()).bind(which).fetch_all(connection).await?;
    let sums: Vec<PeriodSum> = rows
        .iter()
        .map(|row| {
            let fields = Fields::of("usage_periods", &["period_start_us", "period_end_us"], row);
            Ok(PeriodSum {
                period: Period { start: fields.timestamp("period_start_us")?, end: fields.timestamp("period_end_us")? },
                charged: fields.count("units_charged")?,
                refunded: fields.count("units_refunded")?,
                first: fields.timestamp("first_us")?,
                newest: fields.timestamp("newest_us")?,
            })
        })
        .collect::<Result<_, StoreError>>()?;
    Ok(open_period(sums))
}

/// What was charged in one period, and between which entries.
#[derive(Clone, Copy, Debug)]
struct PeriodSum {
    period: Period,
    charged: u64,
    refunded: u64,
    first: Timestamp,
    newest: Timestamp,
}

/// The open period and what is used of it, found as a limiter finds it that has seen every entry: a period that
/// begins after what is open starts at zero, one that overlaps it takes its use over, one that lies wholly before it
/// (the end of a call that outlived its period) changes nothing. `None` where nothing was ever charged.
fn open_period(mut sums: Vec<PeriodSum>) -> Option<QuotaUse> {
    if sums.iter().all(|sum| sum.charged == 0) {
        return None;
    }
    sums.sort_by_key(|sum| (sum.first, sum.period.start));
    let mut carried: Vec<PeriodSum> = Vec::new();
    for sum in sums {
        let Some(latest_start) = carried.iter().map(|known| known.period.start).max() else {
            carried.push(sum);
            continue;
        };
        if sum.period.end <= latest_start {
            continue;
        }
        // What was open when it began is what was charged last before, and of two that were, the one that began
        // later. Of those that were charged afterwards as well it cannot be told, so any of them counts.
        let charged_last = |known: &PeriodSum| {
            if known.newest < sum.first { (known.newest, known.first) } else { (sum.first, sum.first) }
        };
        let latest = carried.iter().map(charged_last).max();
        let mut was_open = carried.iter().filter(|known| Some(charged_last(known)) == latest);
        if !was_open.any(|known| known.period.overlaps(&sum.period)) {
            carried.clear();
        }
        carried.push(sum);
    }
    // Of several periods that share use, the open one is that of the newest entry, unless another begins after it.
    let latest_start = carried.iter().map(|sum| sum.period.start).max()?;
    let can_be_open = carried.iter().filter(|sum| sum.period.end > latest_start);
    let open = can_be_open.max_by_key(|sum| (sum.newest, sum.first, sum.period.start))?.period;
    let (charged, refunded) = carried.iter().fold((0_u64, 0_u64), |(charged, refunded), sum| {
        (charged.saturating_add(sum.charged), refunded.saturating_add(sum.refunded))
    });
    Some(QuotaUse { period: open, used: charged.saturating_sub(refunded) })
}

pub(super) async fn quota_used(
    connection: &mut Connection,
    account: AccountId,
    key: Option<KeyId>,
    period: Period,
) -> Result<QuotaUsed, StoreError> {
    let (calls, used) = sum_used(connection, account, Of::Calls, period).await?;
    let key = match key {
        Some(key) => sum_used(connection, account, Of::Key(key), period).await?.1,
        None => 0,
    };
    Ok(QuotaUsed { account: used, key, calls })
}

/// Units used of a meter, or of calls, in a period and what it took over from those it overlaps.
pub(super) async fn used(
    connection: &mut Connection,
    account: AccountId,
    meter: Option<&MeterName>,
    period: Period,
) -> Result<u64, StoreError> {
    let of = meter.map_or(Of::Calls, Of::Meter);
    Ok(sum_used(connection, account, of, period).await?.1)
}

/// Calls, and units charged less refunded.
async fn sum_used(
    connection: &mut Connection,
    account: AccountId,
    of: Of<'_>,
    period: Period,
) -> Result<(u64, u64), StoreError> {
    let (text, which) = match of {
        Of::Calls => (ACCOUNT_USED, meter_column(None)),
        Of::Key(key) => (KEY_USED, key.to_string()),
        Of::Meter(meter) => (ACCOUNT_USED, meter_column(Some(meter))),
    };
    let row = query(text)
        .bind(account.to_string())
        .bind(period.start.as_micros())
        .bind(period.end.as_micros())
        .bind(which)
        .fetch_one(connection)
        .await?;
    let count = |column| {
        let found = Fields::of("usage_periods", &[], &row).count(column);
        found.map_err(|_| StoreError::Corrupt { table: "usage_periods", column, row: account.to_string() })
    };
    Ok((count("calls")?, count("units_charged")?.saturating_sub(count("units_refunded")?)))
}

#[cfg(test)]
mod tests {
    use tollgate_domain::DAY_US;

    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_micros(day * DAY_US)
    }

    /// Periods by start and end day, units charged and refunded, days of the first and newest entry.
    type Sums<'a> = &'a [(i64, i64, u64, u64, i64, i64)];

    fn check(case: &str, sums: Sums<'_>, expected: Option<(i64, i64, u64)>) {
        let sums = sums.iter().map(|&(start, end, charged, refunded, first, newest)| PeriodSum {
            period: Period { start: day(start), end: day(end) },
            charged,
            refunded,
            first: day(first),
            newest: day(newest),
        });
        let expected =
            expected.map(|(start, end, used)| QuotaUse { period: Period { start: day(start), end: day(end) }, used });
        assert_eq!(open_period(sums.collect()), expected, "{case}");
    }

    #[test]
    fn the_open_period_is_found_as_a_limiter_finds_it() {
        check("nothing was charged", &[], None);
        check("calls that cost nothing", &[(0, 30, 0, 0, 1, 2)], None);
        check("one period", &[(0, 30, 10, 3, 1, 29)], Some((0, 30, 7)));
        check("refunds never go below zero", &[(0, 30, 3, 10, 1, 29)], Some((0, 30, 0)));
        check("the newer of two", &[(0, 30, 10, 0, 1, 29), (30, 60, 5, 0, 31, 40)], Some((30, 60, 5)));
        check(
            "a call that outlived its period ends last",
            &[(0, 30, 10, 1, 1, 41), (30, 60, 5, 0, 31, 40)],
            Some((30, 60, 5)),
        );
        check(
            "a call that outlived its period is its only one",
            &[(0, 30, 1, 0, 41, 41), (30, 60, 5, 0, 31, 40)],
            Some((30, 60, 5)),
        );
        check(
            "a changed definition takes the open period's use over",
            &[(0, 30, 10, 0, 1, 14), (10, 40, 5, 0, 15, 20)],
            Some((10, 40, 15)),
        );
        check(
            "a changed definition takes over no period that was closed before it",
            &[(0, 30, 100, 0, 1, 29), (30, 60, 10, 0, 30, 34), (20, 50, 5, 0, 35, 40)],
            Some((20, 50, 15)),
        );
        check(
            "a definition that is changed and changed back",
            &[(0, 30, 10, 0, 1, 20), (10, 40, 5, 0, 15, 17)],
            Some((0, 30, 15)),
        );
        check(
            "a definition that changed within a period has no part in the next one",
            &[(10, 40, 10, 0, 11, 19), (0, 30, 5, 0, 20, 29), (30, 60, 2, 0, 31, 32)],
            Some((30, 60, 2)),
        );
        check(
            "a definition that is changed back after a period ended keeps the use of both",
            &[(10, 40, 10, 0, 11, 35), (0, 30, 5, 0, 20, 29), (30, 60, 2, 0, 31, 32)],
            Some((10, 40, 17)),
        );
        check(
            "after a changed definition's period nothing is taken over any more",
            &[(0, 30, 10, 0, 1, 14), (10, 40, 5, 0, 15, 39), (40, 70, 2, 0, 41, 42)],
            Some((40, 70, 2)),
        );
    }
}
