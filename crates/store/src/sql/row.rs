//! Rows as they come back, and the only place that makes records of them. A value no version writes is an error
//! that names table, column and row.

use tollgate_domain::{
    Account, Ban, Bucket, Glob, HashedKey, IpRules, Key, KeyHash, KeyId, KeyLimits, MaskedKey, MeterName, Period,
    PlanName, Subscription, Supersession, Timestamp,
};

use super::database::{Column, Row};
use crate::error::StoreError;
use crate::subscription_form::SubscriptionForm;

/// An account's columns, named apart from a key's so that one row can hold both. The table is `a`.
macro_rules! account_columns {
    () => {
        "a.id AS account_id, a.email AS account_email, a.name AS account_name, a.subject AS account_subject, \
         a.created_at_us AS account_created_at_us, a.assigned_plan AS account_assigned_plan, \
         a.banned_at_us AS account_banned_at_us, a.ban_reason AS account_ban_reason, \
         a.deleted_at_us AS account_deleted_at_us, a.rolling_anchor_us AS account_rolling_anchor_us, \
         a.assigned_until_us AS account_assigned_until_us, \
         a.stripe_customer AS account_stripe_customer, a.stripe_subscription AS account_stripe_subscription, \
         (SELECT string_agg(s.facts, ',') FROM subscriptions s WHERE s.account = a.id) AS account_subscriptions"
    };
}

/// A key's columns. The table is `k`.
macro_rules! key_columns {
    () => {
        "k.id, k.account, k.lineage, k.hash, k.prefix, k.last_four, k.name, k.created_at_us, k.expires_at_us, \
         k.revoked_at_us, k.superseded_by, k.grace_until_us, k.scopes, k.read_only, k.ip_allow, k.ip_deny, \
         k.bucket_tokens, k.bucket_micros, k.bucket_burst, k.cap, k.last_used_at_us"
    };
}

pub(super) use {account_columns, key_columns};

/// One row of one table, read column by column.
pub(crate) struct Fields<'r> {
    table: &'static str,
    /// What the query put before the table's own column names.
    prefix: &'static str,
    /// The columns of the primary key, as the query names them.
    identity: &'r [&'static str],
    row: &'r Row,
}

impl<'r> Fields<'r> {
    pub(crate) fn of(table: &'static str, identity: &'r [&'static str], row: &'r Row) -> Self {
        Self { table, prefix: "", identity, row }
    }

    /// The value of a column, of the type every version writes.
    pub(crate) fn get<T: Column<'r>>(&self, column: &'static str) -> Result<T, StoreError> {
        self.row.get(column).ok_or_else(|| self.corrupt(column))
    }

    /// A text that must parse.
    pub(crate) fn parse<T>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        parse(self.get(column)?).ok_or_else(|| self.corrupt(column))
    }

    /// A text that must parse where there is one.
    pub(crate) fn parse_optional<T>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let text: Option<&str> = self.get(column)?;
        text.map(|text| parse(text).ok_or_else(|| self.corrupt(column))).transpose()
    }

    /// A list of texts kept as JSON, each of which must parse.
    fn parse_list<T>(
        &self,
        column: &'static str,
        parse: impl FnMut(String) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.parse(column, |text| serde_json::from_str::<Vec<String>>(text).ok()?.into_iter().map(parse).collect())
    }

    pub(crate) fn timestamp(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.get(column).map(Timestamp::from_micros)
    }

    pub(crate) fn timestamp_optional(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.get::<Option<i64>>(column)?.map(Timestamp::from_micros))
    }

    /// A quota period.
    pub(crate) fn period(&self) -> Result<Period, StoreError> {
        Ok(Period { start: self.timestamp("period_start_us")?, end: self.timestamp("period_end_us")? })
    }

    /// A count, which is never negative.
    pub(crate) fn count(&self, column: &'static str) -> Result<u64, StoreError> {
        u64::try_from(self.get::<i64>(column)?).map_err(|_| self.corrupt(column))
    }

    /// A meter; none where the column is empty, which means calls.
    pub(crate) fn meter(&self, column: &'static str) -> Result<Option<MeterName>, StoreError> {
        self.parse(column, |text| if text.is_empty() { Some(None) } else { MeterName::new(text).map(Some) })
    }

    /// A key; none where the column is empty, which means that no key did it.
    pub(crate) fn key(&self, column: &'static str) -> Result<Option<KeyId>, StoreError> {
        self.parse(column, |text| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) })
    }

    fn count_optional(&self, column: &'static str) -> Result<Option<u64>, StoreError> {
        let count: Option<i64> = self.get(column)?;
        count.map(|count| u64::try_from(count).map_err(|_| self.corrupt(column))).transpose()
    }

    /// That this column holds what no version writes.
    pub(crate) fn corrupt(&self, column: &'static str) -> StoreError {
        self.corrupt_in(self.table, column.strip_prefix(self.prefix).unwrap_or(column))
    }

    /// The same of another table's rows that the query put into this one.
    fn corrupt_in(&self, table: &'static str, column: &'static str) -> StoreError {
        let part = |name: &&str| {
            let number = || self.row.get::<i64>(name).map(|number| number.to_string());
            self.row.get::<String>(name).or_else(number).unwrap_or_else(|| "?".into())
        };
        StoreError::Corrupt { table, column, row: self.identity.iter().map(part).collect::<Vec<_>>().join(" ") }
    }
}

