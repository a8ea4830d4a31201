//! Rows of files with existing keys and accounts: every row is read and judged before any is taken over.
//!
//! The file itself was read by whoever sends the rows; a row's `line` is where it stood there.

use std::collections::HashMap;

use serde_json::Value;
use tollgate_domain::{KeyHash, PlanName, PlanTable, Timestamp};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};

use crate::fields::{Fields, shown};
use crate::inputs;
use crate::problem::{FieldError, Problem};

/// So many errors are listed; what is beyond is counted.
const ERRORS_MAX: usize = 10_000;
/// The columns of a row with a key.
const KEY_COLUMNS: &[&str] =
    &["key_hash", "email", "plan", "status", "name", "limit", "used", "cycle_start", "expires_at", "line"];
/// The columns of a row with an account.
const ACCOUNT_COLUMNS: &[&str] = &["email", "name", "plan", "stripe_customer_id", "subscription", "line"];

/// A key that is taken over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeyRow {
    pub(crate) hash: KeyHash,
    pub(crate) email: String,
    pub(crate) plan: Option<PlanName>,
    pub(crate) revoked: bool,
    pub(crate) name: Option<String>,
    pub(crate) cap: Option<u64>,
    pub(crate) used: u64,
    pub(crate) cycle_start: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
}

/// An account that is taken over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AccountRow {
    pub(crate) email: String,
    pub(crate) name: Option<String>,
    pub(crate) plan: Option<PlanName>,
    pub(crate) stripe_customer: Option<String>,
    pub(crate) stripe_subscription: Option<String>,
}

/// Existing keys, as rows of a file. A cell is a text or a number; an empty one is absent.
#[derive(ToSchema)]
#[schema(as = ImportKeysRequest, example = json!({ "rows": [{
    "line": 2, "key_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "email": "ada@example.com", "plan": "pro", "used": 250
}] }))]
#[expect(dead_code, reason = "it describes what `key_rows` reads")]
pub(crate) struct KeyRowsSchema {
    rows: Vec<KeyRowSchema>,
}

/// A row with a key.
#[derive(ToSchema)]
#[schema(as = KeyRowRequest)]
#[expect(dead_code, reason = "it describes what `key_row` reads")]
struct KeyRowSchema {
    /// The key's plain SHA-256, in hexadecimal digits.
    key_hash: String,
    email: String,
    plan: Option<String>,
    /// `active` or `revoked`.
    status: Option<String>,
    name: Option<String>,
    /// The key's own cap a period.
    #[schema(schema_with = cell)]
    limit: Option<Value>,
    /// Units used in the open period.
    #[schema(schema_with = cell)]
    used: Option<Value>,
    cycle_start: Option<String>,
    expires_at: Option<String>,
    /// Where it stands in the file.
    #[schema(minimum = 0)]
    line: Option<u64>,
}

/// Existing accounts, as rows of a file.
#[derive(ToSchema)]
#[schema(as = ImportAccountsRequest, example = json!({ "rows": [{
    "line": 2, "email": "grace@example.com", "name": "Grace", "plan": "pro"
}] }))]
#[expect(dead_code, reason = "it describes what `account_rows` reads")]
pub(crate) struct AccountRowsSchema {
    rows: Vec<AccountRowSchema>,
}

/// A row with an account.
#[derive(ToSchema)]
#[schema(as = AccountRowRequest)]
#[expect(dead_code, reason = "it describes what `account_row` reads")]
struct AccountRowSchema {
    email: String,
    name: Option<String>,
    plan: Option<String>,
    stripe_customer_id: Option<String>,
    subscription: Option<String>,
    /// Where it stands in the file.
    #[schema(minimum = 0)]
    line: Option<u64>,
}

/// A cell that holds a number, or a text with one.
fn cell() -> Schema {
    let types = SchemaType::from_iter([Type::String, Type::Integer, Type::Null]);
    ObjectBuilder::new().schema_type(types).into()
}

