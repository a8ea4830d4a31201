//! Numbers with units, addresses and URLs, as the file writes them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tollgate_domain::parse_count;
use url::Url;

use crate::item::Item;

/// The longest that anything may take. Only what is kept may be kept for longer.
const DURATION_MOST: Duration = Duration::from_hours(31 * 24);

/// A size with a word for none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteLimit {
    /// No limit.
    Unlimited,
    /// At most so many bytes; 0 admits only what is empty.
    Bytes(u64),
}

impl ByteLimit {
    /// Whether so many bytes are within the limit.
    pub const fn admits(self, bytes: u64) -> bool {
        match self {
            Self::Unlimited => true,
            Self::Bytes(limit) => bytes <= limit,
        }
    }
}

impl Item<'_> {
    /// A length of time above zero.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let duration = self.duration_or_zero()?;
        if duration.is_zero() {
            self.error(format!("`{}` must be longer than nothing", self.key()));
            return None;
        }
        Some(duration)
    }

    /// A length of time, which may be none.
    pub(crate) fn duration_or_zero(&self) -> Option<Duration> {
        self.duration_up_to(DURATION_MOST)
    }

    fn duration_up_to(&self, most: Duration) -> Option<Duration> {
        let shown = show_duration(most);
        let expected = format!("a length of time up to {shown}: a whole number and ms, s, m, h or d, such as \"30s\"");
        self.parse(&expected, |text| parse_duration(text).filter(|duration| *duration <= most))
    }

    /// A length of time between these bounds.
    pub(crate) fn duration_between(&self, least: Duration, most: Duration) -> Option<Duration> {
        let duration = self.duration_up_to(most.max(DURATION_MOST))?;
        if !(least..=most).contains(&duration) {
            self.error(format!("`{}` must be from {} to {}", self.key(), show_duration(least), show_duration(most)));
            return None;
        }
        Some(duration)
    }

    /// A size in bytes between these bounds.
    pub(crate) fn size(&self, least: u64, most: u64) -> Option<u64> {
        let bytes = if self.is_text() { self.parse(SIZE, parse_size)? } else { self.count(0, u64::MAX)? };
        if !(least..=most).contains(&bytes) {
            self.error(format!("`{}` must be from {} to {}", self.key(), show_size(least), show_size(most)));
            return None;
        }
        Some(bytes)
    }

    /// A size, or the word for no limit.
    pub(crate) fn byte_limit(&self) -> Option<ByteLimit> {
        if self.is_unlimited() {
            return Some(ByteLimit::Unlimited);
        }
        self.size(0, i64::MAX.unsigned_abs()).map(ByteLimit::Bytes)
    }

    /// An address to listen on.
    pub(crate) fn listen_address(&self) -> Option<SocketAddr> {
        self.parse("an address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"", |text| text.parse().ok())
    }

    /// A network in CIDR notation, or one address. Bits beyond the prefix are an error: they were meant for something.
    pub(crate) fn network(&self) -> Option<IpNet> {
        self.parse("an address or a network such as \"10.0.0.0/8\", no bits set beyond its prefix", |text| {
            match text.parse::<IpAddr>() {
                Ok(address) => Some(IpNet::from(address)),
                Err(_) => text.parse::<IpNet>().ok().filter(|network| network.addr() == network.network()),
            }
        })
    }

    /// A web address for people or programs to follow.
    pub(crate) fn web_url(&self) -> Option<Url> {
        let expected = "an absolute URL that begins with http:// or https://";
        self.parse_or_say(expected, |text| {
            let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            match url {
                Some(url) if url.username().is_empty() && url.password().is_none() => Ok(url),
                Some(_) => Err(format!("`{}` must not hold a user or a password", self.key())),
                // What may hold a password is not repeated.
                None if text.contains('@') => Err(format!("`{}` must be {expected}", self.key())),
                None => Err(format!("`{}` is not {expected}", text.escape_debug())),
            }
        })
    }

    /// A web address whose answers are believed, or to which something is told: over TLS, or on this machine.
    pub(crate) fn guarded_url(&self, what: &str) -> Option<Url> {
        let url = self.web_url()?;
        if is_in_the_clear(&url) {
            let key = self.key();
            self.error(format!("`{key}` must begin with https://: {what} could be read and changed on the way"));
            return None;
        }
        if url.fragment().is_some() {
            self.error(format!("`{}` must not hold a `#`", self.key()));
            return None;
        }
        Some(url)
    }

    /// A web address that paths are put behind.
    pub(crate) fn base_url(&self) -> Option<Url> {
        let url = self.web_url()?;
        if url.query().is_some() || url.fragment().is_some() {
            self.error(format!("`{}` must end with its path: no `?` and no `#`", self.key()));
            return None;
        }
        Some(url)
    }
}

/// Whether a URL leads to another machine without TLS.
pub(crate) fn is_in_the_clear(url: &Url) -> bool {
    url.scheme() == "http" && !url.host_str().is_some_and(is_loopback)
}

/// Whether a host of a URL is this machine, as far as can be told without asking anyone.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

const SIZE: &str = "a size: a whole number and B, KB, MB, GB, KiB, MiB or GiB, such as \"64KiB\"";

/// A count and a unit without anything between them but blanks.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let unit_at = text.find(|letter: char| !letter.is_ascii_digit() && letter != '_')?;
    Some((parse_count(&text[..unit_at])?, text[unit_at..].trim_start()))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (count, unit) = split_unit(text)?;
    let millis_per_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.checked_mul(millis_per_unit).map(Duration::from_millis)
}

fn parse_size(text: &str) -> Option<u64> {
    let (count, unit) = split_unit(text)?;
    let bytes_per_unit = match unit {
        "B" => 1,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    count.checked_mul(bytes_per_unit)
}

/// A size in the largest unit that divides it.
pub(crate) fn show_size(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let whole = units.into_iter().find(|(size, _)| bytes > 0 && bytes.is_multiple_of(*size));
    whole.map_or_else(|| format!("{bytes}B"), |(size, unit)| format!("{}{unit}", bytes / size))
}

/// A length of time in the largest unit that divides it.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = units.into_iter().find(|(size, _)| millis > 0 && millis.is_multiple_of(*size));
    match whole {
        Some((size, unit)) => format!("{}{unit}", millis / size),
        None if millis == 0 => "0s".into(),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_shown() {
        for (text, millis, shown) in [
            ("10s", 10_000, "10s"),
            ("500ms", 500, "500ms"),
            ("1_000ms", 1_000, "1s"),
            ("1h", 3_600_000, "1h"),
            ("90m", 5_400_000, "90m"),
            ("2 m", 120_000, "2m"),
            ("24h", 86_400_000, "1d"),
            ("400d", 34_560_000_000, "400d"),
            ("0s", 0, "0s"),
        ] {
            let duration = parse_duration(text).expect(text);
            assert_eq!((duration.as_millis(), show_duration(duration)), (millis, shown.to_owned()), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1.5s", "10sec", "1_s", "99999999999999999999s", "1s s", "1e3s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes, shown) in [
            ("64KiB", 65_536, "64KiB"),
            ("10MB", 10_000_000, "10000000B"),
            ("1 GiB", 1 << 30, "1GiB"),
            ("1_024B", 1_024, "1KiB"),
            ("0B", 0, "0B"),
        ] {
            assert_eq!(
                parse_size(text).map(|bytes| (bytes, show_size(bytes))),
                Some((bytes, shown.to_owned())),
                "{text}"
            );
        }
        for text in ["", "10", "KB", "-1KB", "1.5MB", "10kb", "18446744073709551615GiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
