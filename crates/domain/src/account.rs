//! Records of accounts and keys: who pays, and what opens the gate for them.

use ipnet::IpNet;
use std::net::IpAddr;

use crate::id::{AccountId, KeyId};
use crate::key::HashedKey;
use crate::limit::{Bucket, LimitSet, Quota};
use crate::plan::PlanName;
use crate::route::{Glob, RouteName};
use crate::subscription::Subscription;
use crate::time::Timestamp;

/// Who pays, and owns keys, usage and the subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// How its owner is reached; unique among accounts that are not deleted, compared without case.
    pub email: String,
    /// What it is called, if anything.
    pub name: Option<String>,
    /// Who it is to the backend's own sign-in: the subject of the tokens it signs in with.
    pub subject: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The plan an operator set; it holds until lifted, whatever a subscription says.
    pub assigned_plan: Option<PlanName>,
    /// Until when that plan holds, if it ends by itself.
    pub assigned_until: Option<Timestamp>,
    /// An operator's ban; it outlives any webhook.
    pub ban: Option<Ban>,
    /// When it was deleted; its keys are refused from then on.
    pub deleted_at: Option<Timestamp>,
    /// Where its rolling periods begin: its creation, or the earliest imported cycle start.
    pub rolling_anchor: Timestamp,
    /// The customer at Stripe.
    pub stripe_customer: Option<String>,
    /// The subscription at Stripe, as imported.
    pub stripe_subscription: Option<String>,
    /// What Stripe says of its subscriptions, those that ended too.
    pub subscriptions: Vec<Subscription>,
}

/// An operator's ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Since when.
    pub at: Timestamp,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

/// A key's record. The raw key is not in it, nor anywhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// Its owner.
    pub account: AccountId,
    /// The first key of its chain of rotations, itself if it replaced none. Limits of a key's own are counted under
    /// it, so that a rotation neither doubles nor resets them.
    pub lineage: KeyId,
    /// What finds it and what may be shown of it.
    pub hashed: HashedKey,
    /// What its owner calls it.
    pub name: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// When a person revoked it; final.
    pub revoked_at: Option<Timestamp>,
    /// The rotation that replaced it.
    pub superseded: Option<Supersession>,
    /// The routes it may call; empty means all.
    pub scopes: Vec<Glob>,
    /// Whether it may only read.
    pub read_only: bool,
    /// Where it may be used from.
    pub ip_rules: IpRules,
    /// Limits of its own, below the plan's.
    pub limits: KeyLimits,
    /// When it last let a call in, to within the batch that told it.
    pub last_used_at: Option<Timestamp>,
}

/// A rotation seen from the key it replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supersession {
    /// The key that took its place.
    pub by: KeyId,
    /// Until when the old key still works.
    pub grace_until: Timestamp,
}

/// Whether a key opens anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It works.
    Active,
    /// It was replaced and works until its grace ends.
    InGrace,
    /// It was replaced and its grace is over.
    RotatedOut,
    /// Its time has run out.
    Expired,
    /// A person revoked it.
    Revoked,
}

impl KeyState {
    /// Whether the gate lets it in.
    pub fn works(self) -> bool {
        matches!(self, Self::Active | Self::InGrace)
    }

    /// The word operators and customers see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::InGrace => "in_grace",
            Self::RotatedOut => "rotated_out",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Key {
    /// Its state at an instant.
    pub fn state(&self, now: Timestamp) -> KeyState {
        if self.revoked_at.is_some_and(|at| at <= now) {
            return KeyState::Revoked;
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return KeyState::Expired;
        }
        match self.superseded {
            None => KeyState::Active,
            Some(superseded) if now < superseded.grace_until => KeyState::InGrace,
            Some(_) => KeyState::RotatedOut,
        }
    }

    /// Until when it works if nobody changes it: up to its expiry, revocation or the end of its grace.
    pub fn works_until(&self) -> Timestamp {
        let grace_until = self.superseded.map(|superseded| superseded.grace_until);
        let ends = [self.expires_at, self.revoked_at, grace_until];
        ends.into_iter().flatten().min().unwrap_or(Timestamp::from_micros(i64::MAX))
    }

    /// Whether it has rules of its own: scopes, read-only, or IP rules.
    pub fn has_rules(&self) -> bool {
        !self.scopes.is_empty() || self.read_only || self.ip_rules != IpRules::default()
    }

    /// Whether its scopes name the route.
    pub fn may_call(&self, route: &RouteName) -> bool {
        self.scopes.is_empty() || self.scopes.iter().any(|scope| scope.matches(route))
    }

    /// The limits that are counted for this key alone under a plan, if any. `rates_per_key` is the
    /// configuration's `rate_scope = "key"`: then the plan's bucket and windows are the key's as well.
    pub fn own_limits(&self, plan: &LimitSet, rates_per_key: bool) -> Option<LimitSet> {
        let planned = plan.bucket.filter(|_| rates_per_key);
        let bucket = match (self.limits.bucket, planned) {
            (Some(own), Some(planned)) if planned.is_slower_than(&own) => Some(planned),
            (own, planned) => own.or(planned),
        };
        let windows = if rates_per_key { plan.windows.clone() } else { <_>::default() };
        let has_any = bucket.is_some() || !windows.is_empty() || self.limits.cap.is_some();
        has_any.then_some(LimitSet { bucket, windows, quota: Quota { limit: self.limits.cap } })
    }
}

/// Limits of a key's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Its own token bucket, beside the account's.
    pub bucket: Option<Bucket>,
    /// Units it may use of the account's quota a period.
    pub cap: Option<u64>,
}

/// Where a key may be used from. A denied address is refused even where it is also allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpRules {
    /// If any, only these.
    pub allow: Vec<IpNet>,
    /// Never these.
    pub deny: Vec<IpNet>,
}

impl IpRules {
    /// Whether the address may use the key. An IPv4 address mapped into IPv6 is judged as IPv4.
    pub fn admit(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let named = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&client));
        !named(&self.deny) && (self.allow.is_empty() || named(&self.allow))
    }
}
