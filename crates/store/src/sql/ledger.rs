//! Appends to the ledger. Its sums are `sums`, and where lines come from is other modules' business.

use tollgate_domain::limit::UNITS_MAX;
use tollgate_domain::{AccountId, KeyId, MeterName, Period, RouteName, StatusClass, Timestamp, UsageBatch, UsageTally};

use super::database::{Connection, Lock, query};
use super::insert::{Insert, Kind};
use super::row::{Fields, count_column, key_column, meter_column};
use super::sums;
use crate::error::StoreError;

/// A line, as it is to be appended.
pub(super) struct Line<'a> {
    /// Not before the last call that it counts, or when its event happened.
    pub(super) at: Timestamp,
    pub(super) account: AccountId,
    pub(super) key: Option<KeyId>,
    /// What it counts; `None` for calls.
    pub(super) meter: Option<&'a MeterName>,
    /// Route and status class, of a line of calls.
    pub(super) call: Option<(&'a RouteName, StatusClass)>,
    /// The event's id, of a line of an event.
    pub(super) event: Option<&'a str>,
    pub(super) period: Period,
    /// Within the bounds that [`bounded`] sets; of a meter, nothing is debited.
    pub(super) tally: UsageTally,
}

/// Where lines come from.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    /// A batch, whose end is the time of its lines.
    Batch(&'a UsageBatch),
    /// A file of existing keys.
    Import(Timestamp),
    /// Events that were reported then.
    Events(Timestamp),
    /// An operator who gave units back.
    Credit(Timestamp),
    /// A paid invoice that opened a period, and gave back what was used in the one before.
    Opening(Timestamp),
}

/// What lines are called that a paid invoice gave back.
pub(super) const OPENING: &str = "opening";

impl Origin<'_> {
    fn kind(self) -> &'static str {
        match self {
            Self::Batch(_) => "calls",
            Self::Import(_) => "imported",
            Self::Events(_) => "event",
            Self::Credit(_) => "credit",
            Self::Opening(_) => OPENING,
        }
    }

    /// When the quotas that the lines are charged to changed.
    pub(super) fn at(self) -> Timestamp {
        match self {
            Self::Batch(batch) => batch.end,
            Self::Import(at) | Self::Events(at) | Self::Credit(at) | Self::Opening(at) => at,
        }
    }
}

const LINES: Insert = Insert {
    table: "usage_lines",
    columns: &[
        ("id", Kind::Int),
        ("kind", Kind::Text),
        ("at_us", Kind::Int),
        ("node", Kind::Text),
        ("sequence", Kind::Int),
        ("account", Kind::Text),
        ("key", Kind::Text),
        ("route", Kind::Text),
        ("status", Kind::Text),
        ("period_start_us", Kind::Int),
        ("period_end_us", Kind::Int),
        ("calls", Kind::Int),
        ("calls_unenforced", Kind::Int),
        ("units_debited", Kind::Int),
        ("units_charged", Kind::Int),
        ("units_refunded", Kind::Int),
        ("meter", Kind::Text),
        ("event", Kind::Text),
    ],
    on_conflict: "",
};

/// Takes the turn to append and tells the newest entry's place. Whoever appends takes it before anything that another
/// one that appends could be waiting for, and holds it to its commit: so ids are in the order of commits, and a
/// snapshot that holds an entry holds all before it.
pub(super) async fn begin(connection: &mut Connection) -> Result<Position, StoreError> {
    connection.lock(Lock::Ledger).await?;
    position(connection).await.map(Position)
}

/// The newest entry's place in the ledger, where it is known that nobody else appends.
#[derive(Clone, Copy)]
pub(super) struct Position(u64);

/// The newest entry's place in the ledger.
pub(super) async fn position(connection: &mut Connection) -> Result<u64, StoreError> {
    let row = query("SELECT MAX(id) AS id FROM usage_lines").fetch_one(connection).await?;
    let newest: Option<i64> = Fields::of("usage_lines", &[], &row).get("id")?;
    Ok(newest.unwrap_or(0).unsigned_abs())
}

/// Appends lines and adds them to the sums of their hours and periods; the places in the ledger that they got, in order.
pub(super) async fn append(
    connection: &mut Connection,
    newest: Position,
    origin: Origin<'_>,
    lines: &[Line<'_>],
) -> Result<Vec<u64>, StoreError> {
    let placed: Vec<_> = (newest.0 + 1..).zip(lines).collect();
    append_lines(connection, origin, &placed).await?;
    sums::add_to_hours(connection, lines).await?;
    sums::add_to_periods(connection, origin.at(), lines).await?;
    Ok(placed.into_iter().map(|(place, _)| place).collect())
}

async fn append_lines(
    connection: &mut Connection,
    origin: Origin<'_>,
    lines: &[(u64, &Line<'_>)],
) -> Result<(), StoreError> {
    let (node, sequence) = match origin {
        Origin::Batch(batch) => (Some(batch.node.to_string()), Some(count_column(batch.sequence))),
        Origin::Import(_) | Origin::Events(_) | Origin::Credit(_) | Origin::Opening(_) => (None, None),
    };
    let row = |(place, line): &(u64, &Line<'_>)| {
        [
            count_column(*place).into(),
            origin.kind().into(),
            line.at.as_micros().into(),
            node.clone().into(),
            sequence.into(),
            line.account.to_string().into(),
            key_column(line.key).into(),
            line.call.map(|(route, _)| route.as_str()).into(),
            line.call.map(|(_, status)| status.as_str()).into(),
            line.period.start.as_micros().into(),
            line.period.end.as_micros().into(),
            count_column(line.tally.calls).into(),
            count_column(line.tally.calls_unenforced).into(),
            count_column(line.tally.units_debited).into(),
            count_column(line.tally.units_charged).into(),
            count_column(line.tally.units_refunded).into(),
            meter_column(line.meter).into(),
            line.event.into(),
        ]
    };
    LINES.rows(connection, lines, row).await
}

/// A tally as the ledger takes it: no limit is above this bound, and below it sums stay far from what a column holds.
pub(super) fn bounded(tally: &UsageTally) -> UsageTally {
    UsageTally {
        calls: tally.calls.min(UNITS_MAX),
        units_debited: tally.units_debited.min(UNITS_MAX),
        units_charged: tally.units_charged.min(UNITS_MAX),
        units_refunded: tally.units_refunded.min(UNITS_MAX),
        calls_unenforced: tally.calls_unenforced.min(UNITS_MAX),
    }
}
