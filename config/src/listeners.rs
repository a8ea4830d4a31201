//! The addresses that the process listens on, and whether they can stand side by side.

use std::net::{IpAddr, SocketAddr};

use crate::config::Settings;
use crate::item::Item;
use crate::reader::Reader;
use crate::upstream::UpstreamUrl;

/// Where in the file each address stands.
#[derive(Default)]
pub(crate) struct Listeners {
    given: Vec<(&'static str, SocketAddr, usize)>,
    /// Where `upstream.url` stands.
    pub(crate) upstream_url: Option<usize>,
    /// Where `admin.url` stands.
    pub(crate) admin_url: Option<usize>,
}

/// An address that will be bound.
struct Listener {
    key: &'static str,
    address: SocketAddr,
    /// `None` for a default.
    offset: Option<usize>,
}

impl Listeners {
    /// Reads a key that holds one address.
    pub(crate) fn read_one(&mut self, key: &'static str, item: &Item<'_>) -> Option<SocketAddr> {
        let address = item.listen_address()?;
        self.given.push((key, address, item.offset()));
        Some(address)
    }

    /// Reads a key that holds one address or several.
    pub(crate) fn read_list(&mut self, key: &'static str, item: &Item<'_>) -> Option<Vec<SocketAddr>> {
        let items = item.one_or_list();
        if items.is_empty() {
            item.error(format!("`{}` must hold at least one address", item.key()));
            return None;
        }
        let addresses: Vec<_> = items.iter().map(|item| self.read_one(key, item)).collect();
        addresses.into_iter().collect()
    }

    /// Reports addresses that cannot be bound together, an upstream or a control plane that is the gateway itself, and
    /// listeners that the world can read.
    pub(crate) fn check(&self, settings: &Settings, reader: &Reader<'_>) {
        let listeners = self.all(settings);
        for (index, later) in listeners.iter().enumerate() {
            if let Some(earlier) = listeners[..index].iter().find(|earlier| overlap(earlier.address, later.address)) {
                report_overlap(earlier, later, reader);
            }
        }
        for listener in &listeners {
            warn_if_public(listener, reader);
            let own = listener.key == "gateway.listen" && leads_to(&settings.upstream.url, listener.address);
            if let Some(offset) = self.upstream_url.or(listener.offset).filter(|_| own) {
                let address = listener.address;
                reader.error(offset, format!("`upstream.url` leads to `gateway.listen` {address}: an endless loop"));
            }
            let elsewhere = listener.key != "admin.listen";
            let found = settings.admin.url.as_ref().is_some_and(|url| elsewhere && leads_to(url, listener.address));
            if let Some(offset) = self.admin_url.filter(|_| found) {
                let (key, address) = (listener.key, listener.address);
                reader.error(offset, format!("`admin.url` leads to `{key}` {address}, not to a control plane"));
            }
        }
    }

    /// Every address, those of the defaults among them, in the order of the sections.
    fn all(&self, settings: &Settings) -> Vec<Listener> {
        let gateway = settings.gateway.listen.iter().map(|address| ("gateway.listen", *address));
        let others = [("admin.listen", settings.admin.listen), ("metrics.listen", settings.metrics.listen)];
        let mut listeners: Vec<Listener> = Vec::new();
        for (key, address) in gateway.chain(others) {
            // An address that stands twice in the list is another place each time.
            let nth = listeners.iter().filter(|other| (other.key, other.address) == (key, address)).count();
            let mut places = self.given.iter().filter(|(given, at, _)| (*given, *at) == (key, address));
            listeners.push(Listener { key, address, offset: places.nth(nth).map(|(_, _, offset)| *offset) });
        }
        listeners
    }
}

fn report_overlap(earlier: &Listener, later: &Listener, reader: &Reader<'_>) {
    let (at, other) = match (earlier.offset, later.offset) {
        (Some(first), Some(second)) if first > second => (Some(first), later),
        (_, Some(second)) => (Some(second), earlier),
        (first, None) => (first, later),
    };
    let this = if std::ptr::eq(other, earlier) { later } else { earlier };
    let place = match other.offset {
        Some(offset) => format!("on line {}", reader.line(offset)),
        None => "(its default)".into(),
    };
    reader.error(
        at.unwrap_or_default(),
        format!("`{}` {} overlaps `{}` {} {place}", this.key, this.address, other.key, other.address),
    );
}

/// Whether both cannot be bound at once. Port 0 asks for any free one.
fn overlap(left: SocketAddr, right: SocketAddr) -> bool {
    let (one, other) = (left.ip().to_canonical(), right.ip().to_canonical());
    // Listening on [::] takes IPv4 connections as well.
    let takes_all = |wild: IpAddr, ip: IpAddr| wild.is_unspecified() && (wild.is_ipv6() || ip.is_ipv4());
    left.port() == right.port() && left.port() != 0 && (one == other || takes_all(one, other) || takes_all(other, one))
}

/// Whether a connection to the URL would arrive at the listener, as far as can be told without asking anyone.
fn leads_to(url: &UpstreamUrl, listener: SocketAddr) -> bool {
    let loopback = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
    let hosts: Vec<IpAddr> = match url.host.parse() {
        Ok(address) => vec![address],
        Err(_) if &*url.host == "localhost" => loopback.into(),
        Err(_) => Vec::new(),
    };
    // A wildcard listener takes what comes to any address of this machine, of which only loopback is known.
    hosts.iter().any(|host| {
        let near = !listener.ip().is_unspecified() || host.is_loopback();
        near && overlap(SocketAddr::new(*host, url.port), listener)
    })
}

/// Defaults are loopback addresses, so only what stands in the file can be public.
fn warn_if_public(listener: &Listener, reader: &Reader<'_>) {
    let Some(offset) = listener.offset else { return };
    let exposed = match listener.address.ip().to_canonical() {
        IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_private() || ip.is_link_local()),
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    };
    let what = match listener.key {
        "gateway.listen" => "keys travel",
        "admin.listen" => "the operators' token travels",
        _ => return,
    };
    if exposed {
        let address = listener.address;
        reader.warning(offset, format!("{address} is a public address and {what} in the clear; put TLS in front"));
    }
}
