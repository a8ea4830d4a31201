//! The URLs of `PostgreSQL` and Redis: where a server of either is, and with what it is opened.
//!
//! They hold passwords, so no message here repeats any part of them. Deliberately connects to nothing.

use std::net::IpAddr;
use std::path::Path;

use url::{Host, Url};

use crate::secret::Secret;
use crate::url_text::decoded;

/// What a mistake in a URL with a password in it most often comes from.
const ENCODE: &str =
    "; in a password written out here `/`, `?`, `#`, `@` and `%` are percent-encoded, such as `%23` for `#`";

/// A URL of `PostgreSQL`.
pub(crate) struct PostgresUrl {
    /// The URL without the parameters that mean nothing, the files in it absolute or relative to the working directory.
    pub(crate) url: Secret,
    /// Whether there were parameters that mean nothing.
    pub(crate) left_out: bool,
}

impl PostgresUrl {
    /// Reads a URL. The files that its parameters name are relative to `folder`.
    pub(crate) fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let mut url = parse(text, "postgres://tollgate:${POSTGRES_PASSWORD}@db.internal/tollgate")?;
        if url.fragment().is_some() {
            return Err(format!("the URL must not hold a `#`{ENCODE}"));
        }
        let given: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let mut kept = Vec::with_capacity(given.len());
        for (key, value) in &given {
            if let Some(value) = read_parameter(key, value, folder)? {
                kept.push((key.clone(), value));
            }
        }
        let names = |keys: &[&str]| kept.iter().any(|(key, value)| keys.contains(&key.as_str()) && !value.is_empty());
        check_postgres_host(&url, names(&["host", "hostaddr"]))?;
        check_database_name(&url, names(&["dbname"]))?;
        let left_out = kept.len() < given.len();
        if kept.is_empty() {
            url.set_query(None);
        } else if kept != given {
            url.query_pairs_mut().clear().extend_pairs(kept);
        }
        Ok(Self { url: Secret::new(url.as_str()), left_out })
    }
}

/// A parameter's value as it is passed on; `None` for one that means nothing.
fn read_parameter(key: &str, value: &str, folder: &Path) -> Result<Option<String>, String> {
    let wrong = match key {
        "sslmode" | "ssl-mode" => {
            let modes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
            (!modes.contains(&value)).then(|| format!("one of {}", modes.join(", ")))
        }
        "port" => value.parse().map_or(true, |port: u16| port == 0).then(|| "a port from 1 to 65535".into()),
        "hostaddr" => value.parse::<IpAddr>().is_err().then(|| "an address".into()),
        "statement-cache-capacity" => value.parse::<u16>().is_err().then(|| "a number from 0 to 65535".into()),
        "sslrootcert" | "ssl-root-cert" | "ssl-ca" | "sslcert" | "ssl-cert" | "sslkey" | "ssl-key" => {
            // What is no path is the certificate or key itself.
            let written_out = value.starts_with("-----BEGIN");
            let path = folder.join(value).to_str().map(str::to_owned).filter(|_| !written_out);
            return Ok(Some(path.unwrap_or_else(|| value.to_owned())));
        }
        "host" | "dbname" | "user" | "password" | "application_name" | "options" => None,
        _ if key.starts_with("options[") && key.ends_with(']') => None,
        _ => return Ok(None),
    };
    match wrong {
        Some(expected) => Err(format!("the URL's `{key}` must be {expected}")),
        None => Ok(Some(value.to_owned())),
    }
}

/// A name, an address, or percent-encoded the folder of a socket.
fn check_postgres_host(url: &Url, named_elsewhere: bool) -> Result<(), String> {
    match url.host() {
        None | Some(Host::Domain("")) if named_elsewhere => Ok(()),
        Some(Host::Domain(name)) if name.contains('%') && decoded(name).starts_with(b"/") => Ok(()),
        host => check_host(host.as_ref()),
    }
}

fn check_database_name(url: &Url, named_elsewhere: bool) -> Result<(), String> {
    match url.path().strip_prefix('/').unwrap_or_default() {
        "" if named_elsewhere => Ok(()),
        "" => Err("the URL names no database; write its name behind the host, such as `/tollgate`".into()),
        name if name.contains('/') => Err(format!("the URL's path must be the name of one database{ENCODE}")),
        _ => Ok(()),
    }
}

/// A URL of Redis.
pub(crate) struct RedisUrl {
    url: Url,
}

impl RedisUrl {
    /// Reads a URL.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut url = parse(text, "redis://127.0.0.1:6379")?;
        if !["redis", "rediss"].contains(&url.scheme()) {
            return Err("the URL must begin with redis:// or, for TLS, rediss://".into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("the URL must end with its database: no `?` and no `#`{ENCODE}"));
        }
        check_host(url.host().as_ref())?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).parse::<IpAddr>();
        if host.is_ok_and(|address| address.is_unspecified()) {
            return Err("the URL's host is a wildcard, at which nothing is reached; name the server's own".into());
        }
        if !url.username().is_empty() && url.password().is_none_or(str::is_empty) {
            return Err(
                "the URL names a user and no password; a password alone is `redis://:${REDIS_PASSWORD}@…`".into()
            );
        }
        let database = url.path().trim_start_matches('/');
        let number = database.bytes().all(|byte| byte.is_ascii_digit()) && database.parse::<i32>().is_ok();
        if database.is_empty() {
            url.set_path("");
        } else if !number {
            return Err(format!("the URL's path must be the number of a database, such as `/0`{ENCODE}"));
        }
        Ok(Self { url })
    }

    pub(crate) fn secret(&self) -> Secret {
        Secret::new(self.url.as_str())
    }

    /// Whether the URL numbers a database.
    pub(crate) fn has_database(&self) -> bool {
        !self.url.path().is_empty()
    }

    /// Why both cannot be nodes of one Cluster.
    pub(crate) fn clash_with(&self, other: &Self) -> Option<&'static str> {
        let (this, other) = (&self.url, &other.url);
        let port = |url: &Url| url.port().unwrap_or(6379);
        if this.scheme() != other.scheme() {
            return Some("the nodes of a Cluster must begin all with redis:// or all with rediss://");
        }
        if (this.username(), this.password()) != (other.username(), other.password()) {
            return Some("the nodes of a Cluster must share one user and password");
        }
        let same = this.host() == other.host() && port(this) == port(other);
        same.then_some("this node stands twice; keep it once")
    }
}

/// Reads what both kinds have in common.
fn parse(text: &str, example: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| {
        let advice = if text.contains('@') { ENCODE } else { "" };
        format!("this is not a URL; write one such as `{example}`{advice}")
    })?;
    if url.port() == Some(0) {
        return Err("the port must be from 1 to 65535".into());
    }
    let parts = [url.username(), url.password().unwrap_or_default(), url.host_str().unwrap_or_default(), url.path()];
    for part in parts.map(decoded) {
        if part.contains(&0) {
            return Err("the URL holds a zero byte, `%00`".into());
        }
        if std::str::from_utf8(&part).is_err() {
            return Err("the URL holds escapes that are no UTF-8".into());
        }
    }
    Ok(url)
}

/// A host that can be looked up.
fn check_host(host: Option<&Host<&str>>) -> Result<(), String> {
    match host {
        None | Some(Host::Domain("")) => Err("the URL names no host".into()),
        Some(Host::Domain(name)) if name.contains('%') => {
            Err(format!("the URL's host is no name and no address{ENCODE}"))
        }
        Some(_) => Ok(()),
    }
}
