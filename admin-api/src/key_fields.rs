//! What a key is given when it is made or changed: the fields, read and checked, the same for operators and customers.

use ipnet::IpNet;
use tollgate_domain::{DAY_US, Glob, IpRules, Key, Timestamp};
use tollgate_store::KeyPatch;
use utoipa::ToSchema;

use crate::fields::Fields;
use crate::inputs;
use crate::problem::Problem;

/// Scopes a key may have.
const SCOPES_MAX: usize = 64;
/// Networks each list of a key's IP rules may have.
const NETWORKS_MAX: usize = 256;
/// Longest grace of a rotation.
const GRACE_DAYS_MAX: i64 = 30;
/// The fields that a change may have.
const PATCH_FIELDS: &[&str] = &["name", "scopes", "read_only", "ip_allow", "ip_deny", "expires_at", "cap"];
/// The fields that a key of a customer's own making may have.
pub(crate) const OWN_FIELDS: &[&str] = PATCH_FIELDS;

/// What a key that is made is given, whoever makes it. Its own rate is for operators to set.
#[derive(Debug, PartialEq)]
pub(crate) struct KeyFields {
    pub(crate) name: Option<String>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) scopes: Vec<Glob>,
    pub(crate) read_only: bool,
    pub(crate) ip_rules: IpRules,
    pub(crate) cap: Option<u64>,
}

impl KeyFields {
    /// Takes its fields; what is wrong is kept among them.
    pub(crate) fn take(fields: &mut Fields, now: Timestamp) -> Self {
        let name = fields.text("name", inputs::name);
        let expires_at = fields.text("expires_at", |text| expiry(text, now));
        let scopes = fields.texts("scopes", SCOPES_MAX, inputs::scope);
        let read_only = fields.flag("read_only");
        let (allow, deny) = (networks(fields, "ip_allow"), networks(fields, "ip_deny"));
        let cap = fields.take("cap", |value| cap(&value));
        Self { name, expires_at, scopes, read_only, ip_rules: IpRules { allow, deny }, cap }
    }
}

/// A change of a key as it is asked for. Absent fields stay as they are; null takes away what there was.
#[derive(Debug, PartialEq)]
pub(crate) struct KeyChange {
    patch: KeyPatch,
    allow: Option<Vec<IpNet>>,
    deny: Option<Vec<IpNet>>,
}

impl KeyChange {
    /// Reads a request.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn read(mut fields: Fields, now: Timestamp) -> Result<Self, Problem> {
        let sent = |fields: &Fields, name: &str| fields.contains(name);
        let (has_name, has_scopes) = (sent(&fields, "name"), sent(&fields, "scopes"));
        let (has_read_only, has_expiry) = (sent(&fields, "read_only"), sent(&fields, "expires_at"));
        let (has_allow, has_deny) = (sent(&fields, "ip_allow"), sent(&fields, "ip_deny"));
        let has_cap = sent(&fields, "cap");
        let given = KeyFields::take(&mut fields, now);
        let change = Self {
            patch: KeyPatch {
                name: has_name.then_some(given.name),
                scopes: has_scopes.then_some(given.scopes),
                read_only: has_read_only.then_some(given.read_only),
                ip_rules: None,
                expires_at: has_expiry.then_some(given.expires_at),
                cap: has_cap.then_some(given.cap),
            },
            allow: has_allow.then_some(given.ip_rules.allow),
            deny: has_deny.then_some(given.ip_rules.deny),
        };
        fields.finish(PATCH_FIELDS, Some(change))
    }

    /// The names of what is changed, for the audit trail.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        let Self { patch, allow, deny } = self;
        let KeyPatch { name, scopes, read_only, ip_rules: _, expires_at, cap } = patch;
        [
            ("name", name.is_some()),
            ("scopes", scopes.is_some()),
            ("read_only", read_only.is_some()),
            ("ip_allow", allow.is_some()),
            ("ip_deny", deny.is_some()),
            ("expires_at", expires_at.is_some()),
            ("cap", cap.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_changed)| is_changed.then_some(name))
        .collect()
    }

    /// The change of this key: of its IP rules, the list that was not sent stays.
    pub(crate) fn of(self, key: &Key) -> KeyPatch {
        let Self { mut patch, allow, deny } = self;
        if allow.is_some() || deny.is_some() {
            let rules = key.ip_rules.clone();
            patch.ip_rules = Some(IpRules { allow: allow.unwrap_or(rules.allow), deny: deny.unwrap_or(rules.deny) });
        }
        patch
    }
}

