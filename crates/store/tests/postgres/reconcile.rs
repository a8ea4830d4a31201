//! Sums that are not what the ledger's lines add up to are named.

use crate::database::{TestDatabase, run_on};
use crate::{open, planted};

#[tokio::test]
async fn sums_that_another_program_changed_are_named() {
    let Some(database) = TestDatabase::make("").await else { return };
    let store = open(&database.url).await;
    planted::fill(&store).await;
    planted::check_whole(&store).await;
    run_on(&database.url, &planted::statements()).await;
    planted::check_planted(&store).await;
}
