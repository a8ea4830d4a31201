//! Rewrites a request for the upstream: what is stripped, what is added, and the target. Of its answer, what it may not
//! set.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, COOKIE, FORWARDED, HOST, HeaderMap, REFERER, SET_COOKIE};
use http::{HeaderName, HeaderValue, Uri};
use ipnet::IpNet;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{ErrorType, OrErr, Result};
use tollgate_config::{GatewayConfig, UpstreamConfig};
use tollgate_limiter::Limiter;

use crate::answer::X_REQUEST_ID;
use crate::client_address::{X_FORWARDED_FOR, X_REAL_IP, is_trusted};
use crate::cookie;
use crate::credential::{KeyReader, Places};
use crate::directory::KeyEntry;
use crate::request_id::RequestId;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const IDENTITY_PREFIX: &str = "x-tollgate-";
const ACCOUNT: HeaderName = HeaderName::from_static("x-tollgate-account");
const PLAN: HeaderName = HeaderName::from_static("x-tollgate-plan");
const KEY_ID: HeaderName = HeaderName::from_static("x-tollgate-key-id");
/// Tells the control plane where it is mounted, so that its cookies go nowhere else.
const MOUNT: HeaderName = HeaderName::from_static("x-tollgate-mount");
/// Tells the control plane who calls, so that it need not know our trusted proxies.
const CLIENT: HeaderName = HeaderName::from_static("x-tollgate-client");

/// What every forwarded request has in common.
#[derive(Debug)]
pub(super) struct Forwarding {
    trusted_proxies: Vec<IpNet>,
    key_header: HeaderName,
    key_query: Option<Box<str>>,
    base_path: Box<str>,
    host: Option<HeaderValue>,
    add_headers: Vec<(HeaderName, HeaderValue)>,
    mount: Option<HeaderValue>,
}

/// What is known of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) peer: IpAddr,
    /// Who calls: the peer, or whom trusted proxies name.
    pub(super) client: IpAddr,
    pub(super) request_id: &'a RequestId,
}

impl Forwarding {
    pub(super) fn new(gateway: &GatewayConfig, upstream: &UpstreamConfig, keys: &KeyReader) -> Self {
        Self {
            trusted_proxies: gateway.trusted_proxies.clone(),
            key_header: keys.header().clone(),
            key_query: keys.query_parameter().map(Into::into),
            base_path: upstream.url.base_path.clone(),
            host: upstream.host.clone(),
            add_headers: upstream.add_headers.clone(),
            mount: gateway
                .mount
                .as_ref()
                .map(|mount| HeaderValue::from_str(mount.as_str()).expect("a canonical path is visible ASCII")),
        }
    }

    /// The nets whose forwarded headers are believed.
    pub(super) fn trusted_proxies(&self) -> &[IpNet] {
        &self.trusted_proxies
    }

    /// Prepares a request for the backend. `places` says where the key stood; on a `pass` route it is empty.
    pub(super) fn to_upstream<L: Limiter>(
        &self,
        request: &mut RequestHeader,
        origin: Origin<'_>,
        places: Places,
        caller: Option<(&KeyEntry<L>, &str)>,
    ) -> Result<()> {
        self.strip_lookalikes(request);
        self.strip_key(request, places)?;
        strip_session(request)?;
        self.retarget(request, places)?;
        self.forwarded_headers(request, origin)?;
        if let Some((caller, plan)) = caller {
            request.insert_header(ACCOUNT, caller.owner.id_header.clone())?;
            request.insert_header(KEY_ID, caller.id_header.clone())?;
            request.insert_header(PLAN, HeaderValue::from_str(plan).expect("plan names are words"))?;
        }
        if let Some(host) = &self.host {
            request.insert_header(HOST, host.clone())?;
        }
        for (name, value) in &self.add_headers {
            request.insert_header(name.clone(), value.clone())?;
        }
        Ok(())
    }

    /// Prepares a request for the control plane: its own path there, where that is mounted here, and no identity.
    pub(super) fn to_control_plane(&self, request: &mut RequestHeader, origin: Origin<'_>, path: &str) -> Result<()> {
        self.strip_lookalikes(request);
        self.forwarded_headers(request, origin)?;
        request.insert_header(CLIENT, origin.client.to_string())?;
        if let Some(mount) = &self.mount {
            request.insert_header(MOUNT, mount.clone())?;
        }
        let query = request.uri.query().map(ToOwned::to_owned);
        set_target(request, path, query.as_deref())
    }

    /// Removes what only we may say, also where it is spelt so that a backend which maps `_` or `.` to `-` would
    /// take it for ours.
    fn strip_lookalikes(&self, request: &mut RequestHeader) {
        let ours = |name: &str| {
            let protected = [&X_FORWARDED_FOR, &X_FORWARDED_PROTO, &X_FORWARDED_HOST, &X_REAL_IP, &X_REQUEST_ID];
            protected.into_iter().any(|header| header == name)
                || self.key_header == name
                || self.add_headers.iter().any(|(header, _)| header == name)
        };
        let stripped: Vec<HeaderName> = request
            .headers
            .keys()
            .filter(|name| {
                let name = name.as_str();
                if name.starts_with(IDENTITY_PREFIX) {
                    return true;
                }
                let respelt = name.contains(['_', '.']);
                respelt && {
                    let plain = name.replace(['_', '.'], "-");
                    plain.starts_with(IDENTITY_PREFIX) || ours(&plain)
                }
            })
            .cloned()
            .collect();
        for name in stripped {
            request.remove_header(&name);
        }
    }

