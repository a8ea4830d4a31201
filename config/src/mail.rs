//! `[mail]`: how mail leaves.

use std::fmt::Write as _;

use url::{Host, Url};

use crate::item::Item;
use crate::reader::Table;
use crate::scalars::is_loopback;
use crate::secret::{self, Secret};
use crate::url_text::decoded;

/// The settings of `[mail]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MailConfig {
    /// The server's name or address; an IPv6 address without brackets.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
    /// How the connection is kept secret.
    pub tls: MailTls,
    /// Who signs in to it; `None` does not sign in. There where and only where there is a password.
    pub user: Option<Box<str>>,
    /// With what.
    pub password: Option<Secret>,
    /// Whom mail is from, as `Name <address>` or an address; a name that has to be in quotes is.
    pub from: Box<str>,
}

/// How a connection to the mail server is kept secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// TLS from the first byte (`smtps://`).
    Implicit,
    /// STARTTLS, or nothing is sent (`smtp://`).
    StartTls,
    /// Not at all (`smtp+plain://`), for a server on this machine.
    None,
}

impl MailConfig {
    pub(crate) fn read(table: &Table<'_>) -> Option<Self> {
        let server = table.take("server");
        let password = secret::read(table, "password", "password_file").map(|(password, _)| password);
        let given_password = table.take("password").or_else(|| table.take("password_file"));
        let from = table.take("from");
        let unknown = table.finish();
        for (item, key) in [(&server, "server"), (&from, "from")] {
            if item.is_none() && !unknown.may_hold(key) {
                table.reader.error(table.offset, format!("[mail] needs `{key}`"));
            }
        }
        let sender = from.and_then(|item| read_sender(&item));
        let (server, item) = server.and_then(|item| Some((read_server(&item)?, item)))?;
        match (&server.user, given_password) {
            (Some(_), None) if !unknown.may_hold("password") => {
                item.error("the URL names a user and there is no `password` or `password_file` for it");
            }
            (None, Some(password)) => {
                let line = item.reader.line(item.offset());
                let key = password.key();
                let message = format!("`{key}` means nothing without a user in `server` on line {line}");
                item.reader.error(password.key_offset, message);
            }
            _ => {}
        }
        Some(Self { password, from: sender?, ..server })
    }

    /// The server as the file names it.
    pub(crate) fn server(&self) -> String {
        let Self { host, port, tls, user, password: _, from: _ } = self;
        let mut url = format!("{}://", tls.scheme());
        for byte in user.iter().flat_map(|user| user.bytes()) {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                url.push(byte.into());
            } else {
                write!(url, "%{byte:02X}").expect("a String takes any text");
            }
        }
        let at = if user.is_some() { "@" } else { "" };
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{url}{at}{open}{host}{close}:{port}")
    }
}

impl MailTls {
    const ALL: [Self; 3] = [Self::Implicit, Self::StartTls, Self::None];

    const fn scheme(self) -> &'static str {
        match self {
            Self::Implicit => "smtps",
            Self::StartTls => "smtp",
            Self::None => "smtp+plain",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Implicit => 465,
            Self::StartTls => 587,
            Self::None => 25,
        }
    }
}

/// Reads the URL of a server. It may hold a password by mistake, so no message repeats any part of it.
fn read_server(item: &Item<'_>) -> Option<MailConfig> {
    let text = item.url_text()?;
    server_of(&text.value).map_err(|message| item.error(message)).ok()
}

fn server_of(text: &str) -> Result<MailConfig, String> {
    let example = "write one such as `smtps://user@mail.example.com:465`";
    let url = Url::parse(text).map_err(|_| format!("this is not a URL; {example}"))?;
    let tls = MailTls::ALL.into_iter().find(|tls| tls.scheme() == url.scheme()).ok_or(
        "the URL must begin with smtps:// for TLS, smtp:// for STARTTLS, or smtp+plain:// for a server on this machine",
    )?;
    if url.password().is_some() {
        return Err("the URL holds a password; write `password = \"${SMTP_PASSWORD}\"` or `password_file`".into());
    }
    let host = match url.host() {
        None | Some(Host::Domain("")) => return Err(format!("the URL names no host; {example}")),
        Some(Host::Domain(name)) if !is_host_name(name) => {
            return Err("the URL's host is no name and no address".into());
        }
        Some(Host::Domain(name)) => name.to_ascii_lowercase(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
    };
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("the URL must end with its port: no path, no `?` and no `#`".into());
    }
    if tls == MailTls::None && !is_loopback(&host) {
        return Err("smtp+plain:// is for a server on this machine only; write smtps:// or smtp://".into());
    }
    let port = url.port().unwrap_or(tls.default_port());
    if port == 0 {
        return Err("the port must be from 1 to 65535".into());
    }
    let user = String::from_utf8(decoded(url.username())).ok().filter(|user| !user.contains(char::is_control));
    let user = user.ok_or("the URL's user holds what no user's name can hold")?;
    let user = (!user.is_empty()).then(|| user.into());
    Ok(MailConfig { host: host.into(), port, tls, user, password: None, from: "".into() })
}

