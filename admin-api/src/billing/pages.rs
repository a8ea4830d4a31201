//! The pages that Checkout and Stripe's portal lead back to, where the operator names none of its own. They change nothing
//! and prove nothing: what was bought holds once Stripe has said so.

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use tollgate_billing::sold_plans;
use tollgate_domain::{Account, Plan, entitlement};

use crate::context::{Context, Shared};
use crate::customer::Payer;
use crate::html::{escaped, html};

/// Where Checkout leads back to once it is paid, and the portal: the plan of whoever is signed in.
#[utoipa::path(
    get, path = "/account/billing", tag = "billing", operation_id = "billing_page",
    responses((status = 200, description = "A page.", body = String, content_type = "text/html; charset=utf-8")),
)]
pub(super) async fn account(State(context): State<Context>, mut parts: Parts) -> Response {
    // Somebody who has not signed in, or is not known right now, sees the page all the same.
    let standing = match Payer::from_request_parts(&mut parts, &context).await {
        Ok(Payer(caller)) => standing(&context, &caller.account),
        Err(_) => "<p>Sign in to see your plan and to make a key.</p>".to_owned(),
    };
    let content = format!(
        "{standing}<p>If you have just paid: thank you. Your plan holds as soon as Stripe has confirmed the payment, \
         within seconds as a rule; then load this page again.</p>"
    );
    html(StatusCode::OK, "Your plan", &content)
}

fn standing(shared: &Shared, account: &Account) -> String {
    let entitlement = entitlement(account, &shared.policy().plans, shared.now());
    let has_access = entitlement.has_access() && account.ban.is_none();
    let plan = entitlement.plan().map_or_else(|| "no plan".to_owned(), |plan| name(plan));
    let next = if has_access { "You can call the API, and make keys." } else { "It gives no access to the API." };
    format!("<p>Signed in as {}, on <b>{plan}</b>. {next}</p>", escaped(&account.email))
}

/// Where Checkout leads back to when nothing was bought: what is sold.
#[utoipa::path(
    get, path = "/pricing", tag = "billing", operation_id = "pricing_page",
    responses((status = 200, description = "A page.", body = String, content_type = "text/html; charset=utf-8")),
)]
pub(super) async fn pricing(State(context): State<Context>) -> Response {
    let policy = context.policy();
    let sold = sold_plans(&policy.plans).filter(|_| context.deps.billing.is_some());
    let list: String = sold.map(|plan| item(plan)).collect();
    let content = if list.is_empty() {
        "<p>Nothing is sold here.</p>".to_owned()
    } else {
        format!("<ul>{list}</ul><p>If you come from Stripe: nothing was bought, and nothing was charged.</p>")
    };
    html(StatusCode::OK, "Plans", &content)
}

fn item(plan: &Plan) -> String {
    let price = plan.price.as_ref().map(|price| escaped(&price.to_string()));
    let description = plan.description.as_deref().map(escaped);
    let facts: Vec<String> =
        [Some(format!("<b>{}</b>", name(plan))), price, description].into_iter().flatten().collect();
    format!("<li>{}</li>", facts.join(", "))
}

fn name(plan: &Plan) -> String {
    escaped(plan.display_name.as_deref().unwrap_or(plan.name.as_str()))
}