/// Reads rows with keys. The plan that one row of an account names holds for all its rows.
///
/// # Errors
/// Everything that is wrong in any row.
pub(crate) fn key_rows(body: Fields, plans: &PlanTable, now: Timestamp) -> Result<Vec<KeyRow>, Problem> {
    let mut report = Report::default();
    let mut hashes: HashMap<KeyHash, Place> = HashMap::new();
    let mut plan_of: HashMap<String, (PlanName, Place)> = HashMap::new();
    let mut rows = report.rows(body, KEY_COLUMNS, |row, report| key_row(row, report, plans, now))?;
    for (place, row) in &rows {
        if let Some(first) = hashes.insert(row.hash, *place) {
            report.refuse(*place, "key_hash", format!("the same key stands in {first} too"));
        }
        let Some(plan) = &row.plan else { continue };
        let (known, first) = plan_of.entry(fold(&row.email)).or_insert_with(|| (plan.clone(), *place));
        if known != plan {
            let detail = format!("{first} puts this account on plan `{known}`; an account has one plan");
            report.refuse(*place, "plan", detail);
        }
    }
    for (_, row) in &mut rows {
        row.plan = plan_of.get(&fold(&row.email)).map(|(plan, _)| plan.clone());
    }
    report.finish(rows)
}

/// Reads rows with accounts.
///
/// # Errors
/// Everything that is wrong in any row.
pub(crate) fn account_rows(body: Fields, plans: &PlanTable) -> Result<Vec<AccountRow>, Problem> {
    let mut report = Report::default();
    let rows = report.rows(body, ACCOUNT_COLUMNS, |row, _| account_row(row, plans))?;
    let mut emails = HashMap::new();
    let mut customers = HashMap::new();
    for (place, row) in &rows {
        if let Some(first) = emails.insert(fold(&row.email), *place) {
            report.refuse(*place, "email", format!("the same e-mail stands in {first} too"));
        }
        let Some(customer) = &row.stripe_customer else { continue };
        if let Some(first) = customers.insert(customer.as_str(), *place) {
            report.refuse(*place, "stripe_customer_id", format!("{first} has the same customer"));
        }
    }
    report.finish(rows)
}

fn key_row(row: &mut Fields, report: &mut Report, plans: &PlanTable, now: Timestamp) -> Option<KeyRow> {
    let hash = row.required_cell("key_hash", |text| match KeyHash::parse(text) {
        Some(hash) => Ok(hash),
        None if is_bcrypt(text) => {
            report.bcrypt += 1;
            Err("this is a bcrypt hash, by which no key can be found".into())
        }
        // The text is not repeated: it may be a raw key.
        None => Err("this is not a SHA-256: 64 hexadecimal digits".into()),
    });
    let email = row.required_cell("email", inputs::email);
    let plan = row.cell("plan", |text| inputs::plan(text, plans));
    let revoked = row.cell("status", |text| match text.to_ascii_lowercase().as_str() {
        "active" => Ok(false),
        "revoked" => Ok(true),
        _ => Err(format!("`{}` is not a status: `active` or `revoked`", shown(text))),
    });
    let name = row.cell("name", inputs::name);
    let cap = row.cell("limit", |text| match text {
        "unlimited" => Ok(None),
        _ => inputs::units_text(text).map(Some),
    });
    let used = row.cell("used", inputs::units_text);
    let cycle_start = row.cell("cycle_start", |text| match inputs::instant(text)? {
        at if at <= now => Ok(at),
        at => Err(format!("{at} lies in the future; a cycle that use was counted in has begun")),
    });
    let expires_at = row.cell("expires_at", inputs::instant);
    Some(KeyRow {
        hash: hash?,
        email: email?,
        plan,
        revoked: revoked.unwrap_or(false),
        name,
        cap: cap.flatten(),
        used: used.unwrap_or(0),
        cycle_start,
        expires_at,
    })
}

fn account_row(row: &mut Fields, plans: &PlanTable) -> Option<AccountRow> {
    let email = row.required_cell("email", inputs::email);
    let name = row.cell("name", inputs::name);
    let plan = row.cell("plan", |text| inputs::plan(text, plans));
    let stripe_customer = row.cell("stripe_customer_id", inputs::foreign_id);
    let stripe_subscription = row.cell("subscription", inputs::foreign_id);
    Some(AccountRow { email: email?, name, plan, stripe_customer, stripe_subscription })
}

/// `$2a$`, `$2b$` or `$2y$` begins what bcrypt writes.
fn is_bcrypt(text: &str) -> bool {
    ["$2a$", "$2b$", "$2y$"].iter().any(|begin| text.starts_with(begin))
}

/// E-mails are compared without case.
fn fold(email: &str) -> String {
    email.to_lowercase()
}

