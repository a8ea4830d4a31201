//! Where a call came from, as far as that can be trusted, and how many links may be asked for from there.
//!
//! A gateway before us says who calls, and strips that word from what clients send. It is believed of a peer on this
//! machine or on a private network, which is where gateways are; whoever else reaches this listener is taken for the
//! caller itself. A peer on a private network that says nothing may be a proxy for many: then nothing is known.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use tollgate_domain::limit::{Debit, LimitSet, Outcome};
use tollgate_domain::{Period, Rate, SECOND_US, Timestamp, Window};
use tollgate_limiter::{InProcess, InProcessSettings, Limiter, Subject};

use crate::context::Context;
use crate::problem::{Problem, ProblemCode};

/// Where the gateway says who calls.
const CLIENT: HeaderName = HeaderName::from_static("x-tollgate-client");
/// Links that may be asked for from one address, or from one /64 of IPv6.
const LINKS: &str = "20/hour";
/// Addresses that are told apart at a time. While more ask within an hour, those that are one too many share a bound.
const SENDERS_MAX: usize = 16_384;

/// Who calls; `None` where nobody says it who can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sender(pub(super) Option<IpAddr>);

impl FromRequestParts<Context> for Sender {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Context) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(peer.and_then(|ConnectInfo(peer)| sender(peer.ip(), &parts.headers))))
    }
}

fn sender(peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    if !may_be_a_gateway(peer) {
        return Some(peer);
    }
    let mut said = headers.get_all(CLIENT).iter();
    match (said.next(), said.next()) {
        (Some(said), None) => said.to_str().ok()?.parse().ok(),
        _ => None,
    }
}

fn may_be_a_gateway(peer: IpAddr) -> bool {
    match peer {
        IpAddr::V4(peer) => peer.is_loopback() || peer.is_private() || peer.is_link_local(),
        IpAddr::V6(peer) => peer.is_loopback() || peer.is_unique_local() || peer.is_unicast_link_local(),
    }
}

/// How many links were asked for, by address. Each process counts for itself.
pub(crate) struct LinkBounds {
    limits: LimitSet,
    counted: InProcess,
}

impl Default for LinkBounds {
    fn default() -> Self {
        let rate = Rate::parse(LINKS).expect("it is a rate");
        let window = Window::new(rate).expect("a window may be an hour long");
        let limits = LimitSet { windows: [window].into_iter().collect(), ..LimitSet::default() };
        // Nobody is forgotten while its calls are in the window.
        let idle_after = Duration::from_hours(1);
        Self { limits, counted: InProcess::new(InProcessSettings { clients_max: SENDERS_MAX, idle_after }) }
    }
}

impl LinkBounds {
    /// Counts one more link for whoever asks; where that cannot be told, the bound of each mailed address has to do.
    ///
    /// # Errors
    /// As many were asked for from there as may be within an hour.
    pub(super) async fn count(&self, Sender(sender): Sender, now: Timestamp) -> Result<(), Problem> {
        let Some(sender) = sender else { return Ok(()) };
        let handle = self.counted.open(Subject::client(sender));
        let debit =
            Debit { limits: &self.limits, key: None, meter: None, period: Period::calendar_month(now), cost: 1 };
        match self.counted.debit(&handle, &debit, now).await {
            Ok(Outcome::Refused(refused)) => {
                let secs = refused.wait_us.max(0).unsigned_abs().div_ceil(SECOND_US.unsigned_abs());
                let detail = "Too many links were asked for from your address within an hour; try again later";
                Err(Problem::new(ProblemCode::TooManyLinks, detail).retry_after(secs.max(1)))
            }
            Ok(Outcome::Admitted(_)) => Ok(()),
            // A limiter in memory answers, and clients need no ledger.
            Ok(Outcome::Unseeded) | Err(_) => Err(Problem::internal("links cannot be counted")),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_gateway_is_believed_and_a_stranger_is_taken_for_the_caller() {
        for (peer, said, expected) in [
            ("127.0.0.1", &["203.0.113.9"] as &[&str], Some("203.0.113.9")),
            ("::1", &["2001:db8::1"], Some("2001:db8::1")),
            ("::ffff:10.0.0.7", &["203.0.113.9"], Some("203.0.113.9")),
            ("fd00::7", &["203.0.113.9"], Some("203.0.113.9")),
            ("10.0.0.7", &[], None),
            ("127.0.0.1", &["203.0.113.9", "203.0.113.8"], None),
            ("127.0.0.1", &["unknown"], None),
            ("198.51.100.4", &[], Some("198.51.100.4")),
            ("198.51.100.4", &["203.0.113.9"], Some("198.51.100.4")),
            ("2001:db8::4", &["203.0.113.9"], Some("2001:db8::4")),
        ] {
            let mut headers = HeaderMap::new();
            for said in said {
                headers.append(CLIENT, HeaderValue::from_str(said).expect("a good value"));
            }
            let found = sender(peer.parse().expect("an address"), &headers);
            assert_eq!(found, expected.map(|expected| expected.parse().expect("an address")), "{peer} {said:?}");
        }
    }

    #[tokio::test]
    async fn an_address_asks_for_so_many_links_an_hour_and_others_for_theirs() {
        let bounds = LinkBounds::default();
        let at = |secs: i64| Timestamp::from_secs(1_800_000_000 + secs);
        let from = |address: &str| Sender(Some(address.parse().expect("an address")));
        for _ in 0..20 {
            bounds.count(from("2001:db8::1"), at(0)).await.expect("within the bound");
        }
        let refused = bounds.count(from("2001:db8::ffff:2"), at(60)).await.expect_err("of the same /64");
        assert_eq!(refused.code(), ProblemCode::TooManyLinks);
        bounds.count(from("2001:db8:0:1::1"), at(60)).await.expect("of another");
        for _ in 0..50 {
            bounds.count(Sender(None), at(60)).await.expect("nobody in particular");
        }
        // A window lets a slice of itself go late.
        bounds.count(from("2001:db8::1"), at(3_600 + 15)).await.expect("an hour later");
    }
}
