//! Asking Stripe: one client, one timeout, one policy of asking again.
//!
//! Requests are sent by async-stripe's client, which owns authentication, the pinned version, idempotency keys and the
//! connection. Parameters are pairs, in the names that Stripe documents, such as `items[0][price]`. Answers are read by
//! types of our own, which need no more of an answer than is used of it: one of an older or newer shape is still an
//! answer. What an answer means is others'.

pub mod objects;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use stripe::{Client, ClientBuilder, StripeError};
use stripe_client_core::{
    CustomizedStripeRequest, IdempotencyKey, RequestBuilder, RequestStrategy, StripeClient, StripeMethod,
};
use tollgate_config::{Secret, StripeConfig};
use url::form_urlencoded::Serializer;

use crate::stats::BillingStats;

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the second attempt waits.
const AGAIN_AFTER: Duration = Duration::from_millis(300);
/// Attempts of one call.
const ATTEMPTS: u32 = 2;
/// How many things Stripe lists at once.
const PAGE: &str = "100";
/// How many pages are read of one list: ten thousand things of one customer are a mistake somewhere.
const PAGES_MAX: usize = 100;

/// Why Stripe gave no answer that can be used. None of it holds the secret key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// Stripe understood and declined; asking again gets the same answer.
    #[error("Stripe refused ({status}{}): {message}", code.as_deref().map(|code| format!(", {code}")).unwrap_or_default())]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Stripe's word for it.
        code: Option<String>,
        /// Stripe's sentence for developers.
        message: String,
        /// The parameter it is about.
        param: Option<String>,
    },
    /// Stripe did not answer, failed, or asked to be left alone for a while. Of a write nobody knows whether it was done.
    #[error("Stripe does not answer: {0}")]
    Unavailable(String),
    /// There was an answer, and nothing could be made of it.
    #[error("Stripe's answer cannot be read: {0}")]
    Unreadable(String),
}

impl ApiError {
    /// Whether Stripe cannot be asked at all, whatever is asked of it: it is away, or does not take the key.
    pub fn is_about_stripe(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Refused { status, .. } => matches!(status, 401 | 403),
            Self::Unreadable(_) => false,
        }
    }

    /// Whether what was asked for is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status, code, .. }
            if *status == 404 || code.as_deref() == Some("resource_missing"))
    }
}

/// Stripe, as it is asked. Paths begin after the version: `/customers/cus_1`.
#[derive(Clone)]
pub struct Api {
    client: Client,
    secret: Secret,
    stats: Arc<BillingStats>,
}

/// What is done when the first attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// Once more: reading changes nothing, and a write with an idempotency key is done once.
    OnceMore,
    /// Nothing: it may have been done.
    Never,
}

impl Api {
    /// A client with these settings.
    ///
    /// # Errors
    /// The settings fit no client, or this machine has no root certificates.
    pub fn new(config: &StripeConfig) -> Result<Self, ApiError> {
        Self::with_stats(config, Arc::default())
    }

