//! Answers kept for requests that may be repeated. What of an answer is a secret is the caller's to know.

use tollgate_domain::{DAY_US, Timestamp};

use super::database::{Connection, query};
use super::fault::raced;
use super::row::Fields;
use crate::error::StoreError;
use crate::record::{Idempotency, IdempotentAnswer};

pub(super) async fn reserve(
    connection: &mut Connection,
    scope: &str,
    key: &str,
    request_hash: &str,
    now: Timestamp,
) -> Result<Idempotency, StoreError> {
    query("DELETE FROM idempotency WHERE created_at_us <= $1")
        .bind(now.plus_micros(-DAY_US).as_micros())
        .execute(connection)
        .await?;
    let reserved = query(
        "INSERT INTO idempotency (scope, key, request_hash, created_at_us) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (scope, key) DO NOTHING",
    )
    .bind(scope)
    .bind(key)
    .bind(request_hash)
    .bind(now.as_micros())
    .execute(connection)
    .await?;
    if reserved > 0 {
        return Ok(Idempotency::Reserved);
    }
    let row = query(
        "SELECT scope, key, request_hash, status, body, held_secret FROM idempotency WHERE scope = $1 AND key = $2",
    )
    .bind(scope)
    .bind(key)
    .fetch_optional(connection)
    .await?
    .ok_or_else(raced)?;
    let fields = Fields::of("idempotency", &["scope", "key"], &row);
    if fields.get::<&str>("request_hash")? != request_hash {
        return Ok(Idempotency::Mismatch);
    }
    let Some(status) = fields.get::<Option<i64>>("status")? else {
        return Ok(Idempotency::InProgress);
    };
    Ok(Idempotency::Done(IdempotentAnswer {
        status: u16::try_from(status).map_err(|_| fields.corrupt("status"))?,
        body: fields.parse("body", |text| serde_json::from_str(text).ok())?,
        held_secret: fields.get("held_secret")?,
    }))
}

pub(super) async fn complete(
    connection: &mut Connection,
    scope: &str,
    key: &str,
    answer: &IdempotentAnswer,
) -> Result<(), StoreError> {
    query("UPDATE idempotency SET status = $3, body = $4, held_secret = $5 WHERE scope = $1 AND key = $2")
        .bind(scope)
        .bind(key)
        .bind(i64::from(answer.status))
        .bind(answer.body.to_string())
        .bind(answer.held_secret)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn release(connection: &mut Connection, scope: &str, key: &str) -> Result<(), StoreError> {
    query("DELETE FROM idempotency WHERE scope = $1 AND key = $2 AND status IS NULL")
        .bind(scope)
        .bind(key)
        .execute(connection)
        .await?;
    Ok(())
}
