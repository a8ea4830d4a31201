//! The time that the program under test lives in: the machine's.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch.
///
/// # Panics
/// When the machine's clock stands before 1970.
pub fn now_secs() -> u64 {
    since_epoch().as_secs()
}

fn since_epoch() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a process that is started asks the machine, and so does its test")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).expect("after 1970")
}

/// When this second of the epoch is or was, by this process' steady clock; within what asking the two clocks takes.
///
/// # Panics
/// When it lies further back than the steady clock goes.
pub fn instant_of(epoch_secs: f64) -> Instant {
    let ahead = epoch_secs - since_epoch().as_secs_f64();
    let now = Instant::now();
    match Duration::try_from_secs_f64(ahead) {
        Ok(ahead) => now + ahead,
        Err(_) => now.checked_sub(Duration::from_secs_f64(-ahead)).expect("the machine ran then"),
    }
}

/// Seconds since the Unix epoch of an instant as the program writes it, such as `2026-03-01T00:00:00.5Z`.
pub fn epoch_secs(text: &str) -> Option<f64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':');
    let (hour, minute): (i64, i64) = (time.next()?.parse().ok()?, time.next()?.parse().ok()?);
    let second: f64 = time.next()?.parse().ok()?;
    // Days from the civil calendar, counted in years that begin in March.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let of_era = year.rem_euclid(400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let whole = i32::try_from(days).ok().map(f64::from)?;
    let of_day = i32::try_from(hour * 3_600 + minute * 60).ok().map(f64::from)?;
    Some(whole * 86_400.0 + of_day + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2000-03-01T00:00:01.5Z", 951_868_801.5),
            ("2026-11-22T13:56:55Z", 1_795_355_815.0),
        ] {
            assert_eq!(epoch_secs(text), Some(expected), "{text}");
        }
        assert_eq!(epoch_secs("soon"), None);
    }
}
