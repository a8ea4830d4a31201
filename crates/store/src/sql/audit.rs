//! The audit trail. What is worth a line, and what a line says, is the caller's.

use tollgate_domain::{AccountId, KeyId};

use super::database::{Connection, query};
use super::row::Fields;
use crate::error::StoreError;
use crate::record::{AuditEntry, AuditQuery, NewAudit};

/// Adds a line in the transaction of what it tells of.
pub(super) async fn append(
    connection: &mut Connection,
    new: &NewAudit,
    account: Option<AccountId>,
    key: Option<KeyId>,
) -> Result<(), StoreError> {
    query("INSERT INTO audit (at_us, actor, action, account, key, detail) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(new.at.as_micros())
        .bind(&new.actor)
        .bind(new.action)
        .bind(account.map(|id| id.to_string()))
        .bind(key.map(|id| id.to_string()))
        .bind(new.detail.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn list(connection: &mut Connection, asked: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
    let text = match asked.account {
        Some(_) => {
            "SELECT sequence, at_us, actor, action, account, key, detail FROM audit \
             WHERE sequence < $1 AND account = $3 ORDER BY sequence DESC LIMIT $2"
        }
        None => {
            "SELECT sequence, at_us, actor, action, account, key, detail FROM audit \
             WHERE sequence < $1 ORDER BY sequence DESC LIMIT $2"
        }
    };
    let mut selected = query(text).bind(asked.before.unwrap_or(i64::MAX)).bind(i64::from(asked.limit));
    if let Some(account) = asked.account {
        selected = selected.bind(account.to_string());
    }
    let rows = selected.fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let fields = Fields::of("audit", &["sequence"], row);
            Ok(AuditEntry {
                sequence: fields.get("sequence")?,
                at: fields.timestamp("at_us")?,
                actor: fields.get("actor")?,
                action: fields.get("action")?,
                account: fields.parse_optional("account", |text| text.parse().ok())?,
                key: fields.parse_optional("key", |text| text.parse().ok())?,
                detail: fields.parse("detail", |text| serde_json::from_str(text).ok())?,
            })
        })
        .collect()
}
