//! Which quotas changed lately, for whoever tells customers. It writes nothing.

use tollgate_domain::{DAY_US, Timestamp};

use super::database::{Connection, query};
use super::row::Fields;
use crate::customers::PeriodUse;
use crate::error::StoreError;

/// No period is longer than 31 days, so what is charged in one that is not over was charged since, whatever a clock that
/// was wrong makes of it.
const OPEN_US_MAX: i64 = 35 * DAY_US;

/// When the last change of a page was. All of one instant come in one page, so that whoever asks again from there misses
/// none.
pub(crate) const PAGE_END: &str = "SELECT newest_us FROM usage_periods WHERE newest_us >= $1 AND period_end_us > $2 \
    ORDER BY newest_us LIMIT 1 OFFSET $3";
/// What is used in each period that changed, with what it took over from periods that it overlaps. Joined in this order:
/// few have changed.
pub(crate) const CHANGED: &str = "SELECT c.account, c.meter, c.period_start_us, c.period_end_us, c.newest_us, \
    CAST(SUM(u.units_charged) AS BIGINT) AS units_charged, CAST(SUM(u.units_refunded) AS BIGINT) AS units_refunded \
    FROM (SELECT account, meter, period_start_us, period_end_us, MAX(newest_us) AS newest_us FROM usage_periods \
    WHERE newest_us >= $1 AND newest_us <= $3 AND period_end_us > $2 \
    GROUP BY account, meter, period_start_us, period_end_us) AS c CROSS JOIN usage_periods u \
    WHERE u.account = c.account AND u.meter = c.meter AND u.period_start_us < c.period_end_us \
    AND u.period_end_us > c.period_start_us \
    GROUP BY c.account, c.meter, c.period_start_us, c.period_end_us, c.newest_us \
    ORDER BY c.newest_us, c.account, c.meter, c.period_start_us, c.period_end_us";

pub(super) async fn since(
    connection: &mut Connection,
    since: Timestamp,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<PeriodUse>, StoreError> {
    let since = since.max(now.plus_micros(-OPEN_US_MAX));
    let last = query(PAGE_END)
        .bind(since.as_micros())
        .bind(now.as_micros())
        .bind(i64::from(limit.max(1)) - 1)
        .fetch_optional(connection)
        .await?;
    let last = last.map(|row| Fields::of("usage_periods", &[], &row).timestamp("newest_us")).transpose()?;
    let rows = query(CHANGED)
        .bind(since.as_micros())
        .bind(now.as_micros())
        .bind(last.map_or(i64::MAX, Timestamp::as_micros))
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let fields = Fields::of("usage_periods", &["account", "meter", "period_start_us", "period_end_us"], row);
            Ok(PeriodUse {
                account: fields.parse("account", |text| text.parse().ok())?,
                meter: fields.meter("meter")?,
                period: fields.period()?,
                used: fields.count("units_charged")?.saturating_sub(fields.count("units_refunded")?),
                newest: fields.timestamp("newest_us")?,
            })
        })
        .collect()
}
