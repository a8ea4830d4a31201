//! The words of the commands by which an operator asks: what was used, why, what a change would do, how to begin.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Format, Moment, Span};

#[derive(Debug, Subcommand)]
pub(crate) enum Plan {
    /// Compare a changed file with the plans in force, and replay what every account used under both
    Diff(PlanDiff),
}

#[derive(Args, Debug)]
pub(crate) struct PlanDiff {
    /// The changed file
    #[arg(value_name = "NEW.toml")]
    pub(crate) file: PathBuf,
    /// How far back use is replayed, such as `7d`; `0d` replays nothing
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = Span::parse)]
    pub(crate) replay: Span,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// A key's id or a request's; `-` reads a raw key from standard input, which is the only place for one
    #[arg(value_name = "ID|-")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Usage {
    /// Write what was used by hour, account, meter, route, key and status class to standard output
    Export(UsageExport),
}

#[derive(Args, Debug)]
pub(crate) struct UsageExport {
    /// Only this account's
    #[arg(long, value_name = "ID|EMAIL")]
    pub(crate) account: Option<String>,
    /// From when on: RFC 3339, a date (UTC), or so long ago, such as `30d` [default: 30 days ago]
    #[arg(long, value_name = "T", value_parser = Moment::parse)]
    pub(crate) from: Option<Moment>,
    /// Up to when [default: now]
    #[arg(long, value_name = "T", value_parser = Moment::parse)]
    pub(crate) to: Option<Moment>,
    /// How rows are written
    #[arg(long, value_name = "FORMAT", default_value = "csv", conflicts_with = "json")]
    pub(crate) format: ExportFormat,
    /// The same as --format jsonl
    #[arg(long)]
    pub(crate) json: bool,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Comma-separated, the first line naming the columns
    Csv,
    /// One JSON object a line
    Jsonl,
}

#[derive(Args, Debug)]
pub(crate) struct Init {
    /// The backend's own `OpenAPI` 2, 3.0 or 3.1 document, JSON or YAML; `-` reads standard input
    #[arg(long, value_name = "URL|FILE")]
    pub(crate) openapi: String,
    /// Where the backend is [default: the document's own server]; without a path it keeps that server's
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Option<String>,
    /// Write to this file, which must not be there yet [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: Format,
}
