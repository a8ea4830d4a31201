//! Takes existing keys and accounts over. Files are read and checked elsewhere; each import is one transaction.

use std::collections::BTreeMap;

use tollgate_domain::limit::UNITS_MAX;
use tollgate_domain::{
    Account, AccountId, Charged, DAY_US, IpRules, Key, KeyLimits, Period, PlanTable, Timestamp, UsageTally, entitlement,
};

use super::database::{Connection, Lock};
use super::fault::raced;
use super::ledger::{self, Line, Origin};
use super::{accounts as account_rows, audit, keys as key_rows, outbox};
use crate::error::StoreError;
use crate::record::{Change, ImportReport, ImportedAccount, ImportedKey, NewAccount, NewAudit};

/// A cycle that began longer ago is over, and so is what was used in it.
const CYCLE_US_MAX: i64 = 30 * DAY_US;

/// An account that lines of the file name.
struct Touched {
    account: Account,
    is_new: bool,
    /// Whether a line told anything new of it.
    is_changed: bool,
}

pub(super) async fn keys(
    connection: &mut Connection,
    imported: &[ImportedKey],
    plans: &PlanTable,
    now: Timestamp,
    audit: &NewAudit,
) -> Result<ImportReport, StoreError> {
    connection.lock(Lock::Import).await?;
    let mut report = ImportReport::default();
    let mut touched: BTreeMap<AccountId, Touched> = BTreeMap::new();
    let mut charged = Vec::new();
    for line in imported {
        if let Some(known) = key_rows::by_hash(connection, &line.hash).await? {
            report.keys_known += 1;
            assign_plan_of_known(connection, line, &known, &mut touched).await?;
            continue;
        }
        let owner = owner_of(connection, line, now, &mut touched).await?;
        let key = taken_over(line, owner, now);
        if !key_rows::insert(connection, &key).await? {
            return Err(raced());
        }
        report.keys_created += 1;
        report.changes.push(Change::Key(line.hash));
        let is_over = line.cycle_start.is_some_and(|start| now - start > CYCLE_US_MAX);
        if line.used > 0 && !is_over {
            charged.push((owner, line));
        }
    }
    report_accounts(touched.values(), &mut report);
    charge(connection, &charged, &touched, plans, now, &mut report).await?;
    audit::append(connection, audit, None, None).await?;
    outbox::append(connection, &report.changes, now).await?;
    Ok(report)
}

/// A file that is imported again may bring plans it did not name before. It never makes an account for a key that
/// is known: that would bring a deleted owner back.
async fn assign_plan_of_known(
    connection: &mut Connection,
    line: &ImportedKey,
    known: &Key,
    touched: &mut BTreeMap<AccountId, Touched>,
) -> Result<(), StoreError> {
    if line.plan.is_none() {
        return Ok(());
    }
    let owner = account_rows::hold_by_email(connection, &line.email).await?;
    match owner.filter(|owner| owner.id == known.account) {
        Some(owner) => assign_plan(connection, line, touched_entry(touched, owner)).await,
        None => Ok(()),
    }
}

/// The account of a new key: the one of its e-mail, or a new one.
async fn owner_of(
    connection: &mut Connection,
    line: &ImportedKey,
    now: Timestamp,
    touched: &mut BTreeMap<AccountId, Touched>,
) -> Result<AccountId, StoreError> {
    let Some(account) = account_rows::hold_by_email(connection, &line.email).await? else {
        let account = Account {
            rolling_anchor: line.cycle_start.unwrap_or(now),
            ..account_rows::fresh(&NewAccount {
                id: line.account_id_if_new,
                email: line.email.clone(),
                name: None,
                assigned_plan: line.plan.clone(),
                created_at: now,
            })
        };
        if !account_rows::insert(connection, &account).await? {
            return Err(raced());
        }
        let id = account.id;
        touched.insert(id, Touched { account, is_new: true, is_changed: true });
        return Ok(id);
    };
    let owner = touched_entry(touched, account);
    if let Some(start) = line.cycle_start.filter(|start| owner.is_new && *start < owner.account.rolling_anchor) {
        account_rows::set_rolling_anchor(connection, owner.account.id, start).await?;
        owner.account.rolling_anchor = start;
    }
    let id = owner.account.id;
    assign_plan(connection, line, owner).await?;
    Ok(id)
}

