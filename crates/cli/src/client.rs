//! Speaks to the running admin API that the configuration names, and says plainly why it could not.
//!
//! It knows addresses, the operator's token, pages and problem details; not what accounts and keys are.

mod error;
#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tollgate_config::{AdminAccess, AdminToken, Database};
use url::Url;

use crate::run;

pub(crate) use error::{ClientError, FieldError, Problem};

/// How long one call may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a call that carries a whole file, or compares all books, may take.
pub(crate) const IMPORT_TIMEOUT: Duration = Duration::from_mins(10);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many records one page is asked for.
const PAGE_SIZE: &str = "200";
/// The most pages one listing fetches; two hundred million records, so that a server gone wrong cannot hold us for ever.
const PAGES_MAX: usize = 1_000_000;

/// What operators prove themselves with, as found.
#[derive(Clone)]
pub(crate) enum Token {
    /// Here it is.
    Known(String),
    /// The file that should hold it cannot be read; the reason in words.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
}

impl Token {
    /// The configuration's own, or the one kept beside the database.
    fn of(access: &AdminAccess) -> Self {
        match &access.admin.token {
            AdminToken::Given(secret) => Self::Known(secret.reveal().to_owned()),
            AdminToken::KeptBesideStore => match &access.store.database {
                Database::Sqlite { path } => Self::read(&run::token_file(path)),
                Database::Postgres { .. } => Self::Unreadable {
                    path: PathBuf::from("admin-token"),
                    cause: "PostgreSQL has no folder to keep it in; set `token` in [admin]".to_owned(),
                },
            },
        }
    }

    fn read(path: &Path) -> Self {
        let unreadable = |cause: String| Self::Unreadable { path: path.to_owned(), cause };
        match std::fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => unreadable("it is empty".to_owned()),
            Ok(text) => Self::Known(text.trim().to_owned()),
            Err(error) => unreadable(error.to_string()),
        }
    }
}

/// The admin API of one deployment.
pub(crate) struct AdminClient {
    http: reqwest::Client,
    base: Url,
    token: Token,
}

impl AdminClient {
    /// The one that a configuration names.
    pub(crate) fn of(access: &AdminAccess) -> Result<Self, ClientError> {
        Self::new(access.admin.reach(), Token::of(access))
    }

