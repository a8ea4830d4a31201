//! The account that the API key belongs to.

use serde_json::{Value, json};

use crate::state::State;

/// `GET /v1/account`
pub(crate) fn get(state: &State) -> Value {
    json!({
        "id": "acct_1FakeFakeFakeFake",
        "object": "account",
        "business_type": "company",
        "capabilities": { "card_payments": "active" },
        "charges_enabled": true,
        "country": "US",
        "created": state.now,
        "default_currency": "usd",
        "details_submitted": true,
        "email": null,
        "metadata": {},
        "payouts_enabled": true,
        "settings": { "dashboard": { "display_name": "Fake Stripe", "timezone": "Etc/UTC" } },
        "type": "standard",
    })
}