/// Where a row stood.
#[derive(Clone, Copy, Debug)]
struct Place {
    index: usize,
    line: Option<u64>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "line {line}"),
            None => write!(formatter, "row {} (counted from 0)", self.index),
        }
    }
}

/// What is wrong with the rows so far.
#[derive(Default)]
struct Report {
    errors: Vec<FieldError>,
    errors_total: usize,
    rows_total: usize,
    bcrypt: usize,
}

impl Report {
    /// Reads every row; those that are wrong are left out and told.
    fn rows<T>(
        &mut self,
        mut body: Fields,
        columns: &[&str],
        read: impl Fn(&mut Fields, &mut Self) -> Option<T>,
    ) -> Result<Vec<(Place, T)>, Problem> {
        let rows = body.required_list("rows");
        let rows: Vec<Value> = body.finish(&["rows"], rows)?;
        if rows.is_empty() {
            let nothing = FieldError {
                pointer: Some("#/rows".into()),
                detail: "there are no rows to take over".into(),
                ..FieldError::default()
            };
            return Err(Problem::invalid_fields(vec![nothing]));
        }
        self.rows_total = rows.len();
        let mut good = Vec::with_capacity(rows.len());
        for (index, row) in rows.into_iter().enumerate() {
            let mut row = match Fields::at(row, format!("#/rows/{index}")) {
                Ok(row) => row,
                Err(error) => {
                    self.add(vec![error]);
                    continue;
                }
            };
            let line = row.count("line");
            row.set_line(line);
            let read = read(&mut row, self);
            let errors = row.into_errors(columns);
            match read {
                Some(read) if errors.is_empty() => good.push((Place { index, line }, read)),
                _ => self.add(errors),
            }
        }
        Ok(good)
    }

    fn add(&mut self, errors: Vec<FieldError>) {
        self.errors_total += errors.len();
        let room = ERRORS_MAX.saturating_sub(self.errors.len());
        self.errors.extend(errors.into_iter().take(room));
    }

    fn refuse(&mut self, place: Place, column: &str, detail: String) {
        self.add(vec![FieldError {
            pointer: Some(format!("#/rows/{}/{column}", place.index)),
            line: place.line,
            column: place.line.map(|_| column.into()),
            detail,
            ..FieldError::default()
        }]);
    }

    /// The rows, or everything that is wrong: row by row, then what holds for the file as a whole.
    fn finish<T>(mut self, rows: Vec<(Place, T)>) -> Result<Vec<T>, Problem> {
        if self.errors_total == 0 {
            return Ok(rows.into_iter().map(|(_, row)| row).collect());
        }
        self.errors.sort_by_key(|error| error.line);
        let mut whole = Vec::new();
        if self.errors_total > self.errors.len() {
            whole.push(format!("{} more things are wrong than are listed", self.errors_total - self.errors.len()));
        }
        if self.bcrypt > 0 {
            whole.push(format!(
                "{} of {} rows hold bcrypt hashes, by which no key can be found: leave these rows out and have their \
                 owners make new keys, or export the SHA-256 of the keys if it was kept",
                self.bcrypt, self.rows_total
            ));
        }
        let of_rows =
            format!("{} things are wrong in {} rows, none was taken over", self.errors_total, self.rows_total);
        let sentences: Vec<String> = std::iter::once(format!("{of_rows}; see `errors`")).chain(whole.clone()).collect();
        let detail = sentences.join(". ");
        self.errors.extend(whole.into_iter().map(|detail| FieldError {
            pointer: Some("#/rows".into()),
            detail,
            ..FieldError::default()
        }));
        let problem = Problem::invalid_fields(self.errors).with_detail(detail).with("rows", self.rows_total);
        Err(if self.bcrypt > 0 { problem.with("bcrypt", self.bcrypt) } else { problem })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_that_is_wrong_throughout_is_told_up_to_a_bound() {
        let rows = vec![json!({ "email": "nobody" }); ERRORS_MAX];
        let body = Fields::of(json!({ "rows": rows })).expect("an object");
        let problem = key_rows(body, &PlanTable::default(), Timestamp::EPOCH).expect_err("no row is good");
        let told = format!("{problem:?}");
        assert!(told.contains("20000 things are wrong in 10000 rows"), "two a row");
        assert!(told.contains("10000 more things are wrong than are listed"));
    }
}
