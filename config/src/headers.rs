//! Which header names a setting may use.

use http::HeaderName;

use crate::item::Item;

/// Headers that belong to a connection, to the framing of a message or to the gateway's own say.
const OURS: [&str; 15] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

/// Whether the gateway itself sets or removes the header, so that no setting may.
pub(crate) fn is_ours(name: &HeaderName) -> bool {
    let spelt = name.as_str().replace(['_', '.'], "-");
    OURS.contains(&name.as_str())
        || spelt.starts_with("x-tollgate-")
        || matches!(&*spelt, "tollgate-cost" | "tollgate-usage")
}

/// Reads a name in any case; reports one that is none.
pub(crate) fn header_name(item: &Item<'_>, text: &str) -> Option<HeaderName> {
    let name = text.parse::<HeaderName>().ok();
    if name.is_none() {
        item.error("this is not the name of a header: letters, digits and `-`, such as \"x-api-key\"");
    }
    name
}
