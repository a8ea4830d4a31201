//! Small plain pages: no scripts, nothing from elsewhere.

use std::fmt::Write;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::response::{IntoResponse, Response};
use chrono::DateTime;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}\
form{display:inline}button{margin:.15rem;padding:.35rem .8rem;font:inherit;cursor:pointer}\
.card{border:1px solid #ccc;border-radius:.5rem;padding:1rem 1.5rem;margin:1rem 0}.note{color:#666;font-size:.9rem}\
.error{color:#a00}code{font-size:.9em}";

/// Text that stands in a page as it is.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A whole page.
pub(crate) fn page(title: &str, body: &str) -> Response {
    let title = escape(title);
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>{body}\
         <p class=\"note\">This is a fake Stripe. No money moves.</p></main></body></html>"
    );
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

/// A page that says what is wrong.
pub(crate) fn not_found(what: &str) -> Response {
    let mut response = page("Not found", &format!("<p>{}</p>", escape(what)));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// On to another page, with GET.
pub(crate) fn see_other(address: &str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, address.to_owned())]).into_response()
}

/// A button that posts these fields to the page it stands on.
pub(crate) fn button(label: &str, fields: &[(&str, &str)]) -> String {
    let mut form = "<form method=\"post\">".to_owned();
    for (name, value) in fields {
        write!(form, "<input type=\"hidden\" name=\"{}\" value=\"{}\">", escape(name), escape(value))
            .expect("text takes text");
    }
    write!(form, "<button type=\"submit\">{}</button></form>", escape(label)).expect("text takes text");
    form
}

/// An amount of cents as people read it.
pub(crate) fn money(cents: i64, currency: &str) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02} {}", cents.abs() / 100, cents.abs() % 100, currency.to_uppercase())
}

/// A moment as people read it, UTC.
pub(crate) fn moment(time: i64) -> String {
    DateTime::from_timestamp(time, 0)
        .map_or_else(|| time.to_string(), |moment| moment.format("%Y-%m-%d %H:%M:%S").to_string())
}
