//! What a state takes in Redis.

use tollgate_domain::Unit;
use tollgate_domain::limit::{LimitSet, Quota};
use tollgate_limiter::Limiter;

use crate::private::Server;
use crate::support::{account, admitted, bucket, exact, leased, seeded, wall_clock};

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_bucket_and_quota_takes_at_most_400_bytes() {
    const ACCOUNTS: u32 = 20_000;
    let Some(server) = Server::start(&[]) else { return };
    let limits = LimitSet { quota: Quota { limit: Some(10_000) }, ..bucket(600, Unit::Minute, 60) };
    for limiter in [exact(&server), leased(&server, 1)] {
        server.run::<()>(&["FLUSHALL"]);
        let used = || -> u64 {
            let text: String = server.run(&["INFO", "memory"]);
            let line = text.lines().find_map(|line| line.strip_prefix("used_memory_dataset:")).expect("Redis tells it");
            line.trim().parse().expect("a number")
        };
        seeded(&limiter, account(u32::MAX), &limits).await;
        let before = used();
        let limiter = std::sync::Arc::new(limiter);
        let tasks: Vec<_> = (0..16)
            .map(|task| {
                let (limiter, limits) = (std::sync::Arc::clone(&limiter), limits.clone());
                tokio::spawn(async move {
                    for number in (task..ACCOUNTS).step_by(16) {
                        let handle = seeded(&limiter, account(number), &limits).await;
                        assert_eq!(admitted(&limiter, &handle, &limits, 2).await, 2);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
        limiter.close().await;
        limiter.sweep(wall_clock());
        let bytes = (used() - before) / u64::from(ACCOUNTS);
        assert!(bytes <= 400, "{bytes} bytes an account");
    }
}
