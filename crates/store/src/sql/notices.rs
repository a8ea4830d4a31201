//! What customers are told: each notice kept once, and given to one process at a time. How one is delivered is not known
//! here.

use tollgate_domain::{Account, AccountId, Timestamp};

use super::accounts;
use super::database::{Connection, Row, query};
use super::row::{AccountRow, Fields, account_columns, key_column, meter_column};
use crate::customers::{Channel, NewNotice, NoticeKind, PendingNotice};
use crate::error::StoreError;

const QUOTA_USED: &str = "quota_used";
const KEY_EXPIRES: &str = "key_expires";

/// Whether it was kept: false where it was there already, or its account is gone.
pub(super) async fn add(connection: &mut Connection, notice: &NewNotice) -> Result<bool, StoreError> {
    let owner = accounts::hold(connection, notice.account).await?;
    if owner.is_none_or(|owner| owner.deleted_at.is_some()) {
        return Ok(false);
    }
    let (kind, meter, percent, key) = match &notice.kind {
        NoticeKind::QuotaUsed { meter, percent } => (QUOTA_USED, meter.as_ref(), *percent, None),
        NoticeKind::KeyExpires { key } => (KEY_EXPIRES, None, 0, Some(*key)),
    };
    let due = |is_wanted: bool| is_wanted.then_some(notice.at.as_micros());
    let added = query(
        "INSERT INTO notices (account, kind, meter, percent, key, of_us, detail, created_at_us, mail, mail_due_us, \
         mail_failures, webhook, webhook_due_us, webhook_failures) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11, $12, 0) \
         ON CONFLICT (account, kind, meter, percent, key, of_us) DO NOTHING",
    )
    .bind(notice.account.to_string())
    .bind(kind)
    .bind(meter_column(meter))
    .bind(i64::from(percent))
    .bind(key_column(key))
    .bind(notice.of.as_micros())
    .bind(notice.detail.to_string())
    .bind(notice.at.as_micros())
    .bind(notice.mail)
    .bind(due(notice.mail))
    .bind(notice.webhook)
    .bind(due(notice.webhook))
    .execute(connection)
    .await?;
    Ok(added > 0)
}

/// The statements of a channel.
struct Statements {
    due: &'static str,
    hold: &'static str,
    delivered: &'static str,
    retry: &'static str,
    failures: &'static str,
}

macro_rules! statements {
    ($due:literal, $failures:literal) => {
        Statements {
            due: concat!(
                "SELECT id FROM notices WHERE ",
                $due,
                " IS NOT NULL AND ",
                $due,
                " <= $1 ORDER BY ",
                $due,
                ", id LIMIT $2"
            ),
            hold: concat!("UPDATE notices SET ", $due, " = $1 WHERE id IN {list}"),
            delivered: concat!("UPDATE notices SET ", $due, " = NULL WHERE id = $1"),
            retry: concat!("UPDATE notices SET ", $due, " = $2, ", $failures, " = ", $failures, " + 1 WHERE id = $1"),
            failures: $failures,
        }
    };
}

const MAIL: Statements = statements!("mail_due_us", "mail_failures");
const WEBHOOK: Statements = statements!("webhook_due_us", "webhook_failures");
#[cfg(test)]
pub(crate) const DUE: [&str; 2] = [MAIL.due, WEBHOOK.due];

fn statements(channel: Channel) -> &'static Statements {
    match channel {
        Channel::Mail => &MAIL,
        Channel::Webhook => &WEBHOOK,
    }
}

pub(super) async fn claim(
    connection: &mut Connection,
    channel: Channel,
    now: Timestamp,
    hold_us: i64,
    limit: u32,
) -> Result<Vec<(PendingNotice, Account)>, StoreError> {
    let statements = statements(channel);
    // Whoever comes second waits here, and then finds that they are not due any more.
    let rows =
        query(statements.due).bind(now.as_micros()).bind(i64::from(limit)).locking().fetch_all(connection).await?;
    let ids: Vec<i64> = rows.iter().map(|row| Fields::of("notices", &[], row).get("id")).collect::<Result<_, _>>()?;
    let mut claimed = Vec::with_capacity(ids.len());
    for ids in connection.chunks(&ids) {
        query(statements.hold)
            .bind(now.plus_micros(hold_us).as_micros())
            .bind_list(ids.to_vec())
            .execute(connection)
            .await?;
        let rows = query(concat!(
            "SELECT n.id, n.account, n.kind, n.meter, n.percent, n.key, n.of_us, n.detail, n.created_at_us, n.mail, \
             n.mail_failures, n.webhook, n.webhook_failures, ",
            account_columns!(),
            " FROM notices n JOIN accounts a ON a.id = n.account WHERE n.id IN {list}"
        ))
        .bind_list(ids.to_vec())
        .fetch_all(connection)
        .await?;
        for row in &rows {
            claimed.push((pending(row, statements)?, Account::try_from(AccountRow(row))?));
        }
    }
    claimed.sort_by_key(|(pending, _)| pending.id);
    Ok(claimed)
}

fn pending(row: &Row, statements: &Statements) -> Result<PendingNotice, StoreError> {
    let fields = Fields::of("notices", &["id"], row);
    let kind = match fields.get("kind")? {
        QUOTA_USED => NoticeKind::QuotaUsed {
            meter: fields.meter("meter")?,
            percent: u32::try_from(fields.count("percent")?).map_err(|_| fields.corrupt("percent"))?,
        },
        KEY_EXPIRES => NoticeKind::KeyExpires { key: fields.parse("key", |text| text.parse().ok())? },
        _ => return Err(fields.corrupt("kind")),
    };
    let failures = fields.count(statements.failures)?;
    Ok(PendingNotice {
        id: fields.get("id")?,
        notice: NewNotice {
            account: fields.parse("account", |text| text.parse().ok())?,
            kind,
            of: fields.timestamp("of_us")?,
            detail: fields.parse("detail", |text| serde_json::from_str(text).ok())?,
            at: fields.timestamp("created_at_us")?,
            mail: fields.get("mail")?,
            webhook: fields.get("webhook")?,
        },
        failures: u32::try_from(failures).unwrap_or(u32::MAX),
    })
}

pub(super) async fn settle(
    connection: &mut Connection,
    id: i64,
    channel: Channel,
    retry_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    let statements = statements(channel);
    let settled = match retry_at {
        None => query(statements.delivered).bind(id),
        Some(at) => query(statements.retry).bind(id).bind(at.as_micros()),
    };
    settled.execute(connection).await?;
    Ok(())
}

pub(super) async fn erase(connection: &mut Connection, account: AccountId) -> Result<(), StoreError> {
    query("DELETE FROM notices WHERE account = $1").bind(account.to_string()).execute(connection).await?;
    Ok(())
}
