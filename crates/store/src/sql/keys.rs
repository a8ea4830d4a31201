//! The table of keys: making, finding, rotating and revoking them. What a key has used is the ledger's.

use tollgate_domain::{
    Account, AccountId, Bucket, Glob, HashedKey, Key, KeyHash, KeyId, KeyLimits, KeyState, MaskedKey, Supersession,
    Timestamp,
};

use super::accounts::{self, page};
use super::database::{Connection, Query, query};
use super::row::{AccountRow, Fields, KeyRow, account_columns, count_column, key_column, key_columns, list_text};
use super::{audit, outbox};
use crate::customers::KeyPatch;
use crate::error::StoreError;
use crate::record::{Change, KeyWithAccount, NewAudit, NewKey, Page};
use crate::store::{CreateKey, RotateKey};

/// The one query on the way of a call whose key no cache knows.
pub(crate) const FIND: &str = concat!(
    "SELECT ",
    key_columns!(),
    ", ",
    account_columns!(),
    " FROM keys k JOIN accounts a ON a.id = k.account WHERE k.hash = $1"
);

pub(super) async fn find(connection: &mut Connection, hash: &KeyHash) -> Result<Option<KeyWithAccount>, StoreError> {
    let row = query(FIND).bind(&hash.as_bytes()[..]).fetch_optional(connection).await?;
    row.map(|row| Ok(KeyWithAccount { key: KeyRow(&row).try_into()?, account: AccountRow(&row).try_into()? }))
        .transpose()
}

fn of_id(id: KeyId) -> Query {
    query(concat!("SELECT ", key_columns!(), " FROM keys k WHERE k.id = $1")).bind(id.to_string())
}

async fn found(connection: &mut Connection, query: Query) -> Result<Option<Key>, StoreError> {
    let row = query.fetch_optional(connection).await?;
    row.map(|row| KeyRow(&row).try_into()).transpose()
}

pub(super) async fn by_id(connection: &mut Connection, id: KeyId) -> Result<Option<Key>, StoreError> {
    found(connection, of_id(id)).await
}

pub(super) async fn by_hash(connection: &mut Connection, hash: &KeyHash) -> Result<Option<Key>, StoreError> {
    let query = query(concat!("SELECT ", key_columns!(), " FROM keys k WHERE k.hash = $1"));
    found(connection, query.bind(&hash.as_bytes()[..])).await
}

pub(super) async fn list(
    connection: &mut Connection,
    account: Option<AccountId>,
    after: Option<KeyId>,
    limit: u32,
) -> Result<Page<Key>, StoreError> {
    let text = match account {
        Some(_) => {
            concat!("SELECT ", key_columns!(), " FROM keys k WHERE k.id > $1 AND k.account = $3 ORDER BY k.id LIMIT $2")
        }
        None => concat!("SELECT ", key_columns!(), " FROM keys k WHERE k.id > $1 ORDER BY k.id LIMIT $2"),
    };
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let mut query = query(text).bind(after).bind(i64::from(limit) + 1);
    if let Some(account) = account {
        query = query.bind(account.to_string());
    }
    let rows = query.fetch_all(connection).await?;
    page(rows.iter().map(|row| KeyRow(row).try_into()), limit)
}

/// Every key of an account, as they stay until the transaction ends.
pub(super) async fn hold_all(connection: &mut Connection, account: AccountId) -> Result<Vec<Key>, StoreError> {
    let rows = query(concat!("SELECT ", key_columns!(), " FROM keys k WHERE k.account = $1 ORDER BY k.id"))
        .bind(account.to_string())
        .locking()
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| KeyRow(row).try_into()).collect()
}

