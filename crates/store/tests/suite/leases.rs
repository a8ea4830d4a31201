//! Leases: held by one at a time, whoever asks at once, and each holder with an epoch of its own.

use std::sync::Arc;

use tollgate_store::{AdminStore, BILLING_LEASE, Fence};

use crate::fixture::{at, at_once};

crate::backend::on_every_backend! {
    a_lease_is_held_by_one_until_its_time_is_over,
    one_of_many_that_ask_at_once_gets_it,
    one_of_many_takes_over_what_has_run_out,
    a_lease_that_was_let_go_goes_on_with_a_later_epoch,
}

async fn a_lease_is_held_by_one_until_its_time_is_over(store: Arc<dyn AdminStore>) {
    let hold = async |holder: &str, now, until| {
        store.hold_lease(BILLING_LEASE, holder, at(now), at(until)).await.expect("the store answers")
    };
    for (case, holder, now, until, expected) in [
        ("the first to ask", "one", 0, 10, Some(Fence(1))),
        ("another, meanwhile", "two", 5, 15, None),
        ("the holder renews it", "one", 6, 20, Some(Fence(1))),
        ("another, at what was its end", "two", 10, 30, None),
        ("another, at its last instant", "two", 19, 30, None),
        ("another, at its end", "two", 20, 30, Some(Fence(2))),
        ("the one before", "one", 25, 35, None),
        ("the holder, too late, before anyone else", "two", 40, 50, Some(Fence(2))),
        ("the one before, again", "one", 50, 60, Some(Fence(3))),
    ] {
        assert_eq!(hold(holder, now, until).await, expected, "{case}");
    }
    let other = store.hold_lease("sweep", "two", at(55), at(60)).await.expect("the store answers");
    assert_eq!(other, Some(Fence(1)), "another lease is another's business");
}

async fn held_by(store: &Arc<dyn AdminStore>, now: i64, until: i64) -> Vec<Fence> {
    let outcomes = at_once(16, |number| {
        let store = Arc::clone(store);
        async move { store.hold_lease(BILLING_LEASE, &format!("holder {now} {number}"), at(now), at(until)).await }
    })
    .await;
    outcomes.into_iter().flatten().collect()
}

async fn one_of_many_that_ask_at_once_gets_it(store: Arc<dyn AdminStore>) {
    assert_eq!(held_by(&store, 0, 10).await, [Fence(1)]);
}

async fn one_of_many_takes_over_what_has_run_out(store: Arc<dyn AdminStore>) {
    for (turn, epoch) in (0..8).zip(1..) {
        assert_eq!(held_by(&store, turn * 10, turn * 10 + 10).await, [Fence(epoch)]);
    }
}

async fn a_lease_that_was_let_go_goes_on_with_a_later_epoch(store: Arc<dyn AdminStore>) {
    let hold = async |holder: &str, now| {
        store.hold_lease(BILLING_LEASE, holder, at(now), at(now + 10)).await.expect("the store answers")
    };
    assert_eq!(hold("one", 0).await, Some(Fence(1)));
    store.release_lease(BILLING_LEASE, "two").await.expect("the store answers");
    assert_eq!(hold("two", 1).await, None, "only its holder lets it go");
    store.release_lease(BILLING_LEASE, "one").await.expect("the store answers");
    assert_eq!(hold("two", 2).await, Some(Fence(2)));
    store.release_lease(BILLING_LEASE, "two").await.expect("the store answers");
    assert_eq!(hold("two", 3).await, Some(Fence(3)), "who let it go may be another process of that name");
    store.release_lease("no such lease", "two").await.expect("the store answers");
}
