//! What was found: one line a difference, as data and as rows of a table. Finding and mending is others'.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use tollgate_config::BilledMeter;
use tollgate_domain::{AccountId, MeterName, Period, Timestamp};

use super::kind::DifferenceKind;

/// The most differences that a report names; of more it tells how many of each kind.
pub(crate) const DIFFERENCES_MAX: usize = 10_000;

/// One side of a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Figure {
    /// So many units.
    Units(i64),
    /// What is said.
    Text(String),
}

impl Figure {
    /// So many units; as many as a signed number holds.
    pub(crate) fn of(units: u64) -> Self {
        Self::Units(i64::try_from(units).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Units(units) => write!(formatter, "{units}"),
            Self::Text(text) => formatter.write_str(text),
        }
    }
}

impl From<&str> for Figure {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A stretch of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// The first instant in it, as RFC 3339.
    pub start: String,
    /// The first instant after it.
    pub end: String,
}

impl From<Period> for Stretch {
    fn from(period: Period) -> Self {
        Self { start: period.start.to_string(), end: period.end.to_string() }
    }
}

/// What became of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mending {
    /// It was only looked for, or a person must decide.
    Left,
    /// It is gone.
    Mended,
    /// It is on its way to be gone: another process, or Stripe's next answer, ends it.
    UnderWay,
    /// It was tried, and the note says why it is still there.
    Failed,
}

/// Where two books disagree, about what, and by how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which books.
    pub kind: DifferenceKind,
    /// The account's id, where it is about one.
    pub account: Option<String>,
    /// What else it is about: the id of a subscription, a customer, an event, a price, a send, or a node's batch.
    pub subject: Option<String>,
    /// What was used: `calls`, or a meter's name.
    pub meter: Option<String>,
    /// When.
    pub period: Option<Stretch>,
    /// What is compared: `units`, `status`, `items`, ….
    pub what: &'static str,
    /// What it should be: the ledger's figure where that is asked, else Stripe's.
    pub expected: Option<Figure>,
    /// What it is.
    pub found: Option<Figure>,
    /// What `--fix` does about it; none where a person must decide.
    pub remedy: Option<&'static str>,
    /// What a person does about it.
    pub advice: &'static str,
    /// What became of it.
    pub mending: Mending,
    /// What is known of why.
    pub note: Option<String>,
}

impl Difference {
    pub(crate) fn new(kind: DifferenceKind, what: &'static str) -> Self {
        Self {
            kind,
            account: None,
            subject: None,
            meter: None,
            period: None,
            what,
            expected: None,
            found: None,
            remedy: kind.remedy(),
            advice: kind.advice(),
            mending: Mending::Left,
            note: None,
        }
    }

    pub(crate) fn of(self, account: AccountId) -> Self {
        Self { account: Some(account.to_string()), ..self }
    }

    pub(crate) fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    pub(crate) fn used(self, meter: Option<&MeterName>, period: Period) -> Self {
        let meter = meter.map_or(BilledMeter::CALLS, MeterName::as_str);
        Self { meter: Some(meter.to_owned()), period: Some(period.into()), ..self }
    }

    pub(crate) fn figures(self, expected: Option<Figure>, found: Option<Figure>) -> Self {
        Self { expected, found, ..self }
    }

    pub(crate) fn noted(self, note: Option<String>) -> Self {
        Self { note, ..self }
    }

    pub(crate) fn mended(self, mending: Mending) -> Self {
        Self { mending, ..self }
    }

    /// One that `--fix` does mend, although most of its kind it does not.
    pub(crate) fn remedied(self, remedy: &'static str) -> Self {
        Self { remedy: Some(remedy), ..self }
    }

    /// One that `--fix` does not mend, although most of its kind it does.
    pub(crate) fn beyond_remedy(self) -> Self {
        Self { remedy: None, ..self }
    }

    fn row(&self) -> [String; 9] {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let figure = |figure: &Option<Figure>| figure.as_ref().map_or_else(|| "-".to_owned(), Figure::to_string);
        let period = self.period.as_ref().map(|period| format!("{}..{}", period.start, period.end));
        let then = match (self.mending, self.remedy) {
            (Mending::Mended, _) => "mended".to_owned(),
            (Mending::UnderWay, _) => format!("under way{}", self.why()),
            (Mending::Failed, _) => format!("not mended{}: {}", self.why(), self.advice),
            (Mending::Left, Some(remedy)) => format!("--fix: {remedy}{}", self.why()),
            (Mending::Left, None) => format!("{}{}", self.advice, self.why()),
        };
        [
            self.kind.to_string(),
            text(&self.account),
            text(&self.subject),
            text(&self.meter),
            period.unwrap_or_default(),
            self.what.to_owned(),
            figure(&self.expected),
            figure(&self.found),
            then,
        ]
    }

    fn why(&self) -> String {
        self.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default()
    }
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// Open quotas whose use the limiter was asked for.
    pub quotas: u64,
    /// Periods of billed meters.
    pub periods: u64,
    /// Subscriptions at Stripe.
    pub subscriptions: u64,
    /// Accounts with a customer.
    pub customers: u64,
    /// Events that waited, were given up or were not delivered.
    pub events: u64,
    /// Questions that Stripe was asked.
    pub calls: u64,
}

