//! Webhook endpoints, and the secrets each is signed with while one is rolled.

use serde_json::{Value, json};

use super::event::matches;
use super::{merge_metadata, new_metadata};
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::paging;
use crate::state::table::Row;
use crate::state::{Metadata, Shape, State};

const KNOWN: &[&str] =
    &["api_version", "connect", "description", "disabled", "enabled_events", "expand", "metadata", "url"];

#[derive(Debug)]
pub(crate) struct WebhookEndpoint {
    pub(crate) id: String,
    created: i64,
    pub(crate) url: String,
    pub(crate) secret: String,
    /// An old secret that still signs, until then.
    old_secret: Option<(String, i64)>,
    enabled_events: Vec<String>,
    pub(crate) enabled: bool,
    deleted: bool,
    description: Option<String>,
    api_version: Option<String>,
    metadata: Metadata,
}

impl WebhookEndpoint {
    pub(crate) fn wants(&self, kind: &str) -> bool {
        self.enabled && !self.deleted && self.enabled_events.iter().any(|pattern| matches(pattern, kind))
    }

    /// The secrets that sign at this time: the newest first.
    pub(crate) fn secrets(&self, now: i64) -> Vec<&str> {
        let old = self.old_secret.as_ref().filter(|(_, until)| *until > now);
        std::iter::once(self.secret.as_str()).chain(old.map(|(secret, _)| secret.as_str())).collect()
    }
}

impl Row for WebhookEndpoint {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn render(&self, state: &State, _shape: Shape) -> Value {
        json!({
            "id": self.id,
            "object": "webhook_endpoint",
            "api_version": self.api_version,
            "application": null,
            "created": self.created,
            "description": self.description,
            "enabled_events": self.enabled_events,
            "livemode": state.config.livemode,
            "metadata": self.metadata,
            "status": if self.enabled { "enabled" } else { "disabled" },
            "url": self.url,
        })
    }
}

/// Registers an endpoint; without a secret it gets one of its own.
pub(crate) fn add(state: &mut State, url: &str, enabled_events: Vec<String>, secret: Option<String>) -> String {
    let id = state.new_id("we");
    let secret = secret.unwrap_or_else(|| state.random.id("whsec", 32));
    state.endpoints.insert(WebhookEndpoint {
        id: id.clone(),
        created: state.now,
        url: url.to_owned(),
        secret,
        old_secret: None,
        enabled_events,
        enabled: true,
        deleted: false,
        description: None,
        api_version: None,
        metadata: Metadata::new(),
    });
    id
}

/// A new secret; the old one goes on signing for so many seconds.
pub(crate) fn roll(state: &mut State, id: &str, keep_old: i64) -> Result<String, ApiError> {
    let secret = state.random.id("whsec", 32);
    let until = state.signature_now() + keep_old;
    let endpoint = state.endpoints.get_mut(id).ok_or_else(|| ApiError::no_such("webhook endpoint", id, "id"))?;
    let old = std::mem::replace(&mut endpoint.secret, secret.clone());
    endpoint.old_secret = Some((old, until));
    Ok(secret)
}

/// `POST /v1/webhook_endpoints`: the only answer that shows the secret.
pub(crate) fn create(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    call.only(KNOWN)?;
    let params = &call.params;
    let url = params.required("url")?;
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(ApiError::invalid(
            "Invalid URL: An explicit scheme (such as https) must be provided.",
            Some("url"),
        )
        .with_code("url_invalid"));
    }
    let enabled_events: Vec<String> = params.texts("enabled_events").into_iter().map(str::to_owned).collect();
    if enabled_events.is_empty() {
        return Err(ApiError::missing("enabled_events"));
    }
    let id = add(state, url, enabled_events, None);
    if let Some(endpoint) = state.endpoints.get_mut(&id) {
        endpoint.description = params.value("description").map(str::to_owned);
        endpoint.api_version = params.value("api_version").map(str::to_owned);
        endpoint.metadata = new_metadata(params, "metadata");
    }
    let mut shown = call.show(state, &id)?;
    shown["secret"] = json!(state.endpoints.get(&id).map(|endpoint| endpoint.secret.as_str()));
    Ok(shown)
}

/// `GET /v1/webhook_endpoints/{id}`
pub(crate) fn get(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    living(state, id)?;
    call.show(state, id)
}

/// `POST /v1/webhook_endpoints/{id}`
pub(crate) fn update(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    call.only(KNOWN)?;
    living(state, id)?;
    let disabled = call.params.flag("disabled")?;
    let events: Vec<String> = call.params.texts("enabled_events").into_iter().map(str::to_owned).collect();
    if let Some(endpoint) = state.endpoints.get_mut(id) {
        if let Some(url) = call.params.value("url") {
            url.clone_into(&mut endpoint.url);
        }
        if !events.is_empty() {
            endpoint.enabled_events = events;
        }
        if let Some(disabled) = disabled {
            endpoint.enabled = !disabled;
        }
        if call.params.has("description") {
            endpoint.description = call.params.value("description").map(str::to_owned);
        }
        merge_metadata(&mut endpoint.metadata, &call.params, "metadata");
    }
    call.show(state, id)
}

/// `DELETE /v1/webhook_endpoints/{id}`
pub(crate) fn delete(state: &mut State, id: &str) -> Result<Value, ApiError> {
    living(state, id)?;
    if let Some(endpoint) = state.endpoints.get_mut(id) {
        endpoint.deleted = true;
    }
    Ok(json!({ "id": id, "object": "webhook_endpoint", "deleted": true }))
}

/// `GET /v1/webhook_endpoints`
pub(crate) fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    paging::page(state, &state.endpoints, call, None, |endpoint| !endpoint.deleted)
}

fn living<'a>(state: &'a State, id: &str) -> Result<&'a WebhookEndpoint, ApiError> {
    let found = state.endpoints.get(id).filter(|endpoint| !endpoint.deleted);
    found.ok_or_else(|| ApiError::no_such("webhook endpoint", id, "id"))
}
