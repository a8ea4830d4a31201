//! Judges the header fields that decide how a request is framed and where it goes.
//!
//! Owns `Content-Length`, `Transfer-Encoding`, `Host` (that there is one), `Expect`, `Connection`
//! and the fields of protocol upgrades, which are stripped: no upgrade passes the gateway yet.
//! Deliberately leaves every other field alone, hop-by-hop ones included: the proxy drops those on
//! the way upstream.

use httparse::Header;

use super::Rejection;
use super::body::Framing;

/// How many options `Connection` may name in all; the proxy behind refuses ten.
const CONNECTION_OPTIONS_MAX: usize = 8;

/// What the fields of one request say.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) framing: Framing,
    pub(super) host: Option<&'a [u8]>,
    pub(super) close: bool,
    pub(super) expects_continue: bool,
    /// Whether the head must be written anew, without what [`Fields::strips`] names.
    pub(super) rewrite: bool,
    /// What remains of `Connection`, in one field, where the fields received cannot stand.
    pub(super) connection: Option<String>,
    drops_expect: bool,
}

impl Fields<'_> {
    /// Whether a rewritten head leaves out the field of this name.
    pub(super) fn strips(&self, name: &str) -> bool {
        is_upgrade_field(name)
            || (self.connection.is_some() && name.eq_ignore_ascii_case("connection"))
            || (self.drops_expect && name.eq_ignore_ascii_case("expect"))
    }
}

/// Reads the fields that matter.
///
/// # Errors
///
/// A 400 for framing, `Host`, `Expect` or `Connection` that could be read in two ways.
pub(super) fn judge<'a>(headers: &[Header<'a>], http_10: bool) -> Result<Fields<'a>, Rejection> {
    let mut fields = Fields::default();
    let mut length = None;
    let mut chunked = false;
    let mut connections = 0;
    for header in headers {
        let name = header.name;
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => {
                set_once(&mut fields.host, header.value, "Host is given more than once")?;
            }
            6 if name.eq_ignore_ascii_case("expect") => expect(&mut fields, header.value, http_10)?,
            7 | 14 if is_upgrade_field(name) => fields.rewrite = true,
            10 if name.eq_ignore_ascii_case("connection") => connections += 1,
            14 if is_framing_field(name, "content-length")? => {
                let value = content_length(header.value)?;
                set_once(&mut length, value, "Content-Length is given more than once")?;
            }
            17 if is_framing_field(name, "transfer-encoding")? => {
                if chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Rejection::bad_request("Transfer-Encoding is not exactly one chunked"));
                }
                chunked = true;
            }
            _ => {}
        }
    }
    fields.framing = match (length, chunked) {
        (Some(_), true) => {
            return Err(Rejection::bad_request("Content-Length and Transfer-Encoding are both given"));
        }
        (None, true) if http_10 => {
            return Err(Rejection::bad_request("HTTP/1.0 knows no Transfer-Encoding"));
        }
        (None, true) => Framing::Chunked,
        (Some(length), false) => Framing::Length(length),
        (None, false) => Framing::Empty,
    };
    if connections > 0 {
        connection(&mut fields, headers, connections)?;
    }
    Ok(fields)
}

fn set_once<T>(slot: &mut Option<T>, value: T, detail: &'static str) -> Result<(), Rejection> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Rejection::bad_request(detail)),
    }
}

/// One decimal number, as a sender would write it.
fn content_length(value: &[u8]) -> Result<u64, Rejection> {
    let plain =
        value.first().is_some_and(|first| *first != b'0' || value.len() == 1) && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| plain)
        // Everything downstream counts in signed 64 bits at most.
        .and_then(|digits| digits.parse::<i64>().ok())
        .and_then(|length| u64::try_from(length).ok())
        .ok_or(Rejection::bad_request("Content-Length is not one plain number"))
}

/// Whether `name` is the framing field. A name that an upstream could take for it, with `_` or
/// `.` for `-`, is an error.
fn is_framing_field(name: &str, field: &str) -> Result<bool, Rejection> {
    if name.eq_ignore_ascii_case(field) {
        return Ok(true);
    }
    let same = |(octet, expected): (u8, u8)| match expected {
        b'-' => matches!(octet, b'_' | b'.'),
        _ => octet.eq_ignore_ascii_case(&expected),
    };
    if name.bytes().zip(field.bytes()).all(same) {
        return Err(Rejection::bad_request("A framing field's name is misspelt"));
    }
    Ok(false)
}

fn expect(fields: &mut Fields<'_>, value: &[u8], http_10: bool) -> Result<(), Rejection> {
    if !value.eq_ignore_ascii_case(b"100-continue") {
        return Err(Rejection::bad_request("Expect is not 100-continue"));
    }
    if fields.expects_continue || fields.drops_expect {
        return Err(Rejection::bad_request("Expect is given more than once"));
    }
    // RFC 9110 10.1.1: the expectation of an HTTP/1.0 client is ignored.
    fields.drops_expect = http_10;
    fields.rewrite |= http_10;
    fields.expects_continue = !http_10;
    Ok(())
}

/// Reads the options of `Connection`. The common case, one field that names nothing to strip,
/// leaves the head as it is.
fn connection(fields: &mut Fields<'_>, headers: &[Header<'_>], connections: usize) -> Result<(), Rejection> {
    let mut stripped = connections > 1;
    for (index, option) in connection_options(headers).enumerate() {
        let option =
            option.filter(|_| index < CONNECTION_OPTIONS_MAX).ok_or(Rejection::bad_request("Connection is invalid"))?;
        if is_protected(option) {
            return Err(Rejection::bad_request("Connection names a field that is not the connection's"));
        }
        fields.close |= option.eq_ignore_ascii_case("close");
        stripped |= is_upgrade_field(option);
    }
    if stripped {
        let kept: Vec<&str> =
            connection_options(headers).flatten().filter(|option| !is_upgrade_field(option)).collect();
        fields.connection = Some(kept.join(", "));
        fields.rewrite = true;
    }
    Ok(())
}

/// The options of every `Connection` field, `None` for one that is no token.
fn connection_options<'a>(headers: &[Header<'a>]) -> impl Iterator<Item = Option<&'a str>> {
    headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("connection"))
        .flat_map(|header| header.value.split(|octet| *octet == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty())
        .map(|option| std::str::from_utf8(option).ok().filter(|option| is_token(option)))
}

/// Fields whose removal on the way upstream would change what the request is.
fn is_protected(name: &str) -> bool {
    const PROTECTED: [&str; 7] = [
        "host",
        "content-length",
        "content-type",
        "expect",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ];
    PROTECTED.iter().any(|protected| name.eq_ignore_ascii_case(protected))
}

fn is_upgrade_field(name: &str) -> bool {
    name.eq_ignore_ascii_case("upgrade") || name.eq_ignore_ascii_case("http2-settings")
}

fn is_token(value: &str) -> bool {
    value.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet))
}
