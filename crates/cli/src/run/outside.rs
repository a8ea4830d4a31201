//! What a process asks of servers outside the deployment: an issuer's published keys, taking notices by webhook, Stripe.
//!
//! All are addresses that the configuration names. No redirect is followed, nothing is waited for without an end, and
//! no more is read than is of use.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use tollgate_admin_api::{LogMailer, Mailer, SmtpMailer, WebhookFailed, WebhookPost};
use tollgate_billing::{Billing, BillingDeps};
use tollgate_config::{JwtConfig, JwtKeys, Live, Settings};
use tollgate_domain::{Clock, NodeId};
use tollgate_identity::{FetchError, JWKS_BYTES_MAX, KeySource, Verifier, VerifierSettings};
use tollgate_store::{AdminStore, ChangeSink};
use url::Url;

use crate::client::causes;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an issuer may take to answer whole: callers wait for it.
const KEYS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a webhook may take to answer.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Who believes tokens as the settings say; `None` without `[auth.jwt]`.
///
/// # Errors
/// The system's certificates cannot be read.
pub(super) fn verifier(settings: &Settings) -> anyhow::Result<Option<Arc<Verifier>>> {
    let Some(jwt) = &settings.auth.jwt else { return Ok(None) };
    let JwtConfig { keys, issuer, audience, leeway, cookie: _, name_claim } = jwt;
    let (secret, source) = match keys {
        JwtKeys::Secret(secret) => (Some(secret.reveal().as_bytes().to_vec()), None),
        JwtKeys::Jwks(url) => (None, Some(Arc::new(PublishedKeys::new(url.clone())?) as Arc<dyn KeySource>)),
    };
    let settings = VerifierSettings {
        secret,
        issuer: issuer.clone(),
        audience: audience.clone(),
        leeway: *leeway,
        name_claim: name_claim.clone(),
    };
    Ok(Some(Arc::new(Verifier::new(settings, source))))
}

/// What mails: links and notices, links alone into the log, or neither.
pub(super) struct Mail {
    /// Links to sign in with.
    pub(super) links: Option<Arc<dyn Mailer>>,
    /// Notices, which have no place in a log.
    pub(super) notices: Option<Arc<dyn Mailer>>,
}

/// As the settings say.
///
/// # Errors
/// `[mail]` cannot be used.
pub(super) fn mail(settings: &Settings) -> anyhow::Result<Mail> {
    if let Some(mail) = &settings.mail {
        let mailer = Arc::new(SmtpMailer::new(mail).context("mail")?) as Arc<dyn Mailer>;
        return Ok(Mail { links: Some(Arc::clone(&mailer)), notices: Some(mailer) });
    }
    if settings.is_fleet() {
        tracing::warn!(
            "without [mail] no link to sign in with can be sent: customers of a fleet need it, or [auth.jwt]"
        );
        return Ok(Mail { links: None, notices: None });
    }
    Ok(Mail { links: Some(Arc::new(LogMailer)), notices: None })
}

/// What posts notices, where the settings name an address.
///
/// # Errors
/// The system's certificates cannot be read.
pub(super) fn webhook(settings: &Settings) -> anyhow::Result<Option<Arc<dyn WebhookPost>>> {
    if settings.usage.notice_webhook.is_none() {
        return Ok(None);
    }
    Ok(Some(Arc::new(Webhook(client(WEBHOOK_TIMEOUT)?))))
}

/// What billing shares with the rest of the control plane.
pub(super) struct BillingParts<'a> {
    pub(super) settings: &'a Settings,
    pub(super) store: Arc<dyn AdminStore>,
    pub(super) live: Arc<Live>,
    pub(super) changes: Arc<dyn ChangeSink>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) node: NodeId,
}

/// Who speaks with Stripe as the settings say; `None` without `[billing.stripe]`.
///
/// # Errors
/// `[billing.stripe]` cannot be used.
pub(super) fn billing(parts: BillingParts<'_>) -> anyhow::Result<Option<Arc<Billing>>> {
    let BillingParts { settings, store, live, changes, clock, node } = parts;
    let Some(stripe) = settings.billing.stripe.clone() else { return Ok(None) };
    let public_base = tollgate_admin_api::public_base(settings);
    let holder = node.to_string();
    let made = Billing::new(BillingDeps { store, live, stripe, public_base, changes, clock, holder });
    made.context("billing.stripe").map(Some)
}

