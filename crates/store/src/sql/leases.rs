//! Leases: work that one process at a time does. What the work is, and how long a lease is held, is its owner's.

use tollgate_domain::Timestamp;

use super::database::{Connection, query};
use super::fault::raced;
use super::row::Fields;
use crate::billing::{BILLING_LEASE, Fence};
use crate::error::StoreError;

/// The epoch of the lease's first holder.
const FIRST_EPOCH: i64 = 1;

/// Takes or renews a lease; `None` while another holds it.
pub(super) async fn hold(
    connection: &mut Connection,
    name: &str,
    holder: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Fence>, StoreError> {
    let row = query("SELECT name, holder, epoch, until_us FROM leases WHERE name = $1")
        .bind(name)
        .locking()
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else {
        let inserted = query(
            "INSERT INTO leases (name, holder, epoch, until_us) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING",
        )
        .bind(name)
        .bind(holder)
        .bind(FIRST_EPOCH)
        .bind(until.as_micros())
        .execute(connection)
        .await?;
        return if inserted > 0 { Ok(Some(Fence(FIRST_EPOCH))) } else { Err(raced()) };
    };
    let fields = Fields::of("leases", &["name"], &row);
    let (known, epoch) = (fields.get::<&str>("holder")?, fields.get::<i64>("epoch")?);
    let epoch = match known == holder {
        true => epoch,
        false if fields.timestamp("until_us")? <= now => epoch + 1,
        false => return Ok(None),
    };
    query("UPDATE leases SET holder = $2, epoch = $3, until_us = $4 WHERE name = $1")
        .bind(name)
        .bind(holder)
        .bind(epoch)
        .bind(until.as_micros())
        .execute(connection)
        .await?;
    Ok(Some(Fence(epoch)))
}

/// Lets a lease go. Its row stays: the epochs of those that hold it later go on from there.
pub(super) async fn release(connection: &mut Connection, name: &str, holder: &str) -> Result<(), StoreError> {
    query("UPDATE leases SET holder = '', until_us = 0 WHERE name = $1 AND holder = $2")
        .bind(name)
        .bind(holder)
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether whoever writes still holds the lease of billing. Nobody else takes it until the transaction ends.
pub(super) async fn holds(connection: &mut Connection, fence: Fence) -> Result<bool, StoreError> {
    let row = query("SELECT name, epoch FROM leases WHERE name = $1")
        .bind(BILLING_LEASE)
        .locking()
        .fetch_optional(connection)
        .await?;
    let epoch = row.map(|row| Fields::of("leases", &["name"], &row).get::<i64>("epoch")).transpose()?;
    Ok(epoch == Some(fence.0))
}
