//! What an operator's request for a new key holds beside what every key is given: whose it is, and a rate of its own.

use tollgate_domain::{Bucket, PlanName, PlanTable, Rate, Timestamp, default_burst};

use crate::fields::Fields;
use crate::inputs;
use crate::key_fields::{KeyFields, with_key_fields};
use crate::problem::Problem;

/// Every field, for the advice on unknown ones.
const KNOWN: &[&str] = &[
    "email",
    "account",
    "plan",
    "name",
    "expires_at",
    "scopes",
    "read_only",
    "ip_allow",
    "ip_deny",
    "rate",
    "burst",
    "cap",
];

/// A key that is asked for.
#[derive(Debug, PartialEq)]
pub(crate) struct KeyRequest {
    pub(crate) owner: Owner,
    pub(crate) plan: Option<PlanName>,
    pub(crate) key: KeyFields,
    pub(crate) bucket: Option<Bucket>,
}

/// Whose it will be.
#[derive(Debug, PartialEq)]
pub(crate) enum Owner {
    /// The account of this e-mail, made if it is new.
    Email(String),
    /// The account of this id or e-mail, which must be there.
    Reference(String),
}

impl KeyRequest {
    /// Reads the fields of a request.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn read(mut fields: Fields, plans: &PlanTable, now: Timestamp) -> Result<Self, Problem> {
        let owner = owner(&mut fields);
        let plan = fields.text("plan", |text| inputs::plan(text, plans));
        let key = KeyFields::take(&mut fields, now);
        let bucket = bucket(&mut fields);
        let request = owner.map(|owner| Self { owner, plan, key, bucket });
        fields.finish(KNOWN, request)
    }
}

with_key_fields! {
    /// Whose key it will be, and what it is given. Send `email`, or `account` for one that is there.
    #[schema(as = OperatorKeyRequest, example = json!({
        "email": "ada@example.com", "plan": "pro", "name": "CI", "expires_at": "2099-12-31T00:00:00Z"
    }))]
    KeyRequestSchema {
        /// The account's e-mail; the account is made if it is new.
        email: Option<String>,
        /// The account's id or e-mail, which must be there.
        account: Option<String>,
        /// The plan of an account that is made; for one that is there, the plan it must be on.
        plan: Option<String>,
        /// A rate of its own, such as `600/minute`.
        rate: Option<String>,
        /// Calls at once, under that rate.
        #[schema(minimum = 0)]
        burst: Option<u64>,
    }
}

fn owner(fields: &mut Fields) -> Option<Owner> {
    let (has_email, has_account) = (fields.has("email"), fields.has("account"));
    let email = fields.text("email", inputs::email).map(Owner::Email);
    let account = fields.text("account", |text| Ok(Owner::Reference(text.to_owned())));
    match (has_email, has_account) {
        (true, true) => {
            fields.refuse("account", "send `email` or `account`, not both");
            None
        }
        (false, false) => {
            fields.refuse("email", "send `email`, or `account` for one that is there");
            None
        }
        _ => email.or(account),
    }
}

/// The key's own bucket: a burst alone means nothing, a rate alone has the burst a plan's would have.
fn bucket(fields: &mut Fields) -> Option<Bucket> {
    let has_rate = fields.has("rate");
    let has_burst = fields.has("burst");
    let rate: Option<Rate> = fields.text("rate", inputs::rate);
    let burst = fields.count("burst");
    if has_burst && !has_rate {
        fields.refuse("burst", "a burst needs a `rate`, such as \"600/minute\"");
        return None;
    }
    let rate = rate?;
    if has_burst && burst.is_none() {
        return None;
    }
    if burst == Some(0) && rate.count > 0 {
        fields.refuse("burst", "a burst of 0 lets no call through; send at least 1");
        return None;
    }
    match Bucket::new(rate, burst.unwrap_or_else(|| default_burst(rate))) {
        Ok(bucket) => Some(bucket),
        Err(error) => {
            fields.refuse("rate", error.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tollgate_domain::Plan;

    use super::*;

    fn read(body: Value) -> Result<KeyRequest, Problem> {
        let plans = PlanTable::new(
            ["free", "pro", "public"].map(|name| Plan::unlimited(PlanName::new(name).expect("a good name"))),
            None,
        );
        KeyRequest::read(Fields::of(body).expect("an object"), &plans, Timestamp::from_secs(1_800_000_000))
    }

    async fn pointers(body: Value) -> Vec<String> {
        let mut response = http::Response::new(axum::body::Body::empty());
        read(body).expect_err("refused").write("r", &mut response);
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("whole");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["pointer"].as_str().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn a_full_request_is_read() {
        let request = read(json!({
            "email": " ada@example.com ", "plan": "pro", "name": "CI", "expires_at": "2027-01-16T00:00:00Z",
            "scopes": ["events-*"], "read_only": true, "ip_allow": ["10.0.0.0/8"], "ip_deny": ["10.0.0.1"],
            "rate": "600/minute", "burst": 7, "cap": 0,
        }))
        .expect("all is well");
        assert_eq!(request.owner, Owner::Email("ada@example.com".into()));
        assert_eq!(request.bucket.map(|bucket| bucket.burst()), Some(7));
        assert_eq!(request.key.cap, Some(0));
    }

    #[tokio::test]
    async fn each_bad_field_is_pointed_at() {
        let email = |field: &str, value: Value| {
            let mut body = json!({ "email": "a@b" });
            body[field] = value;
            body
        };
        for (body, expected) in [
            (json!({}), "#/email"),
            (json!({ "email": "a@b", "account": "acc_1" }), "#/account"),
            (json!({ "email": "nobody" }), "#/email"),
            (json!({ "email": 5 }), "#/email"),
            (email("plan", json!("gold")), "#/plan"),
            (email("plan", json!("public")), "#/plan"),
            (email("name", json!("a\nb")), "#/name"),
            (email("expires_at", json!("2020-01-01")), "#/expires_at"),
            (email("expires_at", json!("soon")), "#/expires_at"),
            (email("scopes", json!(["ok", "not ok"])), "#/scopes/1"),
            (email("scopes", json!("events")), "#/scopes"),
            (email("read_only", json!("yes")), "#/read_only"),
            (email("ip_allow", json!(["10.0.0.0/40"])), "#/ip_allow/0"),
            (email("ip_deny", json!([7])), "#/ip_deny/0"),
            (email("rate", json!("600")), "#/rate"),
            (email("burst", json!(5)), "#/burst"),
            (json!({ "email": "a@b", "rate": "5/minute", "burst": 0 }), "#/burst"),
            (json!({ "email": "a@b", "rate": "5/minute", "burst": 1.5 }), "#/burst"),
            (json!({ "email": "a@b", "rate": "1/31d", "burst": 1_000_000_000 }), "#/rate"),
            (email("cap", json!(-1)), "#/cap"),
            (email("cap", json!(u64::MAX)), "#/cap"),
            (email("colour", json!("red")), "#/colour"),
        ] {
            assert_eq!(pointers(body.clone()).await, [expected], "{body}");
        }
        let both = json!({ "email": "x", "plan": "gold", "colour": 1 });
        assert_eq!(pointers(both).await, ["#/email", "#/plan", "#/colour"], "all at once");
    }
}
