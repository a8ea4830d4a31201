//! Which tables a copy takes over, and how their rows are read and put. Tables that only grow come first: they are the
//! long ones, and go on where an interrupted copy stopped.

use crate::error::StoreError;
use crate::sql::{Connection, Fields, Insert, Kind, Row, Value, query};

use Kind::{Bool, Bytes, Int, Text};

/// A table that is copied.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// Every column, those of the primary key first.
    columns: &'static [(&'static str, Kind)],
    /// How many columns the primary key has.
    key: usize,
    pub(super) growth: Growth,
    /// Columns whose sums are told beside the number of rows.
    pub(super) summed: &'static [&'static str],
}

/// How a table changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// Rows are only ever added, each after all others.
    Appended,
    /// Whatever changes it shows in how far the database has come.
    Traced,
    /// No trail is kept of its changes.
    Traceless,
}

/// In an order in which no row names one that comes later.
pub(super) const TABLES: [Table; 19] = [
    Table {
        name: "usage_lines",
        columns: &[
            ("id", Int),
            ("kind", Text),
            ("at_us", Int),
            ("node", Text),
            ("sequence", Int),
            ("account", Text),
            ("key", Text),
            ("route", Text),
            ("status", Text),
            ("period_start_us", Int),
            ("period_end_us", Int),
            ("calls", Int),
            ("calls_unenforced", Int),
            ("units_debited", Int),
            ("units_charged", Int),
            ("units_refunded", Int),
            ("meter", Text),
            ("event", Text),
        ],
        key: 1,
        growth: Growth::Appended,
        summed: &["calls", "units_debited", "units_charged", "units_refunded"],
    },
    Table {
        name: "audit",
        columns: &[
            ("sequence", Int),
            ("at_us", Int),
            ("actor", Text),
            ("action", Text),
            ("account", Text),
            ("key", Text),
            ("detail", Text),
        ],
        key: 1,
        growth: Growth::Appended,
        summed: &[],
    },
    Table {
        name: "usage_batches",
        columns: &[("node", Text), ("sequence", Int), ("start_us", Int), ("end_us", Int), ("lines", Int)],
        key: 2,
        growth: Growth::Traced,
        summed: &["lines"],
    },
    Table {
        name: "accounts",
        columns: &[
            ("id", Text),
            ("email", Text),
            ("email_key", Text),
            ("name", Text),
            ("created_at_us", Int),
            ("assigned_plan", Text),
            ("banned_at_us", Int),
            ("ban_reason", Text),
            ("deleted_at_us", Int),
            ("rolling_anchor_us", Int),
            ("stripe_customer", Text),
            ("stripe_subscription", Text),
            ("subject", Text),
            ("assigned_until_us", Int),
            ("email_unproven", Bool),
            ("stripe_read_at_us", Int),
            ("billed_since_us", Int),
            ("unpaid_opening_us", Int),
        ],
        key: 1,
        growth: Growth::Traced,
        summed: &[],
    },
    Table {
        name: "keys",
        columns: &[
            ("id", Text),
            ("account", Text),
            ("lineage", Text),
            ("hash", Bytes),
            ("prefix", Text),
            ("last_four", Text),
            ("name", Text),
            ("created_at_us", Int),
            ("expires_at_us", Int),
            ("revoked_at_us", Int),
            ("superseded_by", Text),
            ("grace_until_us", Int),
            ("scopes", Text),
            ("read_only", Bool),
            ("ip_allow", Text),
            ("ip_deny", Text),
            ("bucket_tokens", Int),
            ("bucket_micros", Int),
            ("bucket_burst", Int),
            ("cap", Int),
            ("last_used_at_us", Int),
        ],
        key: 1,
        growth: Growth::Traced,
        summed: &[],
    },
    Table {
        name: "usage_hours",
        columns: &[
            ("account", Text),
            ("hour_us", Int),
            ("meter", Text),
            ("key", Text),
            ("route", Text),
            ("status", Text),
            ("calls", Int),
            ("calls_unenforced", Int),
            ("units_debited", Int),
            ("units_charged", Int),
            ("units_refunded", Int),
            ("newest_us", Int),
        ],
        key: 6,
        growth: Growth::Traced,
        summed: &["calls", "units_debited", "units_charged", "units_refunded"],
    },
    Table {
        name: "usage_periods",
        columns: &[
            ("account", Text),
            ("meter", Text),
            ("period_start_us", Int),
            ("period_end_us", Int),
            ("key", Text),
            ("calls", Int),
            ("units_charged", Int),
            ("units_refunded", Int),
            ("first_us", Int),
            ("newest_us", Int),
        ],
        key: 5,
        growth: Growth::Traced,
        summed: &["calls", "units_charged", "units_refunded"],
    },
    Table {
        name: "usage_events",
        columns: &[
            ("account", Text),
            ("id", Text),
            ("key", Text),
            ("at_us", Int),
            ("recorded_at_us", Int),
            ("meters", Text),
            ("dimensions", Text),
            ("metadata", Text),
        ],
        key: 2,
        growth: Growth::Traced,
        summed: &[],
    },
    Table {
        name: "usage_dimensions",
        columns: &[("account", Text), ("event", Text), ("name", Text), ("value", Text), ("at_us", Int)],
        key: 3,
        growth: Growth::Traced,
        summed: &[],
    },
    Table {
        name: "request_log",
        columns: &[
            ("request", Text),
            ("node", Text),
            ("account", Text),
            ("key", Text),
            ("at_us", Int),
            ("route", Text),
            ("method", Text),
            ("path", Text),
            ("status", Int),
            ("duration_us", Int),
            ("units", Int),
            ("period_start_us", Int),
            ("period_end_us", Int),
            ("reason", Text),
        ],
        key: 2,
        growth: Growth::Traced,
        summed: &["units"],
    },
    Table {
        name: "subscriptions",
        columns: &[("id", Text), ("account", Text), ("customer", Text), ("facts", Text)],
        key: 1,
        growth: Growth::Traced,
        summed: &[],
    },
    Table {
        name: "period_openings",
        columns: &[
            ("account", Text),
            ("meter", Text),
            ("period_start_us", Int),
            ("period_end_us", Int),
            ("opened_us", Int),
            ("units", Int),
        ],
        key: 5,
        growth: Growth::Traced,
        summed: &["units"],
    },
    Table {
        name: "webhook_inbox",
        columns: &[
            ("id", Text),
            ("kind", Text),
            ("subject", Text),
            ("object", Text),
            ("account", Text),
            ("created_at_us", Int),
            ("received_at_us", Int),
            ("payload", Text),
            ("state", Text),
            ("attempts", Int),
            ("due_us", Int),
            ("settled_at_us", Int),
            ("note", Text),
        ],
        key: 1,
        growth: Growth::Traceless,
        summed: &[],
    },
    Table {
        name: "meter_sends",
        columns: &[
            ("identifier", Text),
            ("account", Text),
            ("customer", Text),
            ("meter", Text),
            ("event_name", Text),
            ("period_start_us", Int),
            ("period_end_us", Int),
            ("number", Int),
            ("units", Int),
            ("planned", Int),
            ("at_us", Int),
            ("created_at_us", Int),
            ("state", Text),
            ("first_tried_us", Int),
            ("attempts", Int),
            ("due_us", Int),
            ("sent_at_us", Int),
            ("note", Text),
        ],
        key: 1,
        growth: Growth::Traceless,
        summed: &["units"],
    },
    Table {
        name: "secrets",
        columns: &[("name", Text), ("value", Bytes)],
        key: 1,
        growth: Growth::Traceless,
        summed: &[],
    },
    Table {
        name: "links",
        columns: &[
            ("hash", Bytes),
            ("purpose", Text),
            ("email", Text),
            ("email_key", Text),
            ("account", Text),
            ("created_at_us", Int),
            ("expires_at_us", Int),
            ("taken_at_us", Int),
        ],
        key: 1,
        growth: Growth::Traceless,
        summed: &[],
    },
    Table {
        name: "sessions",
        columns: &[("hash", Bytes), ("account", Text), ("created_at_us", Int), ("expires_at_us", Int)],
        key: 1,
        growth: Growth::Traceless,
        summed: &[],
    },
    Table {
        name: "notices",
        columns: &[
            ("id", Int),
            ("account", Text),
            ("kind", Text),
            ("meter", Text),
            ("percent", Int),
            ("key", Text),
            ("of_us", Int),
            ("detail", Text),
            ("created_at_us", Int),
            ("mail", Bool),
            ("mail_due_us", Int),
            ("mail_failures", Int),
            ("webhook", Bool),
            ("webhook_due_us", Int),
            ("webhook_failures", Int),
        ],
        key: 1,
        growth: Growth::Traceless,
        summed: &[],
    },
    Table {
        name: "idempotency",
        columns: &[
            ("scope", Text),
            ("key", Text),
            ("request_hash", Text),
            ("created_at_us", Int),
            ("status", Int),
            ("body", Text),
            ("held_secret", Bool),
        ],
        key: 2,
        growth: Growth::Traceless,
        summed: &[],
    },
];

