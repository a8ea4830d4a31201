//! A change as it stands in the stream: one field, JSON. A reader that meets what it cannot read must take it for
//! any change at all.

use deadpool_redis::redis::{Cmd, cmd};
use serde::{Deserialize, Serialize};
use tollgate_domain::{Charged, KeyHash, MeterId, Period, Timestamp};
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
    /// A kind of its own: to a version that knows no meters it must not look like calls.
    MeterUsage {
        account: String,
        /// 32 hexadecimal digits.
        meter: String,
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
        Change::Usage { account, of, period, units, position } => {
            let (account, start, end) = (account.to_string(), period.start.as_micros(), period.end.as_micros());
            match of {
                Charged::Calls { key } => {
                    let key = key.map(|key| key.to_string());
                    Form::Usage { account, key, start, end, units, position }
                }
                Charged::Meter(meter) => {
                    let meter = format!("{:032x}", meter.as_u128());
                    Form::MeterUsage { account, meter, start, end, units, position }
                }
            }
        }
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
        Form::Usage { account, key, start, end, units, position } => {
            let key = match key {
                None => None,
                Some(key) => Some(key.parse().ok()?),
            };
            Change::Usage {
                account: account.parse().ok()?,
                of: Charged::Calls { key },
                period: period(start, end),
                units,
                position,
            }
        }
        Form::MeterUsage { account, meter, start, end, units, position } => Change::Usage {
            account: account.parse().ok()?,
            of: Charged::Meter(MeterId::from_u128(u128::from_str_radix(&meter, 16).ok()?)),
            period: period(start, end),
            units,
            position,
        },
    })
}

fn period(start: i64, end: i64) -> Period {
    Period { start: Timestamp::from_micros(start), end: Timestamp::from_micros(end) }
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;
    use tollgate_domain::{AccountId, KeyId};

    use super::*;

    const AT: Timestamp = Timestamp::from_secs(1_772_366_400);

    fn charges() -> impl Strategy<Value = Charged> {
        let keys = option::of(any::<[u8; 10]>());
        let calls = keys.prop_map(|key| Charged::Calls { key: key.map(|random| KeyId::new(AT, random)) });
        prop_oneof![calls, any::<u128>().prop_map(|number| Charged::Meter(MeterId::from_u128(number)))]
    }

    proptest! {
        #[test]
        fn changes_read_back(
            hash in any::<[u8; 32]>(),
            random in any::<[u8; 10]>(),
            of in charges(),
            (start, end, units, position) in any::<(i64, i64, i64, u64)>(),
        ) {
            let account = AccountId::new(AT, random);
            let usage = Change::Usage { account, of, period: period(start, end), units, position };
            for change in [Change::Key(KeyHash::from_bytes(hash)), Change::Account(account), usage] {
                prop_assert_eq!(read(write(&change).as_bytes()), Said::Change(change));
            }
        }
    }

    #[test]
    fn units_of_calls_are_as_the_version_before_meters_wrote_them() {
        let account = AccountId::new(AT, [1; 10]);
        let key = KeyId::new(AT, [2; 10]);
        for (key, text) in [(None, "null".to_owned()), (Some(key), format!("\"{key}\""))] {
            let old = format!(
                r#"{{"kind":"usage","account":"{account}","key":{text},"start":1,"end":2,"units":-3,"position":4}}"#
            );
            let of = Charged::Calls { key };
            let change = Change::Usage { account, of, period: period(1, 2), units: -3, position: 4 };
            assert_eq!((read(old.as_bytes()), write(&change)), (Said::Change(change), old));
        }
    }

    #[test]
    fn what_is_no_change_is_unreadable() {
        assert_eq!(read(write_mark().as_bytes()), Said::Mark);
        let meter = r#"{"kind":"meter_usage","account":"acc_","meter":"7","start":1,"end":2,"units":3,"position":4}"#;
        for text in ["", "{}", r#"{"kind":"plan"}"#, r#"{"kind":"key","hash":"ab"}"#, r#"{"kind":"account"}"#, meter] {
            assert_eq!(read(text.as_bytes()), Said::Unreadable, "{text}");
        }
    }
}
