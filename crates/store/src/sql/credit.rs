//! Units that are given back: entries of the ledger like any others. An operator's never go below zero.

use tollgate_domain::limit::UNITS_MAX;
use tollgate_domain::{AccountId, KeyId, MeterName, Period, UsageTally};

use super::database::Connection;
use super::ledger::{self, Line, Origin};
use super::{accounts, audit, outbox, seed, usage};
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
    let given = Given { meter, period: credit.period, key: None, units };
    let changes = give_back(connection, newest, Origin::Credit(credit.at), credit.account, &[given]).await?;
    audit::append(connection, audit, Some(credit.account), None).await?;
    outbox::append(connection, &changes, credit.at).await?;
    Ok(Credited::Credited { units, used_before: used, change: changes.into_iter().next() })
}

/// Units that are given back.
pub(super) struct Given<'a> {
    pub(super) meter: Option<&'a MeterName>,
    pub(super) period: Period,
    /// Whose use they were, where that is known.
    pub(super) key: Option<KeyId>,
    /// At most 2^53.
    pub(super) units: u64,
}

/// Appends what is given back; what the gateways must hear of each.
pub(super) async fn give_back(
    connection: &mut Connection,
    newest: ledger::Position,
    origin: Origin<'_>,
    account: AccountId,
    given: &[Given<'_>],
) -> Result<Vec<Change>, StoreError> {
    let lines: Vec<Line<'_>> = given
        .iter()
        .map(|given| Line {
            at: origin.at(),
            account,
            key: given.key,
            meter: given.meter,
            call: None,
            event: None,
            period: given.period,
            tally: UsageTally { units_refunded: given.units, ..UsageTally::default() },
        })
        .collect();
    let places = ledger::append(connection, newest, origin, &lines).await?;
    let of_calls = given.iter().filter(|given| given.meter.is_none());
    let lineages = usage::lineages(connection, of_calls.filter_map(|given| given.key).collect()).await?;
    let change = |(given, position): (&Given<'_>, u64)| Change::Usage {
        account,
        of: charged(given.meter, given.key.map(|key| lineages.get(&key).copied().unwrap_or(key))),
        period: given.period,
        units: -i64::try_from(given.units).expect("2^53 fits a signed number"),
        position,
    };
    Ok(given.iter().zip(places).map(change).collect())
}
