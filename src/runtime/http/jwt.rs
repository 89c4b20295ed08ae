//! Claims signed with an RSA key, as a server that gives out tokens may ask for them (RFC 7519, 7523).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{self, RsaEncoding, RsaKeyPair},
};
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Map, Value, json};

use crate::{
    config::{SignatureAlgorithm, Source},
    runtime::http::tls,
};

/// `key` is an RSA key in PEM.
///
/// # Errors
/// Why it makes no signature; never anything of it.
pub fn sign(
    key: &Source,
    algorithm: SignatureAlgorithm,
    key_id: Option<&str>,
    claims: &Map<String, Value>,
) -> Result<String, String> {
    let no_key = |reason: &dyn std::fmt::Display| {
        format!("{} holds no RSA key: {reason}", tls::describe(key))
    };
    let pair = match tls::private_key(key)? {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        other => {
            return Err(no_key(&if matches!(other, PrivateKeyDer::Sec1(_)) {
                "it is for elliptic curves"
            } else {
                "its format is not known"
            }));
        }
    };
    let pair = pair.map_err(|e| no_key(&e))?;
    let (name, padding): (&str, &'static dyn RsaEncoding) = match algorithm {
        SignatureAlgorithm::Rs256 => ("RS256", &signature::RSA_PKCS1_SHA256),
        SignatureAlgorithm::Rs384 => ("RS384", &signature::RSA_PKCS1_SHA384),
        SignatureAlgorithm::Rs512 => ("RS512", &signature::RSA_PKCS1_SHA512),
    };
    let mut header = json!({ "alg": name, "typ": "JWT" });
    if let Some(id) = key_id {
        header["kid"] = Value::from(id);
    }
    let encoded = |value: &str| BASE64_URL_SAFE_NO_PAD.encode(value);
    let claims = serde_json::to_string(claims).expect("a map of values is JSON");
    let signed = format!("{}.{}", encoded(&header.to_string()), encoded(&claims));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(padding, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| no_key(&"it signs nothing"))?;
    Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}

/// For a server that takes each assertion once.
pub(super) fn unlike_any_other() -> Result<String, String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "no random bytes can be had".to_owned())?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}
