//! A change as it stands in the stream: one field, JSON. A reader that meets what it cannot read must take it for
//! any change at all.

use deadpool_redis::redis::{Cmd, cmd};
use serde::{Deserialize, Serialize};
use tollgate_domain::{KeyHash, Period, Timestamp};
use tollgate_store::Change;

/// The field of an entry that holds the change.
pub(crate) const FIELD: &str = "change";

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Form {
    Key {
        hash: String,
    },
    Account {
        account: String,
    },
    Usage {
        account: String,
        key: Option<String>,
        start: i64,
        end: i64,
        units: i64,
        position: u64,
    },
    /// Nothing: an entry that only makes the stream begin.
    Mark,
}

/// What an entry of the stream says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// This changed.
    Change(Change),
    /// Nothing.
    Mark,
    /// Something that this program does not understand.
    Unreadable,
}

/// An entry that says nothing.
pub(crate) fn write_mark() -> String {
    write_form(&Form::Mark)
}

/// Writes a change.
pub(crate) fn write(change: &Change) -> String {
    write_form(&match *change {
        Change::Key(hash) => Form::Key { hash: hash.to_string() },
        Change::Account(account) => Form::Account { account: account.to_string() },
        Change::Usage { account, key, period, units, position } => Form::Usage {
            account: account.to_string(),
            key: key.map(|key| key.to_string()),
            start: period.start.as_micros(),
            end: period.end.as_micros(),
            units,
            position,
        },
    })
}

/// The command that appends an entry to the stream, which keeps about so many.
pub(crate) fn append(stream: &str, text: &str, length: usize) -> Cmd {
    let mut command = cmd("XADD");
    command.arg(stream).arg("MAXLEN").arg("~").arg(length).arg("*").arg(FIELD).arg(text);
    command
}

fn write_form(form: &Form) -> String {
    serde_json::to_string(form).expect("text and numbers can be written as JSON")
}

/// Reads an entry.
pub(crate) fn read(text: &[u8]) -> Said {
    match serde_json::from_slice(text) {
        Ok(Form::Mark) => Said::Mark,
        Ok(form) => read_form(form).map_or(Said::Unreadable, Said::Change),
        Err(_) => Said::Unreadable,
    }
}

fn read_form(form: Form) -> Option<Change> {
    Some(match form {
        Form::Mark => return None,
        Form::Key { hash } => Change::Key(KeyHash::parse(&hash)?),
        Form::Account { account } => Change::Account(account.parse().ok()?),
        Form::Usage { account, key, start, end, units, position } => Change::Usage {
            account: account.parse().ok()?,
            key: match key {
                None => None,
                Some(key) => Some(key.parse().ok()?),
            },
            period: Period { start: Timestamp::from_micros(start), end: Timestamp::from_micros(end) },
            units,
            position,
        },
    })
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{AccountId, KeyId};

    use super::*;

    #[test]
    fn changes_read_back_and_the_rest_is_unreadable() {
        let at = Timestamp::from_secs(1_772_366_400);
        let account = AccountId::new(at, [1; 10]);
        let period = Period::calendar_month(at);
        let usage = Change::Usage { account, key: None, period, units: -(1 << 53), position: u64::MAX };
        let of_key = Change::Usage { account, key: Some(KeyId::new(at, [2; 10])), period, units: 7, position: 0 };
        for change in [Change::Key(KeyHash::from_bytes([0xab; 32])), Change::Account(account), usage, of_key] {
            assert_eq!(read(write(&change).as_bytes()), Said::Change(change));
        }
        assert_eq!(read(write_mark().as_bytes()), Said::Mark);
        for text in ["", "{}", r#"{"kind":"plan"}"#, r#"{"kind":"key","hash":"ab"}"#, r#"{"kind":"account"}"#] {
            assert_eq!(read(text.as_bytes()), Said::Unreadable, "{text}");
        }
    }
}
