//! `[auth.jwt]`: whose tokens the backend's own users sign in with.

use std::time::Duration;

use url::Url;

use crate::item::Item;
use crate::reader::Table;
use crate::secret::{self, Secret};

/// The settings of `[auth]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuthConfig {
    /// `[auth.jwt]`; without it no token is believed.
    pub jwt: Option<JwtConfig>,
}

/// The settings of `[auth.jwt]`.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtConfig {
    /// What signatures are checked with.
    pub keys: JwtKeys,
    /// Who must have issued a token; `None` believes any issuer that has the key.
    pub issuer: Option<String>,
    /// Whom a token must be for, one of these; empty takes any, but none that names an audience.
    pub audience: Vec<String>,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
    /// The cookie that may carry the token, besides `Authorization: Bearer`.
    pub cookie: Option<Box<str>>,
    /// The claim that holds the user's name; dots lead into objects.
    pub name_claim: Box<str>,
}

/// The fewest bytes of an HS256 secret: as many as its hash has (RFC 7518, 3.2). A shorter one can be guessed by whoever
/// has a token that it signed.
const SECRET_BYTES_LEAST: usize = 32;

/// No clock that anybody looks after is further off.
const LEEWAY_MOST: Duration = Duration::from_mins(10);

/// The longest name, address or claim, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// The cookie of our own sessions.
const SESSION_COOKIE: &str = "tollgate_session";

impl AuthConfig {
    pub(crate) fn read(table: &Table<'_>) -> Self {
        let mut config = Self::default();
        let Self { jwt } = &mut config;
        table.read_optional("jwt", jwt, |item| item.table("auth.jwt").and_then(|table| JwtConfig::read(&table)));
        table.finish();
        config
    }
}

impl JwtConfig {
    fn read(table: &Table<'_>) -> Option<Self> {
        let secret = secret::read(table, "secret", "secret_file");
        let jwks_url = table.take("jwks_url");
        let given = [table.take("secret"), table.take("secret_file"), table.take("jwks_url")];
        let mut config = Self {
            // In place of keys that are missing or wrong, which are reported, so that the rest is checked too.
            keys: JwtKeys::Secret(Secret::new("")),
            issuer: None,
            audience: Vec::new(),
            leeway: Duration::from_mins(1),
            cookie: None,
            name_claim: "name".into(),
        };
        let Self { keys, issuer, audience, leeway, cookie, name_claim } = &mut config;
        let read = match (secret, &jwks_url) {
            (Some((secret, item)), _) => {
                check_secret(&secret, &item);
                Some(JwtKeys::Secret(secret))
            }
            (None, Some(item)) => item.guarded_url("keys").map(JwtKeys::Jwks),
            (None, None) => None,
        };
        table.read_optional("issuer", issuer, |item| item.parse(ISSUER, line));
        table.read("audience", audience, |item| item.one_or_list_of(|item| item.parse(AUDIENCE, line)));
        table.read("leeway", leeway, |item| item.duration_between(Duration::ZERO, LEEWAY_MOST));
        table.read_optional("cookie", cookie, read_cookie);
        table.read("name_claim", name_claim, |item| item.parse(CLAIM, claim));
        let unknown = table.finish();
        match &given {
            [None, None, None] if ["secret", "jwks_url"].iter().all(|key| !unknown.may_hold(key)) => {
                table.reader.error(table.offset, "[auth.jwt] needs `secret`, `secret_file` or `jwks_url`");
            }
            [Some(first), _, Some(jwks)] | [None, Some(first), Some(jwks)] => {
                let line = table.reader.line(first.key_offset);
                let message = format!("`jwks_url` contradicts `{}` on line {line}; keep one of both", first.key());
                table.reader.error(jwks.key_offset, message);
            }
            _ => {}
        }
        *keys = read?;
        Some(config)
    }
}

/// Whether a variable has a value that is long enough differs from machine to machine, and the file is right on all of
/// them; what is written out, or kept in a file, is part of the configuration.
fn check_secret(secret: &Secret, item: &Item<'_>) {
    if secret.reveal().len() >= SECRET_BYTES_LEAST {
        return;
    }
    let message = format!(
        "an HS256 secret has at least {SECRET_BYTES_LEAST} bytes; a shorter one is guessed from any token that it signed"
    );
    let from_variable = item.key() == "secret" && item.text().is_some_and(|text| text.substituted);
    if from_variable {
        item.reader.warning(item.offset(), message);
    } else {
        item.error(message);
    }
}

const ISSUER: &str = "an issuer as tokens name it in `iss`, such as \"https://auth.example.com/\"";
const AUDIENCE: &str = "an audience as tokens name it in `aud`, such as \"api\"";
const CLAIM: &str = "the name of a claim, or names joined by dots, such as \"user_metadata.name\"";

fn line(text: &str) -> Option<String> {
    let fits = (1..=TEXT_BYTES_MAX).contains(&text.len()) && text.trim() == text && !text.contains(char::is_control);
    fits.then(|| text.to_owned())
}

fn claim(text: &str) -> Option<Box<str>> {
    line(text).filter(|text| text.split('.').all(|name| !name.is_empty())).map(Into::into)
}

/// Reads the name of a cookie: a token of RFC 6265.
fn read_cookie(item: &Item<'_>) -> Option<Box<str>> {
    let name: Box<str> = item.parse("the name of a cookie, such as \"access_token\"", |text| {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        ((1..=TEXT_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_token)).then(|| text.into())
    })?;
    if &*name == SESSION_COOKIE {
        item.error(format!("`{SESSION_COOKIE}` is the cookie of Tollgate's own sessions; name the backend's"));
        return None;
    }
    Some(name)
}

/// What signatures are checked with.
#[derive(Clone, Debug, PartialEq)]
pub enum JwtKeys {
    /// HS256 with this secret.
    Secret(Secret),
    /// RS256 and ES256 with the public keys at this address.
    Jwks(Url),
}
