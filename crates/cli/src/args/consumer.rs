//! The words of the commands for the API's consumers: which API, with which key.

use clap::Args;
use url::Url;

use super::{Format, meter};

#[derive(Args, Debug)]
pub(crate) struct Login {
    /// The API's address, such as `https://api.example.com`, or the one below which `/v1` is, such as
    /// `https://api.example.com/tollgate` [default: the one that was logged in to last]
    #[arg(long, value_name = "URL", env = "TOLLGATE_API_URL", value_parser = api_url)]
    pub(crate) url: Option<Url>,
    /// The key [default: asked for without an echo, or the first line of standard input]; other users of the machine may
    /// see a command's words
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Logout {
    /// The API whose key is forgotten [default: `$TOLLGATE_API_URL`, or the one that was logged in to last]
    #[arg(long, value_name = "URL", value_parser = api_url, conflicts_with = "all")]
    pub(crate) url: Option<Url>,
    /// Forget every kept key
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Status {
    /// The API's address [default: the one that was logged in to last]
    #[arg(long, value_name = "URL", env = "TOLLGATE_API_URL", value_parser = api_url)]
    pub(crate) url: Option<Url>,
    /// The key [default: the one that `login` kept for the address]; other users of the machine may see a command's words
    #[arg(long, value_name = "KEY", env = "TOLLGATE_API_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// Leave with 1 when this meter is spent (`calls` for the quota of calls), with 0 and a warning when the API cannot
    /// be reached
    #[arg(long, value_name = "METER", value_parser = meter)]
    pub(crate) require: Option<String>,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// An address that a key may be sent to. It is not repeated where it holds a password.
pub(crate) fn api_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| "write a URL such as `https://api.example.com`".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("the URL must begin with https:// or http:// and name a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL holds a user or a password; leave them out".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("the URL must end with its path: no `?` and no `#`".to_owned());
    }
    Ok(url)
}
