//! Whether the tables that are there are the ones this version knows. Making them is the databases' own.

use sqlx::migrate::Migrator;

/// A migration as a database remembers it: its number, its checksum and whether it went through.
pub(crate) type Applied = (i64, Vec<u8>, bool);

/// What a database remembers of its migrations, in both.
pub(crate) const APPLIED: &str = "SELECT version, checksum, success FROM _sqlx_migrations ORDER BY version";

/// What is wrong with the tables, if anything.
pub(crate) fn unknown_schema(known: &Migrator, applied: &[Applied]) -> Option<String> {
    applied.iter().find_map(|(version, checksum, success)| {
        let Some(known) = known.iter().find(|known| known.version == *version) else {
            return Some(format!("a newer version of Tollgate made it (schema {version}); it was left as it is"));
        };
        (*known.checksum != **checksum || !success)
            .then(|| format!("its schema {version} is not the one of this version; it was left as it is"))
    })
}
