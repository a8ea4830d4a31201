//! What the suite runs on: the same promises hold on every store and limiter, so the same tests are to show it.

use std::env;

/// Names the profile; absent means embedded.
const VARIABLE: &str = "TOLLGATE_E2E_PROFILE";

/// The stores behind the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// An `SQLite` file and the limiter in the process.
    Embedded,
}

impl Profile {
    /// The profile this run is for.
    ///
    /// # Panics
    /// When the environment names one that there is not.
    pub fn current() -> Self {
        match env::var_os(VARIABLE) {
            None => Self::Embedded,
            Some(name) if name == "embedded" => Self::Embedded,
            Some(name) => panic!("{VARIABLE} is {}; there is only \"embedded\"", name.display()),
        }
    }

    /// The lines of `[store]`. A relative path lies in the folder of the configuration.
    pub fn store_section(self) -> &'static str {
        match self {
            Self::Embedded => "database = \"sqlite://tollgate.db\"\n",
        }
    }
}
