//! What a signed-in owner does about its plan: buys one, opens Stripe's pages, ends, resumes or changes it.
//!
//! Addresses of Stripe's pages let whoever has them act for the account: they are in the answer of the call that asked
//! for them, and neither kept nor logged.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use tollgate_billing::{ActionError, NewPlan, PlanChange, Preview, PreviewLine, When};
use tollgate_domain::{PlanName, Timestamp};
use utoipa::ToSchema;

use super::stripe_of;
use crate::context::Context;
use crate::customer::{Payer, SignedIn};
use crate::fields::{Fields, shown};
use crate::idempotency::WithoutSecret;
use crate::inputs;
use crate::problem::{Problem, ProblemCode};
use crate::request::{Body, OptionalBody};
use crate::standing::PeriodView;

/// Longest name of a plan that is looked for, in characters: longer ones are none.
const PLAN_CHARS_MAX: usize = 64;

/// What is bought.
#[derive(ToSchema)]
#[schema(as = PurchaseRequest, example = json!({ "plan": "pro" }))]
#[expect(dead_code, reason = "it describes what is read")]
pub(super) struct PurchaseSchema {
    /// The plan's name; `for_sale` of GET /v1/billing lists those that are sold.
    #[schema(max_length = 64)]
    plan: String,
    /// One of the plan's Stripe prices, where it has several, such as by the month and by the year; its first if left out.
    #[schema(min_length = 1, max_length = 255)]
    price: Option<String>,
}

/// Where it is paid for.
#[derive(Serialize, ToSchema)]
#[schema(as = Checkout)]
pub(super) struct CheckoutView {
    /// A page at Stripe's. It is shown by this answer only.
    #[schema(format = "uri")]
    checkout_url: String,
}

/// Where it is seen to.
#[derive(Serialize, ToSchema)]
#[schema(as = Portal)]
pub(super) struct PortalView {
    /// A page at Stripe's. It is shown by this answer only.
    #[schema(format = "uri")]
    portal_url: String,
}

/// How a subscription stands after it was ended, resumed or changed.
#[derive(Serialize, ToSchema)]
#[schema(as = SubscriptionStanding)]
pub(super) struct StandingView {
    subscription: String,
    /// In Stripe's words.
    status: String,
    /// The plan it is for; null where it is not sold any more.
    plan: Option<String>,
    /// When it ended or ends; null where it goes on.
    ends_at: Option<String>,
}

impl StandingView {
    fn new(subscription: String, status: String, plan: Option<PlanName>, ends_at: Option<Timestamp>) -> Self {
        Self {
            subscription,
            status,
            plan: plan.map(|plan| plan.to_string()),
            ends_at: ends_at.map(|at| at.to_string()),
        }
    }
}

/// When a subscription is to end.
#[derive(ToSchema)]
#[schema(as = CancelRequest, example = json!({ "at": "period_end" }))]
#[expect(dead_code, reason = "it describes what is read")]
pub(super) struct CancelSchema {
    /// With the period that is paid for, or at once; the former if left out.
    #[schema(schema_with = when_schema)]
    at: Option<String>,
    /// Which one, where there are several; the one that gives the plan if left out.
    #[schema(min_length = 1, max_length = 255)]
    subscription: Option<String>,
}

/// Which subscription goes on.
#[derive(ToSchema)]
#[schema(as = ReactivateRequest, example = json!({}))]
#[expect(dead_code, reason = "it describes what is read")]
pub(super) struct ReactivateSchema {
    /// Which one, where there are several; the one that gives the plan if left out.
    #[schema(min_length = 1, max_length = 255)]
    subscription: Option<String>,
}

/// What is taken in place of the plan that is paid for.
#[derive(ToSchema)]
#[schema(as = ChangeRequest, example = json!({ "plan": "team" }))]
#[expect(dead_code, reason = "it describes what is read")]
pub(super) struct ChangeSchema {
    /// The plan's name; `for_sale` of GET /v1/billing lists those that are sold.
    #[schema(max_length = 64)]
    plan: String,
    /// One of the plan's Stripe prices; left out, one that is paid as often as now.
    #[schema(min_length = 1, max_length = 255)]
    price: Option<String>,
    /// `proration_date` of a preview, at most an hour old: what it showed is then what is charged.
    #[schema(format = DateTime)]
    proration_date: Option<String>,
}

