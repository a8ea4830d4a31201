//! Customer Portal sessions. The page is in `pages::portal`.

use serde_json::{Value, json};

use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::paging;
use crate::state::table::Row;
use crate::state::{Shape, State};

#[derive(Debug)]
pub(crate) struct PortalSession {
    id: String,
    created: i64,
    pub(crate) customer: String,
    pub(crate) return_url: Option<String>,
    /// In the page's address: whoever has it is let in.
    token: String,
}

impl Row for PortalSession {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn customer(&self) -> Option<&str> {
        Some(&self.customer)
    }

    fn render(&self, state: &State, _shape: Shape) -> Value {
        json!({
            "id": self.id,
            "object": "billing_portal.session",
            "configuration": "bpc_1FakeFakeFakeFakeFakeFake",
            "created": self.created,
            "customer": self.customer,
            "customer_account": null,
            "flow": null,
            "livemode": state.config.livemode,
            "locale": null,
            "on_behalf_of": null,
            "return_url": self.return_url,
            "url": format!("{}/p/session/{}", state.base, self.token),
        })
    }
}

/// `POST /v1/billing_portal/sessions`
pub(crate) fn create(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    call.only(&[
        "configuration",
        "customer",
        "customer_account",
        "expand",
        "flow_data",
        "locale",
        "on_behalf_of",
        "return_url",
    ])?;
    let customer = call.params.required("customer")?.to_owned();
    state.living_customer(&customer)?;
    let id = state.new_id("bps");
    let token = state.random.id("test", 40);
    let return_url = call.params.value("return_url").map(str::to_owned);
    state.portal_sessions.insert(PortalSession { id: id.clone(), created: state.now, customer, return_url, token });
    call.show(state, &id)
}

/// The session whose page has this token.
pub(crate) fn by_token<'a>(state: &'a State, token: &str) -> Option<&'a PortalSession> {
    state.portal_sessions.iter().rev().find(|session| session.token == token)
}

/// `GET /v1/billing_portal/configurations`: one, which allows everything the page plays.
pub(crate) fn configurations(state: &State, call: &Call) -> Value {
    let configuration = json!({
        "id": "bpc_1FakeFakeFakeFakeFakeFake",
        "object": "billing_portal.configuration",
        "active": true,
        "application": null,
        "business_profile": { "headline": null, "privacy_policy_url": null, "terms_of_service_url": null },
        "created": state.now,
        "default_return_url": null,
        "features": {
            "customer_update": { "allowed_updates": [], "enabled": false },
            "invoice_history": { "enabled": true },
            "payment_method_update": { "enabled": true, "payment_method_configuration": null },
            "subscription_cancel": {
                "cancellation_reason": { "enabled": false, "options": [] },
                "enabled": true,
                "mode": "at_period_end",
                "proration_behavior": "none",
            },
            "subscription_update": {
                "default_allowed_updates": ["price"],
                "enabled": true,
                "products": null,
                "proration_behavior": "always_invoice",
                "schedule_at_period_end": { "conditions": [] },
            },
        },
        "is_default": true,
        "livemode": state.config.livemode,
        "login_page": { "enabled": false, "url": null },
        "metadata": {},
        "name": null,
        "updated": state.now,
    });
    paging::listed(call, vec![configuration], false)
}
