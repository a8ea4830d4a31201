//! What a token costs a request: its signature checked, and found again among those checked before.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tollgate_domain::Timestamp;
use tollgate_identity::{FetchError, KeySource, Verifier, VerifierSettings};

const NOW: Timestamp = Timestamp::from_secs(1_772_366_400);
const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

struct Published(Vec<u8>);

#[async_trait]
impl KeySource for Published {
    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        Ok(self.0.clone())
    }
}

fn settings() -> VerifierSettings {
    VerifierSettings {
        secret: None,
        issuer: Some("https://issuer.example".into()),
        audience: vec!["tollgate".into()],
        leeway: Duration::from_mins(1),
        name_claim: "user_metadata.full_name".into(),
    }
}

/// Tokens as a usual issuer makes them, some 700 bytes long.
fn tokens(key: &EncodingKey, algorithm: Algorithm, count: usize) -> Vec<String> {
    let header = Header { kid: Some("k".into()), ..Header::new(algorithm) };
    let token = |number| {
        let claims = json!({
            "iss": "https://issuer.example", "aud": ["tollgate", "other"], "sub": format!("user-{number}"),
            "iat": NOW.as_secs(), "exp": NOW.as_secs() + 3_600, "email": "ada@example.com", "email_verified": true,
            "role": "authenticated", "session_id": "7d0f6f0e-2f5c-4a38-8b8f-6c9d4b1e2a10",
            "user_metadata": { "full_name": "Ada Lovelace", "avatar_url": "https://images.example/ada.png" },
            "app_metadata": { "provider": "email", "providers": ["email"] },
        });
        jsonwebtoken::encode(&header, &claims, key).expect("a good key")
    };
    (0..count).map(token).collect()
}

fn verify(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let secret = EncodingKey::from_secret(SECRET);
    let rsa = EncodingKey::from_rsa_pem(include_bytes!("../tests/verify/keys/rsa_1.pem")).expect("a good key");
    let ec = EncodingKey::from_ec_pem(include_bytes!("../tests/verify/keys/ec_1.pem")).expect("a good key");
    for (key, algorithm) in [(secret, Algorithm::HS256), (rsa, Algorithm::RS256), (ec, Algorithm::ES256)] {
        let make = || {
            if algorithm == Algorithm::HS256 {
                return Verifier::new(VerifierSettings { secret: Some(SECRET.to_vec()), ..settings() }, None);
            }
            let mut jwk = Jwk::from_encoding_key(&key, algorithm).expect("a good key");
            jwk.common.key_id = Some("k".into());
            let set = json!({ "keys": [jwk] }).to_string().into_bytes();
            Verifier::new(settings(), Some(Arc::new(Published(set))))
        };
        // More of them than are remembered, in turn: hardly one is found again.
        let many = tokens(&key, algorithm, 10_000);
        let (verifier, mut next) = (make(), 0);
        criterion.bench_function(&format!("{algorithm:?}, {} bytes, new", many[0].len()), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % many.len();
                runtime.block_on(verifier.verify(&many[next], NOW)).expect("a good token")
            });
        });
        criterion.bench_function(&format!("{algorithm:?}, the same again"), |bencher| {
            bencher.iter(|| runtime.block_on(verifier.verify(&many[0], NOW)).expect("a good token"));
        });
    }
}

criterion_group!(benches, verify);
criterion_main!(benches);