/// What became of a change.
#[derive(Serialize, ToSchema)]
#[schema(as = PlanChange)]
pub(super) struct ChangeView {
    /// Whether the subscription is for that plan now; else it is to be bought at `checkout_url`.
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    subscription: Option<StandingView>,
    /// A page at Stripe's, where there was no subscription to change. It is shown by this answer only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = "uri")]
    checkout_url: Option<String>,
}

/// What another plan would cost. Amounts are in the smallest unit of the currency, cents where it has them.
#[derive(Serialize, ToSchema)]
#[schema(as = Preview)]
pub(super) struct PreviewView {
    plan: String,
    price: String,
    /// Three small letters.
    currency: String,
    /// What would be charged at once.
    amount_due_now: i64,
    /// What makes up the next invoice; a negative amount is given back.
    lines: Vec<PreviewLineView>,
    /// What to send with the change, so that what is shown here is what is charged; null where nothing depends on it.
    proration_date: Option<String>,
    /// What each period to come costs, as things stand.
    next_amount: i64,
    /// When that is charged first; null where it is with the purchase.
    next_at: Option<String>,
}

/// A line of an invoice.
#[derive(Serialize, ToSchema)]
#[schema(as = PreviewLine)]
pub(super) struct PreviewLineView {
    /// What for, in Stripe's words.
    description: Option<String>,
    amount: i64,
    period: Option<PeriodView>,
}

impl From<Preview> for PreviewView {
    fn from(preview: Preview) -> Self {
        let Preview { plan, price, currency, amount_due_now, lines, proration_date, next_amount, next_at } = preview;
        let line = |PreviewLine { description, amount, period }| PreviewLineView {
            description,
            amount,
            period: period.map(PeriodView::from),
        };
        Self {
            plan: plan.to_string(),
            price,
            currency,
            amount_due_now,
            lines: lines.into_iter().map(line).collect(),
            proration_date: proration_date.map(|at| at.to_string()),
            next_amount,
            next_at: next_at.map(|at| at.to_string()),
        }
    }
}

/// Nothing.
#[derive(ToSchema)]
#[schema(as = PortalRequest, example = json!({}))]
pub(super) struct PortalSchema {}

fn when_schema() -> utoipa::openapi::schema::Schema {
    use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
    let kinds = SchemaType::Array(vec![Type::String, Type::Null]);
    let words = [json!("period_end"), json!("now"), Value::Null];
    ObjectBuilder::new().schema_type(kinds).enum_values(Some(words)).into()
}

/// Answers with the address of the page at Stripe's where a plan is bought. What was bought holds as soon as Stripe says
/// that it is paid; coming back from the page proves nothing.
#[utoipa::path(
    post, path = "/v1/billing/checkout", tag = "billing", operation_id = "checkout",
    request_body = PurchaseSchema,
    responses(
        (status = 200, body = CheckoutView),
        (status = 400, body = Problem, description = "The request cannot be read, or the plan is not sold: `for_sale` lists those that are."),
        (status = 404, body = Problem, description = "There is no `[billing.stripe]` here."),
        (status = 409, body = Problem, description = "There is a subscription already, or an operator set the plan; or it was done before."),
        (status = 502, body = Problem, description = "Stripe does not do it."),
    ),
    security(("session" = []), ("token" = [])),
)]
pub(super) async fn checkout(
    State(context): State<Context>,
    SignedIn(caller): SignedIn,
    Body(mut fields): Body,
) -> Result<Response, Problem> {
    let (plan, price) = purchase(&mut fields);
    let plan = fields.finish(&["plan", "price"], plan)?;
    let billing = stripe_of(&context)?;
    let url = billing.checkout(&caller.account, &plan, price.as_deref()).await.map_err(refused)?;
    let without = WithoutSecret(json!({ "plan": plan }));
    Ok(once(CheckoutView { checkout_url: url.into() }, without))
}

