//! `[log]`: what the process writes to standard error.

use crate::reader::Table;

/// The settings of `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How the access log and messages are written.
    pub format: LogFormat,
    /// Messages less important than this are left out. The access log is always written.
    pub level: LogLevel,
}

impl LogConfig {
    pub(crate) fn read(table: &Table<'_>) -> Self {
        let mut config = Self::default();
        let Self { format, level } = &mut config;
        table.read("format", format, |item| item.word(&[("json", LogFormat::Json), ("line", LogFormat::Line)]));
        table.read("level", level, |item| item.word(&LogLevel::ALL.map(|level| (level.as_str(), level))));
        table.finish();
        config
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: LogLevel::Info }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// `GET /events/search 200 12ms plan=pro key=1a2b3c4d`.
    Line,
}

/// How important a message must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And what will need attention.
    Warn,
    /// And what an operator wants to know.
    Info,
    /// And what a developer wants to know.
    Debug,
    /// And everything else.
    Trace,
}

impl LogLevel {
    const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