/// A row, column by column.
pub(super) type Values = Vec<Value>;

impl Table {
    fn list(columns: &[(&'static str, Kind)]) -> String {
        columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// The key of a row.
    pub(super) fn key<'r>(&self, row: &'r [Value]) -> &'r [Value] {
        &row[..self.key]
    }

    /// What a row is called where something is wrong with it.
    pub(super) fn row_name(&self, row: &[Value]) -> String {
        self.key(row).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    pub(super) async fn count(&self, connection: &mut Connection) -> Result<u64, StoreError> {
        let row = query(format!("SELECT COUNT(*) AS count FROM {}", self.name)).fetch_one(connection).await?;
        Fields::of(self.name, &[], &row).count("count")
    }

    /// The next rows after this key, in order of it.
    pub(super) async fn after(
        &self,
        connection: &mut Connection,
        key: Option<&[Value]>,
        limit: usize,
    ) -> Result<Vec<Values>, StoreError> {
        let (columns, order) = (Self::list(self.columns), Self::list(&self.columns[..self.key]));
        let mut places = (1..=self.key).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ");
        if key.is_some() {
            places = format!(" WHERE ({order}) > ({places})");
        } else {
            places.clear();
        }
        let text = format!("SELECT {columns} FROM {}{places} ORDER BY {order} LIMIT {limit}", self.name);
        let bound = key.unwrap_or_default().iter().fold(query(text), |query, value| query.bind(value.clone()));
        bound.fetch_all(connection).await?.iter().map(|row| self.read(row)).collect()
    }

    /// The last row in order of the key.
    pub(super) async fn last(&self, connection: &mut Connection) -> Result<Option<Values>, StoreError> {
        let order: Vec<String> = self.columns[..self.key].iter().map(|(name, _)| format!("{name} DESC")).collect();
        let columns = Self::list(self.columns);
        let text = format!("SELECT {columns} FROM {} ORDER BY {} LIMIT 1", self.name, order.join(", "));
        query(text).fetch_optional(connection).await?.map(|row| self.read(&row)).transpose()
    }

    fn read(&self, row: &Row) -> Result<Values, StoreError> {
        let names: Vec<&'static str> = self.columns[..self.key].iter().map(|(name, _)| *name).collect();
        let fields = Fields::of(self.name, &names, row);
        self.columns
            .iter()
            .map(|(name, kind)| match kind {
                Int => fields.get(name).map(Value::Int),
                Text => fields.get(name).map(Value::Text),
                Bytes => fields.get(name).map(Value::Bytes),
                Bool => fields.get(name).map(Value::Bool),
            })
            .collect()
    }

    pub(super) async fn put(&self, connection: &mut Connection, rows: &[Values]) -> Result<(), StoreError> {
        Insert { table: self.name, columns: self.columns, on_conflict: "" }.values(connection, rows).await
    }

    /// The sums of [`Self::summed`] over rows.
    pub(super) fn add_to_sums(&self, sums: &mut [i128], row: &[Value]) {
        for (sum, name) in sums.iter_mut().zip(self.summed) {
            let place = self.columns.iter().position(|(column, _)| column == name);
            if let Some(Value::Int(Some(number))) = place.map(|place| &row[place]) {
                *sum += i128::from(*number);
            }
        }
    }
}
