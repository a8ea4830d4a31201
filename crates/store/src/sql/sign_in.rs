//! How customers sign in: secrets that all processes share, mailed links, sessions. Whose token is whose account is
//! `accounts`.

use tollgate_domain::{Account, AccountId, HOUR_US, Timestamp};

use super::accounts::email_key;
use super::database::{Connection, Lock, query};
use super::row::{AccountRow, Fields, account_columns};
use crate::customers::{Link, LinkPurpose, SecretHash, Session};
use crate::error::StoreError;

const SIGN_IN: &str = "sign_in";
const NEW_EMAIL: &str = "new_email";

pub(super) async fn secret(connection: &mut Connection, name: &str) -> Result<Option<[u8; 32]>, StoreError> {
    let row = query("SELECT name, value FROM secrets WHERE name = $1").bind(name).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let fields = Fields::of("secrets", &["name"], &row);
    let value = <[u8; 32]>::try_from(fields.get::<&[u8]>("value")?).map_err(|_| fields.corrupt("value"))?;
    Ok(Some(value))
}

/// The secret of this name: the fresh one, unless another was first.
pub(super) async fn agree_on_secret(
    connection: &mut Connection,
    name: &str,
    fresh: &[u8; 32],
) -> Result<[u8; 32], StoreError> {
    query("INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
        .bind(name)
        .bind(&fresh[..])
        .execute(connection)
        .await?;
    Ok(secret(connection, name).await?.unwrap_or(*fresh))
}

/// Links of an address that were made after an instant.
pub(crate) const LINKS_SENT: &str = "SELECT COUNT(*) AS sent FROM links WHERE email_key = $1 AND created_at_us > $2";

/// Whether it was kept: false where its address was sent as many as it may be.
pub(super) async fn create_link(
    connection: &mut Connection,
    hash: &SecretHash,
    link: &Link,
    hourly_max: u32,
) -> Result<bool, StoreError> {
    // Two that are made at the same time would not count each other.
    connection.lock(Lock::Links).await?;
    let row = query(LINKS_SENT)
        .bind(email_key(&link.email))
        .bind(link.created_at.plus_micros(-HOUR_US).as_micros())
        .fetch_one(connection)
        .await?;
    if Fields::of("links", &[], &row).count("sent")? >= u64::from(hourly_max) {
        return Ok(false);
    }
    let purpose = match link.purpose {
        LinkPurpose::SignIn => SIGN_IN,
        LinkPurpose::NewEmail => NEW_EMAIL,
    };
    query(
        "INSERT INTO links (hash, purpose, email, email_key, account, created_at_us, expires_at_us) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&hash[..])
    .bind(purpose)
    .bind(&link.email)
    .bind(email_key(&link.email))
    .bind(link.account.map(|account| account.to_string()))
    .bind(link.created_at.as_micros())
    .bind(link.expires_at.as_micros())
    .execute(connection)
    .await?;
    Ok(true)
}

/// Marks a link as used, in the one statement that finds it: of two that try, one has it.
pub(crate) const TAKE_LINK: &str = "UPDATE links SET taken_at_us = $2 \
    WHERE hash = $1 AND taken_at_us IS NULL AND expires_at_us > $2 \
    RETURNING hash, purpose, email, account, created_at_us, expires_at_us";

pub(super) async fn take_link(
    connection: &mut Connection,
    hash: &SecretHash,
    now: Timestamp,
) -> Result<Option<Link>, StoreError> {
    let row = query(TAKE_LINK).bind(&hash[..]).bind(now.as_micros()).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    // Its hash is a secret's, so no error shows it.
    let fields = Fields::of("links", &[], &row);
    let purpose = match fields.get("purpose")? {
        SIGN_IN => LinkPurpose::SignIn,
        NEW_EMAIL => LinkPurpose::NewEmail,
        _ => return Err(fields.corrupt("purpose")),
    };
    Ok(Some(Link {
        purpose,
        email: fields.get("email")?,
        account: fields.parse_optional("account", |text| text.parse().ok())?,
        created_at: fields.timestamp("created_at_us")?,
        expires_at: fields.timestamp("expires_at_us")?,
    }))
}

pub(super) async fn create_session(
    connection: &mut Connection,
    hash: &SecretHash,
    session: &Session,
) -> Result<(), StoreError> {
    query("INSERT INTO sessions (hash, account, created_at_us, expires_at_us) VALUES ($1, $2, $3, $4)")
        .bind(&hash[..])
        .bind(session.account.to_string())
        .bind(session.created_at.as_micros())
        .bind(session.expires_at.as_micros())
        .execute(connection)
        .await?;
    Ok(())
}

/// The one query on the way of a signed-in call.
pub(crate) const SESSION: &str = concat!(
    "SELECT s.account, s.created_at_us, s.expires_at_us, ",
    account_columns!(),
    " FROM sessions s JOIN accounts a ON a.id = s.account \
     WHERE s.hash = $1 AND s.expires_at_us > $2 AND a.deleted_at_us IS NULL"
);

pub(super) async fn session(
    connection: &mut Connection,
    hash: &SecretHash,
    now: Timestamp,
) -> Result<Option<(Session, Account)>, StoreError> {
    let row = query(SESSION).bind(&hash[..]).bind(now.as_micros()).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let fields = Fields::of("sessions", &["account"], &row);
    let session = Session {
        account: fields.parse("account", |text| text.parse().ok())?,
        created_at: fields.timestamp("created_at_us")?,
        expires_at: fields.timestamp("expires_at_us")?,
    };
    Ok(Some((session, AccountRow(&row).try_into()?)))
}

pub(super) async fn end_session(connection: &mut Connection, hash: &SecretHash) -> Result<(), StoreError> {
    query("DELETE FROM sessions WHERE hash = $1").bind(&hash[..]).execute(connection).await?;
    Ok(())
}

/// Signs an account out everywhere and forgets what was mailed to it, and to its address.
pub(super) async fn erase(
    connection: &mut Connection,
    account: AccountId,
    email: Option<&str>,
) -> Result<(), StoreError> {
    let account = account.to_string();
    query("DELETE FROM sessions WHERE account = $1").bind(&account).execute(connection).await?;
    query("DELETE FROM links WHERE account = $1").bind(&account).execute(connection).await?;
    if let Some(email) = email {
        query("DELETE FROM links WHERE email_key = $1").bind(email_key(email)).execute(connection).await?;
    }
    Ok(())
}