fn is_host_name(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        })
}

fn read_sender(item: &Item<'_>) -> Option<Box<str>> {
    item.parse("an address such as \"Acme <noreply@acme.com>\" or \"noreply@acme.com\"", sender_of)
}

/// A sender in the form that a mail's header has: `Name <address>`, the name in quotes where it must be.
fn sender_of(text: &str) -> Option<Box<str>> {
    let Some(rest) = text.strip_suffix('>') else {
        return is_address(text).then(|| text.into());
    };
    let (name, address) = rest.split_once('<')?;
    let name = name.trim();
    let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == ' ' || ATOM.contains(letter);
    if !is_address(address) || name.contains(|letter: char| letter.is_control() || "\"\\<>".contains(letter)) {
        return None;
    }
    Some(match name {
        "" => address.into(),
        _ if name.chars().all(plain) => format!("{name} <{address}>").into(),
        _ => format!("\"{name}\" <{address}>").into(),
    })
}

/// What a word of a header may hold besides letters and digits (RFC 5322, 3.2.3).
const ATOM: &str = "!#$%&'*+-/=?^_`{|}~";

/// Whether a text is an address as servers everywhere take it: no quotes, no comments, no route.
fn is_address(text: &str) -> bool {
    let atom = |word: &str| {
        !word.is_empty() && word.chars().all(|letter| letter.is_ascii_alphanumeric() || ATOM.contains(letter))
    };
    text.split_once('@').is_some_and(|(local, domain)| {
        local.len() <= 64 && local.split('.').all(atom) && is_host_name(domain) && !domain.contains('_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_and_shown() {
        for (text, expected) in [
            ("smtps://mail.example.com", Ok("smtps://mail.example.com:465")),
            ("smtp://Mail.Example.com", Ok("smtp://mail.example.com:587")),
            ("smtp://me@10.0.0.1:2525", Ok("smtp://me@10.0.0.1:2525")),
            ("smtps://no-reply%40acme.com@[2001:db8::1]/", Ok("smtps://no-reply%40acme.com@[2001:db8::1]:465")),
            ("smtps://no-reply@acme.com@mail", Ok("smtps://no-reply%40acme.com@mail:465")),
            ("smtp+plain://127.0.0.1", Ok("smtp+plain://127.0.0.1:25")),
            ("smtp+plain://[::1]:1025", Ok("smtp+plain://[::1]:1025")),
            ("smtp+plain://localhost:1025", Ok("smtp+plain://localhost:1025")),
            ("smtp+plain://mail.example.com", Err("this machine only")),
            ("smtp+plain://0.0.0.0", Err("this machine only")),
            ("smtp://", Err("names no host")),
            ("smtp:mail.example.com", Err("names no host")),
            ("mail.example.com", Err("not a URL")),
            ("mail.example.com:465", Err("must begin with")),
            ("https://mail.example.com", Err("must begin with")),
            ("smtp://me:hunter2@mail", Err("holds a password")),
            ("smtp://mail/path", Err("must end with its port")),
            ("smtp://mail?tls=off", Err("must end with its port")),
            ("smtp://mail:0", Err("from 1 to 65535")),
            ("smtp://ma%20il", Err("no name and no address")),
            ("smtp://a..b", Err("no name and no address")),
            ("smtp://a%0d%0ab@mail", Err("no user's name")),
        ] {
            match (server_of(text), expected) {
                (Ok(server), Ok(shown)) => {
                    assert_eq!(server.server(), shown, "{text}");
                    assert_eq!(server_of(shown).as_ref(), Ok(&server), "{text}");
                }
                (Err(message), Err(part)) => {
                    assert!(message.contains(part), "{text}: {message}");
                    assert!(!message.contains("hunter2"), "{message}");
                }
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
    }

    #[test]
    fn senders_are_read_in_the_form_of_a_header() {
        for (text, expected) in [
            ("noreply@acme.com", Some("noreply@acme.com")),
            ("<noreply@acme.com>", Some("noreply@acme.com")),
            ("Acme <noreply@acme.com>", Some("Acme <noreply@acme.com>")),
            ("Acme & Sons<a+b@acme.com>", Some("Acme & Sons <a+b@acme.com>")),
            ("Acme, Inc. <noreply@acme.com>", Some("\"Acme, Inc.\" <noreply@acme.com>")),
            ("\"Acme, Inc.\" <noreply@acme.com>", Some("\"Acme, Inc.\" <noreply@acme.com>")),
            ("Äcme <noreply@localhost>", Some("\"Äcme\" <noreply@localhost>")),
            ("Acme", None),
            ("", None),
            ("Acme <acme.com>", None),
            ("a b@acme.com", None),
            (".a@acme.com", None),
            ("a@acme..com", None),
            ("a@b@acme.com", None),
            ("a@acme.com\r\nBcc: x@y.com", None),
            ("Acme\r\nBcc: x <a@acme.com>", None),
            ("A <b@acme.com>, C <d@acme.com>", None),
            ("\"A\\\" <a@acme.com>", None),
        ] {
            assert_eq!(sender_of(text).as_deref(), expected, "{text}");
        }
    }
}
