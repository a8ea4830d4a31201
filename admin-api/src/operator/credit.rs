//! `/admin/v1/accounts/{account}/credit`: gives units back, of calls or of a meter, in the period that is open.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use tollgate_domain::entitlement;
use tollgate_domain::limit::UNITS_MAX;
use tollgate_store::{Credit, Credited};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};

use super::account_named;
use crate::context::{Context, audit_line};
use crate::inputs;
use crate::problem::{FieldError, Problem};
use crate::request::{Body, Segment};
use crate::standing::PeriodView;
use crate::usage::KnownMeters;

/// Units that were given back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Credit)]
pub(crate) struct CreditView {
    account: String,
    /// Null for calls.
    meter: Option<String>,
    period: PeriodView,
    /// Units given back.
    credited: u64,
    /// Units used before.
    used_before: u64,
    /// Units used now.
    used: u64,
}

/// Units to be given back.
#[derive(ToSchema)]
#[schema(as = CreditRequest, example = json!({ "units": 10, "reason": "outage of 3 March" }))]
#[expect(dead_code, reason = "it describes what is read")]
pub(crate) struct CreditSchema {
    /// So many, from 1, or `all`.
    #[schema(schema_with = units_or_all)]
    units: Value,
    /// The meter; calls if left out.
    meter: Option<String>,
    /// For the audit trail.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

fn units_or_all() -> Schema {
    let maximum = i64::try_from(UNITS_MAX).unwrap_or(i64::MAX);
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(maximum));
    let word = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["all"]));
    OneOfBuilder::new().item(number).item(word).into()
}

/// Gives units back, in the period that is open. What was used can be given back and no more: a quota is not raised by this.
#[utoipa::path(
    post, path = "/admin/v1/accounts/{account}/credit", tag = "usage", operation_id = "operator_credit_account",
    params(("account" = String, Path, description = "The account's id or e-mail.")),
    request_body = CreditSchema,
    responses(
        (status = 200, body = CreditView),
        (status = 422, body = Problem, description = "Fields are not as they must be, or more was to be given back than is `used`."),
    ),
)]
pub(crate) async fn give(
    State(context): State<Context>,
    Segment(account): Segment,
    Body(mut fields): Body,
) -> Result<Json<CreditView>, Problem> {
    let policy = context.policy();
    let known = KnownMeters::of(&policy.plans);
    if !fields.has("units") {
        fields.refuse("units", "`units` is missing: send a whole number from 1, or \"all\"");
    }
    let units = fields.take("units", |value| units(&value));
    let meter = fields.text("meter", |text| known.named(text));
    let reason = fields.text("reason", inputs::reason);
    let units = fields.finish(&["units", "meter", "reason"], units)?;
    let account = account_named(&context, &account).await?;
    let now = context.now();
    let period = entitlement(&account, &policy.plans, now).period_basis(&account).period_at(now);
    let facts = json!({
        "units": units.map_or_else(|| json!("all"), Value::from),
        "meter": meter.as_ref().map(ToString::to_string),
        "period_start": period.start.to_string(),
        "reason": reason,
    });
    let audit = audit_line("account.credit", now, facts);
    let credit = Credit { account: account.id, meter: meter.clone(), period, units, at: now };
    match context.store().credit(&credit, &audit).await? {
        Credited::Credited { units, used_before, change } => {
            context.publish(change.as_slice()).await;
            Ok(Json(CreditView {
                account: account.id.to_string(),
                meter: meter.map(|meter| meter.to_string()),
                period: period.into(),
                credited: units,
                used_before,
                used: used_before.saturating_sub(units),
            }))
        }
        Credited::MoreThanUsed { used } => {
            let detail = format!("{used} are used in the open period; give back at most so many, or \"all\"");
            let refused = FieldError { pointer: Some("#/units".into()), detail, ..FieldError::default() };
            Err(Problem::invalid_fields(vec![refused]).with("used", used))
        }
    }
}

/// A number, or `None` for all.
fn units(value: &Value) -> Result<Option<u64>, String> {
    match (value.as_str(), value.as_u64()) {
        (Some("all"), _) => Ok(None),
        (_, Some(units @ 1..=UNITS_MAX)) => Ok(Some(units)),
        _ => Err(format!("send a whole number from 1 to {UNITS_MAX}, or \"all\"")),
    }
}
