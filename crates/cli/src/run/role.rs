//! What a process consists of.

use anyhow::bail;
use tollgate_config::Settings;

/// Which planes a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Both.
    Up,
    /// A fleet's data plane.
    Gateway,
    /// A fleet's control plane.
    Admin,
}

impl Role {
    /// The command that runs it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Gateway => "gateway",
            Self::Admin => "admin",
        }
    }

    /// Whether it serves the API's callers.
    pub(super) fn serves_calls(self) -> bool {
        self != Self::Admin
    }

    /// Whether it serves operators and customers.
    pub(super) fn serves_control(self) -> bool {
        self != Self::Gateway
    }

    /// The same as the fleet's list of nodes has it.
    pub(super) fn in_fleet(self) -> tollgate_fleet::Role {
        match self {
            Self::Up => tollgate_fleet::Role::Both,
            Self::Gateway => tollgate_fleet::Role::Gateway,
            Self::Admin => tollgate_fleet::Role::Admin,
        }
    }

    /// What the fleet's list of nodes says of a process.
    pub(super) fn of(role: tollgate_fleet::Role) -> Self {
        match role {
            tollgate_fleet::Role::Both => Self::Up,
            tollgate_fleet::Role::Gateway => Self::Gateway,
            tollgate_fleet::Role::Admin => Self::Admin,
        }
    }

    /// Whether the settings name what it needs.
    ///
    /// # Errors
    /// One plane alone needs both URLs.
    pub(super) fn fits(self, settings: &Settings) -> anyhow::Result<()> {
        let missing = settings.missing_for_fleet();
        if self == Self::Up || missing.is_empty() {
            return Ok(());
        }
        bail!(
            "`tollgate {}` runs one process of a fleet, which shares a PostgreSQL database and Redis: {} must be set to \
             such a URL; or use `tollgate up`, which runs gateway and admin in one process",
            self.as_str(),
            missing.join(" and "),
        )
    }
}
