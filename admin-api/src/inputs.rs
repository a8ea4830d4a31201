//! What the texts in requests mean: e-mails, names, instants, durations, rates, networks.
//!
//! Each reader says what is wrong in words that tell how to write it. Whether a thing exists is asked elsewhere.

use std::net::IpAddr;

use ipnet::IpNet;
use tollgate_domain::limit::UNITS_MAX;
use tollgate_domain::{DAY_US, Glob, HOUR_US, MINUTE_US, Plan, PlanName, PlanTable, Rate, SECOND_US, Timestamp};

use crate::fields::shown;

/// Longest e-mail address, in characters (RFC 5321).
const EMAIL_CHARS_MAX: usize = 254;
/// Longest name of an account or a key, in characters.
const NAME_CHARS_MAX: usize = 100;
/// Longest reason of a ban, in characters.
const REASON_CHARS_MAX: usize = 500;
/// Longest id of another system's, in characters.
const FOREIGN_ID_CHARS_MAX: usize = 255;

/// An e-mail address: trimmed, one `@` with text around it.
pub(crate) fn email(text: &str) -> Result<String, String> {
    let address = text.trim();
    let malformed = || format!("`{}` is not an e-mail address, such as ada@example.com", shown(address));
    if address.chars().count() > EMAIL_CHARS_MAX {
        return Err(format!("an e-mail address has at most {EMAIL_CHARS_MAX} characters"));
    }
    if address.chars().any(|character| character.is_control() || character.is_whitespace()) {
        return Err(format!("{}: it holds a space or a control character", malformed()));
    }
    if address.contains(['<', '>', ',', ';', '"', '\\']) {
        return Err(format!("{}: it holds a sign that separates addresses", malformed()));
    }
    match address.split_once('@') {
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() && !domain.contains('@') => Ok(address.into()),
        _ => Err(malformed()),
    }
}

/// What an account or a key is called.
pub(crate) fn name(text: &str) -> Result<String, String> {
    line(text, NAME_CHARS_MAX)
}

/// What an account is called that did not choose its name: cut to what fits.
pub(crate) fn name_cut(text: &str) -> Option<String> {
    name(&text.trim().chars().take(NAME_CHARS_MAX).collect::<String>()).ok()
}

/// Why an account is banned.
pub(crate) fn reason(text: &str) -> Result<String, String> {
    line(text, REASON_CHARS_MAX)
}

/// An id that another system gave.
pub(crate) fn foreign_id(text: &str) -> Result<String, String> {
    let fits =
        !text.is_empty() && text.len() <= FOREIGN_ID_CHARS_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned()).ok_or_else(|| format!("`{}` is not an id: letters, digits and `_`", shown(text)))
}

/// A plan that accounts may be on.
pub(crate) fn plan(text: &str, plans: &PlanTable) -> Result<PlanName, String> {
    if text == PlanName::PUBLIC {
        return Err(format!("`public` is the plan of anonymous callers, not of accounts; {}", plans_there_are(plans)));
    }
    plans
        .get(text)
        .map(|plan| plan.name.clone())
        .ok_or_else(|| format!("there is no plan `{}`; {}", shown(text), plans_there_are(plans)))
}

/// Plans that accounts may be on, in order of rank, then name.
pub(crate) fn account_plans(plans: &PlanTable) -> Vec<&Plan> {
    let mut found: Vec<&Plan> =
        plans.iter().map(AsRef::as_ref).filter(|plan| plan.name.as_str() != PlanName::PUBLIC).collect();
    found.sort_by(|left, right| (left.rank, &left.name).cmp(&(right.rank, &right.name)));
    found
}

/// An instant, as RFC 3339 writes it.
pub(crate) fn instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text)
        .ok_or_else(|| format!("`{}` is not a time, such as 2027-01-31T12:00:00Z or 2027-01-31", shown(text)))
}

/// A duration in microseconds: `0`, `90s`, `15m`, `1h`, `30d`.
pub(crate) fn duration_us(text: &str) -> Result<i64, String> {
    let malformed = || format!("`{}` is not a duration, such as 90s, 15m, 1h, 30d or 0", shown(text));
    let text = text.trim();
    if text == "0" {
        return Ok(0);
    }
    let digits = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(malformed)?;
    let (count, unit) = text.split_at(digits);
    let unit_us = match unit {
        "ms" => 1_000,
        "s" => SECOND_US,
        "m" => MINUTE_US,
        "h" => HOUR_US,
        "d" => DAY_US,
        _ => return Err(malformed()),
    };
    count.parse::<i64>().ok().and_then(|count| count.checked_mul(unit_us)).ok_or_else(malformed)
}

