//! Copies one database into another, of the same kind or not: accounts, keys, the ledger with its places, sums,
//! batches, events, audit, the request log, subscriptions and what Stripe told and was told, who is signed in, what
//! customers were told, answers to repeated requests. Not the limiter's saved state, not the outbox and not who holds which
//! lease: limits are rebuilt from the ledger, and whoever opens the copy remembers nothing that a change could make stale.
//!
//! An interrupted copy goes on where it stopped. At its end every row is compared with its source.

mod tables;

use crate::error::StoreError;
use crate::sql::{Backend, Connection, Fields, Mode, SqlStore, facts, query};

use tables::{Growth, TABLES, Table, Values};

/// Rows that are read, put or compared at once.
const ROWS: usize = 2_000;

/// How far a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: CopyStep,
    /// The table it is done to.
    pub table: &'static str,
    /// Rows of it that are done.
    pub rows: u64,
    /// Rows that it has.
    pub of: u64,
}

/// What a copy does to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyStep {
    /// Its rows are copied.
    Copy,
    /// Its rows are compared with their source.
    Compare,
}

/// What a copy did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Every table.
    pub tables: Vec<CopiedTable>,
}

/// A table of which source and copy hold the same rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedTable {
    /// The table.
    pub name: &'static str,
    /// Its rows.
    pub rows: u64,
    /// How many of them this run copied; an earlier one had copied the rest.
    pub copied: u64,
    /// What some of its columns add up to.
    pub sums: Vec<(&'static str, i128)>,
}

