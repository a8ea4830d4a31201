//! Says until when every change has been carried, so that gateways know when changes wait that cannot reach them: a
//! full Redis, or one that this process alone does not reach, lets them read on and hear nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_redis::redis::cmd;
use parking_lot::Mutex;
use tokio::sync::watch;
use tollgate_domain::SECOND_US;

use crate::link::FleetLink;

/// How often it is said, and how soon again when it could not be.
const EVERY: Duration = Duration::from_millis(250);
const AGAIN: Duration = Duration::from_millis(50);
/// A look at the outbox that takes longer than this: the database is away, and nothing can be committed either.
const SLOW: Duration = Duration::from_millis(250);
/// How long it is remembered of a relay that died, in milliseconds: until then gateways take it that changes may be
/// waiting, and read again what they remember.
const KEPT_MS: u64 = 3_600_000;

const VOUCH: &str = include_str!("../script/vouch.lua");

/// What is known of the outbox.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether records have changed and gateways were not told yet.
    has_waiting: bool,
    /// When the last look began that found everything carried, or carried it.
    whole_at: Option<Instant>,
    /// When the look at the outbox that is under way began.
    looking_since: Option<Instant>,
    /// Whether the last look found no database.
    is_store_away: bool,
}

impl Progress {
    pub(super) fn look_begins(&self) {
        self.0.lock().looking_since = Some(Instant::now());
    }

    /// A look has ended; `is_away` when the database did not answer.
    pub(super) fn look_ends(&self, is_away: bool) {
        let mut state = self.0.lock();
        state.looking_since = None;
        state.is_store_away = is_away;
    }

    pub(super) fn waits(&self, has_waiting: bool) {
        self.0.lock().has_waiting = has_waiting;
    }

    /// Everything that was committed before this moment has been carried.
    pub(super) fn is_whole_since(&self, began: Instant) {
        self.0.lock().whole_at = Some(began);
    }

    /// Whether all that was committed before a moment has been carried, as far as anybody can know.
    fn covers(&self, moment: Instant) -> bool {
        let state = self.0.lock();
        let is_slow = state.looking_since.is_some_and(|since| since.elapsed() > SLOW);
        !state.has_waiting && (state.whole_at.is_some_and(|at| at >= moment) || is_slow || state.is_store_away)
    }
}

/// Says it until told to stop, then takes it back: nobody is to wait for what this relay would say.
pub(super) async fn run(link: &Arc<FleetLink>, progress: &Progress, mut stop: watch::Receiver<bool>) {
    let note = &link.names().carried;
    // Redis time at a moment of ours: what is said next, once all before that moment has been carried.
    let mut moment: Option<(i64, Instant)> = None;
    while !*stop.borrow() {
        let is_due = moment.is_none_or(|(_, asked)| progress.covers(asked));
        if is_due {
            let until = moment.map(|(until_us, _)| until_us.to_string()).unwrap_or_default();
            let mut command = cmd("EVAL");
            command.arg(VOUCH).arg(1).arg(note).arg(until).arg(KEPT_MS);
            let asked = Instant::now();
            if let Ok((seconds, micros)) = link.call::<(i64, i64)>(&command).await {
                moment = Some((seconds * SECOND_US + micros, asked));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(if is_due { EVERY } else { AGAIN }) => {}
            _ = stop.changed() => break,
        }
    }
    let _unsaid = link.call::<()>(cmd("DEL").arg(note)).await;
}