/// A rate, such as `600/minute`.
pub(crate) fn rate(text: &str) -> Result<Rate, String> {
    Rate::parse(text).map_err(|error| error.to_string())
}

/// A count of units that limiters can keep exactly.
pub(crate) fn units(count: u64) -> Result<u64, String> {
    if count <= UNITS_MAX {
        Ok(count)
    } else {
        Err(format!("{count} is more than can be counted: at most {UNITS_MAX}"))
    }
}

/// A count of units as a text; underscores may separate digits.
pub(crate) fn units_text(text: &str) -> Result<u64, String> {
    let count =
        tollgate_domain::parse_count(text).ok_or_else(|| format!("`{}` is not a whole number from 0", shown(text)))?;
    units(count)
}

/// A scope: a route's name or a glob of them.
pub(crate) fn scope(text: &str) -> Result<Glob, String> {
    Glob::new(text).ok_or_else(|| {
        format!("`{}` is not a route's name or a glob of them: 1 to 64 letters, digits, `-_./` and `*`", shown(text))
    })
}

/// A network in CIDR form, or one address.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let net = net.map_err(|_| format!("`{}` is not an address or network, such as 203.0.113.0/24", shown(text)))?;
    match net {
        IpNet::V6(net) if net.addr().to_ipv4_mapped().is_some() => Err(format!(
            "`{}` is an IPv4 network written as IPv6, which no client's address is compared with: write it as IPv4",
            shown(text)
        )),
        net => Ok(net.trunc()),
    }
}

fn plans_there_are(plans: &PlanTable) -> String {
    let names: Vec<_> = account_plans(plans).into_iter().map(|plan| plan.name.as_str()).collect();
    if names.is_empty() {
        "the configuration has none: add one under [plans]".into()
    } else {
        format!("there are {}", names.join(", "))
    }
}

fn line(text: &str, chars_max: usize) -> Result<String, String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err("this is empty; leave it out instead".into());
    }
    if trimmed.chars().count() > chars_max {
        return Err(format!("this is too long: at most {chars_max} characters"));
    }
    if trimmed.chars().any(char::is_control) {
        return Err("this holds a control character".into());
    }
    Ok(trimmed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails_have_one_at_sign_with_text_around_it() {
        for good in ["a@b", " ada@example.com ", "o'neil+x@xn--bcher-kva.example", "用户@例え.jp"] {
            assert_eq!(email(good).as_deref(), Ok(good.trim()), "{good}");
        }
        let long = format!("{}@b", "a".repeat(253));
        for bad in
            ["", "a", "@b", "a@", "a@b@c", "a b@c", "a\u{7f}@c", "a\n@c", "x<a@b>", "a@b,c", "\"a\"@b", long.as_str()]
        {
            assert!(email(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, micros) in [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500_000),
            ("90s", 90 * SECOND_US),
            ("15m", 15 * MINUTE_US),
            ("1h", HOUR_US),
            ("30d", 30 * DAY_US),
        ] {
            assert_eq!(duration_us(text), Ok(micros), "{text}");
        }
        for bad in ["", "h", "1", "-1h", "1.5h", "1w", "1h ago", "99999999999999999999d", "é"] {
            assert!(duration_us(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_are_cut_to_their_prefix_and_never_mapped() {
        for (text, expected) in
            [("10.1.2.3/8", "10.0.0.0/8"), ("192.0.2.7", "192.0.2.7/32"), ("2001:db8::1/32", "2001:db8::/32")]
        {
            assert_eq!(network(text).map(|net| net.to_string()).as_deref(), Ok(expected), "{text}");
        }
        for bad in ["", "10.0.0.0/33", "example.com", "::ffff:10.0.0.0/104", "::ffff:10.0.0.1"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_one_visible_line() {
        assert_eq!(name("  CI key ").as_deref(), Ok("CI key"));
        for bad in ["", "  ", "a\nb", "\u{1b}[0m", &"x".repeat(101)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
