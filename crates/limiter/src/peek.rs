//! Looking at an account's standing without knowing which limiter keeps it.

use std::future::Future;
use std::pin::Pin;

use tollgate_domain::Timestamp;
use tollgate_domain::limit::{Debit, Outcome};

use crate::limiter::{Limiter, LimiterDown, Subject};

/// What a look at a limiter gives: the standing, or nothing where the subject has no state yet.
pub type Peeked<'a> = Pin<Box<dyn Future<Output = Result<Option<Outcome>, LimiterDown>> + Send + 'a>>;

/// The read-only side of a limiter, as an object: the control plane shows standings and debits nothing.
pub trait Peek: Send + Sync {
    /// How a subject stands.
    fn look<'a>(&'a self, subject: Subject, debit: &'a Debit<'a>, now: Timestamp) -> Peeked<'a>;
}

impl<L: Limiter> Peek for L {
    fn look<'a>(&'a self, subject: Subject, debit: &'a Debit<'a>, now: Timestamp) -> Peeked<'a> {
        Box::pin(self.peek(subject, debit, now))
    }
}
