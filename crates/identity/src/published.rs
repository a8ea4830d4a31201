//! An issuer's published keys: fetched when they are first needed, kept, and refreshed.
//!
//! While fetching succeeds, a key that the issuer has taken back is refused after [`OLD_US`] at the latest. While it
//! fails, the keys last had work on for [`STALE_MAX_US`]. Whatever tokens arrive, the issuer is asked by one fetch at a
//! time, and for the sake of keys that it does not have once every [`UNKNOWN_EVERY_US`].

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tollgate_domain::{MINUTE_US, SECOND_US, Timestamp};

use crate::error::InvalidToken;
use crate::key_set::KeySet;
use crate::source::{FetchError, KeySource};

/// From this age on keys are refreshed, while tokens go on being verified with them.
const AGING_US: i64 = 5 * MINUTE_US;
/// From this age on tokens wait for keys to be refreshed, unless that has just failed.
const OLD_US: i64 = 10 * MINUTE_US;
/// From this age on keys are not used any more.
const STALE_MAX_US: i64 = 60 * MINUTE_US;
/// How long after a fetch that failed the next one begins.
const AGAIN_US: i64 = 2 * SECOND_US;
/// How often keys are fetched because a token names one that is not known.
const UNKNOWN_EVERY_US: i64 = 10 * SECOND_US;
/// The longest that a fetch takes.
const FETCH_MAX: Duration = Duration::from_secs(5);

/// The keys, kept.
pub(crate) struct Published {
    source: Arc<dyn KeySource>,
    state: Mutex<State>,
    /// The number of the last fetch that has ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// The same object for as long as the same keys are published.
    keys: Arc<KeySet>,
    /// When the fetch began that they came from.
    fetched_at: Option<Timestamp>,
    /// When the last fetch began, if it failed.
    failed_at: Option<Timestamp>,
    /// When keys were last fetched because one was not known.
    sought_at: Option<Timestamp>,
    /// How many fetches have begun; the last of them may be under way.
    begun: u64,
    is_fetching: bool,
}

/// What to do for a caller that needs keys.
enum Next {
    Use(Arc<KeySet>),
    Wait(u64),
    GiveUp,
}

impl Published {
    pub(crate) fn new(source: Arc<dyn KeySource>) -> Arc<Self> {
        Arc::new(Self { source, state: Mutex::default(), ended: watch::Sender::new(0) })
    }

    /// The keys as of now, fetched first if need be.
    pub(crate) async fn current(self: &Arc<Self>, now: Timestamp) -> Result<Arc<KeySet>, InvalidToken> {
        let begun = match self.next(now) {
            Next::Use(keys) => return Ok(keys),
            Next::Wait(begun) => begun,
            Next::GiveUp => return Err(InvalidToken::Unavailable),
        };
        self.end_of(begun).await;
        self.state.lock().usable(now).ok_or(InvalidToken::Unavailable)
    }

    /// Newer keys than those seen, because a token needs one that is not among them; `None` when there are none.
    ///
    /// # Errors
    /// Whether there are could not be found out.
    pub(crate) async fn newer(
        self: &Arc<Self>,
        seen: &Arc<KeySet>,
        now: Timestamp,
    ) -> Result<Option<Arc<KeySet>>, InvalidToken> {
        // A fetch that was under way already may have been answered before the key was published.
        for _ in 0..2 {
            match self.seek(seen, now) {
                Next::Use(keys) => return Ok(Some(keys)),
                Next::Wait(begun) => self.end_of(begun).await,
                Next::GiveUp => break,
            }
        }
        let state = self.state.lock();
        match state.usable(now).filter(|keys| !Arc::ptr_eq(keys, seen)) {
            None if state.failed_at.is_some() => Err(InvalidToken::Unavailable),
            newer => Ok(newer),
        }
    }