/// Answers with the address of Stripe's pages where cards and invoices are, and a subscription can be ended.
#[utoipa::path(
    post, path = "/v1/billing/portal", tag = "billing", operation_id = "portal",
    request_body = Option<PortalSchema>,
    responses(
        (status = 200, body = PortalView),
        (status = 400, body = Problem, description = "The request cannot be read, or nothing was ever bought."),
        (status = 404, body = Problem, description = "There is no `[billing.stripe]` here."),
        (status = 502, body = Problem, description = "Stripe does not do it."),
    ),
    security(("session" = []), ("token" = [])),
)]
pub(super) async fn portal(
    State(context): State<Context>,
    Payer(caller): Payer,
    OptionalBody(fields): OptionalBody,
) -> Result<Response, Problem> {
    fields.finish(&[], Some(()))?;
    let url = stripe_of(&context)?.portal(&caller.account).await.map_err(refused)?;
    Ok(once(PortalView { portal_url: url.into() }, WithoutSecret(json!({}))))
}

/// Ends a subscription, with the period that is paid for or at once.
#[utoipa::path(
    post, path = "/v1/billing/cancel", tag = "billing", operation_id = "cancel_subscription",
    request_body = Option<CancelSchema>,
    responses(
        (status = 200, body = StandingView),
        (status = 404, body = Problem, description = "There is no `[billing.stripe]` here."),
        (status = 409, body = Problem, description = "There is no such subscription; or it was done before."),
        (status = 502, body = Problem, description = "Stripe does not do it."),
    ),
    security(("session" = []), ("token" = [])),
)]
pub(super) async fn cancel(
    State(context): State<Context>,
    Payer(caller): Payer,
    OptionalBody(mut fields): OptionalBody,
) -> Result<Json<StandingView>, Problem> {
    let when = fields.text("at", when).unwrap_or(When::PeriodEnd);
    let subscription = fields.text("subscription", inputs::foreign_id);
    fields.finish(&["at", "subscription"], Some(()))?;
    let billing = stripe_of(&context)?;
    let ended = billing.cancel(&caller.account, subscription.as_deref(), when).await.map_err(refused)?;
    Ok(Json(StandingView::new(ended.subscription, ended.status, ended.plan, ended.ends_at)))
}

/// Lets a subscription go on that was to end.
#[utoipa::path(
    post, path = "/v1/billing/reactivate", tag = "billing", operation_id = "reactivate_subscription",
    request_body = Option<ReactivateSchema>,
    responses(
        (status = 200, body = StandingView),
        (status = 404, body = Problem, description = "There is no `[billing.stripe]` here."),
        (status = 409, body = Problem, description = "There is no subscription that goes on; or it was done before."),
        (status = 502, body = Problem, description = "Stripe does not do it."),
    ),
    security(("session" = []), ("token" = [])),
)]
pub(super) async fn reactivate(
    State(context): State<Context>,
    SignedIn(caller): SignedIn,
    OptionalBody(mut fields): OptionalBody,
) -> Result<Json<StandingView>, Problem> {
    let subscription = fields.text("subscription", inputs::foreign_id);
    fields.finish(&["subscription"], Some(()))?;
    let resumed = stripe_of(&context)?.reactivate(&caller.account, subscription.as_deref()).await.map_err(refused)?;
    Ok(Json(StandingView::new(resumed.subscription, resumed.status, resumed.plan, resumed.ends_at)))
}

/// Takes another plan: changes the subscription, and charges the difference as `proration_behavior` says. Without a
/// subscription the answer is where one is bought.
#[utoipa::path(
    post, path = "/v1/billing/change", tag = "billing", operation_id = "change_plan",
    request_body = ChangeSchema,
    responses(
        (status = 200, body = ChangeView),
        (status = 400, body = Problem, description = "The request cannot be read, or the plan is not sold: `for_sale` lists those that are."),
        (status = 402, body = Problem, description = "The card was declined; nothing was changed."),
        (status = 404, body = Problem, description = "There is no `[billing.stripe]` here."),
        (status = 409, body = Problem, description = "A payment is not settled, an operator set the plan, or the preview is out of date; or it was done before."),
        (status = 502, body = Problem, description = "Stripe does not do it."),
    ),
    security(("session" = []), ("token" = [])),
)]
pub(super) async fn change(
    State(context): State<Context>,
    SignedIn(caller): SignedIn,
    Body(mut fields): Body,
) -> Result<Response, Problem> {
    let (plan, price) = purchase(&mut fields);
    let proration_date = fields.text("proration_date", inputs::instant);
    let plan = fields.finish(&["plan", "price", "proration_date"], plan)?;
    let to = NewPlan { plan: &plan, price: price.as_deref(), proration_date };
    match stripe_of(&context)?.change(&caller.account, to).await.map_err(refused)? {
        PlanChange::Changed(now) => {
            let subscription = StandingView::new(now.subscription, now.status, now.plan, now.ends_at);
            let view = ChangeView { changed: true, subscription: Some(subscription), checkout_url: None };
            Ok(Json(view).into_response())
        }
        PlanChange::Checkout(url) => {
            let view = ChangeView { changed: false, subscription: None, checkout_url: Some(url.into()) };
            Ok(once(view, WithoutSecret(json!({ "plan": plan }))))
        }
    }
}

