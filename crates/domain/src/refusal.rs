//! Why a call is refused: the codes, statuses and words of the outside contract, and the finer reason for logs.

/// Why a call is refused, as the caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No key was sent where one is needed.
    MissingKey,
    /// The key opens nothing.
    InvalidKey,
    /// The account is banned.
    AccountDisabled,
    /// The account's plan does not reach this far.
    UpgradeRequired,
    /// The key's scopes, read-only mark or IP rules forbid it.
    NotAllowed,
    /// The route takes tokens of the backend's own sign-in, and none that is good was sent.
    InvalidToken,
    /// Bucket or window.
    RateLimited,
    /// Quota or meter.
    QuotaExceeded,
    /// The limiter does not answer, and the route is to close then.
    LimiterUnavailable,
    /// The key is not cached and no store answers.
    StoreUnavailable,
    /// The upstream cannot be reached.
    UpstreamUnavailable,
    /// The upstream took too long.
    UpstreamTimeout,
}

impl Refusal {
    /// Every refusal, for tables and their tests.
    pub const ALL: [Self; 12] = [
        Self::MissingKey,
        Self::InvalidKey,
        Self::AccountDisabled,
        Self::UpgradeRequired,
        Self::NotAllowed,
        Self::InvalidToken,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::LimiterUnavailable,
        Self::StoreUnavailable,
        Self::UpstreamUnavailable,
        Self::UpstreamTimeout,
    ];

    /// The HTTP status; an invalid key's may be configured to differ.
    pub fn status(self) -> u16 {
        match self {
            Self::MissingKey | Self::InvalidToken => 401,
            Self::UpgradeRequired => 402,
            Self::InvalidKey | Self::AccountDisabled | Self::NotAllowed => 403,
            Self::RateLimited | Self::QuotaExceeded => 429,
            Self::UpstreamUnavailable => 502,
            Self::LimiterUnavailable | Self::StoreUnavailable => 503,
            Self::UpstreamTimeout => 504,
        }
    }

    /// The machine-readable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::MissingKey => "missing_key",
            Self::InvalidKey => "invalid_key",
            Self::AccountDisabled => "account_disabled",
            Self::UpgradeRequired => "upgrade_required",
            Self::NotAllowed => "not_allowed",
            Self::InvalidToken => "invalid_token",
            Self::RateLimited => "rate_limited",
            Self::QuotaExceeded => "quota_exceeded",
            Self::LimiterUnavailable => "limiter_unavailable",
            Self::StoreUnavailable => "store_unavailable",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }

    /// The detail, where it does not depend on the call or the configuration: the header in a missing key's does, and
    /// an invalid token's says why it is.
    pub fn detail(self) -> &'static str {
        match self {
            Self::MissingKey => "Missing x-api-key",
            Self::InvalidKey => "Invalid or revoked API key",
            Self::AccountDisabled => "Account disabled",
            Self::UpgradeRequired => "Upgrade required for this endpoint",
            Self::NotAllowed => "Key not allowed for this endpoint",
            Self::InvalidToken => "Invalid token",
            Self::RateLimited => "Rate limit exceeded",
            Self::QuotaExceeded => "Monthly API quota exceeded",
            Self::LimiterUnavailable => "Rate limiter unavailable",
            Self::StoreUnavailable => "Key store unavailable",
            Self::UpstreamUnavailable => "Upstream unavailable",
            Self::UpstreamTimeout => "Upstream timed out",
        }
    }
}

/// The finer reason, for logs and `explain`; the caller never sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No key was sent.
    NoKey,
    /// Two different keys were sent.
    TwoKeys,
    /// The text has no accepted shape, or a wrong checksum.
    Malformed,
    /// No such key.
    Unknown,
    /// A person revoked it.
    Revoked,
    /// A rotation replaced it and the grace is over.
    RotatedOut,
    /// Its time has run out.
    Expired,
    /// Its account was deleted.
    AccountDeleted,
    /// Its account is banned.
    AccountBanned,
    /// The account has no plan.
    NoPlan,
    /// The account's subscription gives nothing any more, or not yet.
    Lapsed,
    /// The plan has no API access.
    PlanWithoutApi,
    /// The plan's rank is below the route's `min_plan`.
    PlanTooLow,
    /// The plan lacks the route's feature.
    FeatureMissing,
    /// The route is not among the key's scopes.
    Scope,
    /// The key may only read.
    ReadOnly,
    /// The client's address is not among those the key may be used from.
    ClientAddress,
    /// The token bucket.
    Burst,
    /// A window.
    Window,
    /// The quota, or the key's own cap.
    Quota,
    /// The meter that the route debits.
    Meter,
    /// No token was sent.
    NoToken,
    /// The token is not good: malformed, forged, over, or not for this audience.
    BadToken,
    /// A backend of ours or the customer's.
    Unavailable,
}

impl Reason {
    /// The word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::TwoKeys => "two_keys",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::RotatedOut => "rotated_out",
            Self::Expired => "expired",
            Self::AccountDeleted => "account_deleted",
            Self::AccountBanned => "account_banned",
            Self::NoPlan => "no_plan",
            Self::Lapsed => "lapsed",
            Self::PlanWithoutApi => "plan_without_api",
            Self::PlanTooLow => "plan_too_low",
            Self::FeatureMissing => "feature_missing",
            Self::Scope => "scope",
            Self::ReadOnly => "read_only",
            Self::ClientAddress => "client_address",
            Self::Burst => "burst",
            Self::Window => "window",
            Self::Quota => "quota",
            Self::Meter => "meter",
            Self::NoToken => "no_token",
            Self::BadToken => "bad_token",
            Self::Unavailable => "unavailable",
        }
    }
}
