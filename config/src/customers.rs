//! What only shows between the sections that customers are served by, the routes and the plans.

use crate::config::Settings;
use crate::item::Item;
use crate::meters;
use crate::plans::Plans;
use crate::reader::{Table, UnknownKeys};
use crate::route::Access;
use crate::routes::PlacedRoute;
use crate::scalars::is_in_the_clear;

/// Reports what contradicts itself between the sections of a whole file. `unknown` are the file's unknown sections.
pub(crate) fn check(
    root: &Table<'_>,
    unknown: &UnknownKeys,
    settings: &Settings,
    routes: &[PlacedRoute],
    plans: &Plans,
) {
    check_meters(root, settings, routes, plans);
    check_tokens(root, settings);
    check_shapes(root, settings);
    // What is no TOML may have been the section that seems to be missing.
    if root.reader.syntax.errors.is_empty() {
        check_jwt_routes(root, unknown, routes);
        check_mail(root, unknown, settings);
    }
}

fn check_meters(root: &Table<'_>, settings: &Settings, routes: &[PlacedRoute], plans: &Plans) {
    let known = meters::Known::of(plans, root.reader);
    for placed in routes {
        if let (Some(meter), Some(offset)) = (&placed.route.meter, placed.meter) {
            known.check(meter, offset, root.reader);
        }
    }
    let items = root.section("usage").take("client_reported").and_then(|item| item.list()).unwrap_or_default();
    for (meter, item) in settings.usage.client_reported.iter().zip(items) {
        known.check(meter, item.offset(), root.reader);
    }
}

/// The backend's token opens less than the operators'; one text for both would open everything.
fn check_tokens(root: &Table<'_>, settings: &Settings) {
    let crate::AdminToken::Given(operators) = &settings.admin.token else { return };
    if settings.usage.service_token.as_ref() != Some(operators) {
        return;
    }
    let usage = root.section("usage");
    if let Some(item) = usage.take("service_token").or_else(|| usage.take("service_token_file")) {
        let warning = "this is the operators' token as well, so the backend could do all that operators can";
        item.reader.warning(item.offset(), warning);
    }
}

/// A token is sent where a key is, so a shape of keys that tokens have would keep them from being read.
fn check_shapes(root: &Table<'_>, settings: &Settings) {
    if settings.auth.jwt.is_none() || settings.keys.also_accept.is_empty() {
        return;
    }
    let items = root.section("keys").take("also_accept").and_then(|item| item.list()).unwrap_or_default();
    for (shape, item) in settings.keys.also_accept.iter().zip(items) {
        if shape.matches(TOKEN.as_bytes()) {
            let warning =
                "tokens of [auth.jwt] have this shape and would be taken for keys; write what keys begin with";
            item.reader.warning(item.offset(), warning);
        }
    }
}

/// Every token begins so, as it begins with an object in which `alg` or `typ` stands, and has three parts.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";

fn check_jwt_routes(root: &Table<'_>, unknown: &UnknownKeys, routes: &[PlacedRoute]) {
    let auth = root.section("auth");
    // One that is there and wrong has been reported already.
    if auth.take("jwt").is_some() || unknown.may_hold("auth") || auth.own_keys().next().is_some() {
        return;
    }
    for placed in routes.iter().filter(|placed| placed.route.access == Access::Jwt) {
        let message = "access = \"jwt\" needs [auth.jwt]: what the backend's tokens are checked with";
        root.reader.error(placed.access.unwrap_or(placed.offset), message);
    }
}

fn check_mail(root: &Table<'_>, unknown: &UnknownKeys, settings: &Settings) {
    let Some(item) = root.take("mail").filter(Item::is_table) else { return };
    let gateway = root.section("gateway");
    let given = gateway.take("public_url");
    let url = settings.gateway.public_url.as_ref();
    if let Some(given) = given.as_ref().filter(|_| url.is_some_and(is_in_the_clear)) {
        let warning = "who opens a mailed link here is not signed in: browsers keep no session without https://";
        given.reader.warning(given.offset(), warning);
    }
    if given.is_none() {
        let misspelt =
            gateway.own_keys().any(|(key, _)| key.contains("url") && !["upgrade_url", "signup_url"].contains(&key));
        if !misspelt && !unknown.may_hold("gateway") {
            let message = "[mail] needs `public_url` in [gateway]: where the links in mail lead";
            root.reader.error(item.key_offset, message);
        }
    } else if settings.gateway.mount.is_none() {
        let message = "links in mail lead to `gateway.public_url`, and with `mount = \"\"` its gateway sends them on to the \
                       backend";
        root.reader.warning(item.key_offset, message);
    }
}