/// A row of `accounts`, selected by [`account_columns`].
pub(super) struct AccountRow<'r>(pub(super) &'r Row);

impl TryFrom<AccountRow<'_>> for Account {
    type Error = StoreError;

    fn try_from(AccountRow(row): AccountRow<'_>) -> Result<Self, StoreError> {
        let fields = Fields { table: "accounts", prefix: "account_", identity: &["account_id"], row };
        let ban_reason = fields.get("account_ban_reason")?;
        let banned_at = fields.timestamp_optional("account_banned_at_us")?;
        Ok(Self {
            id: fields.parse("account_id", |text| text.parse().ok())?,
            email: fields.get("account_email")?,
            name: fields.get("account_name")?,
            subject: fields.get("account_subject")?,
            created_at: fields.timestamp("account_created_at_us")?,
            assigned_plan: fields.parse_optional("account_assigned_plan", PlanName::new)?,
            ban: banned_at.map(|at| Ban { at, reason: ban_reason }),
            deleted_at: fields.timestamp_optional("account_deleted_at_us")?,
            rolling_anchor: fields.timestamp("account_rolling_anchor_us")?,
            assigned_until: fields.timestamp_optional("account_assigned_until_us")?,
            stripe_customer: fields.get("account_stripe_customer")?,
            stripe_subscription: fields.get("account_stripe_subscription")?,
            subscriptions: match fields.get("account_subscriptions")? {
                None => Vec::new(),
                Some(joined) => subscriptions(joined).ok_or_else(|| fields.corrupt_in("subscriptions", "facts"))?,
            },
        })
    }
}

/// Subscriptions in order of id, read from their forms joined by commas.
fn subscriptions(joined: &str) -> Option<Vec<Subscription>> {
    let forms: Vec<SubscriptionForm> = serde_json::from_str(&format!("[{joined}]")).ok()?;
    let mut subscriptions = forms.into_iter().map(SubscriptionForm::read).collect::<Option<Vec<_>>>()?;
    subscriptions.sort_by(|one, other| one.id.cmp(&other.id));
    Some(subscriptions)
}

/// A row of `keys`, selected by [`key_columns`].
pub(super) struct KeyRow<'r>(pub(super) &'r Row);

impl TryFrom<KeyRow<'_>> for Key {
    type Error = StoreError;

    fn try_from(KeyRow(row): KeyRow<'_>) -> Result<Self, StoreError> {
        let fields = Fields::of("keys", &["id"], row);
        let hash = <[u8; 32]>::try_from(fields.get::<&[u8]>("hash")?).map_err(|_| fields.corrupt("hash"))?;
        let masked = MaskedKey {
            prefix: fields.get::<&str>("prefix")?.into(),
            last_four: fields.get::<&str>("last_four")?.into(),
        };
        let superseded = match (
            fields.parse_optional("superseded_by", |text| text.parse().ok())?,
            fields.timestamp_optional("grace_until_us")?,
        ) {
            (Some(by), Some(grace_until)) => Some(Supersession { by, grace_until }),
            (None, None) => None,
            _ => return Err(fields.corrupt("grace_until_us")),
        };
        let bucket = match (
            fields.count_optional("bucket_tokens")?,
            fields.count_optional("bucket_micros")?,
            fields.count_optional("bucket_burst")?,
        ) {
            (Some(tokens), Some(micros), Some(burst)) => {
                Some(Bucket::from_parts(tokens, micros, burst).ok_or_else(|| fields.corrupt("bucket_micros"))?)
            }
            (None, None, None) => None,
            _ => return Err(fields.corrupt("bucket_micros")),
        };
        Ok(Self {
            id: fields.parse("id", |text| text.parse().ok())?,
            account: fields.parse("account", |text| text.parse().ok())?,
            lineage: fields.parse("lineage", |text| text.parse().ok())?,
            hashed: HashedKey { hash: KeyHash::from_bytes(hash), masked },
            name: fields.get("name")?,
            created_at: fields.timestamp("created_at_us")?,
            expires_at: fields.timestamp_optional("expires_at_us")?,
            revoked_at: fields.timestamp_optional("revoked_at_us")?,
            superseded,
            scopes: fields.parse_list("scopes", |text| Glob::new(&text))?,
            read_only: fields.get("read_only")?,
            ip_rules: IpRules {
                allow: fields.parse_list("ip_allow", |text| text.parse().ok())?,
                deny: fields.parse_list("ip_deny", |text| text.parse().ok())?,
            },
            limits: KeyLimits { bucket, cap: fields.count_optional("cap")? },
            last_used_at: fields.timestamp_optional("last_used_at_us")?,
        })
    }
}

/// A list of texts as JSON.
pub(super) fn list_text<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    serde_json::Value::from(items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>()).to_string()
}

/// A meter as it is stored: calls have an empty one.
pub(super) fn meter_column(meter: Option<&MeterName>) -> String {
    meter.map(ToString::to_string).unwrap_or_default()
}

/// A key as it is stored where there may be none: then it is empty.
pub(super) fn key_column(key: Option<KeyId>) -> String {
    key.map(|key| key.to_string()).unwrap_or_default()
}

/// A number of units or calls as the database counts it. It holds up to 2^63 - 1, far above what limits may be.
pub(super) fn count_column(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
