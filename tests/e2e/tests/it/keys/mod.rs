//! Keys: where they are read, what becomes of them on the way, and how soon a change of them is obeyed.

mod changes;
mod identity;
mod places;
mod rules;
