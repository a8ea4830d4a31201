//! Speaks to an API's customer side as one of its consumers does: with an API key, from anywhere.
//!
//! It knows where the customer side may be found and what its answers hold; where keys are kept is [`credentials`]'
//! business, and what is printed the commands'.

pub(crate) mod credentials;
pub(crate) mod prompt;
#[cfg(test)]
mod tests;

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use tokio::time::Instant;
use url::{Host, Url};

use crate::client::{Problem, causes};

/// How long everything that one command asks may take together.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Where a gateway serves the customer side unless its configuration says otherwise.
const DEFAULT_MOUNT: &str = "tollgate";

/// The code for a credential that is neither a key nor a good token.
const NOT_A_KEY: &str = "invalid_token";

/// Why an API said nothing that helps.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConsumerError {
    /// No whole answer came: the network, or a server that is down.
    #[error("{url} cannot be reached: {cause}")]
    Unreachable {
        /// The API's address.
        url: String,
        /// What happened.
        cause: String,
    },
    /// The API said no, and why.
    #[error("{url} says: {problem}")]
    Refused {
        /// The API's address.
        url: String,
        /// What it said.
        problem: Box<Problem>,
    },
    /// Something else answers there.
    #[error("{url} answered {status}, but not as Tollgate does; is this the API's address? `/v1` should be below it")]
    Foreign {
        /// The address.
        url: String,
        /// The answer's status.
        status: u16,
    },
}

impl ConsumerError {
    /// Whether asking again later may help: nothing was said about the key or the account.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { problem, .. } => problem.status >= 500 || problem.status == 429,
            Self::Foreign { status, .. } => *status >= 500,
        }
    }

    /// How much it tells of what is wrong: of several addresses' answers the most telling is shown.
    fn weight(&self) -> u8 {
        match self {
            Self::Foreign { .. } => 0,
            Self::Unreachable { .. } => 1,
            Self::Refused { .. } => 2,
        }
    }
}

/// An API, its address and one of its keys.
pub(crate) struct Consumer {
    http: reqwest::Client,
    key: String,
    deadline: Instant,
}

/// A customer side that took the key.
pub(crate) struct Found {
    /// The address below which `/v1` is.
    pub(crate) base: Url,
    /// What `GET /v1/me` answered.
    pub(crate) me: Value,
}

impl Consumer {
    /// One who has this key. No redirect is followed: the key goes nowhere else.
    ///
    /// # Errors
    /// The key cannot be sent in a header, or the system's certificates cannot be read.
    pub(crate) fn new(key: &str) -> anyhow::Result<Self> {
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            anyhow::bail!("that is no API key: one is a single word of visible characters");
        }
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, key: key.to_owned(), deadline: Instant::now() + TIMEOUT })
    }

    /// Finds the customer side at an address or at its default mount, and who the key's owner is. `known` is tried
    /// first: where it was found the last time.
    ///
    /// # Errors
    /// What the most telling of the addresses answered.
    pub(crate) async fn find(&self, url: &Url, known: Option<&Url>) -> Result<Found, ConsumerError> {
        let mut worst: Option<ConsumerError> = None;
        for base in candidates(url, known) {
            match self.get(&base, "me").await {
                Ok(me) if is_me(&me) => return Ok(Found { base, me }),
                Ok(_) => keep(&mut worst, ConsumerError::Foreign { url: shown(&base), status: 200 }),
                // The same host would not answer a second time either.
                Err(error @ ConsumerError::Unreachable { .. }) => return Err(error),
                Err(error) => keep(&mut worst, error),
            }
        }
        Err(worst.expect("there is at least one address to try"))
    }

    /// Reads one thing below `/v1`.
    ///
    /// # Errors
    /// No such answer came.
    pub(crate) async fn get(&self, base: &Url, what: &str) -> Result<Value, ConsumerError> {
        let url = below(base, &["v1", what]);
        let asked = self.ask(url, base);
        let late = || ConsumerError::Unreachable {
            url: shown(base),
            cause: format!("no whole answer within {} s", TIMEOUT.as_secs()),
        };
        tokio::time::timeout_at(self.deadline, asked).await.unwrap_or_else(|_| Err(late()))
    }

    async fn ask(&self, url: Url, base: &Url) -> Result<Value, ConsumerError> {
        let unreachable =
            |error: reqwest::Error| ConsumerError::Unreachable { url: shown(base), cause: causes(&error) };
        let mut answer = self.http.get(url).bearer_auth(&self.key).send().await.map_err(unreachable)?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ConsumerError::Foreign { url: shown(base), status: status.as_u16() });
            }
            bytes.extend_from_slice(&chunk);
        }
        let foreign = |_| ConsumerError::Foreign { url: shown(base), status: status.as_u16() };
        if status == StatusCode::OK {
            return serde_json::from_slice(&bytes).map_err(foreign);
        }
        let mut problem: Problem = serde_json::from_slice(&bytes).map_err(foreign)?;
        if problem.code == NOT_A_KEY {
            // What has not the shape of a key is taken for a token of the backend's own, which nobody meant to send.
            "that is no API key of this API: it has another shape".clone_into(&mut problem.detail);
        }
        Err(ConsumerError::Refused { url: shown(base), problem: Box::new(problem) })
    }
}

/// Whether a key sent to this address can be read on its way.
pub(crate) fn is_in_the_clear(url: &Url) -> bool {
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && !here
}

/// An address as people write it, without the slash that stands for an empty path.
pub(crate) fn shown(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// Where the customer side may be. Of a bare host the mount comes first: there a gateway answers for itself, while
/// `/v1/me` may be a path of the backend's own, and cost a call.
fn candidates(url: &Url, known: Option<&Url>) -> Vec<Url> {
    let (itself, mount) = (url.clone(), below(url, &[DEFAULT_MOUNT]));
    let is_bare = matches!(url.path(), "" | "/");
    let both = if is_bare { [mount, itself] } else { [itself, mount] };
    let mut tried: Vec<Url> = Vec::new();
    for base in known.cloned().into_iter().chain(both) {
        if !tried.iter().any(|other| shown(other) == shown(&base)) {
            tried.push(base);
        }
    }
    tried
}

fn below(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    url.path_segments_mut().expect("http and https addresses have paths").pop_if_empty().extend(segments);
    url
}

/// Whether an answer is `GET /v1/me`'s and not that of a backend with a path of the same name.
fn is_me(answer: &Value) -> bool {
    let is_text = |pointer: &str| answer.pointer(pointer).is_some_and(Value::is_string);
    is_text("/account") && is_text("/email") && answer.get("plan").is_some() && answer.get("quota").is_some()
}

fn keep(worst: &mut Option<ConsumerError>, error: ConsumerError) {
    if worst.as_ref().is_none_or(|kept| kept.weight() < error.weight()) {
        *worst = Some(error);
    }
}