/// Reads the request of a rotation: how long the old key goes on working, in microseconds.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn read_grace(mut fields: Fields) -> Result<i64, Problem> {
    let grace_us = fields.text("grace", |text| {
        let grace_us = inputs::duration_us(text)?;
        let fits = grace_us <= GRACE_DAYS_MAX * DAY_US;
        fits.then_some(grace_us).ok_or_else(|| format!("a grace is at most {GRACE_DAYS_MAX}d"))
    });
    fields.finish(&["grace"], Some(()))?;
    Ok(grace_us.unwrap_or(0))
}

/// A request's body that holds, beside fields of its own, what a key may be given.
macro_rules! with_key_fields {
    ($(#[$meta:meta])* $name:ident { $($own:tt)* }) => {
        #[derive(utoipa::ToSchema)]
        $(#[$meta])*
        #[expect(dead_code, reason = "it describes what is read")]
        pub(crate) struct $name {
            $($own)*
            /// What its owner calls it.
            #[schema(min_length = 1, max_length = 100)]
            name: Option<String>,
            /// From when on it is refused (RFC 3339), in the future.
            expires_at: Option<String>,
            /// The routes it may call, by name or glob; empty means all.
            #[schema(max_items = 64)]
            scopes: Option<Vec<String>>,
            /// Whether it may only read.
            read_only: Option<bool>,
            /// Networks it may be used from, in CIDR form; empty means all.
            #[schema(max_items = 256)]
            ip_allow: Option<Vec<String>>,
            /// Networks it may not be used from.
            #[schema(max_items = 256)]
            ip_deny: Option<Vec<String>>,
            /// Units it may use a period, of the account's quota.
            #[schema(minimum = 0, maximum = 9_007_199_254_740_992_u64)]
            cap: Option<u64>,
        }
    };
}
pub(crate) use with_key_fields;

with_key_fields! {
    /// What a key is given. What is left out or null is not limited.
    #[schema(as = NewKeyRequest, example = json!({
        "name": "CI", "scopes": ["events-*"], "read_only": true, "ip_allow": ["203.0.113.0/24"], "cap": 5000
    }))]
    NewKeySchema {}
}

with_key_fields! {
    /// What of a key is changed. What is left out stays; null takes away.
    #[schema(as = KeyChangeRequest, example = json!({ "name": "CI", "read_only": false, "cap": null }))]
    KeyChangeSchema {}
}

/// How a key is replaced.
#[derive(ToSchema)]
#[schema(as = RotationRequest, example = json!({ "grace": "1h" }))]
#[expect(dead_code, reason = "it describes what `read_grace` reads")]
pub(crate) struct RotationSchema {
    /// How long the old key goes on working, such as `90s`, `15m`, `1h` or `7d`: at most 30 days; at once if left out.
    grace: Option<String>,
}

fn expiry(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    match inputs::instant(text)? {
        at if at > now => Ok(at),
        at => Err(format!("{at} has passed; a key's expiry lies in the future")),
    }
}

fn networks(fields: &mut Fields, name: &str) -> Vec<IpNet> {
    fields.texts(name, NETWORKS_MAX, inputs::network)
}

fn cap(value: &serde_json::Value) -> Result<u64, String> {
    match value.as_u64() {
        Some(cap) => inputs::units(cap),
        None => Err("send a whole number from 0".into()),
    }
}
