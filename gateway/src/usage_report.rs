//! What an upstream reports in `Tollgate-Usage: tokens=1234, images=2`: units of meters that a call has used.
//!
//! Reads the header and nothing else: which meters there are, and what is done with the units, others know.

use http::{HeaderName, HeaderValue};
use tollgate_domain::MeterName;
use tollgate_domain::limit::UNITS_MAX;

/// The answer header by which an upstream reports what a call used of each meter.
pub const TOLLGATE_USAGE: HeaderName = HeaderName::from_static("tollgate-usage");

/// Bytes of all lines of the header together; no honest report comes near.
const REPORT_BYTES_MAX: usize = 4_096;
/// Meters in one report.
const METERS_MAX: usize = 32;

/// A report that cannot be read; nothing of it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedReport;

/// Units by meter, in the order they are named first. Several lines are one list, and a meter that is named twice has
/// the sum.
///
/// # Errors
/// It is empty, too long, names too many meters, or holds something other than `name=units`, names as a configuration
/// spells them and units in digits, at most 2^53 a meter.
pub fn parse<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> Result<Vec<(MeterName, u64)>, MalformedReport> {
    let mut report: Vec<(MeterName, u64)> = Vec::new();
    let mut bytes = 0;
    for line in lines {
        bytes += line.len();
        if bytes > REPORT_BYTES_MAX {
            return Err(MalformedReport);
        }
        let line = line.to_str().map_err(|_| MalformedReport)?;
        // Empty elements of a list are passed over (RFC 9110, 5.6.1).
        for item in line.split(',').map(|item| item.trim_matches([' ', '\t'])).filter(|item| !item.is_empty()) {
            let (name, units) = item.split_once('=').ok_or(MalformedReport)?;
            let units = units_of(units).ok_or(MalformedReport)?;
            match report.iter().position(|(known, _)| known.as_str() == name) {
                // Neither number is above 2^53.
                Some(at) if report[at].1 + units > UNITS_MAX => return Err(MalformedReport),
                Some(at) => report[at].1 += units,
                None if report.len() == METERS_MAX => return Err(MalformedReport),
                None => report.push((MeterName::new(name).ok_or(MalformedReport)?, units)),
            }
        }
    }
    if report.is_empty() { Err(MalformedReport) } else { Ok(report) }
}

/// Digits alone: the language's own reading would take a sign.
fn units_of(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|units| digits && *units <= UNITS_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str]) -> Option<Vec<(String, u64)>> {
        let lines: Vec<_> = lines.iter().map(|line| HeaderValue::from_str(line).expect("a value")).collect();
        let report = parse(lines.iter()).ok()?;
        Some(report.into_iter().map(|(name, units)| (name.as_str().to_owned(), units)).collect())
    }

    #[test]
    fn lists_are_joined_and_repeated_meters_add_up() {
        for (lines, expected) in [
            (&["tokens=1234"][..], &[("tokens", 1_234)][..]),
            (&["tokens=1234, images=2"], &[("tokens", 1_234), ("images", 2)]),
            (&["tokens=1,tokens=2", "images=0 ,\ttokens=3"], &[("tokens", 6), ("images", 0)]),
            (&[", tokens=007,", ""], &[("tokens", 7)]),
            (&["t=9007199254740992"], &[("t", 1 << 53)]),
        ] {
            let expected: Vec<_> = expected.iter().map(|(name, units)| ((*name).to_owned(), *units)).collect();
            assert_eq!(read(lines), Some(expected), "{lines:?}");
        }
    }

    #[test]
    fn what_is_malformed_anywhere_is_ignored_whole() {
        let many: Vec<String> = (0..=METERS_MAX).map(|at| format!("m{at}=1")).collect();
        let (many, long) = (many.join(","), format!("tokens=1{}", " ".repeat(REPORT_BYTES_MAX)));
        for lines in [
            &[""][..],
            &[" , "],
            &["tokens"],
            &["tokens="],
            &["=1"],
            &["tokens=-1"],
            &["tokens=+1"],
            &["tokens=1.5"],
            &["tokens = 1"],
            &["tokens=1;q=2"],
            &["Tokens=1"],
            &["tokens=1", "images=x"],
            &["tokens=9007199254740993"],
            &["tokens=99999999999999999999999"],
            &["tokens=9007199254740992, tokens=1"],
            &[&many],
            &[&long, "tokens=1"],
        ] {
            assert_eq!(read(lines), None, "{lines:?}");
        }
        assert_eq!(parse([HeaderValue::from_bytes(b"tokens=\xff").expect("a value")].iter()), Err(MalformedReport));
    }

    proptest! {
        #[test]
        fn no_header_does_harm(lines in prop::collection::vec("[ -~\t]{0,80}", 0..4)) {
            let lines: Vec<_> = lines.iter().filter_map(|line| HeaderValue::from_str(line).ok()).collect();
            if let Ok(report) = parse(lines.iter()) {
                prop_assert!(!report.is_empty() && report.len() <= METERS_MAX);
                prop_assert!(report.iter().all(|(_, units)| *units <= UNITS_MAX));
            }
        }
    }
}
