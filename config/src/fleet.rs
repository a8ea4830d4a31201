//! What only shows between the sections that make a fleet: `[store]`, `[limits]` and `[admin]`.

use crate::config::Settings;
use crate::item::Item;
use crate::limits::LimiterMode;
use crate::reader::Table;
use crate::scalars::show_duration;
use crate::store::{Database, StoreConfig};

/// How many of Redis's longest answers a lease must outlive: one in which it is granted, one in which it is given back.
const ANSWERS_PER_LEASE: u32 = 2;

/// Reports what contradicts itself between the sections of a whole file.
pub(crate) fn check(root: &Table<'_>, settings: &Settings) {
    check_token(root, &settings.store);
    check_lease(root, settings);
    check_spool(root, &settings.store);
}

/// A token that nobody chose is kept beside the database's file, so where that is none it must be chosen.
pub(crate) fn check_token(root: &Table<'_>, store: &StoreConfig) {
    let (admin, section) = (root.section("admin"), root.section("store"));
    // One that is there and wrong has been reported already.
    let chosen = admin.take("token").is_some() || admin.take("token_file").is_some();
    if chosen || !matches!(store.database, Database::Postgres { .. }) {
        return;
    }
    if let Some(item) = section.take("database").or_else(|| section.take("database_file")) {
        item.error("PostgreSQL has no folder to keep a token in; set `token` or `token_file` in [admin]");
    }
}

fn check_lease(root: &Table<'_>, settings: &Settings) {
    let (ttl, timeout) = (settings.limits.lease_ttl, settings.store.redis_timeout);
    let leased = settings.limits.mode == LimiterMode::Leased && settings.store.redis.is_some();
    if !leased || ttl >= timeout * ANSWERS_PER_LEASE {
        return;
    }
    let given = [root.section("limits").take("lease_ttl"), root.section("store").take("redis_timeout")];
    // In place of one that is wrong by itself stands its default, which nobody chose.
    let wrong = |(item, used): (&Option<Item<'_>>, _)| item.as_ref().is_some_and(|item| item.duration() != Some(used));
    if given.iter().zip([ttl, timeout]).any(wrong) {
        return;
    }
    // The defaults agree, so one of both stands in the file.
    if let Some(item) = given.into_iter().flatten().next() {
        let (ttl, timeout) = (show_duration(ttl), show_duration(timeout));
        item.error(format!(
            "a lease of {ttl} (`limits.lease_ttl`) is over before two answers of Redis that take {timeout} each \
             (`store.redis_timeout`); make it at least twice as long"
        ));
    }
}

fn check_spool(root: &Table<'_>, store: &StoreConfig) {
    let Database::Sqlite { path } = &store.database else { return };
    let section = root.section("store");
    if let Some(item) = section.take("spool").or_else(|| section.take("database")).filter(|_| *path == store.spool) {
        item.error("`spool` and `database` are one path; a folder cannot be the database's file");
    }
}
