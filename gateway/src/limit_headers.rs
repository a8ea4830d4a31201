//! The limit headers of an answer: draft-ietf-httpapi-ratelimit-headers-10, and the older `X-RateLimit-*`.
//!
//! A later draft may rename the parameters; everything about the form stands here.

use std::cmp::Ordering;
use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use http::{HeaderName, HeaderValue};
use tollgate_domain::limit::{LimitLabel, LimitStanding, Standing};

/// The names written here, for removing the upstream's own and for exposing ours to browsers.
pub const NAMES: [HeaderName; 5] = [
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

/// What browsers may read of our answers, as one header value.
pub const EXPOSED: &str = "ratelimit-policy, ratelimit, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, retry-after, x-request-id";

/// Which of both forms are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forms {
    /// `RateLimit-Policy` and `RateLimit`.
    pub draft: bool,
    /// `X-RateLimit-Limit`, `-Remaining`, `-Reset`.
    pub legacy: bool,
}

/// Hands each header of a standing to `put`. A standing without limits writes none. `meter` is what the meter among them
/// is called.
pub fn write(standing: &Standing, meter: Option<&str>, forms: Forms, mut put: impl FnMut(HeaderName, HeaderValue)) {
    let Some(tightest) = standing.iter().min_by(|left, right| by_share_left(left, right)) else {
        return;
    };
    let [policy, state, limit, remaining, reset] = NAMES;
    if forms.draft {
        let mut text = BytesMut::with_capacity(standing.len() * 64);
        write_policy(standing, meter, &mut text);
        put(policy, value(text.split()));
        write_state(standing, meter, &mut text);
        put(state, value(text));
    }
    if forms.legacy {
        put(limit, HeaderValue::from(tightest.limit));
        put(remaining, HeaderValue::from(tightest.remaining));
        put(reset, HeaderValue::from(seconds(tightest.reset_us)));
    }
}

/// Microseconds as whole seconds, rounded up.
pub fn seconds(micros: i64) -> u64 {
    micros.max(0).unsigned_abs().div_ceil(1_000_000)
}

/// Which of two limits has the smaller share left; one that allows nothing has none left.
fn by_share_left(left: &LimitStanding, right: &LimitStanding) -> Ordering {
    if left.limit == 0 || right.limit == 0 {
        return (left.limit > 0).cmp(&(right.limit > 0));
    }
    // left.remaining / left.limit against right.remaining / right.limit, without dividing.
    let scaled = |one: &LimitStanding, other: &LimitStanding| u128::from(one.remaining) * u128::from(other.limit);
    scaled(left, right).cmp(&scaled(right, left))
}

fn write_policy(standing: &Standing, meter: Option<&str>, out: &mut BytesMut) {
    for (at, limit) in standing.iter().enumerate() {
        begin_item(limit, meter, at, out);
        out.put_slice(b";q=");
        put_number(limit.limit, out);
        if let Some(window_secs) = limit.window_secs {
            out.put_slice(b";w=");
            put_number(window_secs, out);
        }
        if let (LimitLabel::Meter, Some(unit)) = (limit.label, meter) {
            out.put_slice(b";qu=\"");
            out.put_slice(unit.as_bytes());
            out.put_u8(b'"');
        }
    }
}

fn write_state(standing: &Standing, meter: Option<&str>, out: &mut BytesMut) {
    for (at, limit) in standing.iter().enumerate() {
        begin_item(limit, meter, at, out);
        out.put_slice(b";r=");
        put_number(limit.remaining, out);
        out.put_slice(b";t=");
        put_number(seconds(limit.reset_us), out);
    }
}

fn begin_item(limit: &LimitStanding, meter: Option<&str>, at: usize, out: &mut BytesMut) {
    if at > 0 {
        out.put_slice(b", ");
    }
    // Names are ASCII words, so the quoted string needs no escapes.
    out.put_u8(b'"');
    let name = if limit.label == LimitLabel::Meter { meter } else { None };
    match name.or(limit.label.as_str()) {
        Some(name) => out.put_slice(name.as_bytes()),
        None => write!(out, "{}", limit.label).expect("writing to memory does not fail"),
    }
    out.put_u8(b'"');
}

