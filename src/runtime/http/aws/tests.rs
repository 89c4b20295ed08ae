//! Signatures against the examples that AWS publishes, and the places that keys come from against
//! servers of the shape that AWS documents.

use http::{HeaderName, HeaderValue};
use reqwest::{Method, Request};
use url::Url;

use super::*;
use crate::{
    config::{HttpClient, Secret, Source},
    runtime::http::{
        Caller,
        fake::{Reply, Seen, Server, reply},
        tests::signed_reply,
    },
};

/// 2015-08-30 12:36:00 UTC, of AWS' own test suite, as are the keys.
const NOW_MS: i64 = 1_440_938_160_000;
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn example_keys(session: Option<&str>) -> Keys {
    let session = session.map(str::to_owned);
    let credentials = Credentials::new("AKIDEXAMPLE", SECRET, session, None, "test");
    Keys { credentials, region: "us-east-1".to_owned() }
}

#[test]
fn signatures_are_those_of_the_published_examples() {
    let check =
        |method: Method, path: &str, headers: &[(&str, &str)], body: &str, session, expected| {
            let url = Url::parse(&format!("https://example.amazonaws.com{path}")).unwrap();
            let mut request = Request::new(method, url);
            for (name, value) in headers {
                let name = HeaderName::try_from(*name).unwrap();
                request.headers_mut().append(name, HeaderValue::try_from(*value).unwrap());
            }
            if !body.is_empty() {
                *request.body_mut() = Some(body.to_owned().into());
            }
            let found = signed(&request, &example_keys(session), "service", NOW_MS).unwrap();
            let of = |name: &str| {
                let header = found.iter().find(|(own, _)| own.as_str() == name);
                header.map(|(_, value)| value.to_str().unwrap().to_owned())
            };
            assert_eq!(of("x-amz-date").unwrap(), "20150830T123600Z");
            assert_eq!(of("x-amz-security-token").as_deref(), session);
            let authorization = of("authorization").unwrap();
            assert!(authorization.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
            ));
            let (_, signature) = authorization.rsplit_once("Signature=").unwrap();
            assert_eq!(signature, expected, "{path}");
        };
    let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    check(Method::GET, "/", &[], "", None, vanilla);
    check(
        Method::GET,
        "/",
        &[],
        "",
        Some("6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"),
        "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
    );
    // What others may change on the way is not signed.
    check(Method::GET, "/", &[("user-agent", "x")], "", None, vanilla);
}

fn settings(region: Option<&str>) -> SigV4 {
    SigV4 { service: "aps".to_owned(), region: region.map(str::to_owned), ..SigV4::default() }
}

/// Key, region and session of what `request` was signed with.
async fn signed_with(
    settings: &SigV4,
    environment: &[(&str, &str)],
) -> Result<(String, String, String), String> {
    let signer = Signer::with(settings, environment.iter().copied().collect());
    let mut request = Request::new(Method::POST, Url::parse("https://a.example/").unwrap());
    signer.sign(&mut request).await.map_err(|fault| fault.to_string())?;
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    };
    let authorization = header("authorization");
    let scope = authorization.split("Credential=").nth(1).unwrap().split(',').next().unwrap();
    let parts: Vec<&str> = scope.split('/').collect();
    Ok((parts[0].to_owned(), parts[2].to_owned(), header("x-amz-security-token")))
}

async fn check(
    settings: &SigV4,
    environment: &[(&str, &str)],
    expected: Result<(&str, &str, &str), &str>,
) {
    match (signed_with(settings, environment).await, expected) {
        (Ok((key, region, session)), Ok(expected)) => {
            assert_eq!((&*key, &*region, &*session), expected);
        }
        (Err(fault), Err(part)) => {
            assert!(fault.contains(part), "`{fault}` has no `{part}`");
            assert!(!fault.contains("hunter2"), "{fault}");
        }
        (found, expected) => panic!("{found:?} instead of {expected:?}"),
    }
}

