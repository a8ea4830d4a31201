//! Whether the sums of the ledger are what its lines add up to. It writes nothing, and reads all of it.

use tollgate_domain::{AccountId, HOUR_US, Timestamp};

use super::database::{Connection, Row, query};
use super::row::Fields;
use crate::billing::{SumDifference, SumOf};
use crate::error::StoreError;

/// The last of the next `$2` accounts after `$1`, and whether there are others.
pub(crate) const ACCOUNTS: &str = "SELECT id FROM accounts WHERE id > $1 ORDER BY id LIMIT $2";

pub(crate) const PERIODS: &str = "SELECT account, meter, period_start_us, period_end_us, \
    CAST(SUM(in_lines) AS BIGINT) AS in_lines, CAST(SUM(in_sums) AS BIGINT) AS in_sums FROM (\
    SELECT account, meter, period_start_us, period_end_us, units_charged - units_refunded AS in_lines, 0 AS in_sums \
    FROM usage_lines WHERE account > $1 AND account <= $2 \
    UNION ALL SELECT account, meter, period_start_us, period_end_us, 0, units_charged - units_refunded \
    FROM usage_periods WHERE account > $1 AND account <= $2) AS entries \
    GROUP BY account, meter, period_start_us, period_end_us HAVING SUM(in_lines) <> SUM(in_sums) \
    ORDER BY account, meter, period_start_us, period_end_us";
pub(crate) const HOURS: &str = "SELECT account, meter, hour_us, \
    CAST(SUM(in_lines) AS BIGINT) AS in_lines, CAST(SUM(in_sums) AS BIGINT) AS in_sums FROM (\
    SELECT account, meter, at_us / 3600000000 * 3600000000 AS hour_us, units_charged - units_refunded AS in_lines, \
    0 AS in_sums FROM usage_lines WHERE account > $1 AND account <= $2 AND at_us >= $3 \
    UNION ALL SELECT account, meter, hour_us, 0, units_charged - units_refunded \
    FROM usage_hours WHERE account > $1 AND account <= $2 AND hour_us >= $3) AS entries \
    GROUP BY account, meter, hour_us HAVING SUM(in_lines) <> SUM(in_sums) ORDER BY account, meter, hour_us";

/// The differences of the next accounts, and the last of them where others follow.
pub(super) async fn between_lines_and_sums(
    connection: &mut Connection,
    hours_since: Timestamp,
    after: Option<AccountId>,
    limit: u32,
) -> Result<(Vec<SumDifference>, Option<AccountId>), StoreError> {
    connection.be_patient().await?;
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let asked = query(ACCOUNTS).bind(&after).bind(i64::from(limit) + 1);
    let rows = asked.fetch_all(connection).await?;
    let ids = rows.iter().map(|row| Fields::of("accounts", &["id"], row).parse("id", |text| text.parse().ok()));
    let ids: Vec<AccountId> = ids.collect::<Result<_, _>>()?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let Some(last) = ids.iter().take(limit).next_back() else { return Ok((Vec::new(), None)) };
    let of_periods = query(PERIODS).bind(&after).bind(last.to_string()).fetch_all(connection).await?;
    let of_hours = query(HOURS)
        .bind(&after)
        .bind(last.to_string())
        .bind(hours_since.plus_micros(HOUR_US - 1).start_of_hour().as_micros())
        .fetch_all(connection)
        .await?;
    let of_periods = of_periods.iter().map(|row| {
        let of = |fields: &Fields<'_>| -> Result<SumOf, StoreError> { fields.period().map(SumOf::Period) };
        difference(row, of)
    });
    let of_hours = of_hours.iter().map(|row| difference(row, |fields| fields.timestamp("hour_us").map(SumOf::Hour)));
    Ok((of_periods.chain(of_hours).collect::<Result<_, _>>()?, (ids.len() > limit).then_some(*last)))
}

fn difference(
    row: &Row,
    of: impl FnOnce(&Fields<'_>) -> Result<SumOf, StoreError>,
) -> Result<SumDifference, StoreError> {
    let fields = Fields::of("usage_lines", &["account", "meter"], row);
    Ok(SumDifference {
        account: fields.parse("account", |text| text.parse().ok())?,
        meter: fields.meter("meter")?,
        of: of(&fields)?,
        lines: fields.get("in_lines")?,
        sum: fields.get("in_sums")?,
    })
}
