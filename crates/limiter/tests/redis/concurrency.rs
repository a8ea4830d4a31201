//! Many at once on one account: to the unit, and by one command a call.

use std::sync::Arc;
use std::time::Instant;

use tollgate_domain::Unit;
use tollgate_domain::limit::{LimitSet, Quota};
use tollgate_limiter::{Limiter, RedisLimiter};

use crate::private::Server;
use crate::support::{account, bucket, call, debit, exact, is_admitted, leased, quota, quota_used, seeded, window};

const TASKS: usize = 64;

/// Calls until so many were made by each task; how many were let in.
async fn stormed(limiters: &[Arc<RedisLimiter>], limits: &Arc<LimitSet>, calls: usize) -> usize {
    for limiter in limiters {
        seeded(limiter, account(1), limits).await;
    }
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (limiter, limits) = (Arc::clone(&limiters[task % limiters.len()]), Arc::clone(limits));
            tokio::spawn(async move {
                let handle = limiter.open(account(1));
                let mut admitted = 0;
                for _ in 0..calls {
                    admitted += usize::from(is_admitted(&debit(&limiter, &handle, &call(&limits, 1)).await));
                }
                admitted
            })
        })
        .collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += task.await.expect("no task panics");
    }
    admitted
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_tasks_on_three_nodes_get_the_quota_and_not_a_unit_more() {
    let Some(server) = Server::start(&[]) else { return };
    let limiters: Vec<_> = (0..3).map(|_| Arc::new(exact(&server))).collect();
    let limits = Arc::new(quota(1_000));
    assert_eq!(stormed(&limiters, &limits, 40).await, 1_000);
    assert_eq!(quota_used(&limiters[0], account(1), &limits).await, Some(1_000));
    let commands: u64 = limiters.iter().map(|limiter| limiter.health().commands).sum();
    // One a call, besides a seed each, the look, and the scripts' first loading.
    assert!((2_560..2_620).contains(&commands), "{commands}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_and_a_bucket_hold_under_a_storm() {
    let Some(server) = Server::start(&[]) else { return };
    let limiters: Vec<_> = (0..2).map(|_| Arc::new(exact(&server))).collect();
    let limits = Arc::new(window(300, Unit::Hour));
    assert_eq!(stormed(&limiters, &limits, 10).await, 300);
    server.run::<()>(&["FLUSHALL"]);
    let limiters: Vec<_> = (0..2).map(|_| Arc::new(exact(&server))).collect();
    let limits = Arc::new(bucket(100, Unit::Second, 50));
    let began = Instant::now();
    let admitted = stormed(&limiters, &limits, 20).await;
    let refilled = usize::try_from(began.elapsed().as_millis()).expect("short") / 10;
    assert!((50..=50 + refilled + 1).contains(&admitted), "{admitted} with {refilled} refilled");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_on_three_nodes_admit_the_quota_to_the_unit() {
    let Some(server) = Server::start(&[]) else { return };
    let limiters: Vec<_> = (1..=3).map(|number| Arc::new(leased(&server, number))).collect();
    let limits =
        Arc::new(LimitSet { quota: Quota { limit: Some(10_000) }, ..bucket(1_000_000, Unit::Second, 1_000_000) });
    let mut admitted = stormed(&limiters, &limits, 200).await;
    // What one node held while another was refused comes free when it is given back.
    let began = Instant::now();
    while began.elapsed().as_secs() < 5 {
        let more = stormed(&limiters, &limits, 1).await;
        admitted += more;
        if admitted == 10_000 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(admitted, 10_000);
    for limiter in &limiters {
        limiter.close().await;
        assert_eq!(limiter.health().units_leased, 0);
    }
    assert_eq!(quota_used(&limiters[0], account(1), &limits).await, Some(10_000));
    assert_eq!(stormed(&limiters, &limits, 1).await, 0);
}
