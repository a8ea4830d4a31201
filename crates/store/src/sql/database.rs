//! Statements, the values bound to them and the rows they give, for either database. The only module that knows both
//! drivers: a statement is written once, with `$1` for a value, and runs on `SQLite` and on `PostgreSQL` alike.

use std::borrow::Cow;

use sqlx::error::BoxDynError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Decode, Postgres, Row as _, SqlSafeStr, SqlStr, Sqlite, Transaction, Type};

use super::fault::failed;
use crate::error::StoreError;
use crate::postgres::Session;

/// The sizes of the statements that many rows are cut into where each value is bound by itself. Few sizes mean few
/// statements to prepare; the widest row has 21 columns, far below what one statement may bind.
const SQLITE_CHUNKS: [usize; 3] = [128, 16, 1];
/// Rows of one statement where a whole column is bound at once.
const POSTGRES_CHUNK: usize = 2_000;

/// A connection that is in use: inside a transaction, or for a single statement.
pub struct Connection {
    link: Link,
    /// Whether changes are put where a fleet finds them.
    keeps_outbox: bool,
}

enum Link {
    Sqlite(PoolConnection<Sqlite>),
    SqliteTransaction(Transaction<'static, Sqlite>),
    Postgres(Session),
}

impl Connection {
    pub(crate) fn sqlite(connection: PoolConnection<Sqlite>, keeps_outbox: bool) -> Self {
        Self { link: Link::Sqlite(connection), keeps_outbox }
    }

    pub(crate) fn sqlite_transaction(transaction: Transaction<'static, Sqlite>, keeps_outbox: bool) -> Self {
        Self { link: Link::SqliteTransaction(transaction), keeps_outbox }
    }

    pub(crate) fn postgres(session: Session, keeps_outbox: bool) -> Self {
        Self { link: Link::Postgres(session), keeps_outbox }
    }

    pub(crate) fn keeps_outbox(&self) -> bool {
        self.keeps_outbox
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.link, Link::Postgres(_))
    }

    /// Makes what the transaction did last. Without it, dropping the connection undoes everything.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self.link {
            Link::Sqlite(_) => Ok(()),
            Link::SqliteTransaction(transaction) => transaction.commit().await.map_err(failed),
            Link::Postgres(session) => session.commit().await,
        }
    }

    /// Waits until no other transaction holds this lock; it is let go at the transaction's end. `SQLite` has one
    /// writer, so there a transaction holds every lock from its beginning.
    pub(crate) async fn lock(&mut self, lock: Lock) -> Result<(), StoreError> {
        match &mut self.link {
            Link::Sqlite(_) | Link::SqliteTransaction(_) => Ok(()),
            Link::Postgres(session) => session.lock(lock).await,
        }
    }

    /// Lets the statements of this transaction take as long as whole tables need.
    pub(crate) async fn be_patient(&mut self) -> Result<(), StoreError> {
        match &mut self.link {
            Link::Sqlite(_) | Link::SqliteTransaction(_) => Ok(()),
            Link::Postgres(session) => session.be_patient().await,
        }
    }

    pub(super) fn sqlite_connection(&mut self) -> Result<&mut SqliteConnection, &mut Session> {
        match &mut self.link {
            Link::Sqlite(connection) => Ok(&mut *connection),
            Link::SqliteTransaction(transaction) => Ok(&mut *transaction),
            Link::Postgres(session) => Err(session),
        }
    }

    /// Rows cut into the sizes that one statement takes, in order.
    pub(crate) fn chunks<'r, T>(&self, rows: &'r [T]) -> Vec<&'r [T]> {
        if self.is_postgres() { rows.chunks(POSTGRES_CHUNK).collect() } else { cut(rows) }
    }
}

/// What transactions of several processes take turns at. The numbers are the fleet's: every version must agree on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Appending to the ledger, so that the ids of its lines are in the order of their commits.
    Ledger,
    /// Taking over a file, which touches many accounts in the order the file names them.
    Import,
    /// Mailing links, so that all that an address was sent are counted.
    Links,
    /// Linking a customer at Stripe, so that none is two accounts'.
    Customers,
}