/// The metadata service of an instance with a role.
fn instance(_: usize, seen: &Seen) -> Reply {
    let path = seen.uri.path();
    if path == "/latest/api/token" && seen.method == Method::PUT {
        assert_eq!(seen.header("x-aws-ec2-metadata-token-ttl-seconds"), "300");
        return reply(200, &[], "session-token");
    }
    if seen.header("x-aws-ec2-metadata-token") != "session-token" {
        return reply(401, &[], "");
    }
    match path {
        "/latest/meta-data/iam/security-credentials/" => reply(200, &[], "the-role\n"),
        "/latest/meta-data/iam/security-credentials/the-role" => reply(
            200,
            &[],
            r#"{"Code":"Success","LastUpdated":"2026-01-01T00:00:00Z","Type":"AWS-HMAC","AccessKeyId":"AKINSTANCE","SecretAccessKey":"hunter2","Token":"instance-session","Expiration":"2099-01-01T00:00:00Z"}"#,
        ),
        "/latest/meta-data/placement/region" => reply(200, &[], "eu-central-1"),
        _ => reply(404, &[], ""),
    }
}

#[tokio::test]
async fn keys_come_from_where_the_tools_of_aws_take_them() {
    let directory = tempfile::tempdir().unwrap();
    let shared = directory.path().join("credentials");
    std::fs::write(
        &shared,
        "[default]\naws_access_key_id = AKDEFAULT\naws_secret_access_key = hunter2\nregion = of-default\n\
         [other]\naws_access_key_id = AKOTHER\naws_secret_access_key = hunter2\naws_session_token = s\n\
         [process]\ncredential_process = /bin/x\n[empty]\nregion = x\n",
    )
    .unwrap();
    let file = ("AWS_SHARED_CREDENTIALS_FILE", shared.to_str().unwrap());
    let own = [
        ("AWS_ACCESS_KEY_ID", "AKENV"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_REGION", "of-env"),
    ];
    let off = ("AWS_EC2_METADATA_DISABLED", "true");
    let typed = SigV4 {
        access_key: Some("AKTYPED".to_owned()),
        secret_key: Some(Source::Inline(Secret::new("hunter2"))),
        ..settings(Some("typed"))
    };
    let profile = |name: &str| SigV4 { profile: Some(name.to_owned()), ..settings(None) };

    check(&typed, &own, Ok(("AKTYPED", "typed", ""))).await;
    check(&settings(None), &own, Ok(("AKENV", "of-env", ""))).await;
    check(&settings(Some("typed")), &own, Ok(("AKENV", "typed", ""))).await;
    check(&settings(None), &[file, off], Ok(("AKDEFAULT", "of-default", ""))).await;
    let with_env = [own[0], own[1], own[2], file];
    check(&profile("other"), &with_env, Ok(("AKOTHER", "of-env", "s"))).await;
    check(
        &settings(None),
        &[file, off, ("AWS_PROFILE", "other"), own[2]],
        Ok(("AKOTHER", "of-env", "s")),
    )
    .await;
    check(&profile("none"), &with_env, Err("no profile is called `none`")).await;
    check(&profile("process"), &with_env, Err("takes its keys by `credential_process`")).await;
    check(&profile("empty"), &with_env, Err("the profile `empty` has no keys")).await;
    check(&settings(None), &[off], Err("region not configured in sigv4")).await;
    check(&settings(Some("x")), &[off], Err("AWS_EC2_METADATA_DISABLED is set")).await;

    let metadata = Server::start(None, instance).await;
    let base = metadata.url("");
    let at = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", base.as_str());
    check(&settings(None), &[at], Ok(("AKINSTANCE", "eu-central-1", "instance-session"))).await;
    let silent = Server::start(None, |_, _| reply(404, &[], "")).await;
    let base = silent.url("");
    let at = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", base.as_str());
    check(&settings(Some("x")), &[at], Err("metadata service: server returned HTTP status 404"))
        .await;

    let container = Server::start(None, |_, seen: &Seen| {
        assert_eq!(seen.header("authorization"), "let me in");
        reply(200, &[], r#"{"AccessKeyId":"AKCONTAINER","SecretAccessKey":"hunter2","Token":"c"}"#)
    })
    .await;
    let url = container.url("/keys");
    let there = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let me in"),
    ];
    check(&settings(Some("x")), &there, Ok(("AKCONTAINER", "x", "c"))).await;
}

/// A token service: gives keys that are named after who asked for which role.
fn token_service(_: usize, seen: &Seen) -> Reply {
    let text = seen.text();
    let form: BTreeMap<String, String> =
        url::form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    if form["RoleArn"] == "refused" {
        return reply(
            403,
            &[],
            "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>hunter2</Message></Error></ErrorResponse>",
        );
    }
    let action = &form["Action"];
    let by = match action.as_str() {
        "AssumeRole" => {
            let authorization = seen.header("authorization");
            assert!(authorization.contains("/sts/aws4_request"), "{authorization}");
            authorization.split("Credential=").nth(1).unwrap().split('/').next().unwrap().to_owned()
        }
        _ => form["WebIdentityToken"].clone(),
    };
    let role = &form["RoleArn"];
    let extra = form.get("ExternalId").cloned().unwrap_or_default();
    let tag = form.get("Tags.member.1.Key").cloned().unwrap_or_default();
    reply(
        200,
        &[],
        &format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>\
             <AssumedRoleUser><Arn>x</Arn></AssumedRoleUser><Credentials>\
             <AccessKeyId>{by}-{role}{extra}{tag}</AccessKeyId><SecretAccessKey>hunter2</SecretAccessKey>\
             <SessionToken>s</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
             </Credentials></{action}Result></{action}Response>"
        ),
    )
}

