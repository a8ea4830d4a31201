//! `[upstream]`: the backend.

use std::fmt;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderName, HeaderValue};
use url::{Host, Url};

use crate::headers::{header_name, is_ours};
use crate::item::Item;
use crate::listeners::Listeners;
use crate::normal::normal_path;
use crate::reader::Table;
use crate::secret;

/// The settings of `[upstream]`.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamConfig {
    /// Where the backend is.
    pub url: UpstreamUrl,
    /// The `Host` the backend is sent; `None` passes on the client's.
    pub host: Option<HeaderValue>,
    /// Set on every forwarded request, over what the client sent. The values are marked sensitive, so `Debug`
    /// does not print them.
    pub add_headers: Vec<(HeaderName, HeaderValue)>,
    /// The longest a connection may take to be made, TLS included.
    pub connect_timeout: Duration,
    /// The longest wait for the next bytes of an answer, its head included.
    pub read_timeout: Duration,
    /// The longest wait until the backend takes the next bytes of a request.
    pub write_timeout: Duration,
}

impl UpstreamConfig {
    pub(crate) fn read(table: &Table<'_>, listeners: &mut Listeners) -> Self {
        let mut config = Self::default();
        let Self { url, host, add_headers, connect_timeout, read_timeout, write_timeout } = &mut config;
        table.read("url", url, |item| {
            if item.is_list() {
                item.later("several upstreams");
                return None;
            }
            listeners.upstream_url = Some(item.offset());
            item.parse_or_say("the URL of a backend", UpstreamUrl::parse)
        });
        table.read_optional("host", host, |item| {
            item.parse("a host name or address, with a port if need be", |text| {
                let authority = text.parse::<Authority>().ok()?;
                let plain = !authority.as_str().contains('@') && !authority.host().is_empty();
                plain.then(|| HeaderValue::from_str(text).ok()).flatten()
            })
        });
        table.read("add_headers", add_headers, read_added_headers);
        table.read("connect_timeout", connect_timeout, Item::duration);
        table.read("read_timeout", read_timeout, Item::duration);
        table.read("write_timeout", write_timeout, Item::duration);
        table.finish();
        config
    }
}

/// Reads `name = "value"` and `name_file = "path"`. Any value may be a secret, so none is ever shown.
fn read_added_headers(item: &Item<'_>) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (key, item) in item.table("upstream.add_headers")?.own_keys() {
        let Some(name) = header_name(&item, key.strip_suffix("_file").unwrap_or(key)) else { continue };
        if is_ours(&name) {
            let advice = if name == http::header::HOST { "; write `host = \"…\"`" } else { "" };
            item.reader.error(item.key_offset, format!("the gateway itself sets or removes `{name}`{advice}"));
            continue;
        }
        if headers.iter().any(|(other, _)| *other == name) {
            item.reader.error(item.key_offset, format!("`{name}` is given twice"));
            continue;
        }
        let secret = if key.ends_with("_file") { secret::read_file(&item) } else { secret::read_text(&item) };
        let Some(secret) = secret else { continue };
        match HeaderValue::from_str(secret.reveal()) {
            Ok(mut value) => {
                value.set_sensitive(true);
                headers.push((name, value));
            }
            Err(_) => item.error(format!("the value of `{name}` holds a character that no header may hold")),
        }
    }
    Some(headers)
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            url: UpstreamUrl { scheme: Scheme::Http, host: "127.0.0.1".into(), port: 8501, base_path: "".into() },
            host: None,
            add_headers: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_mins(1),
            write_timeout: Duration::from_mins(1),
        }
    }
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS, its certificate verified for the host.
    Https,
}

/// Where a server is that requests are sent on to, in parts: the backend, or the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUrl {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// A name or an address; an IPv6 address without brackets.
    pub host: Box<str>,
    /// The port, given or the scheme's own.
    pub port: u16,
    /// Put before every forwarded path: empty, or canonical, beginning with `/` and not ending with it.
    pub base_path: Box<str>,
}

impl UpstreamUrl {
    fn parse(text: &str) -> Result<Self, String> {
        // What a URL with a password in it says is not repeated.
        let url = Url::parse(text).map_err(|_| "this is not a URL; write one such as `http://127.0.0.1:8501`")?;
        Self::of(&url)
    }

    /// The parts of a URL, if they can be those of a server that requests are sent on to.
    pub(crate) fn of(url: &Url) -> Result<Self, String> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err("the URL must begin with http:// or https://".into()),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL holds a user or a password; send them with `add_headers`".into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("the URL must end with its path: no `?` and no `#`".into());
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err("the URL names no host".into()),
        };
        let port = url.port_or_known_default().filter(|port| *port > 0).ok_or("the port must be from 1 to 65535")?;
        let path = url.path().trim_end_matches('/');
        let base_path = if path.is_empty() {
            String::new()
        } else {
            normal_path(path).map_err(|why| format!("the URL's path cannot be used: {why}"))?
        };
        Ok(Self { scheme, host: host.into(), port, base_path: base_path.into() })
    }
}

/// The URL without a trailing slash.
impl fmt::Display for UpstreamUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(formatter, "{scheme}://{open}{}{close}:{}{}", self.host, self.port, self.base_path)
    }
}