/// A value bound to a statement, or none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    Bool(Option<bool>),
    /// The texts of a `{list}`.
    Texts(Vec<String>),
    /// The numbers of a `{list}`.
    Ints(Vec<i64>),
}

macro_rules! values {
    ($($from:ty => |$value:ident| $into:expr;)+) => {
        $(
            impl From<$from> for Value {
                fn from($value: $from) -> Self {
                    $into
                }
            }
        )+
    };
}

values! {
    i64 => |value| Self::Int(Some(value));
    Option<i64> => |value| Self::Int(value);
    bool => |value| Self::Bool(Some(value));
    Option<bool> => |value| Self::Bool(value);
    String => |value| Self::Text(Some(value));
    &String => |value| Self::Text(Some(value.clone()));
    &str => |value| Self::Text(Some(value.into()));
    Option<String> => |value| Self::Text(value);
    &Option<String> => |value| Self::Text(value.clone());
    Option<&str> => |value| Self::Text(value.map(Into::into));
    &[u8] => |value| Self::Bytes(Some(value.into()));
    Vec<String> => |value| Self::Texts(value);
    Vec<i64> => |value| Self::Ints(value);
}

impl std::fmt::Display for Value {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(Some(number)) => number.fmt(formatter),
            Self::Text(Some(text)) => text.fmt(formatter),
            other => write!(formatter, "{other:?}"),
        }
    }
}

impl Value {
    /// How many things a `{list}` holds; none where it is no list.
    fn listed(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Ints(numbers) => numbers.len(),
            Self::Int(_) | Self::Text(_) | Self::Bytes(_) | Self::Bool(_) => 0,
        }
    }
}

/// A statement with the values bound to it.
pub(crate) struct Query {
    text: Cow<'static, str>,
    values: Vec<Value>,
    locks_rows: bool,
}

/// A statement without values yet.
pub(crate) fn query(text: impl Into<Cow<'static, str>>) -> Query {
    Query { text: text.into(), values: Vec::new(), locks_rows: false }
}

impl Query {
    /// The statement without its values.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Binds the next value.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Binds what stands in `IN {list}`, after all other values.
    pub(crate) fn bind_list(mut self, list: impl Into<Value>) -> Self {
        self.values.push(list.into());
        self
    }

    /// Keeps other transactions from changing the rows that are selected, and waits for those that are at it. In
    /// `SQLite` every transaction that writes keeps all others out.
    pub(crate) fn locking(mut self) -> Self {
        self.locks_rows = true;
        self
    }

    /// Runs it; the number of rows that it changed.
    pub(crate) async fn execute(self, connection: &mut Connection) -> Result<u64, StoreError> {
        match connection.sqlite_connection() {
            Ok(connection) => {
                let (text, arguments) = self.for_sqlite()?;
                let done = sqlx::query_with(text, arguments).execute(connection).await.map_err(failed)?;
                Ok(done.rows_affected())
            }
            Err(session) => {
                let (text, arguments) = self.for_postgres()?;
                session.execute(text, arguments).await
            }
        }
    }

