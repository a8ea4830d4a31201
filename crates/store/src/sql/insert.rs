//! Many rows put into a table at once: as values of one statement each where that is quick, as whole columns where the
//! server is asked over a line. What the rows are is the tables' own.

use std::fmt::Write as _;

use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, SqlSafeStr, SqlStr};

use super::database::{Connection, Query, Value, query, unencodable};
use super::fault::failed;
use crate::error::StoreError;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Text,
    Bytes,
    Bool,
}

impl Kind {
    /// What it is called where a whole column of a `PostgreSQL` statement is bound at once.
    fn array(self) -> &'static str {
        match self {
            Self::Int => "BIGINT[]",
            Self::Text => "TEXT[]",
            Self::Bytes => "BYTEA[]",
            Self::Bool => "BOOLEAN[]",
        }
    }
}

/// Rows to be put into a table, as many at once as the database takes well.
pub(crate) struct Insert {
    pub(crate) table: &'static str,
    /// The columns that are given, in order.
    pub(crate) columns: &'static [(&'static str, Kind)],
    /// What to do with rows that are there already, or nothing.
    pub(crate) on_conflict: &'static str,
}

impl Insert {
    /// Puts the rows in, in order, each as `row` reads it into the values of the columns.
    pub(crate) async fn rows<T, const COLUMNS: usize>(
        &self,
        connection: &mut Connection,
        rows: &[T],
        mut row: impl FnMut(&T) -> [Value; COLUMNS],
    ) -> Result<(), StoreError> {
        for chunk in connection.chunks(rows) {
            self.chunk(connection, chunk.iter().flat_map(&mut row).collect()).await?;
        }
        Ok(())
    }

    /// As [`Self::rows`], of rows that are read already.
    pub(crate) async fn values(&self, connection: &mut Connection, rows: &[Vec<Value>]) -> Result<(), StoreError> {
        for chunk in connection.chunks(rows) {
            self.chunk(connection, chunk.concat()).await?;
        }
        Ok(())
    }

    async fn chunk(&self, connection: &mut Connection, values: Vec<Value>) -> Result<(), StoreError> {
        match connection.sqlite_connection() {
            Ok(connection) => {
                let (text, arguments) = self.values_of(values)?;
                sqlx::query_with(text, arguments).execute(connection).await.map_err(failed)?;
            }
            Err(session) => {
                let (text, arguments) = self.arrays_of(values)?;
                session.execute(text, arguments).await?;
            }
        }
        Ok(())
    }

    fn head(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        format!("INSERT INTO {} ({})", self.table, names.join(", "))
    }

    fn values_of(&self, values: Vec<Value>) -> Result<(SqlStr, SqliteArguments), StoreError> {
        let width = self.columns.len();
        // Places without a number: SQLite looks a numbered one up among all others, for each of them.
        let places = format!("({})", vec!["?"; width].join(", "));
        let mut text = format!("{} VALUES {}", self.head(), vec![&*places; values.len() / width].join(", "));
        text.push_str(self.on_conflict);
        values.into_iter().fold(query(text), Query::bind).for_sqlite()
    }

    /// A whole column bound at once: one short text for any number of rows.
    fn arrays_of(&self, values: Vec<Value>) -> Result<(SqlStr, PgArguments), StoreError> {
        let width = self.columns.len();
        let mut arrays: Vec<Array> = self.columns.iter().map(|(_, kind)| Array::new(*kind)).collect();
        for (place, value) in values.into_iter().enumerate() {
            arrays[place % width].push(value);
        }
        let mut text = format!("{} SELECT * FROM UNNEST(", self.head());
        for (number, (_, kind)) in (1..).zip(self.columns) {
            let comma = if number == 1 { "" } else { ", " };
            write!(text, "{comma}${number}::{}", kind.array()).expect("a string takes every text");
        }
        text.push(')');
        text.push_str(self.on_conflict);
        let mut arguments = PgArguments::default();
        for array in arrays {
            match array {
                Array::Int(values) => arguments.add(values),
                Array::Text(values) => arguments.add(values),
                Array::Bytes(values) => arguments.add(values),
                Array::Bool(values) => arguments.add(values),
            }
            .map_err(unencodable)?;
        }
        Ok((AssertSqlSafe(text).into_sql_str(), arguments))
    }
}

/// The values of one column.
enum Array {
    Int(Vec<Option<i64>>),
    Text(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
    Bool(Vec<Option<bool>>),
}

impl Array {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Int => Self::Int(Vec::new()),
            Kind::Text => Self::Text(Vec::new()),
            Kind::Bytes => Self::Bytes(Vec::new()),
            Kind::Bool => Self::Bool(Vec::new()),
        }
    }

    fn push(&mut self, value: Value) {
        match (self, value) {
            (Self::Int(values), Value::Int(value)) => values.push(value),
            (Self::Text(values), Value::Text(value)) => values.push(value),
            (Self::Bytes(values), Value::Bytes(value)) => values.push(value),
            (Self::Bool(values), Value::Bool(value)) => values.push(value),
            _ => unreachable!("every caller gives the types that its columns have"),
        }
    }
}
