//! Stripe, from both sides.