    /// As [`Self::new`], counting into these.
    pub(crate) fn with_stats(config: &StripeConfig, stats: Arc<BillingStats>) -> Result<Self, ApiError> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let builder = ClientBuilder::new(config.secret_key.reveal())
            .url(config.api_base.as_str())
            .timeout(TIMEOUT)
            .request_strategy(RequestStrategy::Once)
            .app_info("tollgate", Some(version), None);
        // The client panics where the machine has no root certificates, which an operator can mend.
        let built = catch_unwind(AssertUnwindSafe(|| builder.build()));
        let client = built
            .map_err(|_panic| ApiError::Unavailable("this machine has no root certificates (ca-certificates)".into()))?
            .map_err(|error| ApiError::Unavailable(redacted(&error.to_string(), &config.secret_key)))?;
        Ok(Self { client, secret: config.secret_key.clone(), stats })
    }

    /// Reads one thing.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T, ApiError> {
        let bytes = self.ask(StripeMethod::Get, path, query, None).await?;
        read(&bytes)
    }

    /// Reads a whole list, page by page.
    ///
    /// # Errors
    /// See [`ApiError`]; part of a list is never given for the whole.
    pub async fn list<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<Vec<T>, ApiError> {
        let mut things = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let (page, next) = self.page(path, query, after.as_deref()).await?;
            for thing in page {
                things.push(serde_json::from_value(thing).map_err(unreadable)?);
            }
            if next.is_none() {
                return Ok(things);
            }
            after = next;
        }
        Err(ApiError::Unreadable(format!("a list of {path} has no end")))
    }

    /// Reads the page of a list that follows this thing, or the first; and the thing that the next page follows, where
    /// there is one.
    pub(crate) async fn page(
        &self,
        path: &str,
        query: &[(&str, String)],
        after: Option<&str>,
    ) -> Result<(Vec<Value>, Option<String>), ApiError> {
        let mut query = query.to_vec();
        query.push(("limit", PAGE.to_owned()));
        query.extend(after.map(|id| ("starting_after", id.to_owned())));
        let page: objects::List<Value> = self.get(path, &query).await?;
        if !page.has_more {
            return Ok((page.data, None));
        }
        let last = page.data.last().and_then(objects::id_in).map(str::to_owned);
        match last {
            Some(last) if after != Some(last.as_str()) => Ok((page.data, Some(last))),
            _ => Err(ApiError::Unreadable(format!("a list of {path} goes on after something without an id"))),
        }
    }

    /// Writes. With an idempotency key it is tried twice and done once; without, it is tried once.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        form: &[(&str, String)],
        idempotency_key: Option<&str>,
    ) -> Result<T, ApiError> {
        let bytes = self.ask(StripeMethod::Post, path, form, idempotency_key).await?;
        read(&bytes)
    }

    /// Takes away. It is tried twice: what is gone already is refused as missing.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T, ApiError> {
        let bytes = self.ask(StripeMethod::Delete, path, query, None).await?;
        read(&bytes)
    }

    async fn ask(
        &self,
        method: StripeMethod,
        path: &str,
        parameters: &[(&str, String)],
        idempotency_key: Option<&str>,
    ) -> Result<Bytes, ApiError> {
        let encoded = Serializer::new(String::new()).extend_pairs(parameters).finish();
        let build = || {
            let mut request = RequestBuilder::new(method, path);
            if matches!(method, StripeMethod::Post) {
                request.body = Some(encoded.clone());
            } else if !encoded.is_empty() {
                request.query = Some(encoded.clone());
            }
            request
        };
        self.attempts(build, idempotency_key).await
    }

    async fn attempts(
        &self,
        build: impl Fn() -> RequestBuilder,
        idempotency_key: Option<&str>,
    ) -> Result<Bytes, ApiError> {
        let strategy = match idempotency_key {
            None => RequestStrategy::Once,
            Some(key) => RequestStrategy::Idempotent(
                IdempotencyKey::new(key).map_err(|error| ApiError::Unreadable(error.to_string()))?,
            ),
        };
        let again = match (build().method, idempotency_key) {
            (StripeMethod::Post, None) => Again::Never,
            _ => Again::OnceMore,
        };
        let mut attempt = 1;
        loop {
            let request = build().customize::<()>().request_strategy(strategy.clone());
            let keeper = Keeper { client: &self.client, kept: Mutex::default() };
            let error = match request.send(&keeper).await {
                Ok(()) => return Ok(keeper.kept.into_inner().unwrap_or_else(PoisonError::into_inner)),
                Err(error) => self.explained(error),
            };
            if attempt == ATTEMPTS || again == Again::Never || !is_passing(&error) {
                self.stats.api_failed(&error);
                return Err(error);
            }
            attempt += 1;
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    fn explained(&self, error: StripeError) -> ApiError {
        match error {
            StripeError::Stripe(errors, status) => {
                let code = errors.code.as_ref().map(|code| code.as_str().to_owned());
                let message = errors.message.as_deref().unwrap_or("without a word");
                let message = redacted(message, &self.secret);
                let is_locked = matches!(code.as_deref(), Some("lock_timeout" | "idempotency_key_in_use"));
                if status >= 500 || status == 429 || is_locked {
                    return ApiError::Unavailable(format!("it answered {status}: {message}"));
                }
                ApiError::Refused { status, code, message, param: errors.param.clone() }
            }
            // The status of an answer whose body is no error of Stripe's is not told: something between is at fault.
            StripeError::JSONDeserialize(text) => ApiError::Unavailable(redacted(&text, &self.secret)),
            StripeError::ClientError(text) | StripeError::ConfigError(text) => {
                ApiError::Unavailable(redacted(&text, &self.secret))
            }
            StripeError::Timeout => ApiError::Unavailable(format!("not within {} s", TIMEOUT.as_secs())),
        }
    }
}

/// Whether the same request may get another answer in a moment.
fn is_passing(error: &ApiError) -> bool {
    matches!(error, ApiError::Unavailable(_))
}

fn read<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(unreadable)
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where an error is mapped")]
fn unreadable(error: serde_json::Error) -> ApiError {
    ApiError::Unreadable(error.to_string())
}

/// A text without the secret, wherever it came from.
fn redacted(text: &str, secret: &Secret) -> String {
    if secret.reveal().is_empty() { text.to_owned() } else { text.replace(secret.reveal(), "[redacted]") }
}

/// Keeps the bytes of an answer, and gives an empty one to whoever wants it typed.
struct Keeper<'a> {
    client: &'a Client,
    kept: Mutex<Bytes>,
}

impl StripeClient for Keeper<'_> {
    type Err = StripeError;

    async fn execute(&self, request: CustomizedStripeRequest) -> Result<Bytes, StripeError> {
        let bytes = self.client.execute(request).await?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
        Ok(Bytes::from_static(b"null"))
    }
}