    fn next(self: &Arc<Self>, now: Timestamp) -> Next {
        let mut state = self.state.lock();
        let age_us = state.fetched_at.map(|at| distance_us(now, at));
        let may_fetch = !state.is_fetching && state.failed_at.is_none_or(|at| distance_us(now, at) >= AGAIN_US);
        match age_us {
            Some(age_us) if age_us < AGING_US => Next::Use(Arc::clone(&state.keys)),
            Some(age_us) if age_us < OLD_US || (age_us < STALE_MAX_US && state.failed_at.is_some()) => {
                if may_fetch {
                    self.fetch(&mut state, now);
                }
                Next::Use(Arc::clone(&state.keys))
            }
            _ if state.is_fetching => Next::Wait(state.begun),
            _ if may_fetch => Next::Wait(self.fetch(&mut state, now)),
            _ => Next::GiveUp,
        }
    }

    fn seek(self: &Arc<Self>, seen: &Arc<KeySet>, now: Timestamp) -> Next {
        let mut state = self.state.lock();
        if !Arc::ptr_eq(&state.keys, seen) {
            return Next::Use(Arc::clone(&state.keys));
        }
        if state.is_fetching {
            return Next::Wait(state.begun);
        }
        if state.sought_at.is_some_and(|at| distance_us(now, at) < UNKNOWN_EVERY_US) {
            return Next::GiveUp;
        }
        state.sought_at = Some(now);
        Next::Wait(self.fetch(&mut state, now))
    }

    /// Begins a fetch of its own: whoever asked may leave. Its number.
    fn fetch(self: &Arc<Self>, state: &mut State, now: Timestamp) -> u64 {
        state.begun += 1;
        state.is_fetching = true;
        let fetch = Fetch { of: Arc::clone(self), began_at: now, number: state.begun };
        tokio::spawn(async move {
            let answer = tokio::time::timeout(FETCH_MAX, fetch.of.source.fetch()).await;
            let answer = answer.unwrap_or_else(|_| Err(FetchError::new(format!("no answer within {FETCH_MAX:?}"))));
            fetch.take(answer);
        });
        state.begun
    }

    async fn end_of(&self, number: u64) {
        let mut ended = self.ended.subscribe();
        // The sender lives as long as `self`.
        let _ended = ended.wait_for(|ended| *ended >= number).await;
    }
}

impl State {
    fn usable(&self, now: Timestamp) -> Option<Arc<KeySet>> {
        let is_usable = self.fetched_at.is_some_and(|at| distance_us(now, at) < STALE_MAX_US);
        is_usable.then(|| Arc::clone(&self.keys))
    }
}

/// A fetch under way. However it ends, those who wait for it go on.
struct Fetch {
    of: Arc<Published>,
    began_at: Timestamp,
    number: u64,
}

impl Fetch {
    fn take(&self, answer: Result<Vec<u8>, FetchError>) {
        let keys = answer.and_then(|text| KeySet::parse(&text).map_err(FetchError::new));
        let mut state = self.of.state.lock();
        state.is_fetching = false;
        match keys {
            Ok(keys) => {
                if state.failed_at.take().is_some() {
                    tracing::info!("the keys that verify tokens are fetched again");
                }
                state.fetched_at = Some(self.began_at);
                if *state.keys != keys {
                    tracing::info!(keys = keys.len(), "the keys that verify tokens have changed");
                    state.keys = Arc::new(keys);
                }
            }
            Err(error) => {
                if state.failed_at.replace(self.began_at).is_none() {
                    tracing::warn!(%error, has_keys = state.fetched_at.is_some(), "the keys that verify tokens cannot be fetched");
                }
            }
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        let mut state = self.of.state.lock();
        // Still set only where the source panicked, or the runtime is being shut down.
        if std::mem::take(&mut state.is_fetching) {
            state.failed_at = Some(self.began_at);
        }
        drop(state);
        self.of.ended.send_replace(self.number);
    }
}

/// How far two instants are apart, whichever is the earlier: after a clock was set back nothing is believed for longer.
fn distance_us(one: Timestamp, other: Timestamp) -> i64 {
    (one - other).saturating_abs()
}
