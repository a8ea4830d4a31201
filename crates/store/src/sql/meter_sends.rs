//! Metered use that Stripe is told of: one row a call there, and how it stands. What is to be told is `billed`'s.

use tollgate_domain::{AccountId, MeterName, Period, Timestamp};

use super::database::{Connection, Row, query};
use super::row::{Fields, meter_column};
use crate::billing::{MeterSend, SendOutcome, SendState, SentUse};
use crate::error::StoreError;

macro_rules! columns {
    () => {
        "identifier, account, customer, meter, event_name, period_start_us, period_end_us, units, at_us, state, \
         first_tried_us, sent_at_us, attempts, note"
    };
}

pub(crate) const DUE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM meter_sends WHERE state = 'pending' AND due_us <= $1 ORDER BY due_us, identifier LIMIT $2"
);

pub(super) async fn due(connection: &mut Connection, now: Timestamp, limit: u32) -> Result<Vec<MeterSend>, StoreError> {
    let rows = query(DUE).bind(now.as_micros()).bind(i64::from(limit)).fetch_all(connection).await?;
    rows.iter().map(send).collect()
}

/// Notes what Stripe is about to be told. From then on it may have it, whatever it answers.
pub(super) async fn note_tries(
    connection: &mut Connection,
    tries: &[(String, Timestamp)],
    now: Timestamp,
) -> Result<(), StoreError> {
    for (identifier, at) in tries {
        query(
            "UPDATE meter_sends SET at_us = $2, first_tried_us = COALESCE(first_tried_us, $3) \
             WHERE state <> 'sent' AND identifier = $1",
        )
        .bind(identifier)
        .bind(at.as_micros())
        .bind(now.as_micros())
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Notes how attempts ended. What Stripe has is never to be sent again.
pub(super) async fn settle(
    connection: &mut Connection,
    settled: &[(String, SendOutcome)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let is = |outcome: &SendOutcome| *outcome == SendOutcome::Sent;
    let sent: Vec<String> = settled.iter().filter(|(_, outcome)| is(outcome)).map(|(id, _)| id.clone()).collect();
    for identifiers in connection.chunks(&sent) {
        query(
            "UPDATE meter_sends SET state = 'sent', sent_at_us = $1, note = NULL \
             WHERE state <> 'sent' AND identifier IN {list}",
        )
        .bind(now.as_micros())
        .bind_list(identifiers.to_vec())
        .execute(connection)
        .await?;
    }
    for (identifier, outcome) in settled {
        let (state, due, note) = match outcome {
            SendOutcome::Sent => continue,
            SendOutcome::Retry { at, note } => (SendState::Pending, Some(*at), note),
            SendOutcome::Failed { note } => (SendState::Failed, None, note),
        };
        query(
            "UPDATE meter_sends SET state = $2, due_us = COALESCE($3, due_us), note = $4, attempts = attempts + 1 \
             WHERE state <> 'sent' AND identifier = $1",
        )
        .bind(identifier)
        .bind(state.as_str())
        .bind(due.map(Timestamp::as_micros))
        .bind(note)
        .execute(connection)
        .await?;
    }
    Ok(())
}

pub(crate) const OF_PERIOD: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM meter_sends WHERE account = $1 AND meter = $2 AND period_start_us = $3 AND period_end_us = $4 ORDER BY number"
);

pub(super) async fn of_period(
    connection: &mut Connection,
    account: AccountId,
    meter: Option<&MeterName>,
    period: Period,
) -> Result<Vec<MeterSend>, StoreError> {
    let rows = query(OF_PERIOD)
        .bind(account.to_string())
        .bind(meter_column(meter))
        .bind(period.start.as_micros())
        .bind(period.end.as_micros())
        .fetch_all(connection)
        .await?;
    rows.iter().map(send).collect()
}

pub(crate) const BETWEEN: &str = "SELECT \
    CAST(COALESCE(SUM(CASE WHEN state = 'sent' THEN units END), 0) AS BIGINT) AS sent, \
    CAST(COALESCE(SUM(CASE WHEN state <> 'sent' AND first_tried_us IS NOT NULL THEN units END), 0) AS BIGINT) AS doubtful, \
    MAX(CASE WHEN state = 'sent' THEN sent_at_us END) AS newest_us \
    FROM meter_sends WHERE account = $1 AND meter = $2 AND at_us >= $3 AND at_us < $4";

pub(super) async fn between(
    connection: &mut Connection,
    account: AccountId,
    meter: Option<&MeterName>,
    stretch: Period,
) -> Result<SentUse, StoreError> {
    let row = query(BETWEEN)
        .bind(account.to_string())
        .bind(meter_column(meter))
        .bind(stretch.start.as_micros())
        .bind(stretch.end.as_micros())
        .fetch_one(connection)
        .await?;
    let fields = Fields::of("meter_sends", &[], &row);
    Ok(SentUse {
        sent: fields.count("sent")?,
        doubtful: fields.count("doubtful")?,
        newest: fields.timestamp_optional("newest_us")?,
    })
}

/// Periods that are folded in one transaction.
const FOLDED: i64 = 200;

pub(crate) const TO_FOLD: &str = "SELECT account, meter, period_start_us, period_end_us, MAX(number) AS last_number, \
    CAST(SUM(units) AS BIGINT) AS units FROM meter_sends WHERE period_end_us < $1 AND state = 'sent' \
    GROUP BY period_end_us, account, meter, period_start_us HAVING COUNT(*) > 1 LIMIT $2";

/// Puts the units of all that Stripe has of a period into the last of those sends, and throws the others away.
pub(super) async fn fold(connection: &mut Connection, ended_before: Timestamp) -> Result<u64, StoreError> {
    let rows = query(TO_FOLD).bind(ended_before.as_micros()).bind(FOLDED).fetch_all(connection).await?;
    for row in &rows {
        let fields = Fields::of("meter_sends", &["account", "meter", "period_start_us", "period_end_us"], row);
        for (statement, units) in [
            (
                "UPDATE meter_sends SET units = $6 WHERE account = $1 AND meter = $2 AND period_start_us = $3 \
                 AND period_end_us = $4 AND number = $5",
                Some(fields.get::<i64>("units")?),
            ),
            (
                "DELETE FROM meter_sends WHERE account = $1 AND meter = $2 AND period_start_us = $3 \
                 AND period_end_us = $4 AND number < $5 AND state = 'sent'",
                None,
            ),
        ] {
            let mut asked = query(statement)
                .bind(fields.get::<String>("account")?)
                .bind(fields.get::<String>("meter")?)
                .bind(fields.get::<i64>("period_start_us")?)
                .bind(fields.get::<i64>("period_end_us")?)
                .bind(fields.get::<i64>("last_number")?);
            if let Some(units) = units {
                asked = asked.bind(units);
            }
            asked.execute(connection).await?;
        }
    }
    Ok(rows.len() as u64)
}

fn send(row: &Row) -> Result<MeterSend, StoreError> {
    let fields = Fields::of("meter_sends", &["identifier"], row);
    Ok(MeterSend {
        identifier: fields.get("identifier")?,
        account: fields.parse("account", |text| text.parse().ok())?,
        customer: fields.get("customer")?,
        meter: fields.meter("meter")?,
        event_name: fields.get("event_name")?,
        period: fields.period()?,
        units: fields.count("units")?,
        at: fields.timestamp("at_us")?,
        state: fields.parse("state", SendState::parse)?,
        first_tried_at: fields.timestamp_optional("first_tried_us")?,
        sent_at: fields.timestamp_optional("sent_at_us")?,
        attempts: u32::try_from(fields.count("attempts")?).unwrap_or(u32::MAX),
        note: fields.get("note")?,
    })
}