    /// Runs it; every row that it gives.
    pub(crate) async fn fetch_all(self, connection: &mut Connection) -> Result<Vec<Row>, StoreError> {
        match connection.sqlite_connection() {
            Ok(connection) => {
                let (text, arguments) = self.for_sqlite()?;
                let rows = sqlx::query_with(text, arguments).fetch_all(connection).await.map_err(failed)?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Err(session) => {
                let (text, arguments) = self.for_postgres()?;
                let rows = session.fetch_all(text, arguments).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// Runs it; the row that it gives, where it gives one. For statements that give no more than one.
    pub(crate) async fn fetch_optional(self, connection: &mut Connection) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch_all(connection).await?.into_iter().next())
    }

    /// Runs it; the one row that it always gives.
    pub(crate) async fn fetch_one(self, connection: &mut Connection) -> Result<Row, StoreError> {
        self.fetch_optional(connection).await?.ok_or_else(|| failed(sqlx::Error::RowNotFound))
    }

    pub(super) fn for_sqlite(self) -> Result<(SqlStr, SqliteArguments), StoreError> {
        let mut text = self.text;
        let listed = self.values.last().map_or(0, Value::listed);
        if listed > 0 {
            let first = self.values.len();
            let places: Vec<String> = (first..first + listed).map(|number| format!("${number}")).collect();
            text = text.replace("{list}", &format!("({})", places.join(", "))).into();
        }
        let mut arguments = SqliteArguments::default();
        for value in self.values {
            match value {
                Value::Int(value) => arguments.add(value),
                Value::Text(value) => arguments.add(value),
                Value::Bytes(value) => arguments.add(value),
                Value::Bool(value) => arguments.add(value),
                Value::Texts(texts) => texts.into_iter().try_for_each(|text| arguments.add(text)),
                Value::Ints(numbers) => numbers.into_iter().try_for_each(|number| arguments.add(number)),
            }
            .map_err(unencodable)?;
        }
        Ok((safe(text), arguments))
    }

    fn for_postgres(self) -> Result<(SqlStr, PgArguments), StoreError> {
        let mut text = self.text;
        if self.values.last().is_some_and(|value| value.listed() > 0) {
            text = text.replace("IN {list}", &format!("= ANY(${})", self.values.len())).into();
        }
        if self.locks_rows {
            text = format!("{text} FOR NO KEY UPDATE").into();
        }
        let mut arguments = PgArguments::default();
        for value in self.values {
            match value {
                Value::Int(value) => arguments.add(value),
                Value::Text(value) => arguments.add(value),
                Value::Bytes(value) => arguments.add(value),
                Value::Bool(value) => arguments.add(value),
                Value::Texts(texts) => arguments.add(texts),
                Value::Ints(numbers) => arguments.add(numbers),
            }
            .map_err(unencodable)?;
        }
        Ok((safe(text), arguments))
    }
}

/// Rows cut into the sizes of [`SQLITE_CHUNKS`], in order.
fn cut<T>(mut rows: &[T]) -> Vec<&[T]> {
    std::iter::from_fn(|| {
        let size = SQLITE_CHUNKS.into_iter().find(|size| *size <= rows.len())?;
        let (chunk, rest) = rows.split_at(size);
        rows = rest;
        Some(chunk)
    })
    .collect()
}

/// A statement's text. Every value in it is bound, so no text of it comes from outside.
fn safe(text: Cow<'static, str>) -> SqlStr {
    match text {
        Cow::Borrowed(text) => text.into_sql_str(),
        Cow::Owned(text) => AssertSqlSafe(text).into_sql_str(),
    }
}

pub(super) fn unencodable(error: BoxDynError) -> StoreError {
    failed(sqlx::Error::Encode(error))
}

/// A row of either database.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The value of a column, if it is of this type.
    pub(crate) fn get<'r, T: Column<'r>>(&'r self, column: &str) -> Option<T> {
        match self {
            Self::Sqlite(row) => row.try_get(column).ok(),
            Self::Postgres(row) => row.try_get(column).ok(),
        }
    }
}

/// A type that columns of both databases are read into.
pub(crate) trait Column<'r>: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres> {}

impl<'r, T> Column<'r> for T where T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_exactly_one_chunk() {
        for count in [0, 1, 15, 16, 17, 127, 128, 129, 2_000] {
            let rows: Vec<usize> = (0..count).collect();
            let chunks = cut(&rows);
            assert_eq!(chunks.concat(), rows);
            assert!(chunks.iter().all(|chunk| SQLITE_CHUNKS.contains(&chunk.len())), "{count}");
        }
    }

    #[test]
    fn a_list_stands_where_the_text_says() {
        let query = || query("DELETE FROM t WHERE a = $1 AND id IN {list}").bind(5).bind_list(vec![7, 8, 9]);
        let (text, arguments) = query().for_sqlite().expect("numbers are encoded");
        assert_eq!((text.as_str(), arguments.len()), ("DELETE FROM t WHERE a = $1 AND id IN ($2, $3, $4)", 4));
        let (text, arguments) = query().for_postgres().expect("numbers are encoded");
        assert_eq!((text.as_str(), arguments.len()), ("DELETE FROM t WHERE a = $1 AND id = ANY($2)", 2));
    }
}
