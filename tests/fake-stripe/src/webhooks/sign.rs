//! The `Stripe-Signature` header.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Signs a body as Stripe does: `t=…,v1=…` at the Unix second `t`.
///
/// ```
/// let header = tollgate_fake_stripe::sign(b"{}", "whsec_test", 1_700_000_000);
/// assert!(header.starts_with("t=1700000000,v1="));
/// ```
pub fn sign(body: &[u8], secret: &str, t: i64) -> String {
    signature_header(body, &[secret], t, false)
}

/// The header with one `v1` a secret, as while a secret is rolled, and on request a `v0`, which proves nothing.
pub fn signature_header(body: &[u8], secrets: &[&str], t: i64, v0: bool) -> String {
    let mut header = format!("t={t}");
    for secret in secrets {
        header.push_str(",v1=");
        header.push_str(&hex_mac(body, secret, t));
    }
    if v0 {
        header.push_str(",v0=");
        header.push_str(&hex_mac(body, "v0 is signed with what anybody may know", t));
    }
    header
}

fn hex_mac(body: &[u8], secret: &str, t: i64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(t.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}
