//! The table of keys: making, finding, rotating and revoking them. What a key has used is the ledger's.

use sqlx::SqlitePool;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use tollgate_domain::{
    Account, AccountId, Bucket, Glob, HashedKey, Key, KeyHash, KeyId, KeyState, MaskedKey, Supersession, Timestamp,
};

use super::accounts::{self, page};
use super::audit;
use super::fault::failed;
use super::row::{AccountRow, KeyRow, account_columns, count_column, key_columns, list_text};
use crate::error::StoreError;
use crate::record::{KeyWithAccount, NewAudit, NewKey, Page};
use crate::store::{CreateKey, RotateKey};

/// The one query on the way of a call whose key no cache knows.
pub(super) const FIND: &str = concat!(
    "SELECT ",
    key_columns!(),
    ", ",
    account_columns!(),
    " FROM keys k JOIN accounts a ON a.id = k.account WHERE k.hash = $1"
);

pub(super) async fn find(pool: &SqlitePool, hash: &KeyHash) -> Result<Option<KeyWithAccount>, StoreError> {
    let row = sqlx::query(FIND).bind(&hash.as_bytes()[..]).fetch_optional(pool).await.map_err(failed)?;
    row.map(|row| Ok(KeyWithAccount { key: KeyRow(&row).try_into()?, account: AccountRow(&row).try_into()? }))
        .transpose()
}

pub(super) async fn by_id(
    executor: impl sqlx::Executor<'_, Database = Sqlite>,
    id: KeyId,
) -> Result<Option<Key>, StoreError> {
    let row = sqlx::query(concat!("SELECT ", key_columns!(), " FROM keys k WHERE k.id = $1"))
        .bind(id.to_string())
        .fetch_optional(executor)
        .await
        .map_err(failed)?;
    row.map(|row| KeyRow(&row).try_into()).transpose()
}

pub(super) async fn list(
    pool: &SqlitePool,
    account: Option<AccountId>,
    after: Option<KeyId>,
    limit: u32,
) -> Result<Page<Key>, StoreError> {
    let query = match account {
        Some(_) => {
            concat!("SELECT ", key_columns!(), " FROM keys k WHERE k.id > $1 AND k.account = $3 ORDER BY k.id LIMIT $2")
        }
        None => concat!("SELECT ", key_columns!(), " FROM keys k WHERE k.id > $1 ORDER BY k.id LIMIT $2"),
    };
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let mut query = sqlx::query(query).bind(after).bind(i64::from(limit) + 1);
    if let Some(account) = account {
        query = query.bind(account.to_string());
    }
    let rows = query.fetch_all(pool).await.map_err(failed)?;
    page(rows.iter().map(|row| KeyRow(row).try_into()), limit)
}

pub(super) async fn of_account(connection: &mut SqliteConnection, account: AccountId) -> Result<Vec<Key>, StoreError> {
    let rows = sqlx::query(concat!("SELECT ", key_columns!(), " FROM keys k WHERE k.account = $1 ORDER BY k.id"))
        .bind(account.to_string())
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    rows.iter().map(|row| KeyRow(row).try_into()).collect()
}

pub(super) async fn create(
    connection: &mut SqliteConnection,
    new: &NewKey,
    max_keys: Option<u64>,
    audit: &NewAudit,
) -> Result<CreateKey, StoreError> {
    let owner: Option<Account> = accounts::by_id(&mut *connection, new.account).await?;
    if owner.is_none_or(|owner| owner.deleted_at.is_some()) {
        return Ok(CreateKey::NoAccount);
    }
    if let Some(max_keys) = max_keys {
        let active = active(connection, new.account, new.created_at).await?;
        if active >= max_keys {
            return Ok(CreateKey::LimitReached { active });
        }
    }
    let key = fresh(new);
    if !insert(connection, &key).await? {
        return Ok(CreateKey::Duplicate);
    }
    audit::append(connection, audit, Some(key.account), Some(key.id)).await?;
    Ok(CreateKey::Created(key))
}

/// A key before anything has happened to it.
pub(super) fn fresh(new: &NewKey) -> Key {
    Key {
        id: new.id,
        account: new.account,
        lineage: new.id,
        hashed: new.hashed.clone(),
        name: new.name.clone(),
        created_at: new.created_at,
        expires_at: new.expires_at,
        revoked_at: None,
        superseded: None,
        scopes: new.scopes.clone(),
        read_only: new.read_only,
        ip_rules: new.ip_rules.clone(),
        limits: new.limits,
        last_used_at: None,
    }
}

/// Keys that count against `max_keys`: the ones whose state is [`KeyState::Active`].
async fn active(connection: &mut SqliteConnection, account: AccountId, now: Timestamp) -> Result<u64, StoreError> {
    let active: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM keys WHERE account = $1 AND superseded_by IS NULL \
         AND (revoked_at_us IS NULL OR revoked_at_us > $2) AND (expires_at_us IS NULL OR expires_at_us > $2)",
    )
    .bind(account.to_string())
    .bind(now.as_micros())
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    Ok(active.unsigned_abs())
}

