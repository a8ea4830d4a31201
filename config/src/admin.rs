//! `[admin]` and `[metrics]`: the listeners that are not for customers.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use url::Url;

use crate::item::Item;
use crate::listeners::Listeners;
use crate::reader::Table;
use crate::secret::{self, Secret};
use crate::upstream::{Scheme, UpstreamUrl};

/// The settings of `[admin]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminConfig {
    /// Where the control plane listens.
    pub listen: SocketAddr,
    /// Where the command line and the gateways reach it when not at `listen`.
    pub url: Option<UpstreamUrl>,
    /// What operators prove themselves with.
    pub token: AdminToken,
}

impl AdminConfig {
    pub(crate) fn read(table: &Table<'_>, listeners: &mut Listeners) -> Self {
        let mut config = Self::default();
        let Self { listen, url, token } = &mut config;
        table.read("listen", listen, |item| listeners.read_one("admin.listen", item));
        table.read_optional("url", url, |item| read_url(item, listeners));
        if let Some((given, item)) = secret::read(table, "token", "token_file") {
            check_token(&given, &item);
            *token = AdminToken::Given(given);
        }
        table.finish();
        config
    }
}

fn read_url(item: &Item<'_>, listeners: &mut Listeners) -> Option<UpstreamUrl> {
    let url = item.base_url()?;
    let parts = UpstreamUrl::of(&url).map_err(|message| item.error(message)).ok()?;
    listeners.admin_url = Some(item.offset());
    Some(parts)
}

/// The fewest characters that a token should have: what 80 random bits take in base 32.
const TOKEN_CHARACTERS: usize = 16;

/// Reports a token that no header can carry, and one that may be guessed.
pub(crate) fn check_token(token: &Secret, item: &Item<'_>) {
    if token.reveal().bytes().any(|byte| byte.is_ascii_control()) || !token.reveal().is_ascii() {
        item.error("the token holds a character that no header may hold; use letters and digits");
    } else if token.reveal().len() < TOKEN_CHARACTERS {
        item.reader.warning(
            item.offset(),
            format!("the token has fewer than {TOKEN_CHARACTERS} characters and may be guessed"),
        );
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)), url: None, token: AdminToken::KeptBesideStore }
    }
}

impl AdminConfig {
    /// Where the command line and the gateways reach the admin API: `url`, else `listen`, by loopback where that is a
    /// wildcard.
    pub fn reach(&self) -> Url {
        Url::parse(&self.reach_parts().to_string()).expect("the parts of a URL make a URL")
    }

    /// As [`AdminConfig::reach`], in the parts that a proxy takes.
    pub fn reach_parts(&self) -> UpstreamUrl {
        if let Some(url) = &self.url {
            return url.clone();
        }
        let mut address = self.listen;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        UpstreamUrl {
            scheme: Scheme::Http,
            host: address.ip().to_string().into(),
            port: address.port(),
            base_path: "".into(),
        }
    }
}

/// What operators prove themselves with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminToken {
    /// The one in the file.
    Given(Secret),
    /// Made at the first start and kept in `admin-token` (mode 0600) beside the database's file. Never with `PostgreSQL`,
    /// which has no folder.
    KeptBesideStore,
}

/// The settings of `[metrics]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsConfig {
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub listen: SocketAddr,
}

impl MetricsConfig {
    pub(crate) fn read(table: &Table<'_>, listeners: &mut Listeners) -> Self {
        let mut config = Self::default();
        let Self { listen } = &mut config;
        table.read("listen", listen, |item| listeners.read_one("metrics.listen", item));
        table.finish();
        config
    }
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)) }
    }
}
