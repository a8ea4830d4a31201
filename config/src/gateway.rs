//! `[gateway]`: the data plane's own listener and what it allows a client.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use http::StatusCode;
use ipnet::IpNet;
use url::Url;

use crate::item::Item;
use crate::listeners::Listeners;
use crate::normal::normal_path;
use crate::reader::Table;
use crate::scalars::ByteLimit;

/// The settings of `[gateway]`.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayConfig {
    /// Where clients connect; at least one, none twice.
    pub listen: Vec<SocketAddr>,
    /// Peers whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Under which path the control plane's public part is served; `None` turns it off.
    pub mount: Option<MountPath>,
    /// The public address of this gateway, for links.
    pub public_url: Option<Url>,
    /// Where a refused customer can upgrade; shown in problem bodies.
    pub upgrade_url: Option<Url>,
    /// Where a caller without a key can get one; shown in problem bodies.
    pub signup_url: Option<Url>,
    /// 403 or 401: the answer to a key that does not work.
    pub invalid_key_status: StatusCode,
    /// How long requests in flight may take to finish once the process is told to stop.
    pub drain_timeout: Duration,
    /// The largest request body, unless the route has a limit of its own.
    pub max_body: ByteLimit,
    /// The longest a whole request head may take, from its first byte.
    pub header_timeout: Duration,
    /// The largest request head, in bytes.
    pub max_header: usize,
    /// How many client connections may be open at once.
    pub max_connections: NonZeroUsize,
    /// How long a connection may stay open between two requests.
    pub keepalive_timeout: Duration,
    /// The longest wait for the next bytes of a request body.
    pub body_timeout: Duration,
    /// The longest wait until the client takes the next bytes of an answer.
    pub write_timeout: Duration,
    /// How many threads serve requests.
    pub threads: Threads,
}

impl GatewayConfig {
    pub(crate) fn read(table: &Table<'_>, listeners: &mut Listeners) -> Self {
        let mut config = Self::default();
        let Self {
            listen,
            trusted_proxies,
            mount,
            public_url,
            upgrade_url,
            signup_url,
            invalid_key_status,
            drain_timeout,
            max_body,
            header_timeout,
            max_header,
            max_connections,
            keepalive_timeout,
            body_timeout,
            write_timeout,
            threads,
        } = &mut config;
        table.read("listen", listen, |item| listeners.read_list("gateway.listen", item));
        table.later("tls", "TLS on the gateway's listener");
        table.read("trusted_proxies", trusted_proxies, |item| item.list_of(Item::network));
        table.read("mount", mount, |item| {
            let expected = "a path such as \"/tollgate\" in its normal form, or \"\" to turn it off";
            item.parse(expected, |text| if text.is_empty() { Some(None) } else { MountPath::new(text).map(Some) })
        });
        table.read_optional("public_url", public_url, Item::base_url);
        table.read_optional("upgrade_url", upgrade_url, Item::web_url);
        table.read_optional("signup_url", signup_url, Item::web_url);
        table.read("invalid_key_status", invalid_key_status, read_invalid_key_status);
        table.read("drain_timeout", drain_timeout, Item::duration_or_zero);
        table.read("max_body", max_body, Item::byte_limit);
        table.read("header_timeout", header_timeout, Item::duration);
        table.read("max_header", max_header, |item| {
            item.size(1 << 10, 1 << 20).and_then(|bytes| usize::try_from(bytes).ok())
        });
        table.read("max_connections", max_connections, |item| item.count(1, 1_000_000).and_then(to_non_zero));
        table.read("keepalive_timeout", keepalive_timeout, Item::duration);
        table.read("body_timeout", body_timeout, Item::duration);
        table.read("write_timeout", write_timeout, Item::duration);
        table.read("threads", threads, read_threads);
        table.finish();
        config
    }
}

fn to_non_zero(count: u64) -> Option<NonZeroUsize> {
    usize::try_from(count).ok().and_then(NonZeroUsize::new)
}

fn read_threads(item: &Item<'_>) -> Option<Threads> {
    if item.is_word("auto") {
        return Some(Threads::Auto);
    }
    if item.is_text() {
        return item.expected("a whole number, or \"auto\"");
    }
    item.count(1, 1024).and_then(to_non_zero).map(Threads::Count)
}

fn read_invalid_key_status(item: &Item<'_>) -> Option<StatusCode> {
    match item.count(0, 999)? {
        401 => Some(StatusCode::UNAUTHORIZED),
        403 => Some(StatusCode::FORBIDDEN),
        _ => {
            item.error("`invalid_key_status` must be 403 or 401");
            None
        }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))],
            trusted_proxies: Vec::new(),
            mount: Some(MountPath("/tollgate".into())),
            public_url: None,
            upgrade_url: None,
            signup_url: None,
            invalid_key_status: StatusCode::FORBIDDEN,
            drain_timeout: Duration::from_secs(30),
            max_body: ByteLimit::Unlimited,
            header_timeout: Duration::from_secs(10),
            max_header: 64 * 1024,
            max_connections: NonZeroUsize::new(10_000).expect("ten thousand is not zero"),
            keepalive_timeout: Duration::from_mins(1),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            threads: Threads::Auto,
        }
    }
}

/// The path under which the control plane's public part is served: canonical, begins with `/`, does not end with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPath(Box<str>);

impl MountPath {
    fn new(text: &str) -> Option<Self> {
        let canonical = normal_path(text).is_ok_and(|normal| normal == text);
        (canonical && !text.ends_with('/')).then(|| Self(text.into()))
    }

    /// The path as text, such as `/tollgate`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the mount in a canonical path: `/v1/me` of `/tollgate/v1/me`, empty for the mount itself,
    /// `None` for a path that is not under it.
    pub fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&*self.0).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// How many threads serve requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One a core.
    Auto,
    /// So many.
    Count(NonZeroUsize),
}