/// Tells what another plan would cost, before it is taken. Nothing is changed.
#[utoipa::path(
    post, path = "/v1/billing/preview", tag = "billing", operation_id = "preview_plan",
    request_body = PurchaseSchema,
    responses(
        (status = 200, body = PreviewView),
        (status = 400, body = Problem, description = "The request cannot be read, or the plan is not sold: `for_sale` lists those that are."),
        (status = 404, body = Problem, description = "There is no `[billing.stripe]` here."),
        (status = 409, body = Problem, description = "A payment is not settled; or it was done before."),
        (status = 502, body = Problem, description = "Stripe does not do it."),
    ),
    security(("session" = []), ("token" = [])),
)]
pub(super) async fn preview(
    State(context): State<Context>,
    SignedIn(caller): SignedIn,
    Body(mut fields): Body,
) -> Result<Json<PreviewView>, Problem> {
    let (plan, price) = purchase(&mut fields);
    let plan = fields.finish(&["plan", "price"], plan)?;
    let preview = stripe_of(&context)?.preview(&caller.account, &plan, price.as_deref()).await.map_err(refused)?;
    Ok(Json(preview.into()))
}

/// Takes `plan`, which must be there, and `price`.
fn purchase(fields: &mut Fields) -> (Option<String>, Option<String>) {
    // Whether it is sold is asked later: that has an answer of its own.
    let plan = fields.required_text("plan", |text| match text.chars().nth(PLAN_CHARS_MAX) {
        None => Ok(text.to_owned()),
        Some(_) => Err(format!("`{}` is no plan's name: it is too long", shown(text))),
    });
    (plan, fields.text("price", inputs::foreign_id))
}

fn when(text: &str) -> Result<When, String> {
    match text {
        "period_end" => Ok(When::PeriodEnd),
        "now" => Ok(When::Now),
        other => Err(format!("`{}` is not a time to end: send period_end or now", shown(other))),
    }
}

/// An answer that holds an address, which is given once.
fn once<T: Serialize>(view: T, without: WithoutSecret) -> Response {
    let mut response = Json(view).into_response();
    response.extensions_mut().insert(without);
    response
}

/// What the owner is told; causes go to the log.
fn refused(error: ActionError) -> Problem {
    let detail = sentence(&error.to_string());
    let of = |code| Problem::new(code, detail.clone());
    match error {
        ActionError::NotSold { sold, .. } => {
            let names: Vec<String> = sold.iter().map(ToString::to_string).collect();
            of(ProblemCode::NotForSale).with("for_sale", names)
        }
        ActionError::OtherPrice { prices, .. } => of(ProblemCode::NotForSale).with("prices", prices),
        ActionError::Banned => of(ProblemCode::AccountDisabled),
        ActionError::OperatorPlan { plan, .. } => of(ProblemCode::PlanAssigned).with("plan", plan.as_str()),
        ActionError::AlreadySubscribed { subscription } => {
            of(ProblemCode::AlreadySubscribed).with("subscription", subscription)
        }
        ActionError::PaymentDue { subscription, .. } => of(ProblemCode::PaymentDue).with("subscription", subscription),
        ActionError::NoCustomer => of(ProblemCode::NoCustomer),
        ActionError::NoSubscription => of(ProblemCode::NoSubscription),
        ActionError::StalePreview => of(ProblemCode::StalePreview),
        ActionError::Declined { .. } => of(ProblemCode::PaymentDeclined),
        ActionError::Unavailable { cause } => {
            of(ProblemCode::StripeUnavailable).retry_soon().because(cause.to_string())
        }
        ActionError::Misconfigured { cause } => of(ProblemCode::StripeRefused).because(cause.to_string()),
        ActionError::NoAccount => Problem::not_found(detail),
        ActionError::Store(error) => Problem::from(error),
    }
}

/// A text that begins as a sentence does, as every `detail` here.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}
