//! Answers to requests that are repeated: reserved once, kept for 24 hours.

use std::sync::Arc;

use serde_json::json;
use tollgate_domain::DAY_US;
use tollgate_store::{Idempotency, IdempotentAnswer, Store};

use crate::fixture::at;

crate::backend::on_every_backend! {
    a_repeated_request_gets_the_stored_answer,
    another_request_with_the_same_key_is_a_mismatch,
    concurrent_requests_are_reserved_once,
    a_reservation_that_is_given_up_is_free_again,
    what_is_a_day_old_is_forgotten,
}

async fn reserve(store: &dyn Store, scope: &str, key: &str, request_hash: &str) -> Idempotency {
    store.reserve_idempotency(scope, key, request_hash, at(0)).await.expect("the store answers")
}

fn answer() -> IdempotentAnswer {
    IdempotentAnswer { status: 201, body: json!({ "id": "key_1" }), held_secret: true }
}

async fn a_repeated_request_gets_the_stored_answer(store: Arc<dyn Store>) {
    assert_eq!(reserve(&*store, "operator", "k", "h").await, Idempotency::Reserved);
    assert_eq!(reserve(&*store, "operator", "k", "h").await, Idempotency::InProgress);
    store.complete_idempotency("operator", "k", &answer()).await.expect("the store answers");
    for _ in 0..2 {
        assert_eq!(reserve(&*store, "operator", "k", "h").await, Idempotency::Done(answer()));
    }
    assert_eq!(reserve(&*store, "other", "k", "h").await, Idempotency::Reserved, "scopes are apart");
}

async fn another_request_with_the_same_key_is_a_mismatch(store: Arc<dyn Store>) {
    reserve(&*store, "operator", "k", "h").await;
    assert_eq!(reserve(&*store, "operator", "k", "other").await, Idempotency::Mismatch);
    store.complete_idempotency("operator", "k", &answer()).await.expect("the store answers");
    assert_eq!(reserve(&*store, "operator", "k", "other").await, Idempotency::Mismatch);
}

async fn concurrent_requests_are_reserved_once(store: Arc<dyn Store>) {
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { reserve(&*store, "operator", "k", "h").await })
        })
        .collect();
    let mut reserved = 0;
    for task in tasks {
        reserved += u32::from(task.await.expect("no panic") == Idempotency::Reserved);
    }
    assert_eq!(reserved, 1);
}

async fn a_reservation_that_is_given_up_is_free_again(store: Arc<dyn Store>) {
    reserve(&*store, "operator", "k", "h").await;
    store.release_idempotency("operator", "k").await.expect("the store answers");
    assert_eq!(reserve(&*store, "operator", "k", "other").await, Idempotency::Reserved);
    store.complete_idempotency("operator", "k", &answer()).await.expect("the store answers");
    store.release_idempotency("operator", "k").await.expect("the store answers");
    let known = reserve(&*store, "operator", "k", "other").await;
    assert_eq!(known, Idempotency::Done(answer()), "an answer is not given up");
}

async fn what_is_a_day_old_is_forgotten(store: Arc<dyn Store>) {
    reserve(&*store, "operator", "answered", "h").await;
    store.complete_idempotency("operator", "answered", &answer()).await.expect("the store answers");
    reserve(&*store, "operator", "open", "h").await;
    for (age_us, forgotten) in [(DAY_US - 1, false), (DAY_US, true)] {
        for key in ["answered", "open"] {
            let now = at(0).plus_micros(age_us);
            let known = store.reserve_idempotency("operator", key, "h", now).await.expect("the store answers");
            assert_eq!(known == Idempotency::Reserved, forgotten, "{key} after {age_us}");
        }
    }
}
