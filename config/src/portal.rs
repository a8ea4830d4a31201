//! `[portal]`: how customers are signed in.

use std::time::Duration;

use crate::item::Item;
use crate::reader::Table;

/// The longest session: as long as a time may be in a setting.
const SESSION_MOST: Duration = Duration::from_hours(31 * 24);

/// The settings of `[portal]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalConfig {
    /// How long a session lasts.
    pub session: Duration,
    /// Whether somebody whose address is new gets an account by opening a mailed link.
    pub signup: bool,
}

impl PortalConfig {
    pub(crate) fn read(table: &Table<'_>) -> Self {
        let mut config = Self::default();
        let Self { session, signup } = &mut config;
        table.read("session", session, |item| item.duration_between(Duration::from_secs(1), SESSION_MOST));
        table.read("signup", signup, Item::flag);
        table.finish();
        config
    }
}

impl Default for PortalConfig {
    fn default() -> Self {
        Self { session: Duration::from_hours(24), signup: true }
    }
}
