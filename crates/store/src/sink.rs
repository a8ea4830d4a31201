//! The parts of a store that a gateway may reach by another way: where it finds keys, and where it hands usage.

use std::sync::Arc;

use async_trait::async_trait;
use tollgate_domain::{AccountId, KeyHash, UsageBatch};

use crate::error::StoreError;
use crate::record::KeyWithAccount;
use crate::store::Store;

/// Where a gateway finds the record of a key it does not remember.
#[async_trait]
pub trait KeyRecords: Send + Sync {
    /// The key of this hash and its account, in any state.
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<KeyWithAccount>, StoreError>;
}

/// Where a gateway hands what it counted.
#[async_trait]
pub trait UsageSink: Send + Sync {
    /// Takes a batch over: once it returns, a crash of this process does not lose it.
    ///
    /// # Errors
    /// It could not be kept; the same batch is to be brought again, and counts once.
    async fn take(&self, batch: &UsageBatch) -> Result<(), StoreError>;

    /// Returns when every batch taken over before the call is in the ledger, or every one that counts this account. The
    /// caller bounds the wait.
    async fn settled(&self, of: Option<AccountId>);
}

/// A store used directly, as where one process does everything.
pub struct Direct(pub Arc<dyn Store>);

#[async_trait]
impl KeyRecords for Direct {
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<KeyWithAccount>, StoreError> {
        self.0.find_key(hash).await
    }
}

#[async_trait]
impl UsageSink for Direct {
    async fn take(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        self.0.store_batch(batch).await.map(|_was_new| ())
    }

    async fn settled(&self, _of: Option<AccountId>) {}
}
