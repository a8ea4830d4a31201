//! The limiter's state across a graceful stop: given back once.

use std::sync::Arc;

use tollgate_store::{SavedState, Store};

crate::backend::on_every_backend! {
    saved_state_is_given_back_once,
    a_save_replaces_the_one_before,
}

fn states(count: usize, state: &str) -> Vec<SavedState> {
    (0..count).map(|number| SavedState { subject: format!("{number:05}"), state: state.into() }).collect()
}

async fn take(store: &dyn Store) -> Vec<SavedState> {
    let mut states = store.take_limiter_state().await.expect("the store answers");
    states.sort_by(|left, right| left.subject.cmp(&right.subject));
    states
}

async fn saved_state_is_given_back_once(store: Arc<dyn Store>) {
    assert_eq!(take(&*store).await, []);
    let saved = states(1_000, "{\"tokens\":1}");
    store.save_limiter_state(&saved).await.expect("the store answers");
    assert_eq!(take(&*store).await, saved);
    assert_eq!(take(&*store).await, [], "a crash later must not find it");
}

async fn a_save_replaces_the_one_before(store: Arc<dyn Store>) {
    store.save_limiter_state(&states(300, "old")).await.expect("the store answers");
    let mut newer = states(2, "new");
    newer.push(SavedState { subject: newer[0].subject.clone(), state: "newest".into() });
    store.save_limiter_state(&newer).await.expect("the store answers");
    let expected = vec![newer[2].clone(), newer[1].clone()];
    assert_eq!(take(&*store).await, expected, "the last word on a subject counts");
    store.save_limiter_state(&[]).await.expect("the store answers");
    assert_eq!(take(&*store).await, []);
}