fn client(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("HTTPS cannot be spoken")
}

/// An issuer's keys at their address.
struct PublishedKeys {
    http: reqwest::Client,
    url: Url,
}

impl PublishedKeys {
    fn new(url: Url) -> anyhow::Result<Self> {
        Ok(Self { http: client(KEYS_TIMEOUT)?, url })
    }
}

#[async_trait]
impl KeySource for PublishedKeys {
    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        let failed = |error: reqwest::Error| FetchError::new(causes(&error));
        let asked = self.http.get(self.url.clone()).header(ACCEPT, "application/jwk-set+json, application/json");
        let mut answer = asked.send().await.map_err(failed)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(FetchError::new(format!("the issuer answered {}", answer.status())));
        }
        let mut keys = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if keys.len() + chunk.len() > JWKS_BYTES_MAX {
                return Err(FetchError::new(format!("the issuer's keys are longer than {JWKS_BYTES_MAX} bytes")));
            }
            keys.extend_from_slice(&chunk);
        }
        Ok(keys)
    }
}

/// Posts, and looks at nothing but the answer's status.
struct Webhook(reqwest::Client);

#[async_trait]
impl WebhookPost for Webhook {
    async fn post(
        &self,
        url: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Vec<u8>,
    ) -> Result<u16, WebhookFailed> {
        let headers: HeaderMap = headers.iter().cloned().collect();
        let posted = self.0.post(url).headers(headers).body(body).send().await;
        // The address may hold a secret of its own.
        let answer = posted.map_err(|error| WebhookFailed(causes(&error.without_url())))?;
        Ok(answer.status().as_u16())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::Router;
    use axum::body::Bytes;
    use axum::response::{IntoResponse, Redirect};
    use axum::routing::{get, post};

    use super::*;
    use crate::client::tests::{install_crypto_provider, serve};

    async fn fetched(router: Router, path: &str) -> Result<Vec<u8>, String> {
        install_crypto_provider();
        let url = serve(router).await.join(path).expect("a URL");
        PublishedKeys::new(url).expect("a client").fetch().await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn published_keys_are_read_to_their_bound_and_from_their_address_only() {
        let router = || {
            Router::new()
                .route("/keys", get(|| async { r#"{"keys":[]}"# }))
                .route("/large", get(|| async { vec![b' '; JWKS_BYTES_MAX + 1] }))
                .route("/moved", get(|| async { Redirect::permanent("/keys") }))
        };
        assert_eq!(fetched(router(), "/keys").await.expect("keys"), br#"{"keys":[]}"#);
        for (path, part) in [("/large", "longer than"), ("/moved", "308"), ("/none", "404")] {
            let error = fetched(router(), path).await.expect_err(path);
            assert!(error.contains(part), "{path}: {error}");
        }
    }

    #[tokio::test]
    async fn a_webhook_gets_headers_and_body_and_no_redirect_is_followed() {
        install_crypto_provider();
        let followed = Arc::new(AtomicU32::new(0));
        let count = followed.clone();
        let router = Router::new()
            .route(
                "/hook",
                post(|headers: axum::http::HeaderMap, body: Bytes| async move {
                    let signed = headers.get("tollgate-signature").is_some_and(|value| value == "t=1,v1=00");
                    let good = signed && body.as_ref() == b"{}";
                    if good { axum::http::StatusCode::NO_CONTENT } else { axum::http::StatusCode::BAD_REQUEST }
                }),
            )
            .route("/moved", post(|| async { Redirect::temporary("/counted").into_response() }))
            .route("/counted", post(move || async move { count.fetch_add(1, Ordering::Relaxed).to_string() }));
        let base = serve(router).await;
        let webhook = Webhook(client(WEBHOOK_TIMEOUT).expect("a client"));
        let headers = [(HeaderName::from_static("tollgate-signature"), HeaderValue::from_static("t=1,v1=00"))];
        let posted = async |path: &str| {
            let url = base.join(path).expect("a URL");
            webhook.post(url.as_str(), &headers, b"{}".to_vec()).await
        };
        assert_eq!(posted("/hook").await.expect("an answer"), 204);
        assert_eq!(posted("/moved").await.expect("an answer"), 307);
        assert_eq!(followed.load(Ordering::Relaxed), 0);
    }
}
