//! What only shows between the sections that customers are served by, the routes and the plans.

use crate::billing::BilledMeter;
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
        check_stripe(root, unknown, settings, plans);
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
    let billed = stripe_section(root).and_then(|item| item.table("billing.stripe")?.take("meters"));
    let billed = billed.filter(Item::is_table).and_then(|item| item.table("billing.stripe.meters"));
    for (key, item) in billed.iter().flat_map(Table::own_keys) {
        if let Some(BilledMeter::Named(meter)) = BilledMeter::new(key) {
            known.check_billed(&meter, item.key_offset, root.reader);
        }
    }
}

fn stripe_section<'c>(root: &Table<'c>) -> Option<Item<'c>> {
    root.section("billing").take("stripe").filter(Item::is_table)
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
    if let Some(given) = public_url_in_the_clear(root, settings) {
        let warning = "who opens a mailed link here is not signed in: browsers keep no session without https://";
        given.reader.warning(given.offset(), warning);
    }
    check_public_url(
        &item,
        root,
        unknown,
        settings,
        "[mail] needs `public_url` in [gateway]: where the links in mail lead",
        "links in mail lead to `gateway.public_url`, and with `mount = \"\"` its gateway sends them on to the backend",
    );
}

fn check_stripe(root: &Table<'_>, unknown: &UnknownKeys, settings: &Settings, plans: &Plans) {
    let Some(item) = stripe_section(root) else { return };
    let livemode = settings.billing.stripe.as_ref().is_some_and(|stripe| stripe.livemode);
    if let Some(given) = public_url_in_the_clear(root, settings).filter(|_| livemode) {
        given.reader.warning(given.offset(), "Stripe delivers the events of live mode over https:// only");
    }
    check_public_url(
        &item,
        root,
        unknown,
        settings,
        "[billing.stripe] needs `public_url` in [gateway]: where Stripe's webhook goes and Checkout leads back to",
        "Stripe's webhook goes to `gateway.public_url`, and with `mount = \"\"` its gateway sends it on to the backend",
    );
    if !plans.for_sale() && !root.reader.lost_plans() {
        let warning = "no plan has `stripe_prices`: nothing can be bought, and no subscription gives access";
        item.reader.warning(item.key_offset, warning);
    }
}

/// The public address, where it is one of plain HTTP that leads to another machine.
fn public_url_in_the_clear<'c>(root: &Table<'c>, settings: &Settings) -> Option<Item<'c>> {
    let in_the_clear = settings.gateway.public_url.as_ref().is_some_and(is_in_the_clear);
    root.section("gateway").take("public_url").filter(|_| in_the_clear)
}

/// Reports at a section that the public address it needs is missing, or that what it serves there goes elsewhere.
fn check_public_url(
    section: &Item<'_>,
    root: &Table<'_>,
    unknown: &UnknownKeys,
    settings: &Settings,
    missing: &str,
    unmounted: &str,
) {
    let gateway = root.section("gateway");
    if gateway.take("public_url").is_none() {
        let misspelt =
            gateway.own_keys().any(|(key, _)| key.contains("url") && !["upgrade_url", "signup_url"].contains(&key));
        if !misspelt && !unknown.may_hold("gateway") {
            root.reader.error(section.key_offset, missing);
        }
    } else if settings.gateway.mount.is_none() {
        root.reader.warning(section.key_offset, unmounted);
    }
}
