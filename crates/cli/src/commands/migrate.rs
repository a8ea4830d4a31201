//! `migrate`: brings a database up to date, or copies one into another. It speaks to the databases themselves, not to a
//! running process: that is what makes it usable before the first start.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use tollgate_config::Database;
use tollgate_store::{CopyReport, CopyStep, PostgresSettings, PostgresStore, Progress, SqliteStore, copy};

use crate::args::Migrate;
use crate::commands::Failure;
use crate::{output, run};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// A database that is named on the command line or by the configuration.
enum Place {
    Sqlite(PathBuf),
    Postgres(String),
}

/// An open database that nobody else uses meanwhile.
enum Opened {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl Place {
    fn of(text: &str) -> anyhow::Result<Self> {
        match text.split_once("://") {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(PathBuf::from(path))),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(text.to_owned())),
            // A database's URL may hold a password, so it is not repeated.
            _ => bail!("a database is named as `sqlite://FILE` or `postgres://USER:PASSWORD@HOST/DATABASE`"),
        }
    }

    fn configured(config: Option<&Path>) -> anyhow::Result<Self> {
        Ok(match run::load_admin_access(config)?.store.database {
            Database::Sqlite { path } => Self::Sqlite(path),
            Database::Postgres { url } => Self::Postgres(url.reveal().to_owned()),
        })
    }

    async fn open(&self) -> anyhow::Result<Opened> {
        Ok(match self {
            Self::Sqlite(path) => Opened::Sqlite(SqliteStore::open_for_copy(path).await?),
            Self::Postgres(url) => Opened::Postgres(PostgresStore::open_for_copy(PostgresSettings::new(url)).await?),
        })
    }
}

/// Does what the arguments ask for.
pub(crate) async fn run(arguments: &Migrate, config: Option<&Path>) -> Result<(), Failure> {
    let named = arguments.to.as_deref().map(Place::of).transpose()?;
    let to = match named {
        Some(to) => to,
        None => Place::configured(config)?,
    };
    match &arguments.from {
        None => update(&to, arguments.format.json).await,
        Some(from) => copy_all(&Place::of(from)?, &to, arguments.format.json).await,
    }
}

async fn update(place: &Place, as_json: bool) -> Result<(), Failure> {
    let (from, to) = match place {
        Place::Sqlite(path) => {
            // To open it is to bring it up to date.
            SqliteStore::open(path).await?.close().await;
            (None, None)
        }
        Place::Postgres(url) => {
            let migrated = PostgresStore::migrate(&PostgresSettings::new(url)).await?;
            (Some(migrated.from), Some(migrated.to))
        }
    };
    if as_json {
        output::json(&json!({ "from": from, "to": to }))?;
    }
    match (from, to) {
        (Some(from), Some(to)) if from != to => output::note(&format!("the schema was {from} and is {to} now")),
        _ => output::note("the database is up to date"),
    }
    Ok(())
}

async fn copy_all(from: &Place, to: &Place, as_json: bool) -> Result<(), Failure> {
    if let Place::Sqlite(path) = from
        && !path.exists()
    {
        return Err(anyhow::anyhow!("there is no file {}", path.display()).into());
    }
    let source = from.open().await.context("the source")?;
    let target = to.open().await.context("the target")?;
    let began = Instant::now();
    let mut told = Instant::now();
    let mut tell = |progress: Progress| {
        let Progress { step, table, rows, of } = progress;
        if told.elapsed() < TELL_EVERY && rows < of {
            return;
        }
        told = Instant::now();
        let doing = match step {
            CopyStep::Copy => "copied",
            CopyStep::Compare => "compared",
        };
        output::note(&format!("{table}: {doing} {rows} of {of}"));
    };
    let report = match (&source, &target) {
        (Opened::Sqlite(source), Opened::Sqlite(target)) => copy(source, target, &mut tell).await,
        (Opened::Sqlite(source), Opened::Postgres(target)) => copy(source, target, &mut tell).await,
        (Opened::Postgres(source), Opened::Sqlite(target)) => copy(source, target, &mut tell).await,
        (Opened::Postgres(source), Opened::Postgres(target)) => copy(source, target, &mut tell).await,
    };
    source.close().await;
    target.close().await;
    say(&report?, began.elapsed(), as_json)?;
    Ok(())
}

impl Opened {
    async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

fn say(report: &CopyReport, took: Duration, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let tables: Vec<_> = report
            .tables
            .iter()
            .map(|table| {
                let sums: serde_json::Map<_, _> =
                    table.sums.iter().map(|(name, sum)| ((*name).to_owned(), sum.to_string().into())).collect();
                json!({ "table": table.name, "rows": table.rows, "copied": table.copied, "sums": sums })
            })
            .collect();
        output::json(&json!({ "tables": tables }))?;
    } else {
        let rows: Vec<_> = report
            .tables
            .iter()
            .map(|table| [table.name.to_owned(), table.rows.to_string(), table.copied.to_string()])
            .collect();
        output::data(&output::table(["TABLE", "ROWS", "COPIED NOW"], &rows))?;
    }
    output::note(&format!("both databases hold the same ({:.1} s); the source is as it was", took.as_secs_f64()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_by_its_url_and_a_password_is_not_repeated() {
        assert!(matches!(Place::of("sqlite://a/b.db"), Ok(Place::Sqlite(path)) if path == Path::new("a/b.db")));
        assert!(matches!(Place::of("postgresql://u:secret@h/d"), Ok(Place::Postgres(_))));
        for bad in ["tollgate.db", "sqlite://", "mysql://u:secret@h/d", ""] {
            let error = Place::of(bad).err().expect("no database").to_string();
            assert!(error.contains("postgres://USER") && !error.contains("secret"), "{bad}: {error}");
        }
    }
}
