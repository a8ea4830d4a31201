//! Waiting for what happens by itself, and doing things at once. No test sleeps for a fixed time to be sure.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything that should happen soon may take, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// How often it is asked for.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks until there is an answer.
///
/// # Panics
/// When there is none within [`PATIENCE`]; `what` says what was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    eventually_or_tell(what, ask, String::new)
}

/// The same, telling more when it was in vain.
#[track_caller]
pub(crate) fn eventually_or_tell<T>(what: &str, ask: impl FnMut() -> Option<T>, tell: impl FnOnce() -> String) -> T {
    eventually_within(PATIENCE, ask).unwrap_or_else(|| panic!("waited {PATIENCE:?} in vain: {what}\n{}", tell()))
}

/// Asks until there is an answer; `None` when there is none in this time.
pub fn eventually_within<T>(at_most: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        let answer = ask();
        if answer.is_some() || began.elapsed() > at_most {
            return answer;
        }
        thread::sleep(PAUSE);
    }
}

/// Does the same `count` times at once, each in a thread of its own, begun together; the results in order.
///
/// # Panics
/// When one of them does.
pub fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(count);
    thread::scope(|scope| {
        let start = |index: usize| {
            let (barrier, work) = (&barrier, &work);
            scope.spawn(move || {
                barrier.wait();
                work(index)
            })
        };
        let threads: Vec<_> = (0..count).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("a parallel part does not panic")).collect()
    })
}