/// Copies everything from one database into an empty one, or goes on with a copy of the same one. No other process
/// may use either meanwhile: open both by their `open_for_copy`.
///
/// # Errors
/// [`StoreError::Unusable`] where the target holds other data, or a row of it differs from its source; it says which.
/// What was copied stays, marked as unfinished, and a store is not opened on it. The databases' own errors.
pub async fn copy<F: Backend, T: Backend>(
    from: &SqlStore<F>,
    to: &SqlStore<T>,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<CopyReport, StoreError> {
    let (source, target) = (&from.backend, &to.backend);
    let is_done = begin(source, target).await?;
    let mut report = CopyReport::default();
    for table in &TABLES {
        let of = count(table, source).await?;
        let copied = if is_done { 0 } else { fill(table, of, source, target, progress).await? };
        report.tables.push(CopiedTable { name: table.name, rows: of, copied, sums: Vec::new() });
    }
    for (table, copied) in TABLES.iter().zip(&mut report.tables) {
        copied.sums = compare(table, copied.rows, source, target, progress).await.map_err(|error| match error {
            StoreError::Unusable(what) if is_done => StoreError::Unusable(format!(
                "the copy was finished before, and has changed since or its source has: {what}"
            )),
            error => error,
        })?;
    }
    if !is_done {
        finish(target).await?;
    }
    Ok(report)
}

/// Whether the copy was finished by an earlier run. Where not, the target is marked as one.
async fn begin(source: &impl Backend, target: &impl Backend) -> Result<bool, StoreError> {
    let mut reading = source.begin(Mode::Snapshot).await?;
    let id = facts::read(&mut reading, facts::ID).await?.ok_or_else(|| refused("the source has no id"))?;
    if facts::read(&mut reading, facts::COPY_STATE).await?.as_deref() == Some(facts::RUNNING) {
        return Err(refused("the source is itself a copy that was not finished"));
    }
    reading.be_patient().await?;
    let mark = mark(&mut reading).await?;
    let mut writing = target.begin(Mode::Write).await?;
    let connection = &mut writing;
    if facts::read(connection, facts::ID).await? == Some(id.clone()) {
        return Err(refused("source and target are the same database"));
    }
    match facts::read(connection, facts::COPY_SOURCE).await? {
        None => {
            refuse_other_data(connection).await?;
            facts::write(connection, facts::COPY_SOURCE, &id).await?;
        }
        Some(known) if known != id => return Err(refused("the target is a copy of another database")),
        Some(_) => {
            if facts::read(connection, facts::COPY_STATE).await?.as_deref() == Some(facts::DONE) {
                return Ok(true);
            }
            // Rows that were changed in the source since they were copied cannot be told from others.
            let is_same = facts::read(connection, facts::COPY_MARK).await?.as_ref() == Some(&mark);
            empty(connection, is_same).await?;
        }
    }
    facts::write(connection, facts::COPY_STATE, facts::RUNNING).await?;
    facts::write(connection, facts::COPY_MARK, &mark).await?;
    writing.commit().await?;
    Ok(false)
}

fn refused(why: &str) -> StoreError {
    StoreError::Unusable(format!("cannot copy the database: {why}; nothing was changed"))
}

/// How far a database has come: whatever changes one leaves a line in its audit trail, or a batch, or an event, or was read
/// from Stripe later; and what is thrown away is rows fewer.
async fn mark(connection: &mut Connection) -> Result<String, StoreError> {
    let mut mark = Vec::new();
    for table in TABLES.iter().filter(|table| MARKING.contains(&table.name)) {
        mark.push(format!("{}:{}", table.name, table.count(connection).await?));
    }
    let row = query("SELECT MAX(stripe_read_at_us) AS read_at_us FROM accounts").fetch_one(connection).await?;
    let read_at: Option<i64> = Fields::of("accounts", &[], &row).get("read_at_us")?;
    mark.push(format!("read:{}", read_at.unwrap_or_default()));
    Ok(mark.join(" "))
}

/// Tables of which every change to the traced ones changes a row count.
const MARKING: [&str; 6] = ["usage_lines", "audit", "usage_batches", "usage_hours", "usage_dimensions", "request_log"];

async fn refuse_other_data(connection: &mut Connection) -> Result<(), StoreError> {
    for table in &TABLES {
        if !table.after(connection, None, 1).await?.is_empty() {
            return Err(refused(&format!("the target holds data of its own (table {})", table.name)));
        }
    }
    Ok(())
}

/// Takes out what is to be copied anew: what no trail is kept of; and where the source has gone on, everything but what
/// only grows.
async fn empty(connection: &mut Connection, is_same: bool) -> Result<(), StoreError> {
    connection.be_patient().await?;
    let is_anew = |table: &&Table| match table.growth {
        Growth::Appended => false,
        Growth::Traced => !is_same,
        Growth::Traceless => true,
    };
    for table in TABLES.iter().rev().filter(is_anew) {
        query(format!("DELETE FROM {}", table.name)).execute(connection).await?;
    }
    Ok(())
}

/// Copies the rows that the target lacks; how many they were.
async fn fill(
    table: &Table,
    of: u64,
    source: &impl Backend,
    target: &impl Backend,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<u64, StoreError> {
    let mut rows = count(table, target).await?;
    let mut last = table.last(&mut target.begin(Mode::Single).await?).await?;
    let mut copied = 0;
    loop {
        progress(Progress { step: CopyStep::Copy, table: table.name, rows, of });
        let chunk = next(table, source, last.as_ref()).await?;
        if chunk.is_empty() {
            return Ok(copied);
        }
        let mut writing = target.begin(Mode::Write).await?;
        table.put(&mut writing, &chunk).await?;
        writing.commit().await?;
        rows += chunk.len() as u64;
        copied += chunk.len() as u64;
        last = chunk.into_iter().last();
    }
}

async fn count(table: &Table, backend: &impl Backend) -> Result<u64, StoreError> {
    let mut reading = backend.begin(Mode::Snapshot).await?;
    reading.be_patient().await?;
    table.count(&mut reading).await
}

async fn next(table: &Table, backend: &impl Backend, last: Option<&Values>) -> Result<Vec<Values>, StoreError> {
    let mut reading = backend.begin(Mode::Single).await?;
    table.after(&mut reading, last.map(|row| table.key(row)), ROWS).await
}

/// Compares every row of both; what the columns add up to.
async fn compare(
    table: &Table,
    of: u64,
    source: &impl Backend,
    target: &impl Backend,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Vec<(&'static str, i128)>, StoreError> {
    let mut sums = vec![0; table.summed.len()];
    let (mut rows, mut last) = (0, None);
    loop {
        progress(Progress { step: CopyStep::Compare, table: table.name, rows, of });
        let (expected, found) =
            tokio::try_join!(next(table, source, last.as_ref()), next(table, target, last.as_ref()))?;
        if expected != found {
            return Err(StoreError::Unusable(difference(table, &expected, &found)));
        }
        for row in &expected {
            table.add_to_sums(&mut sums, row);
        }
        rows += expected.len() as u64;
        match expected.into_iter().last() {
            Some(row) => last = Some(row),
            None if rows == of => return Ok(table.summed.iter().copied().zip(sums).collect()),
            None => {
                let name = table.name;
                return Err(StoreError::Unusable(format!("table {name} has {rows} rows, and {of} when it was begun")));
            }
        }
    }
}

/// The first row that is not the same in both.
fn difference(table: &Table, expected: &[Values], found: &[Values]) -> String {
    let name = table.name;
    for (expected, found) in expected.iter().zip(found) {
        if table.key(expected) < table.key(found) {
            return format!("the copy lacks a row: table {name}, row {}", table.row_name(expected));
        }
        if table.key(expected) > table.key(found) {
            return format!("the copy has a row too many: table {name}, row {}", table.row_name(found));
        }
        if expected != found {
            return format!("the copy differs from its source: table {name}, row {}", table.row_name(expected));
        }
    }
    match (expected.get(found.len()), found.get(expected.len())) {
        (Some(row), _) => format!("the copy lacks a row: table {name}, row {}", table.row_name(row)),
        (None, Some(row)) => format!("the copy has a row too many: table {name}, row {}", table.row_name(row)),
        (None, None) => format!("the copy differs from its source: table {name}"),
    }
}

/// Says that the copy is whole.
async fn finish(target: &impl Backend) -> Result<(), StoreError> {
    let mut writing = target.begin(Mode::Write).await?;
    if writing.is_postgres() {
        writing.be_patient().await?;
        // The next line of the audit trail, and the next notice, is to come after those that were copied; SQLite sees to
        // that itself.
        for (table, column) in [("audit", "sequence"), ("notices", "id")] {
            query(format!(
                "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), \
                 (SELECT COALESCE(MAX({column}), 0) + 1 FROM {table}), FALSE)"
            ))
            .fetch_all(&mut writing)
            .await?;
        }
        // The server plans by what it has counted, and would count only some time later by itself.
        for table in &TABLES {
            query(format!("ANALYZE {}", table.name)).execute(&mut writing).await?;
        }
    }
    facts::write(&mut writing, facts::COPY_STATE, facts::DONE).await?;
    writing.commit().await
}
