//! `[admin]` and `[metrics]`: the listeners that are not for customers.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use url::Url;

use crate::item::Item;
use crate::listeners::Listeners;
use crate::reader::Table;
use crate::secret::{self, Secret};

/// The settings of `[admin]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminConfig {
    /// Where the control plane listens.
    pub listen: SocketAddr,
    /// Where the command line reaches it when not at `listen`.
    pub url: Option<Url>,
    /// What operators prove themselves with.
    pub token: AdminToken,
}

impl AdminConfig {
    pub(crate) fn read(table: &Table<'_>, listeners: &mut Listeners) -> Self {
        let mut config = Self::default();
        let Self { listen, url, token } = &mut config;
        table.read("listen", listen, |item| listeners.read_one("admin.listen", item));
        table.read_optional("url", url, Item::base_url);
        if let Some((given, item)) = secret::read(table, "token", "token_file") {
            check_token(&given, &item);
            *token = AdminToken::Given(given);
        }
        table.finish();
        config
    }
}

/// The fewest characters that a token should have: what 80 random bits take in base 32.
const TOKEN_CHARACTERS: usize = 16;

fn check_token(token: &Secret, item: &Item<'_>) {
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
    /// Where the command line reaches the admin API: `url`, else `listen`, by loopback where that is a wildcard.
    pub fn reach(&self) -> Url {
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
        Url::parse(&format!("http://{address}")).expect("a socket address makes a URL")
    }
}

/// What operators prove themselves with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminToken {
    /// The one in the file.
    Given(Secret),
    /// Made at the first start and kept in `admin-token` (mode 0600) beside the database's file.
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