fn touched_entry(touched: &mut BTreeMap<AccountId, Touched>, account: Account) -> &mut Touched {
    touched.entry(account.id).or_insert(Touched { account, is_new: false, is_changed: false })
}

async fn assign_plan(connection: &mut Connection, line: &ImportedKey, owner: &mut Touched) -> Result<(), StoreError> {
    if let Some(plan) = &line.plan {
        account_rows::store_plan(connection, owner.account.id, Some(plan), None).await?;
        owner.account.assigned_plan = Some(plan.clone());
        owner.is_changed = true;
    }
    Ok(())
}

fn taken_over(line: &ImportedKey, account: AccountId, now: Timestamp) -> Key {
    Key {
        id: line.id,
        account,
        lineage: line.id,
        hashed: key_rows::only_hash(line.hash),
        name: line.name.clone(),
        created_at: now,
        expires_at: line.expires_at,
        revoked_at: line.revoked.then_some(now),
        superseded: None,
        scopes: Vec::new(),
        read_only: false,
        ip_rules: IpRules::default(),
        limits: KeyLimits { bucket: None, cap: line.cap },
        last_used_at: None,
    }
}

/// Charges what was used into the period that is open under the account's plan, now that the whole file is known.
async fn charge(
    connection: &mut Connection,
    charged: &[(AccountId, &ImportedKey)],
    touched: &BTreeMap<AccountId, Touched>,
    plans: &PlanTable,
    now: Timestamp,
    report: &mut ImportReport,
) -> Result<(), StoreError> {
    if charged.is_empty() {
        return Ok(());
    }
    let lines: Vec<Line<'_>> = charged
        .iter()
        .map(|(owner, line)| {
            let owner = &touched.get(owner).expect("every line's account was noted").account;
            let tally = UsageTally { units_charged: line.used.min(UNITS_MAX), ..UsageTally::default() };
            Line {
                at: now,
                account: owner.id,
                key: Some(line.id),
                meter: None,
                call: None,
                event: None,
                period: open_period(owner, plans, now),
                tally,
            }
        })
        .collect();
    let newest = ledger::begin(connection).await?;
    let places = ledger::append(connection, newest, Origin::Import(now), &lines).await?;
    report.changes.extend(lines.iter().zip(places).map(|(line, position)| Change::Usage {
        account: line.account,
        of: Charged::Calls { key: line.key },
        period: line.period,
        units: line.tally.units_charged.try_into().expect("2^53 fits a signed number"),
        position,
    }));
    Ok(())
}

/// The account's open quota period.
fn open_period(account: &Account, plans: &PlanTable, now: Timestamp) -> Period {
    entitlement(account, plans, now).period_basis(account).period_at(now)
}

fn report_accounts<'a>(touched: impl Iterator<Item = &'a Touched>, report: &mut ImportReport) {
    for touched in touched {
        match touched {
            Touched { is_new: true, .. } => report.accounts_created += 1,
            Touched { is_changed: true, .. } => report.accounts_updated += 1,
            Touched { .. } => {}
        }
        report.changes.push(Change::Account(touched.account.id));
    }
}

pub(super) async fn accounts(
    connection: &mut Connection,
    imported: &[ImportedAccount],
    now: Timestamp,
    audit: &NewAudit,
) -> Result<ImportReport, StoreError> {
    connection.lock(Lock::Import).await?;
    let mut report = ImportReport::default();
    let mut touched: BTreeMap<AccountId, Touched> = BTreeMap::new();
    for line in imported {
        if let Some(account) = account_rows::hold_by_email(connection, &line.email).await? {
            account_rows::add_facts(connection, account.id, line).await?;
            touched_entry(&mut touched, account).is_changed = true;
            continue;
        }
        let account = Account {
            stripe_customer: line.stripe_customer.clone(),
            stripe_subscription: line.stripe_subscription.clone(),
            ..account_rows::fresh(&NewAccount {
                id: line.id,
                email: line.email.clone(),
                name: line.name.clone(),
                assigned_plan: line.plan.clone(),
                created_at: now,
            })
        };
        if !account_rows::insert(connection, &account).await? {
            return Err(raced());
        }
        touched.insert(account.id, Touched { account, is_new: true, is_changed: true });
    }
    report_accounts(touched.values(), &mut report);
    audit::append(connection, audit, None, None).await?;
    outbox::append(connection, &report.changes, now).await?;
    Ok(report)
}