/// Whether it was stored: false where its hash is known.
pub(super) async fn insert(connection: &mut SqliteConnection, key: &Key) -> Result<bool, StoreError> {
    let bucket = |part: fn(&Bucket) -> u64| key.limits.bucket.as_ref().map(|bucket| count_column(part(bucket)));
    let stored = sqlx::query(
        "INSERT INTO keys (id, account, lineage, hash, prefix, last_four, name, created_at_us, expires_at_us, \
         revoked_at_us, scopes, read_only, ip_allow, ip_deny, bucket_tokens, bucket_micros, bucket_burst, cap) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) \
         ON CONFLICT (hash) DO NOTHING",
    )
    .bind(key.id.to_string())
    .bind(key.account.to_string())
    .bind(key.lineage.to_string())
    .bind(&key.hashed.hash.as_bytes()[..])
    .bind(&*key.hashed.masked.prefix)
    .bind(&*key.hashed.masked.last_four)
    .bind(&key.name)
    .bind(key.created_at.as_micros())
    .bind(key.expires_at.map(Timestamp::as_micros))
    .bind(key.revoked_at.map(Timestamp::as_micros))
    .bind(list_text(key.scopes.iter().map(Glob::as_str)))
    .bind(key.read_only)
    .bind(list_text(&key.ip_rules.allow))
    .bind(list_text(&key.ip_rules.deny))
    .bind(bucket(Bucket::tokens))
    .bind(bucket(Bucket::micros))
    .bind(bucket(Bucket::burst))
    .bind(key.limits.cap.map(count_column))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(stored.rows_affected() > 0)
}

pub(super) async fn rotate(
    connection: &mut SqliteConnection,
    id: KeyId,
    new: &NewKey,
    grace_until: Timestamp,
    audit: &NewAudit,
) -> Result<RotateKey, StoreError> {
    let now = new.created_at;
    let Some(old) = by_id(&mut *connection, id).await?.filter(|old| old.account == new.account) else {
        return Ok(RotateKey::NoKey);
    };
    // One in its grace was rotated already: a second successor would leave two keys where there was one.
    if old.state(now) != KeyState::Active {
        return Ok(RotateKey::NotActive(old));
    }
    if let Some(grace_until) = predecessor_grace(connection, id, now).await? {
        return Ok(RotateKey::PredecessorInGrace { grace_until });
    }
    let successor = Key {
        id: new.id,
        hashed: new.hashed.clone(),
        created_at: now,
        superseded: None,
        last_used_at: None,
        ..old.clone()
    };
    if !insert(connection, &successor).await? {
        let error = "the hash of the new key is stored already";
        return Err(StoreError::Unavailable(error.into()));
    }
    sqlx::query("UPDATE keys SET superseded_by = $2, grace_until_us = $3 WHERE id = $1")
        .bind(id.to_string())
        .bind(new.id.to_string())
        .bind(grace_until.as_micros())
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    audit::append(connection, audit, Some(old.account), Some(id)).await?;
    let superseded = Some(Supersession { by: new.id, grace_until });
    Ok(RotateKey::Rotated { new: successor, old: Key { superseded, ..old } })
}

/// Until when a key that this one replaced still works, if one does.
async fn predecessor_grace(
    connection: &mut SqliteConnection,
    id: KeyId,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let rows = sqlx::query(concat!("SELECT ", key_columns!(), " FROM keys k WHERE k.superseded_by = $1"))
        .bind(id.to_string())
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let predecessors: Vec<Key> = rows.iter().map(|row| KeyRow(row).try_into()).collect::<Result<_, _>>()?;
    let in_grace = predecessors.into_iter().filter(|key| key.state(now) == KeyState::InGrace);
    Ok(in_grace.filter_map(|key| key.superseded).map(|superseded| superseded.grace_until).max())
}

pub(super) async fn revoke(
    connection: &mut SqliteConnection,
    id: KeyId,
    at: Timestamp,
    audit: &NewAudit,
) -> Result<Option<Key>, StoreError> {
    let revoked = sqlx::query(
        "UPDATE keys SET revoked_at_us = $2 WHERE id = $1 AND (revoked_at_us IS NULL OR revoked_at_us > $2)",
    )
    .bind(id.to_string())
    .bind(at.as_micros())
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let key = by_id(&mut *connection, id).await?;
    if let Some(key) = key.as_ref().filter(|_| revoked.rows_affected() > 0) {
        audit::append(connection, audit, Some(key.account), Some(id)).await?;
    }
    Ok(key)
}

pub(super) async fn revoke_all(
    connection: &mut SqliteConnection,
    account: AccountId,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE keys SET revoked_at_us = $2 WHERE account = $1 AND (revoked_at_us IS NULL OR revoked_at_us > $2)",
    )
    .bind(account.to_string())
    .bind(at.as_micros())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// The hashed form of a key that is known by its hash alone.
pub(super) fn only_hash(hash: KeyHash) -> HashedKey {
    HashedKey { hash, masked: MaskedKey::default() }
}