#[tokio::test]
async fn roles_are_taken_on() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let shared = write(
        "credentials",
        "[base]\naws_access_key_id = AKBASE\naws_secret_access_key = hunter2\n\
         [one]\nrole_arn = r1\nsource_profile = base\n[two]\nrole_arn = r2\nsource_profile = one\n\
         [a]\nrole_arn = r\nsource_profile = b\n[b]\nrole_arn = r\nsource_profile = a\n",
    );
    let token = write("token", "identity\n");
    let sts = Server::start(None, token_service).await;
    let url = sts.url("/");
    let environment = [
        ("AWS_ENDPOINT_URL_STS", url.as_str()),
        ("AWS_SHARED_CREDENTIALS_FILE", shared.as_str()),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let typed = SigV4 {
        access_key: Some("AK".to_owned()),
        secret_key: Some(Source::Inline(Secret::new("hunter2"))),
        role_arn: Some("r".to_owned()),
        ..settings(Some("x"))
    };
    let profile = |name: &str| SigV4 { profile: Some(name.to_owned()), ..settings(Some("x")) };
    check(&typed, &environment, Ok(("AK-r", "x", "s"))).await;
    let more = SigV4 {
        external_id: Some("e".to_owned()),
        tags: [("t".to_owned(), "v".to_owned())].into(),
        ..typed.clone()
    };
    check(&more, &environment, Ok(("AK-ret", "x", "s"))).await;
    let refused = SigV4 { role_arn: Some("refused".to_owned()), ..typed };
    check(
        &refused,
        &environment,
        Err("STS: server returned HTTP status 403 Forbidden: AccessDenied"),
    )
    .await;
    check(&profile("one"), &environment, Ok(("AKBASE-r1", "x", "s"))).await;
    check(&profile("two"), &environment, Ok(("AKBASE-r1-r2", "x", "s"))).await;
    check(&profile("a"), &environment, Err("profiles name each other")).await;
    let identity =
        [environment[0], ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()), ("AWS_ROLE_ARN", "w")];
    check(&settings(Some("x")), &identity, Ok(("identity-w", "x", "s"))).await;
}

#[tokio::test]
async fn a_caller_signs_what_it_sends() {
    let server = Server::start(None, signed_reply).await;
    let sigv4 = SigV4 {
        access_key: Some("AK".to_owned()),
        secret_key: Some(Source::Inline(Secret::new("hunter2"))),
        ..settings(Some("us-east-1"))
    };
    let settings = HttpClient { sigv4: Some(Box::new(sigv4)), ..HttpClient::default() };
    let caller = Caller::new(&settings);
    let request = caller.request(Method::POST, &server.url("/api/v1/remote_write")).unwrap();
    let answer = request.header("content-encoding", "snappy").body("payload").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let seen = server.seen().remove(0);
    let authorization = seen.header("authorization");
    assert!(authorization.contains("/us-east-1/aps/aws4_request"), "{authorization}");
    assert!(
        authorization.contains("SignedHeaders=content-encoding;host;x-amz-date"),
        "{authorization}"
    );
    assert_eq!(seen.text(), "payload");
}
