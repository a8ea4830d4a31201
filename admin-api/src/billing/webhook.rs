//! `POST /stripe/webhook`: hands what Stripe sends to the inbox, byte for byte, and acknowledges it once it is stored.
//!
//! A signature is the only proof there is: no key, session, `Idempotency-Key` or CSRF proof is looked at. What follows from
//! an event is worked out later, by whoever works the inbox off.

use axum::Json;
use axum::extract::{Request, State};
use http::{HeaderMap, HeaderName};
use serde::Serialize;
use serde_json::Value;
use tollgate_billing::{Received, Rejected};
use utoipa::ToSchema;

use super::stripe_of;
use crate::context::Context;
use crate::problem::{Problem, ProblemCode};
use crate::request::whole_body;

/// Carries the time and the signatures of a webhook.
const SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");

/// A webhook that was taken.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookTaken)]
pub(super) struct TakenView {
    /// `stored`, `known` (it was stored before), or `ignored` (nothing follows from events of its kind).
    result: &'static str,
}

/// An event, as Stripe sends it.
#[derive(ToSchema)]
#[schema(as = StripeEvent, example = json!({
    "id": "evt_1", "object": "event", "api_version": "2026-09-30.endive", "created": 1_773_144_000, "livemode": false,
    "type": "customer.subscription.updated",
    "data": { "object": { "id": "sub_1", "object": "subscription", "customer": "cus_1" } },
}))]
#[expect(dead_code, reason = "it describes what is read")]
pub(super) struct EventSchema {
    id: String,
    /// `event`.
    #[schema(required = false, nullable = false)]
    object: String,
    /// Of what shape `data` is.
    #[schema(required = false)]
    api_version: Option<String>,
    /// Such as `invoice.paid`.
    r#type: String,
    livemode: bool,
    /// Unix seconds.
    created: i64,
    #[schema(schema_with = crate::openapi::any_object)]
    data: Value,
}

/// Takes an event of Stripe's. It is answered once it is stored; only Stripe can sign one.
#[utoipa::path(
    post, path = "/stripe/webhook", tag = "billing", operation_id = "stripe_webhook",
    params(("Stripe-Signature" = String, Header, description = "`t=…,v1=…`, of the raw body.")),
    request_body = EventSchema,
    responses(
        (status = 200, body = TakenView, description = "It is stored, or was before, or nothing follows from it."),
        (status = 400, body = Problem, description = "Its signature, body or mode is wrong; `detail` says which."),
        (status = 404, body = Problem, description = "There is no `[billing.stripe]` here."),
    ),
)]
pub(super) async fn take(State(context): State<Context>, request: Request) -> Result<Json<TakenView>, Problem> {
    let billing = stripe_of(&context)?;
    let signature = signature_of(request.headers());
    let body = whole_body(request).await?;
    match billing.receive(signature.as_deref(), &body).await {
        Ok(received) => Ok(Json(TakenView {
            result: match received {
                Received::Stored => "stored",
                Received::Known => "known",
                Received::Ignored => "ignored",
            },
        })),
        Err(rejected) => Err(refused(rejected)),
    }
}

/// The signature header, where there is one; what is no text, or stands there twice, is one that cannot be read.
fn signature_of(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(SIGNATURE).iter();
    let first = values.next()?;
    let only = first.to_str().ok().filter(|_| values.next().is_none());
    Some(only.unwrap_or_default().to_owned())
}

/// The reason is told: whoever sends webhooks is told it in Stripe's dashboard, and it helps nobody forge one.
fn refused(rejected: Rejected) -> Problem {
    let code = match rejected {
        Rejected::Signature(_) => ProblemCode::InvalidSignature,
        Rejected::Payload(_) => ProblemCode::InvalidEvent,
        Rejected::Livemode(_) => ProblemCode::OtherMode,
        Rejected::Store(error) => return Problem::from(error),
    };
    tracing::warn!(reason = %rejected, "a webhook was refused");
    Problem::new(code, rejected.to_string())
}