/// Books that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// Which.
    pub what: &'static str,
    /// Why.
    pub why: String,
}

/// Whether the books agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// When it was begun, as RFC 3339.
    pub at: String,
    /// Whether differences were to be mended.
    pub fix: bool,
    /// Every difference, those that were mended too, by kind and account.
    pub differences: Vec<Difference>,
    /// How many more there are of each kind than are named.
    pub more: BTreeMap<&'static str, u64>,
    /// What could not be compared. Nothing is known of it.
    pub unread: Vec<Unread>,
    /// How much was looked at.
    pub looked: Looked,
}

impl Report {
    /// The heads of the columns that [`Self::rows`] has.
    pub const COLUMNS: [&'static str; 9] =
        ["DIFFERENCE", "ACCOUNT", "OF", "METER", "PERIOD", "WHAT", "EXPECTED", "FOUND", "THEN"];

    pub(crate) fn new(at: Timestamp, fix: bool) -> Self {
        let at = at.to_string();
        let (differences, more, unread) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { at, fix, differences, more, unread, looked: Looked::default() }
    }

    /// The differences as rows of a table.
    pub fn rows(&self) -> Vec<[String; 9]> {
        self.differences.iter().map(Difference::row).collect()
    }

    /// How many differences are still there.
    pub fn left(&self) -> u64 {
        let left = self.differences.iter().filter(|difference| difference.mending != Mending::Mended).count();
        self.more.values().fold(u64::try_from(left).unwrap_or(u64::MAX), |sum, more| sum.saturating_add(*more))
    }

    /// How many were mended.
    pub fn mended(&self) -> u64 {
        let mended = self.differences.iter().filter(|difference| difference.mending == Mending::Mended).count();
        u64::try_from(mended).unwrap_or(u64::MAX)
    }

    /// Whether everything was compared, and nothing differs any more.
    pub fn is_clean(&self) -> bool {
        self.left() == 0 && self.unread.is_empty()
    }

    pub(crate) fn add(&mut self, difference: Difference) {
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(difference);
        } else {
            *self.more.entry(difference.kind.as_str()).or_default() += 1;
        }
    }

    pub(crate) fn extend(&mut self, differences: impl IntoIterator<Item = Difference>) {
        for difference in differences {
            self.add(difference);
        }
    }

    pub(crate) fn unread(&mut self, what: &'static str, why: impl fmt::Display) {
        self.unread.push(Unread { what, why: why.to_string() });
    }

    pub(crate) fn sort(&mut self) {
        let key = |difference: &Difference| {
            let Difference { kind, account, subject, meter, what, .. } = difference;
            (*kind, account.clone(), subject.clone(), meter.clone(), *what)
        };
        self.differences.sort_by_cached_key(key);
    }
}

impl fmt::Display for Report {
    /// What was done, in a line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Looked { quotas, periods, subscriptions, customers, calls, .. } = self.looked;
        let (left, mended) = (self.left(), self.mended());
        write!(formatter, "{left} differences left, {mended} mended; looked at {quotas} quotas, {periods} billed ")?;
        write!(
            formatter,
            "periods, {subscriptions} subscriptions and {customers} customers, with {calls} calls to Stripe"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_says_what_becomes_of_it() {
        let at = Timestamp::parse("2026-03-01").expect("a date");
        let account = AccountId::new(at, [1; 10]);
        let period = Period { start: at, end: Timestamp::parse("2026-04-01").expect("a date") };
        let failed = Difference::new(DifferenceKind::FailedSend, "units")
            .of(account)
            .about("tg_1")
            .used(None, period)
            .figures(Some(Figure::of(7)), None)
            .noted(Some("no such customer".into()));
        let mut report = Report::new(at, false);
        report.add(failed.clone());
        report.add(failed.clone().mended(Mending::Mended));
        assert_eq!((report.left(), report.mended(), report.is_clean()), (1, 1, false));
        let rows = report.rows();
        let account = account.to_string();
        let expected = [
            "failed_send",
            account.as_str(),
            "tg_1",
            "calls",
            "2026-03-01T00:00:00Z..2026-04-01T00:00:00Z",
            "units",
            "7",
            "-",
            "--fix: put it back and tell Stripe (no such customer)",
        ];
        assert_eq!(rows[0], expected);
        assert_eq!(rows[1][8], "mended");
        let json = serde_json::to_value(&failed).expect("plain data");
        assert_eq!(json["expected"], 7);
        assert_eq!(json["found"], serde_json::Value::Null);
        assert_eq!(json["mending"], "left");
    }

    #[test]
    fn what_is_too_much_to_name_is_counted() {
        let mut report = Report::new(Timestamp::EPOCH, false);
        for _ in 0..DIFFERENCES_MAX + 3 {
            report.add(Difference::new(DifferenceKind::DeadEvent, "state"));
        }
        assert_eq!(report.differences.len(), DIFFERENCES_MAX);
        assert_eq!(report.more, BTreeMap::from([("dead_event", 3)]));
        assert_eq!(report.left(), 10_003);
    }

    #[test]
    fn what_could_not_be_read_is_not_clean() {
        let mut report = Report::new(Timestamp::EPOCH, false);
        assert!(report.is_clean());
        report.unread("subscriptions", "Stripe does not answer");
        assert!(!report.is_clean());
    }
}
