//! Stands in for Stripe.