fn put_number(number: u64, out: &mut BytesMut) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

fn value(text: BytesMut) -> HeaderValue {
    HeaderValue::from_maybe_shared(text.freeze()).expect("names and numbers are visible ASCII")
}

#[cfg(test)]
mod tests {
    use tollgate_domain::Unit;

    use super::*;

    fn standing() -> Standing {
        let burst = LimitStanding {
            label: LimitLabel::Burst,
            limit: 60,
            remaining: 59,
            used: 1,
            reset_us: 100_000,
            window_secs: Some(6),
        };
        let day = LimitStanding {
            label: LimitLabel::Window(Unit::Day),
            limit: 1_000,
            remaining: 900,
            used: 100,
            reset_us: 86_400_000_000,
            window_secs: Some(86_400),
        };
        let month = LimitStanding {
            label: LimitLabel::Quota,
            limit: 10_000,
            remaining: 8_214,
            used: 1_786,
            reset_us: 864_000_000_000,
            window_secs: None,
        };
        Standing::from_iter([burst, day, month])
    }

    fn written(standing: &Standing, forms: Forms) -> Vec<String> {
        let mut lines = Vec::new();
        write(standing, Some("tokens"), forms, |name, value| {
            lines.push(format!("{name}: {}", value.to_str().expect("visible ASCII")));
        });
        lines
    }

    #[test]
    fn both_forms_as_documented() {
        let lines = written(&standing(), Forms { draft: true, legacy: true });
        assert_eq!(
            lines,
            [
                r#"ratelimit-policy: "burst";q=60;w=6, "day";q=1000;w=86400, "month";q=10000"#,
                r#"ratelimit: "burst";r=59;t=1, "day";r=900;t=86400, "month";r=8214;t=864000"#,
                "x-ratelimit-limit: 10000",
                "x-ratelimit-remaining: 8214",
                "x-ratelimit-reset: 864000",
            ]
        );
    }

    #[test]
    fn a_meter_has_an_item_of_its_own_name_and_unit_and_may_be_the_tightest() {
        let mut standing = standing();
        standing.push(LimitStanding { label: LimitLabel::Meter, limit: 500, remaining: 3, used: 497, ..standing[2] });
        let lines = written(&standing, Forms { draft: true, legacy: true });
        let ends = [
            r#""month";q=10000, "tokens";q=500;qu="tokens""#,
            r#""month";r=8214;t=864000, "tokens";r=3;t=864000"#,
            "x-ratelimit-limit: 500",
            "x-ratelimit-remaining: 3",
        ];
        for (line, end) in lines.iter().zip(ends) {
            assert!(line.ends_with(end), "{line}");
        }
    }

    #[test]
    fn the_smallest_share_left_is_shown_and_a_limit_of_nothing_is_the_smallest() {
        let limit = |limit, remaining| LimitStanding { limit, remaining, ..standing()[0] };
        for (one, other, expected) in [
            (limit(10, 5), limit(100, 49), Ordering::Greater),
            (limit(10, 5), limit(100, 50), Ordering::Equal),
            (limit(0, 0), limit(100, 0), Ordering::Less),
            (limit(0, 0), limit(0, 0), Ordering::Equal),
            (limit(1 << 53, 1), limit(1 << 53, 2), Ordering::Less),
        ] {
            assert_eq!(by_share_left(&one, &other), expected, "{one:?} {other:?}");
        }
    }

    #[test]
    fn what_is_off_or_unlimited_is_not_written() {
        assert_eq!(written(&standing(), Forms { draft: false, legacy: false }), [""; 0]);
        assert_eq!(written(&Standing::new(), Forms { draft: true, legacy: true }), [""; 0]);
        assert_eq!(written(&standing(), Forms { draft: false, legacy: true }).len(), 3);
    }
}
