//! `[cors]`: which other sites' pages may call.

use std::fmt;

use http::{HeaderName, Method};
use url::Url;

use crate::headers::header_name;
use crate::item::Item;
use crate::reader::Table;
use crate::routes::read_method;

/// The settings of `[cors]`; a file without the section has no CORS at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The sites.
    pub origins: Allowed<Origin>,
    /// The methods their pages may use.
    pub methods: Allowed<Method>,
    /// The headers their pages may send.
    pub headers: Allowed<HeaderName>,
    /// Whether their pages may send cookies and see the answers.
    pub credentials: bool,
}

impl Cors {
    /// Reads the section. What it does not name is not allowed: there are no defaults to merge with.
    pub(crate) fn read(table: &Table<'_>) -> Self {
        let mut cors = Self {
            origins: Allowed::Only(Vec::new()),
            methods: Allowed::Only(Vec::new()),
            headers: Allowed::Only(Vec::new()),
            credentials: false,
        };
        let Self { origins, methods, headers, credentials } = &mut cors;
        let origins_item = table.take("origins");
        if let Some(read) = origins_item.as_ref().and_then(|item| Allowed::read(item, Origin::read)) {
            *origins = read;
        }
        table.read("methods", methods, |item| Allowed::read(item, read_method));
        table.read("headers", headers, |item| {
            Allowed::read(item, |item| item.text().and_then(|text| header_name(item, &text.value)))
        });
        if let Some(item) = table.take("credentials") {
            *credentials = item.flag().unwrap_or_default();
            if let Some(origins_item) = origins_item.as_ref().filter(|_| *credentials && *origins == Allowed::Any) {
                let line = table.reader.line(origins_item.key_offset);
                item.error(format!("`credentials = true` contradicts origins \"*\" on line {line}: name the sites"));
            }
        }
        let unknown = table.finish();
        if origins_item.is_none() && !unknown.may_hold("origins") {
            table.reader.error(table.offset, "[cors] needs `origins`: the sites whose pages may call");
        }
        cors
    }
}

/// Everything, or what a list names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed<T> {
    /// `["*"]` in the file.
    Any,
    /// These.
    Only(Vec<T>),
}

impl<T: PartialEq> Allowed<T> {
    fn read<'c>(item: &Item<'c>, read: impl Fn(&Item<'c>) -> Option<T>) -> Option<Self> {
        let items = item.one_or_list();
        if items.is_empty() {
            item.error("an empty list allows nothing; leave it out, or write \"*\" to allow everything");
            return None;
        }
        if let Some(star) = items.iter().find(|item| item.is_word("*")) {
            if items.len() > 1 {
                star.error("`*` allows everything, so nothing else belongs in this list");
            }
            return Some(Self::Any);
        }
        item.one_or_list_of(read).map(Self::Only)
    }

    /// Whether the item is allowed.
    pub fn allows(&self, item: &T) -> bool {
        match self {
            Self::Any => true,
            Self::Only(items) => items.contains(item),
        }
    }
}

/// A site as browsers name it: `https://example.com`, `http://localhost:3000`. In lower case, without a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(pub(crate) Box<str>);

impl Origin {
    fn read(item: &Item<'_>) -> Option<Self> {
        item.parse_or_say("an origin such as \"https://example.com\"", |text| {
            let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            match url.map(|url| url.origin().ascii_serialization()) {
                Some(origin) if origin == text => Ok(Self(origin.into())),
                Some(origin) => {
                    Err(format!("browsers name this site `{origin}`: no path, no default port; write that"))
                }
                None => Err(format!(
                    "`{}` is not an origin; write scheme and host, such as \"https://example.com\"",
                    text.escape_debug()
                )),
            }
        })
    }

    /// The origin as a browser writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