    /// The one at this address. No proxy stands between, and no redirect is followed: the token goes nowhere else.
    pub(crate) fn new(base: Url, token: Token) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClientError::Unusable { url: base.to_string(), cause: causes(&error) })?;
        Ok(Self { http, base, token })
    }

    /// Reads one thing.
    pub(crate) async fn get(&self, path: &[&str]) -> Result<Value, ClientError> {
        self.call(Method::GET, path, &[], None, TIMEOUT).await
    }

    /// Asks for something to be done.
    pub(crate) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, ClientError> {
        self.call(Method::POST, path, &[], Some(json_bytes(body)), TIMEOUT).await
    }

    /// Asks for something that may take minutes.
    pub(crate) async fn post_long(&self, path: &[&str], body: &Value) -> Result<Value, ClientError> {
        self.call(Method::POST, path, &[], Some(json_bytes(body)), IMPORT_TIMEOUT).await
    }

    /// Sends a whole file's rows, as JSON.
    pub(crate) async fn post_rows(&self, path: &[&str], body: Vec<u8>) -> Result<Value, ClientError> {
        self.call(Method::POST, path, &[], Some(body), IMPORT_TIMEOUT).await
    }

    /// Sets something.
    pub(crate) async fn put(&self, path: &[&str], body: &Value) -> Result<Value, ClientError> {
        self.call(Method::PUT, path, &[], Some(json_bytes(body)), TIMEOUT).await
    }

    /// Removes something.
    pub(crate) async fn delete(&self, path: &[&str]) -> Result<Value, ClientError> {
        self.call(Method::DELETE, path, &[], None, TIMEOUT).await
    }

    /// Every record of a listing, all pages of it.
    pub(crate) async fn list(&self, path: &[&str], filter: &[(&str, &str)]) -> Result<Vec<Value>, ClientError> {
        let mut records = Vec::new();
        let mut cursor: Option<String> = None;
        let mut query = filter.to_vec();
        query.push(("limit", PAGE_SIZE));
        for _ in 0..PAGES_MAX {
            let page = self.page(path, &query, cursor.as_deref()).await?;
            records.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        Ok(records)
    }

    /// One page of a listing: the one that begins at the cursor. A cursor that leads back to itself ends the listing.
    pub(crate) async fn page(
        &self,
        path: &[&str],
        filter: &[(&str, &str)],
        cursor: Option<&str>,
    ) -> Result<Page, ClientError> {
        let mut query = filter.to_vec();
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let answer = self.call(Method::GET, path, &query, None, TIMEOUT).await?;
        let mut page: Page = serde_json::from_value(answer).map_err(|error| self.foreign(StatusCode::OK, &error))?;
        page.next_cursor = page.next_cursor.filter(|next| Some(next.as_str()) != cursor);
        Ok(page)
    }

    async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Vec<u8>>,
        timeout: Duration,
    ) -> Result<Value, ClientError> {
        let mut request = self.http.request(method, self.address(path, query)).timeout(timeout);
        if let Token::Known(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        }
        let answer = request.send().await.map_err(|error| self.unanswered(&error, timeout))?;
        let status = answer.status();
        let bytes = self.read(answer, timeout).await?;
        if status.is_success() {
            if bytes.is_empty() {
                return Ok(Value::Null);
            }
            return serde_json::from_slice(&bytes).map_err(|error| self.foreign(status, &error));
        }
        let problem: Problem = serde_json::from_slice(&bytes).map_err(|error| self.foreign(status, &error))?;
        if status != StatusCode::UNAUTHORIZED {
            return Err(ClientError::Refused(Box::new(problem)));
        }
        Err(match &self.token {
            Token::Known(_) => ClientError::TokenRefused { url: self.shown() },
            Token::Unreadable { path, cause } => ClientError::NoToken { path: path.clone(), cause: cause.clone() },
        })
    }

    /// The base's own path is kept, so that an admin API behind a path prefix can be named.
    fn address(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("the configuration takes http and https addresses only")
            .pop_if_empty()
            .extend(["admin", "v1"].iter().chain(path));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn read(&self, mut answer: reqwest::Response, timeout: Duration) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.unanswered(&error, timeout))? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ClientError::Unusable {
                    url: self.shown(),
                    cause: format!("its answer is longer than {ANSWER_BYTES_MAX} bytes"),
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn unanswered(&self, error: &reqwest::Error, timeout: Duration) -> ClientError {
        let url = self.shown();
        if error.is_timeout() {
            return ClientError::TimedOut { url, seconds: timeout.as_secs() };
        }
        if error.is_connect() {
            return ClientError::NothingAnswers { url, cause: causes(error) };
        }
        ClientError::Unusable { url, cause: causes(error) }
    }

    fn foreign(&self, status: StatusCode, error: &serde_json::Error) -> ClientError {
        ClientError::Foreign { url: self.shown(), status: status.as_u16(), cause: error.to_string() }
    }

    /// The address as people write it: without the slash that stands for an empty path, and without credentials.
    fn shown(&self) -> String {
        let mut url = self.base.clone();
        let cleared = url.set_username("").and_then(|()| url.set_password(None));
        let text = cleared.map_or_else(|()| self.base.origin().ascii_serialization(), |()| url.to_string());
        text.trim_end_matches('/').to_owned()
    }
}

/// One page of a listing.
#[derive(Deserialize)]
pub(crate) struct Page {
    /// Its records.
    pub(crate) items: Vec<Value>,
    /// Where the next one begins; `None` on the last.
    #[serde(default)]
    pub(crate) next_cursor: Option<String>,
}

fn json_bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

/// The innermost cause of an error, which says what happened; the outer ones repeat the address.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
