//! What a request for a new key holds, read and checked field by field.

use tollgate_domain::{Bucket, Glob, IpRules, KeyLimits, PlanName, PlanTable, Rate, Timestamp, default_burst};

use crate::fields::Fields;
use crate::inputs;
use crate::problem::Problem;

/// Scopes a key may have.
const SCOPES_MAX: usize = 64;
/// Networks each list of a key's IP rules may have.
const NETWORKS_MAX: usize = 256;
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
    pub(crate) name: Option<String>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) scopes: Vec<Glob>,
    pub(crate) read_only: bool,
    pub(crate) ip_rules: IpRules,
    pub(crate) limits: KeyLimits,
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
        let name = fields.text("name", inputs::name);
        let expires_at = fields.text("expires_at", |text| match inputs::instant(text)? {
            at if at > now => Ok(at),
            at => Err(format!("{at} has passed; a key's expiry lies in the future")),
        });
        let scopes = fields.texts("scopes", SCOPES_MAX, inputs::scope);
        let read_only = fields.flag("read_only");
        let allow = fields.texts("ip_allow", NETWORKS_MAX, inputs::network);
        let deny = fields.texts("ip_deny", NETWORKS_MAX, inputs::network);
        let bucket = bucket(&mut fields);
        let cap = fields.take("cap", |value| match value.as_u64() {
            Some(cap) => inputs::units(cap),
            None => Err("send a whole number from 0".into()),
        });
        let request = owner.map(|owner| Self {
            owner,
            plan,
            name,
            expires_at,
            scopes,
            read_only,
            ip_rules: IpRules { allow, deny },
            limits: KeyLimits { bucket, cap },
        });
        fields.finish(KNOWN, request)
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
        assert_eq!(request.limits.bucket.map(|bucket| bucket.burst()), Some(7));
        assert_eq!(request.limits.cap, Some(0));
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
