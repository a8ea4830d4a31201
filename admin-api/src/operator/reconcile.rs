//! `/admin/v1/reconcile`: whether the books agree, and mending what can be.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use tollgate_billing::BillingError;
use tollgate_billing::reconcile::Report;
use utoipa::ToSchema;

use crate::billing::{LimiterUse, stripe_of};
use crate::context::{Context, audit_line};
use crate::problem::{Problem, ProblemCode};
use crate::request::OptionalBody;

/// Whether differences are mended.
#[derive(ToSchema)]
#[schema(as = ReconcileRequest, example = json!({ "fix": false }))]
#[expect(dead_code, reason = "it describes what is read")]
pub(super) struct ReconcileSchema {
    /// Whether what can be mended is; false if left out.
    fix: Option<bool>,
}

/// Whether the books agree.
#[derive(Serialize, ToSchema)]
#[schema(as = ReconcileReport)]
pub(super) struct ReportView {
    /// Whether everything was compared and nothing differs any more.
    clean: bool,
    /// Differences that are still there.
    left: u64,
    /// Differences that were mended.
    mended: u64,
    #[serde(flatten)]
    #[schema(value_type = ReportSchema)]
    report: Report,
}

/// What was found.
#[derive(ToSchema)]
#[schema(as = ReconcileFindings)]
#[expect(dead_code, reason = "it describes what the report writes")]
struct ReportSchema {
    /// When it was begun.
    at: String,
    /// Whether differences were to be mended.
    fix: bool,
    /// Every difference, those that were mended too, by kind and account.
    differences: Vec<DifferenceSchema>,
    /// How many more there are of each kind than are named.
    #[schema(schema_with = crate::openapi::any_object)]
    more: Value,
    /// What could not be compared, and why. Nothing is known of it.
    unread: Vec<UnreadSchema>,
    looked: LookedSchema,
}

/// Where two books disagree.
#[derive(ToSchema)]
#[schema(as = Difference)]
#[expect(dead_code, reason = "it describes what the report writes")]
struct DifferenceSchema {
    /// Which books, such as `stripe_use`.
    kind: String,
    #[schema(required)]
    account: Option<String>,
    /// What else it is about: a subscription's, customer's, event's or price's id, or a node's batch.
    #[schema(required)]
    subject: Option<String>,
    /// `calls`, or a meter's name.
    #[schema(required)]
    meter: Option<String>,
    #[schema(required)]
    period: Option<crate::standing::PeriodView>,
    /// What is compared, such as `units`.
    what: String,
    /// What it should be: units, or words.
    #[schema(schema_with = figure)]
    expected: Value,
    /// What it is: units, or words.
    #[schema(schema_with = figure)]
    found: Value,
    /// What mending does about it; null where a person must decide.
    #[schema(required)]
    remedy: Option<String>,
    /// What a person does about it.
    advice: String,
    /// `left`, `mended`, `under_way` or `failed`.
    mending: String,
    /// What is known of why.
    #[schema(required)]
    note: Option<String>,
}

/// Books that could not be read.
#[derive(ToSchema)]
#[schema(as = Unread)]
#[expect(dead_code, reason = "it describes what the report writes")]
struct UnreadSchema {
    what: String,
    why: String,
}

/// How much was looked at.
#[derive(ToSchema)]
#[schema(as = Looked)]
#[expect(dead_code, reason = "it describes what the report writes")]
struct LookedSchema {
    quotas: u64,
    periods: u64,
    subscriptions: u64,
    customers: u64,
    events: u64,
    /// Questions that Stripe was asked.
    calls: u64,
}

fn figure() -> utoipa::openapi::schema::Schema {
    use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
    let kinds = SchemaType::Array(vec![Type::Integer, Type::String, Type::Null]);
    ObjectBuilder::new().schema_type(kinds).into()
}

/// Compares the books: what gateways, limiter and ledger count, what Stripe was told and has, what it says of subscriptions
/// and what is known of them. It takes seconds, with many accounts minutes.
#[utoipa::path(
    post, path = "/admin/v1/reconcile", tag = "billing", operation_id = "operator_reconcile",
    request_body = Option<ReconcileSchema>,
    responses(
        (status = 200, body = ReportView),
        (status = 404, body = Problem, description = "There is no `[billing.stripe]` here."),
        (status = 409, body = Problem, description = "Another process works on billing meanwhile; or it was done before."),
    ),
)]
pub(super) async fn compare(
    State(context): State<Context>,
    OptionalBody(mut fields): OptionalBody,
) -> Result<Json<ReportView>, Problem> {
    let fix = fields.flag("fix");
    fields.finish(&["fix"], Some(()))?;
    let billing = stripe_of(&context)?;
    let (peek, clock) = (Arc::clone(&context.deps.peek), Arc::clone(&context.deps.clock));
    if fix {
        // Before it, so that one that is broken off stands there too; what it did to an account has lines of its own.
        context.store().keep_audit(&audit_line("billing.reconcile", context.now(), json!({ "fix": true }))).await?;
    }
    let report = billing.reconcile(fix, &LimiterUse { peek, clock }).await.map_err(|error| match error {
        BillingError::Store(error) => Problem::from(error),
        BillingError::Api(error) => Problem::new(ProblemCode::StripeUnavailable, "Stripe cannot be asked")
            .retry_soon()
            .because(error.to_string()),
        BillingError::Lost => Problem::in_progress("Another process took billing over meanwhile; try again shortly"),
    })?;
    Ok(Json(ReportView { clean: report.is_clean(), left: report.left(), mended: report.mended(), report }))
}
