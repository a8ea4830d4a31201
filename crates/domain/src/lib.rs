//! The rules of the business, pure: no async, no I/O, no clock, no randomness.
//!
//! Time and random bytes come in as parameters; whoever calls owns the clock.
//! What stands here: keys, plans, the limiter's arithmetic, quota periods,
//! entitlement, the decision on a request, usage as it is counted.
//! What does not: where any of it is stored, configured or served.

mod access;
mod account;
mod digits;
mod id;
mod key;
pub mod limit;
mod meter;
mod period;
mod plan;
mod price;
mod rate;
mod refusal;
mod route;
mod subscription;
mod time;
mod usage;

pub use access::{
    Access, AccessRequest, Anonymous, Entitlement, Grant, NoAccess, Source, decide, decide_anonymous, entitlement,
    key_allows, plan_reaches,
};
pub use account::{Account, Ban, IpRules, Key, KeyLimits, KeyState, Supersession};
pub use id::{AccountId, InvalidId, KeyId, NodeId};
pub use key::{HashedKey, KeyHash, KeyHasher, KeyPrefix, KeyShape, MaskedKey, PlainKey, ShapePattern};
pub use limit::{Bucket, Charged, LimitSet, Quota, Window};
pub use meter::{MeterId, MeterName};
pub use period::{Period, PeriodBasis, QuotaPeriod};
pub use plan::{Plan, PlanName, PlanTable};
pub use price::{Interval, InvalidPrice, Price};
pub use rate::{InvalidRate, Rate, Unit, default_burst, parse_count};
pub use refusal::{Reason, Refusal};
pub use route::{Glob, RouteName};
pub use subscription::{
    Lapse, Subscribed, Subscription, SubscriptionItem, SubscriptionStatus, Withheld, WithheldCause,
};
pub use time::{Clock, DAY_US, HOUR_US, MINUTE_US, SECOND_US, Timestamp};
pub use usage::{RequestRow, StatusClass, UsageBatch, UsageKey, UsageLine, UsageTally};
