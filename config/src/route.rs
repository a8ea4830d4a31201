//! `[[routes]]`: which calls are treated how.

use http::HeaderName;
use tollgate_domain::{MeterName, PlanName, RouteName};

use crate::limits::OnLimiterDown;
use crate::methods::MethodSet;
use crate::path::PathPattern;
use crate::scalars::ByteLimit;

/// The name of the route that stands for every call no route of the file matches. No route of the file may have it.
pub const UNMATCHED_ROUTE: &str = "unmatched";

/// One route. The first that matches in file order wins.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its place in the file, from 0.
    pub index: usize,
    /// What metrics, scopes and logs call it; no two routes share one.
    pub name: RouteName,
    /// The paths it matches.
    pub path: PathPattern,
    /// The methods it matches; `None` matches every method.
    pub methods: Option<MethodSet>,
    /// Headers a call must carry, all of them.
    pub headers: Vec<(HeaderName, Condition)>,
    /// Query parameters a call must carry, all of them; names and values percent-decoded.
    pub query: Vec<(Box<str>, Condition)>,
    /// Who may call.
    pub access: Access,
    /// The plan a caller must have at least.
    pub min_plan: Option<MinPlan>,
    /// The feature a caller's plan must have.
    pub feature: Option<Box<str>>,
    /// What a call takes.
    pub cost: Cost,
    /// The meter that a call takes its cost from as well, and without which it is refused.
    pub meter: Option<MeterName>,
    /// The largest request body; `None` leaves it to the gateway's limit.
    pub max_body: Option<ByteLimit>,
    /// Whether `%2F` in the path is passed on; it is refused otherwise.
    pub encoded_slash_keep: bool,
    /// Whether `;` in the path is passed on; it is refused otherwise.
    pub path_params_keep: bool,
    /// What happens while the limiter does not answer; `None` leaves it to `[limits]`.
    pub on_limiter_down: Option<OnLimiterDown>,
}

impl Route {
    /// The route of every call that no route of the file matches: any plan with API access, a cost of 1.
    pub fn unmatched(index: usize) -> Self {
        Self {
            index,
            name: RouteName::new(UNMATCHED_ROUTE).expect("the reserved name is a name"),
            path: PathPattern::everything(),
            methods: None,
            headers: Vec::new(),
            query: Vec::new(),
            access: Access::Key,
            min_plan: None,
            feature: None,
            cost: Cost::Fixed(1),
            meter: None,
            max_body: None,
            encoded_slash_keep: false,
            path_params_keep: false,
            on_limiter_down: None,
        }
    }

    /// Whether the route takes part in a call by this method.
    pub fn allows(&self, method: &http::Method) -> bool {
        self.methods.is_none_or(|methods| methods.contains(method))
    }
}

/// What a header or a query parameter must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// `true` in the file: there, whatever its value.
    Present,
    /// Exactly this text.
    Equals(Box<str>),
}

impl Condition {
    /// Whether a value meets it.
    pub fn is_met_by(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Equals(text) => text.as_bytes() == value,
        }
    }
}

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Anyone, limited by address; a key is ignored.
    Public,
    /// As `Key` when a key is sent, as `Public` when none is.
    Optional,
    /// Anyone, straight through.
    Pass,
    /// The owner of a key.
    Key,
    /// Whoever the backend's own sign-in has given a token; no account, no limit.
    Jwt,
}

/// The plan a caller must have at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinPlan {
    /// Its name.
    pub name: PlanName,
    /// Its rank: what is compared.
    pub rank: i64,
}

/// What a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// So many units.
    Fixed(u64),
    /// So many at first; the upstream's `Tollgate-Cost` settles the quota for less.
    UpTo(u64),
}

impl Cost {
    /// Units debited before the call goes on.
    pub const fn upfront(self) -> u64 {
        match self {
            Self::Fixed(units) | Self::UpTo(units) => units,
        }
    }
}
