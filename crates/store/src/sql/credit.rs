//! Units that an operator gives back: an entry of the ledger like any other, never below zero.

use tollgate_domain::limit::UNITS_MAX;
use tollgate_domain::{Timestamp, UsageTally};

use super::database::Connection;
use super::ledger::{self, Line, Origin};
use super::{accounts, audit, outbox, seed};
use crate::customers::{Credit, Credited, charged};
use crate::error::StoreError;
use crate::record::{Change, NewAudit};

pub(super) async fn credit(
    connection: &mut Connection,
    credit: &Credit,
    audit: &NewAudit,
) -> Result<Credited, StoreError> {
    accounts::hold(connection, credit.account).await?;
    let newest = ledger::begin(connection).await?;
    let meter = credit.meter.as_ref();
    let used = seed::used(connection, credit.account, meter, credit.period).await?;
    // A bound that only sums of many entries pass; what is above it is given back by another credit.
    let units = credit.units.unwrap_or(used.min(UNITS_MAX));
    if units > used || units > UNITS_MAX {
        return Ok(Credited::MoreThanUsed { used });
    }
    if units == 0 {
        return Ok(Credited::Credited { units: 0, used_before: used, change: None });
    }
    let place = append(connection, newest, credit, units, credit.at).await?;
    audit::append(connection, audit, Some(credit.account), None).await?;
    let change = Change::Usage {
        account: credit.account,
        of: charged(meter, None),
        period: credit.period,
        units: -i64::try_from(units).expect("2^53 fits a signed number"),
        position: place,
    };
    outbox::append(connection, &[change], credit.at).await?;
    Ok(Credited::Credited { units, used_before: used, change: Some(change) })
}

async fn append(
    connection: &mut Connection,
    newest: ledger::Position,
    credit: &Credit,
    units: u64,
    at: Timestamp,
) -> Result<u64, StoreError> {
    let line = Line {
        at,
        account: credit.account,
        key: None,
        meter: credit.meter.as_ref(),
        call: None,
        event: None,
        period: credit.period,
        tally: UsageTally { units_refunded: units, ..UsageTally::default() },
    };
    let places = ledger::append(connection, newest, Origin::Credit(at), &[line]).await?;
    Ok(places.into_iter().next().expect("every line gets a place"))
}