    fn strip_key(&self, request: &mut RequestHeader, places: Places) -> Result<()> {
        if places.header {
            request.remove_header(&self.key_header);
        }
        if places.authorization {
            request.remove_header(&AUTHORIZATION);
        }
        let cleaned = match (&self.key_query, request.headers.get(REFERER)) {
            (Some(name), Some(referer)) => referer.to_str().ok().and_then(|referer| referer_without(referer, name)),
            _ => None,
        };
        if let Some(cleaned) = cleaned {
            match HeaderValue::from_str(&cleaned) {
                Ok(value) => request.insert_header(REFERER, value)?,
                Err(_) => {
                    request.remove_header(&REFERER);
                }
            }
        }
        Ok(())
    }

    /// The backend's base path before the canonical path, and the query without the key.
    fn retarget(&self, request: &mut RequestHeader, places: Places) -> Result<()> {
        let stripped_query = match (&self.key_query, request.uri.query()) {
            (Some(name), Some(query)) if places.query => Some(crate::query::without(query, name)),
            _ => None,
        };
        if self.base_path.is_empty() && stripped_query.is_none() {
            return Ok(());
        }
        let path = format!("{}{}", self.base_path, request.uri.path());
        let query = stripped_query.unwrap_or_else(|| request.uri.query().map(ToOwned::to_owned));
        set_target(request, &path, query.as_deref())
    }

    fn forwarded_headers(&self, request: &mut RequestHeader, origin: Origin<'_>) -> Result<()> {
        let trusted = is_trusted(origin.peer, &self.trusted_proxies);
        let peer = origin.peer.to_canonical();
        let chain = match chain_so_far(&request.headers).filter(|_| trusted) {
            Some(chain) => format!("{chain}, {peer}"),
            None => peer.to_string(),
        };
        request.insert_header(X_FORWARDED_FOR, chain)?;
        if !trusted {
            request.remove_header(&FORWARDED);
            request.remove_header(&X_REAL_IP);
        }
        if !trusted || !request.headers.contains_key(X_FORWARDED_PROTO) {
            request.insert_header(X_FORWARDED_PROTO, "http")?;
        }
        if !trusted || !request.headers.contains_key(X_FORWARDED_HOST) {
            match request.headers.get(HOST).cloned() {
                Some(host) => request.insert_header(X_FORWARDED_HOST, host)?,
                None => {
                    request.remove_header(&X_FORWARDED_HOST);
                }
            }
        }
        request.insert_header(X_REQUEST_ID, origin.request_id.as_str())?;
        Ok(())
    }
}

/// Takes the session with the control plane out, which a browser sends along wherever its path leads. It would open the
/// account to whoever runs the backend.
fn strip_session(request: &mut RequestHeader) -> Result<()> {
    let lines = request.headers.get_all(COOKIE);
    if !lines.iter().any(|line| cookie::holds(line.as_bytes(), cookie::SESSION)) {
        return Ok(());
    }
    let kept: Vec<HeaderValue> = lines
        .iter()
        .filter_map(|line| cookie::without(line.as_bytes(), cookie::SESSION))
        .filter_map(|line| HeaderValue::from_bytes(&line).ok())
        .collect();
    request.remove_header(&COOKIE);
    for line in kept {
        request.append_header(COOKIE, line)?;
    }
    Ok(())
}

/// Takes out what would set the session with the control plane, which a backend has no say in: it could sign a visitor in
/// to an account of its own. Every other cookie keeps its place.
pub(super) fn keep_session(response: &mut ResponseHeader) -> Result<()> {
    let lines = response.headers.get_all(SET_COOKIE);
    if !lines.iter().any(|line| cookie::sets(line.as_bytes(), cookie::SESSION)) {
        return Ok(());
    }
    let kept = lines.iter().filter(|line| !cookie::sets(line.as_bytes(), cookie::SESSION));
    let kept: Vec<HeaderValue> = kept.cloned().collect();
    response.remove_header(&SET_COOKIE);
    for line in kept {
        response.append_header(SET_COOKIE, line)?;
    }
    Ok(())
}

fn chain_so_far(headers: &HeaderMap) -> Option<String> {
    let values: Vec<&str> = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// A referer whose query held the key, without it; `None` when it held none.
fn referer_without(referer: &str, name: &str) -> Option<String> {
    let (head, fragment) = referer.split_once('#').map_or((referer, ""), |(head, fragment)| (head, fragment));
    let (page, query) = head.split_once('?')?;
    let kept = crate::query::without(query, name);
    if kept.as_deref() == Some(query) {
        return None;
    }
    let mut cleaned = page.to_owned();
    if let Some(kept) = kept {
        cleaned.push('?');
        cleaned.push_str(&kept);
    }
    if !fragment.is_empty() {
        cleaned.push('#');
        cleaned.push_str(fragment);
    }
    Some(cleaned)
}

/// Sets path and query. Both come from a target that was parsed before, so they parse again.
fn set_target(request: &mut RequestHeader, path: &str, query: Option<&str>) -> Result<()> {
    let target = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let uri = Uri::try_from(target).or_err(ErrorType::InternalError, "a rewritten target does not parse")?;
    request.set_uri(uri);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_the_referer_is_taken_out() {
        for (referer, expected) in [
            ("https://a.example/p?api_key=secret", Some("https://a.example/p")),
            ("https://a.example/p?x=1&api_key=secret&y=2#top", Some("https://a.example/p?x=1&y=2#top")),
            ("https://a.example/p?x=1", None),
            ("https://a.example/p", None),
        ] {
            assert_eq!(referer_without(referer, "api_key").as_deref(), expected, "{referer}");
        }
    }
}
