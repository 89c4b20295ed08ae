//! `oauth2` of a client: where its tokens come from, and by what it proves who asks for them.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value as Json};

use crate::config::{
    Assertion, Grant, OAuth2, Secret, SignatureAlgorithm, TypedUrl,
    decode::{Findings, Section, shown},
    discovery,
    http::{proxy, tls},
    yaml::{Node, Value},
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
pub(in crate::config) const ALGORITHMS: [(&str, SignatureAlgorithm); 3] = [
    ("RS256", SignatureAlgorithm::Rs256),
    ("RS384", SignatureAlgorithm::Rs384),
    ("RS512", SignatureAlgorithm::Rs512),
];

pub(super) fn oauth2(node: &Node, findings: &mut Findings) -> Option<OAuth2> {
    let mut section = Section::open(node, "oauth2", findings)?;
    let client_id = required(&mut section, "client_id", "oauth2 client_id must be configured");
    let token_url = required(&mut section, "token_url", "oauth2 token_url must be configured");
    if let Some(fault) = discovery::url_fault(&token_url).filter(|_| !token_url.is_empty()) {
        let place = section.place_of("token_url");
        section.problem(place, format!("`token_url`: {fault}"));
    }
    let grant = grant(&mut section);
    let scopes = section.texts("scopes").iter().map(|(text, _)| (*text).to_owned()).collect();
    let endpoint_params = endpoint_params(&mut section);
    let tls = section.get("tls_config").and_then(|node| tls(node, section.findings));
    let proxy = proxy::proxy(&mut section);
    section.close();
    Some(OAuth2 {
        client_id,
        grant: grant?,
        scopes,
        token_url: TypedUrl::new(token_url),
        endpoint_params,
        tls: tls.unwrap_or_default(),
        proxy,
    })
}

fn required(section: &mut Section<'_, '_>, key: &'static str, missing: &str) -> String {
    let text = section.text(key).unwrap_or("").to_owned();
    if text.is_empty() {
        let place = section.place_of(key);
        section.problem(place, missing);
    }
    text
}

fn grant(section: &mut Section<'_, '_>) -> Option<Grant> {
    let secret = section.source(
        ["client_secret", "client_secret_file", "client_secret_ref"],
        "at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be configured",
    );
    let key = section.source(
        ["client_certificate_key", "client_certificate_key_file", "client_certificate_key_ref"],
        "at most one of oauth2 client_certificate_key, client_certificate_key_file & client_certificate_key_ref must be configured using grant-type=urn:ietf:params:oauth:grant-type:jwt-bearer",
    );
    let mut text = |key| section.text(key).filter(|text| !text.is_empty()).map(str::to_owned);
    let (key_id, issuer) = (text("client_certificate_key_id"), text("iss"));
    let (audience, algorithm) = (text("audience"), text("signature_algorithm"));
    let claims = claims(section);
    let place = section.place_of("grant_type");
    match section.text("grant_type").unwrap_or("") {
        "" | "client_credentials" => Some(Grant::ClientCredentials { secret }),
        JWT_BEARER => {
            let Some(key) = key else {
                section.problem(place, "`grant_type`: a token is asked for by a signature: `client_certificate_key` or `client_certificate_key_file` is missing");
                return None;
            };
            let known = |name: &str| {
                ALGORITHMS.iter().find(|(own, _)| *own == name).map(|(_, algorithm)| *algorithm)
            };
            let algorithm = match algorithm {
                None => Some(SignatureAlgorithm::Rs256),
                Some(name) => known(&name),
            };
            if algorithm.is_none() {
                let place = section.place_of("signature_algorithm");
                section.problem(place, "valid signature algorithms are RS256, RS384 and RS512");
            }
            let algorithm = algorithm?;
            let assertion = Assertion { key, key_id, algorithm, issuer, audience, claims };
            Some(Grant::JwtBearer(Box::new(assertion)))
        }
        other => {
            let message = format!(
                "`grant_type`: expected `client_credentials` or `{JWT_BEARER}`, found `{}`",
                shown(other)
            );
            section.problem(place, message);
            None
        }
    }
}

fn endpoint_params(section: &mut Section<'_, '_>) -> BTreeMap<String, Secret> {
    let mut params = BTreeMap::new();
    for (key, node) in section.mapping("endpoint_params") {
        match node.as_str() {
            Some(text) => {
                params.insert(key.text.clone(), Secret::new(text));
            }
            None if node.is_null() => {
                params.insert(key.text.clone(), Secret::new(""));
            }
            None => {
                let message = format!("`endpoint_params`: expected a text, found {}", node.kind());
                section.problem(node.place, message);
            }
        }
    }
    params
}

fn claims(section: &mut Section<'_, '_>) -> Map<String, Json> {
    let entries = section.mapping("claims");
    entries.iter().map(|(key, node)| (key.text.clone(), json(node))).collect()
}

/// As deep as the YAML was let be.
fn json(node: &Node) -> Json {
    match &node.value {
        Value::Scalar { .. } if node.is_null() => Json::Null,
        Value::Scalar { text, plain: false } => Json::String(text.clone()),
        Value::Scalar { text, plain: true } => {
            let number = node.as_integer().and_then(Number::from_i128);
            let number = number.or_else(|| node.as_float().and_then(Number::from_f64));
            match (node.as_bool(), number) {
                (Some(boolean), _) => Json::Bool(boolean),
                (None, Some(number)) => Json::Number(number),
                (None, None) => Json::String(text.clone()),
            }
        }
        Value::Binary(bytes) => Json::String(String::from_utf8_lossy(bytes).into_owned()),
        Value::Sequence(nodes) => Json::Array(nodes.iter().map(json).collect()),
        Value::Mapping(entries) => {
            Json::Object(entries.iter().map(|(key, node)| (key.text.clone(), json(node))).collect())
        }
    }
}
