//! What Stripe tells and shows: the endpoint that webhooks go to, the settings of its billing portal, and whether it works
//! out taxes.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Look, Make, Mode, Part, SetupError, State, WEBHOOK_PATH, What};
use crate::EVENT_KINDS;
use crate::actions::{PORTAL, PortalConfiguration, SETUP_KEY, TaxSettings};
use crate::api::ApiError;
use crate::api::objects::lenient;

/// An endpoint that webhooks go to.
#[derive(Clone, Debug, Default, Deserialize)]
struct Endpoint {
    #[serde(default, deserialize_with = "lenient")]
    id: String,
    #[serde(default, deserialize_with = "lenient")]
    url: String,
    #[serde(default, deserialize_with = "lenient")]
    status: String,
    #[serde(default, deserialize_with = "lenient")]
    enabled_events: Vec<String>,
    #[serde(default, deserialize_with = "lenient")]
    livemode: Option<bool>,
}

impl Mode for Endpoint {
    fn livemode(&self) -> Option<bool> {
        self.livemode
    }
}

impl Mode for PortalConfiguration {
    fn livemode(&self) -> Option<bool> {
        self.livemode
    }
}

pub(super) async fn look(look: &Look<'_>, public_base: &str) -> Result<Vec<Part>, SetupError> {
    let base = public_base.trim_end_matches('/');
    let endpoints: Vec<Endpoint> = look.list("/webhook_endpoints", &[]).await?;
    let active = [("active", "true".to_owned())];
    let portals: Vec<PortalConfiguration> = look.list("/billing_portal/configurations", &active).await?;
    Ok(vec![
        Part { what: What::Webhook, state: webhook(&endpoints, &format!("{base}{WEBHOOK_PATH}")) },
        Part { what: What::Portal, state: portal(&portals, base) },
        Part { what: What::Tax, state: tax(look).await? },
    ])
}

fn webhook(endpoints: &[Endpoint], url: &str) -> State {
    let ours: Vec<&Endpoint> = endpoints.iter().filter(|endpoint| endpoint.url == url).collect();
    let Some(endpoint) = ours.first() else {
        let fixed = [("url", url), ("api_version", stripe_client_core::VERSION.as_str()), ("description", "Tollgate")];
        let mut form: Vec<(String, String)> = fixed.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        form.extend(kinds(EVENT_KINDS));
        let summary = format!("to {url}, of {} kinds of event", EVENT_KINDS.len());
        return State::Missing(Make { summary, path: "/webhook_endpoints".into(), form });
    };
    let Endpoint { id, status, enabled_events, .. } = endpoint;
    if ours.len() > 1 {
        return State::Differs { how: format!("{} endpoints go to {url}; one is enough", ours.len()) };
    }
    if status == "disabled" {
        return State::Differs { how: format!("`{id}` is disabled; enable it in the dashboard") };
    }
    let has = |kind: &str| enabled_events.iter().any(|enabled| enabled == "*" || enabled == kind);
    let missing: Vec<&str> = EVENT_KINDS.iter().copied().filter(|kind| !has(kind)).collect();
    if missing.is_empty() {
        return State::There { id: id.clone() };
    }
    let all: BTreeSet<&str> = enabled_events.iter().map(String::as_str).chain(missing.iter().copied()).collect();
    State::Missing(Make {
        summary: format!("`{id}` also to be told of {}", missing.join(", ")),
        path: format!("/webhook_endpoints/{id}"),
        form: kinds(all),
    })
}

fn kinds<'a>(kinds: impl IntoIterator<Item = &'a str>) -> Vec<(String, String)> {
    kinds.into_iter().enumerate().map(|(at, kind)| (format!("enabled_events[{at}]"), kind.to_owned())).collect()
}

/// Settings that a person saved in the dashboard are as good as ours. Without any Stripe opens no portal.
fn portal(known: &[PortalConfiguration], base: &str) -> State {
    if let Some(found) = known.iter().find(|known| known.is_default || known.is_ours()) {
        return State::There { id: found.id.clone() };
    }
    let back = format!("{base}/account/billing");
    let mark = format!("metadata[{SETUP_KEY}]");
    let form = [
        ("default_return_url", back.as_str()),
        ("features[customer_update][enabled]", "true"),
        ("features[customer_update][allowed_updates][0]", "address"),
        ("features[customer_update][allowed_updates][1]", "tax_id"),
        ("features[invoice_history][enabled]", "true"),
        ("features[payment_method_update][enabled]", "true"),
        ("features[subscription_cancel][enabled]", "true"),
        ("features[subscription_cancel][mode]", "at_period_end"),
        (mark.as_str(), PORTAL),
    ];
    State::Missing(Make {
        summary: "invoices, ways to pay, addresses and tax ids, cancelling at the end of the period".into(),
        path: "/billing_portal/configurations".into(),
        form: form.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    })
}

async fn tax(look: &Look<'_>) -> Result<State, SetupError> {
    match look.api.get::<TaxSettings>("/tax/settings", &[]).await {
        Ok(settings) if settings.is_active() => Ok(State::There { id: "set up, so Checkout works taxes out".into() }),
        Ok(_) => Ok(State::LeftToYou { advice: "not set up; without it Checkout charges the price and no tax".into() }),
        Err(error @ (ApiError::Unavailable(_) | ApiError::Unreadable(_))) => Err(error.into()),
        Err(ApiError::Refused { .. }) => Ok(State::LeftToYou {
            advice: "this key may not read its settings; without `Tax Settings: read` Checkout charges no tax".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(is_default: bool, mark: &str) -> PortalConfiguration {
        let id = "bpc_1".to_owned();
        let metadata = [(SETUP_KEY.to_owned(), mark.to_owned())].into();
        PortalConfiguration { id, is_default, metadata, livemode: Some(false) }
    }

    #[test]
    fn the_portal_is_set_up_where_nobody_did() {
        for found in [known(true, ""), known(false, PORTAL)] {
            assert_eq!(portal(&[found], "https://example.com"), State::There { id: "bpc_1".into() });
        }
        for others in [vec![], vec![known(false, "somebody else's")]] {
            let State::Missing(make) = portal(&others, "https://example.com/tollgate") else { panic!("it is missing") };
            let has = |key: &str, value: &str| make.form.iter().any(|(name, given)| name == key && given == value);
            assert!(has("default_return_url", "https://example.com/tollgate/account/billing"));
            assert!(has("features[subscription_cancel][mode]", "at_period_end") && has("metadata[tollgate]", PORTAL));
            // Plans are changed at Tollgate, which knows operators' plans and what is sold.
            assert!(!make.form.iter().any(|(name, _)| name.contains("subscription_update")));
        }
    }

    #[test]
    fn an_endpoint_that_is_disabled_or_doubled_is_told() {
        let url = "https://example.com/stripe/webhook";
        let endpoint = |status: &str, events: &[&str]| Endpoint {
            id: "we_1".into(),
            url: url.into(),
            status: status.into(),
            enabled_events: events.iter().map(ToString::to_string).collect(),
            livemode: None,
        };
        let all = endpoint("enabled", &["*"]);
        assert_eq!(webhook(std::slice::from_ref(&all), url), State::There { id: "we_1".into() });
        assert!(matches!(webhook(std::slice::from_ref(&all), "https://elsewhere.example"), State::Missing(_)));
        assert!(matches!(webhook(&[all.clone(), all.clone()], url), State::Differs { .. }));
        assert!(matches!(webhook(&[endpoint("disabled", &["*"])], url), State::Differs { .. }));
    }
}
