//! Sums that are not what the ledger's lines add up to are named.

use tollgate_store::SqliteStore;

use crate::{folder, open, planted, run};

#[tokio::test]
async fn sums_that_another_program_changed_are_named() {
    let (_folder, path) = folder();
    let store: SqliteStore = open(&path).await;
    planted::fill(&store).await;
    planted::check_whole(&store).await;
    run(&path, &planted::statements()).await;
    planted::check_planted(&store).await;
}