pub(super) async fn create(
    connection: &mut Connection,
    new: &NewKey,
    max_keys: Option<u64>,
    audit: &NewAudit,
) -> Result<CreateKey, StoreError> {
    // Whoever makes, rotates or deletes keys of an account holds the account first, so that none is counted by two.
    let owner: Option<Account> = accounts::hold(connection, new.account).await?;
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
    outbox::append(connection, &[Change::Key(key.hashed.hash)], audit.at).await?;
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
async fn active(connection: &mut Connection, account: AccountId, now: Timestamp) -> Result<u64, StoreError> {
    let row = query(
        "SELECT COUNT(*) AS active FROM keys WHERE account = $1 AND superseded_by IS NULL \
         AND (revoked_at_us IS NULL OR revoked_at_us > $2) AND (expires_at_us IS NULL OR expires_at_us > $2)",
    )
    .bind(account.to_string())
    .bind(now.as_micros())
    .fetch_one(connection)
    .await?;
    Fields::of("keys", &[], &row).count("active")
}

/// Whether it was stored: false where its hash is known.
pub(super) async fn insert(connection: &mut Connection, key: &Key) -> Result<bool, StoreError> {
    let bucket = |part: fn(&Bucket) -> u64| key.limits.bucket.as_ref().map(|bucket| count_column(part(bucket)));
    let stored = query(
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
    .await?;
    Ok(stored > 0)
}

pub(super) async fn rotate(
    connection: &mut Connection,
    id: KeyId,
    new: &NewKey,
    grace_until: Timestamp,
    audit: &NewAudit,
) -> Result<RotateKey, StoreError> {
    let now = new.created_at;
    accounts::hold(connection, new.account).await?;
    let Some(old) = found(connection, of_id(id).locking()).await?.filter(|old| old.account == new.account) else {
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
    query("UPDATE keys SET superseded_by = $2, grace_until_us = $3 WHERE id = $1")
        .bind(id.to_string())
        .bind(new.id.to_string())
        .bind(grace_until.as_micros())
        .execute(connection)
        .await?;
    audit::append(connection, audit, Some(old.account), Some(id)).await?;
    let changes = [Change::Key(old.hashed.hash), Change::Key(successor.hashed.hash)];
    outbox::append(connection, &changes, audit.at).await?;
    let superseded = Some(Supersession { by: new.id, grace_until });
    Ok(RotateKey::Rotated { new: successor, old: Key { superseded, ..old } })
}

/// Until when a key that this one replaced still works, if one does.
async fn predecessor_grace(
    connection: &mut Connection,
    id: KeyId,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let rows = query(concat!("SELECT ", key_columns!(), " FROM keys k WHERE k.superseded_by = $1"))
        .bind(id.to_string())
        .fetch_all(connection)
        .await?;
    let predecessors: Vec<Key> = rows.iter().map(|row| KeyRow(row).try_into()).collect::<Result<_, _>>()?;
    let in_grace = predecessors.into_iter().filter(|key| key.state(now) == KeyState::InGrace);
    Ok(in_grace.filter_map(|key| key.superseded).map(|superseded| superseded.grace_until).max())
}

/// Changes a key of this account; the key as it is then. One that does not work any more stays as it is.
pub(super) async fn update(
    connection: &mut Connection,
    account: AccountId,
    id: KeyId,
    patch: &KeyPatch,
    audit: &NewAudit,
) -> Result<Option<Key>, StoreError> {
    accounts::hold(connection, account).await?;
    let Some(key) = found(connection, of_id(id).locking()).await?.filter(|key| key.account == account) else {
        return Ok(None);
    };
    if !key.state(audit.at).works() || *patch == KeyPatch::default() {
        return Ok(Some(key));
    }
    let key = patched(key, patch);
    query(
        "UPDATE keys SET name = $3, expires_at_us = $4, scopes = $5, read_only = $6, ip_allow = $7, ip_deny = $8, \
         cap = $9 WHERE id = $1 AND account = $2",
    )
    .bind(id.to_string())
    .bind(account.to_string())
    .bind(&key.name)
    .bind(key.expires_at.map(Timestamp::as_micros))
    .bind(list_text(key.scopes.iter().map(Glob::as_str)))
    .bind(key.read_only)
    .bind(list_text(&key.ip_rules.allow))
    .bind(list_text(&key.ip_rules.deny))
    .bind(key.limits.cap.map(count_column))
    .execute(connection)
    .await?;
    audit::append(connection, audit, Some(account), Some(id)).await?;
    outbox::append(connection, &[Change::Key(key.hashed.hash)], audit.at).await?;
    Ok(Some(key))
}

fn patched(key: Key, patch: &KeyPatch) -> Key {
    Key {
        name: patch.name.clone().unwrap_or(key.name),
        scopes: patch.scopes.clone().unwrap_or(key.scopes),
        read_only: patch.read_only.unwrap_or(key.read_only),
        ip_rules: patch.ip_rules.clone().unwrap_or(key.ip_rules),
        expires_at: patch.expires_at.unwrap_or(key.expires_at),
        limits: KeyLimits { cap: patch.cap.unwrap_or(key.limits.cap), ..key.limits },
        ..key
    }
}

pub(crate) const EXPIRING: &str = concat!(
    "SELECT ",
    key_columns!(),
    " FROM keys k WHERE k.expires_at_us > $1 AND k.expires_at_us < $2 AND k.id > $3 \
     AND (k.revoked_at_us IS NULL OR k.revoked_at_us > $1) \
     AND (k.grace_until_us IS NULL OR k.grace_until_us > $1) ORDER BY k.id LIMIT $4"
);

/// Keys that work now and expire before an instant.
pub(super) async fn expiring(
    connection: &mut Connection,
    now: Timestamp,
    before: Timestamp,
    after: Option<KeyId>,
    limit: u32,
) -> Result<Vec<Key>, StoreError> {
    let rows = query(EXPIRING)
        .bind(now.as_micros())
        .bind(before.as_micros())
        .bind(key_column(after))
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| KeyRow(row).try_into()).collect()
}

pub(super) async fn revoke(
    connection: &mut Connection,
    id: KeyId,
    at: Timestamp,
    audit: &NewAudit,
) -> Result<Option<Key>, StoreError> {
    let revoked =
        query("UPDATE keys SET revoked_at_us = $2 WHERE id = $1 AND (revoked_at_us IS NULL OR revoked_at_us > $2)")
            .bind(id.to_string())
            .bind(at.as_micros())
            .execute(connection)
            .await?;
    let key = by_id(connection, id).await?;
    if let Some(key) = key.as_ref().filter(|_| revoked > 0) {
        audit::append(connection, audit, Some(key.account), Some(id)).await?;
        outbox::append(connection, &[Change::Key(key.hashed.hash)], audit.at).await?;
    }
    Ok(key)
}

pub(super) async fn revoke_all(
    connection: &mut Connection,
    account: AccountId,
    at: Timestamp,
) -> Result<(), StoreError> {
    query("UPDATE keys SET revoked_at_us = $2 WHERE account = $1 AND (revoked_at_us IS NULL OR revoked_at_us > $2)")
        .bind(account.to_string())
        .bind(at.as_micros())
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes out of an account's keys what their owner called them and from where they were used. They are revoked, so that
/// the rules keep nobody out any more.
pub(super) async fn erase(connection: &mut Connection, account: AccountId) -> Result<(), StoreError> {
    query("UPDATE keys SET name = NULL, ip_allow = '[]', ip_deny = '[]' WHERE account = $1")
        .bind(account.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// The hashed form of a key that is known by its hash alone.
pub(super) fn only_hash(hash: KeyHash) -> HashedKey {
    HashedKey { hash, masked: MaskedKey::default() }
}
