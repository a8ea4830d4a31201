//! Faults on purpose: errors, silence, late answers, cut connections.

use std::time::Duration;

use crate::state::State;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing is done; the answer has this status: 500, 429, 401 or any other.
    Status(u16),
    /// Nothing is done; after this time the connection is cut.
    Hang(Duration),
    /// It is done, and answered after this time.
    Late(Duration),
    /// Nothing is done; the connection is cut.
    Cut,
    /// It is done, and the connection is cut in place of the answer.
    CutAfter,
}

/// How often it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// The next so many requests that match.
    Next(u32),
    /// This share (0 to 1) of requests that match, until the faults are cleared.
    Rate(f64),
}

/// Something that is to go wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Only requests with this method.
    pub method: Option<String>,
    /// Only requests whose path begins with this.
    pub path_prefix: String,
    /// What goes wrong.
    pub kind: FaultKind,
    /// How often.
    pub when: When,
}

/// What is to go wrong, the first match first.
#[derive(Debug, Default)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl State {
    /// What goes wrong with this request.
    pub(crate) fn fault_for(&mut self, method: &str, path: &str) -> Option<FaultKind> {
        for index in 0..self.faults.0.len() {
            let fault = &self.faults.0[index];
            let meant = path.starts_with(&fault.path_prefix)
                && fault.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method));
            if !meant {
                continue;
            }
            let kind = fault.kind;
            match fault.when {
                When::Next(0) => {}
                When::Next(more) => {
                    self.faults.0[index].when = When::Next(more - 1);
                    return Some(kind);
                }
                When::Rate(share) if self.random.chance(share) => return Some(kind),
                When::Rate(_) => {}
            }
        }
        None
    }
}
