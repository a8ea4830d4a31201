//! Cross-origin requests: preflights answered here, and the headers every other answer carries.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tollgate_config::{Allowed, Cors};

/// What an upstream may have written and we write in its place.
pub const OURS: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

/// How long a browser may remember a preflight, in seconds: short enough that an edited file is obeyed soon.
const PREFLIGHT_SECS: &str = "600";

/// The rules of `[cors]`, prepared.
#[derive(Debug)]
pub struct CorsRules {
    cors: Cors,
    methods: HeaderValue,
    headers: HeaderValue,
}

impl CorsRules {
    /// Prepares the rules.
    pub fn new(cors: &Cors) -> Self {
        let methods = match &cors.methods {
            Allowed::Any => "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".into(),
            Allowed::Only(methods) => join(methods.iter().map(Method::as_str)),
        };
        let headers = match &cors.headers {
            Allowed::Any => String::new(),
            Allowed::Only(names) => join(names.iter().map(HeaderName::as_str)),
        };
        let value = |text: String| HeaderValue::from_str(&text).expect("method and header names are visible ASCII");
        Self { cors: cors.clone(), methods: value(methods), headers: value(headers) }
    }

    /// Hands the headers of an answer to `put`. Without an allowed `Origin` only `Vary` is written: the browser
    /// then refuses the answer to the page, as it should.
    pub fn write(&self, request: &HeaderMap, mut put: impl FnMut(HeaderName, HeaderValue)) {
        let Some(origin) = self.allowed_origin(request) else { return };
        put(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.cors.credentials {
            put(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        put(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(crate::limit_headers::EXPOSED));
    }

    /// Hands the headers of a preflight's answer to `put`.
    pub fn write_preflight(&self, request: &HeaderMap, mut put: impl FnMut(HeaderName, HeaderValue)) {
        let Some(origin) = self.allowed_origin(request) else { return };
        put(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.cors.credentials {
            put(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        put(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        let headers = match &self.cors.headers {
            // A wildcard does not cover every header in every browser, so what is asked for is named.
            Allowed::Any => request.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned(),
            Allowed::Only(_) => Some(self.headers.clone()),
        };
        if let Some(headers) = headers {
            put(ACCESS_CONTROL_ALLOW_HEADERS, headers);
        }
        put(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECS));
    }

    /// What caches must tell answers apart by.
    pub fn vary(&self) -> (HeaderName, HeaderValue) {
        (VARY, HeaderValue::from_static("Origin"))
    }

    fn allowed_origin(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let origin = request.get(ORIGIN)?;
        match &self.cors.origins {
            Allowed::Any if !self.cors.credentials => Some(HeaderValue::from_static("*")),
            Allowed::Any => None,
            Allowed::Only(origins) => {
                let text = origin.to_str().ok()?;
                origins.iter().any(|allowed| allowed.as_str().eq_ignore_ascii_case(text)).then(|| origin.clone())
            }
        }
    }
}

/// Whether a request is a preflight (Fetch standard, 3.2.2), and the method it asks for.
pub fn preflight_method(method: &Method, headers: &HeaderMap) -> Option<Method> {
    if method != Method::OPTIONS || !headers.contains_key(ORIGIN) {
        return None;
    }
    let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(asked.as_bytes()).ok()
}

fn join<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
