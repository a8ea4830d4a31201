//! `[keys]`: what keys look like and where a request carries them.

use http::HeaderName;
use tollgate_domain::{KeyPrefix, ShapePattern};

use crate::headers::{header_name, is_ours};
use crate::item::Item;
use crate::reader::Table;
use crate::secret::{self, Secret};

/// The settings of `[keys]`.
#[derive(Clone, Debug, PartialEq)]
pub struct KeysConfig {
    /// What new keys begin with.
    pub prefix: KeyPrefix,
    /// The header that carries the key, besides `Authorization: Bearer`.
    pub header: HeaderName,
    /// The query parameter that may carry it; `None` where none may.
    pub query: Option<Box<str>>,
    /// Mixed into the stored hash; `None` stores plain SHA-256.
    pub pepper: Option<Secret>,
    /// Other shapes that imported keys have.
    pub also_accept: Vec<ShapePattern>,
}

impl KeysConfig {
    pub(crate) fn read(table: &Table<'_>) -> Self {
        let mut config = Self::default();
        let Self { prefix, header, query, pepper, also_accept } = &mut config;
        table.read("prefix", prefix, read_prefix);
        table.read("header", header, read_header);
        table.read_optional("query", query, |item| {
            item.parse("the name of a query parameter: letters, digits, `-`, `_` and `.`", |text| {
                let fits =
                    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
                fits.then(|| text.into())
            })
        });
        *pepper = secret::read(table, "pepper", "pepper_file").map(|(pepper, _)| pepper);
        if let Some(shapes) = table.take("also_accept").and_then(|item| item.list_of(read_shape)) {
            *also_accept = shapes;
        }
        table.finish();
        config
    }
}

fn read_prefix(item: &Item<'_>) -> Option<KeyPrefix> {
    let prefix = item.parse(
        "a prefix: up to 32 letters, digits and underscores, the first and the last no underscore",
        KeyPrefix::new,
    )?;
    let first = prefix.as_str().split('_').next().unwrap_or_default();
    if ["rk", "sk", "pk", "whsec"].contains(&first) {
        item.reader.warning(
            item.offset(),
            format!("keys that begin with `{first}_` look like Stripe's own, and secret scanners will report them"),
        );
    }
    Some(prefix)
}

fn read_header(item: &Item<'_>) -> Option<HeaderName> {
    let text = item.text()?;
    let name = header_name(item, &text.value)?;
    if name == http::header::AUTHORIZATION {
        item.error("`Authorization: Bearer` is read besides the header named here; name another");
        return None;
    }
    if is_ours(&name) || name == http::header::COOKIE {
        item.error(format!("`{name}` cannot carry a key; name another header, such as \"x-api-key\""));
        return None;
    }
    Some(name)
}

fn read_shape(item: &Item<'_>) -> Option<ShapePattern> {
    let text = item.text()?;
    let Some(shape) = ShapePattern::new(&text.value) else {
        item.refuse(&text, "the shape of a key: visible ASCII, `*` for any of it, such as \"rk_*\"");
        return None;
    };
    if text.value.bytes().all(|byte| byte == b'*') {
        item.reader.warning(item.offset(), "this lets any text cause a look-up; write what your keys begin with");
    }
    Some(shape)
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self {
            prefix: KeyPrefix::new("tg_live").expect("the default prefix is a prefix"),
            header: HeaderName::from_static("x-api-key"),
            query: None,
            pepper: None,
            also_accept: Vec::new(),
        }
    }
}
