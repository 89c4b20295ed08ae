//! The door as clients meet it: a real agent with a web configuration, asked over TLS with and without
//! certificates, tokens and passwords.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use reqwest::Method;
use starling::{
    config::{Authorization, HttpClient, Secret, Source, Tls},
    runtime::http::Caller,
};

use crate::{
    eventually,
    process::{Process, free_port},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// An authority, and where its certificate lies.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    path: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
        // OpenSSL takes one whose issuer has its own name for self-signed.
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let path = folder.join(format!("{name}.crt"));
        fs::write(&path, issuer.pem()).unwrap();
        Self { issuer, path }
    }

    /// Writes `file`.crt and `file`.key for `names`; as a rotation would, the key last.
    fn issue(&self, folder: &Path, file: &str, names: &[&str]) -> Tls {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, file);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert, secret) =
            (folder.join(format!("{file}.crt")), folder.join(format!("{file}.key")));
        fs::write(&cert, certificate.pem()).unwrap();
        fs::write(&secret, key.serialize_pem()).unwrap();
        Tls { cert: Some(Source::File(cert)), key: Some(Source::File(secret)), ..Tls::default() }
    }
}

/// An agent with a web configuration.
struct Agent {
    process: Process,
    address: String,
    folder: PathBuf,
}

impl Agent {
    fn start(folder: &Path, config: &str, web: &str) -> Self {
        fs::write(folder.join("starling.yml"), config).unwrap();
        fs::write(folder.join("web.yml"), web).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = command(folder);
        command.arg(format!("--web.listen-address={address}"));
        let process = Process::start(&mut command, &folder.join("starling.log"));
        Self { process, address, folder: folder.to_owned() }
    }

    /// What `client` is answered; `None` where no connection comes about.
    async fn ask(&self, client: &HttpClient, method: Method, path: &str) -> Option<u16> {
        let scheme = if client.tls == Tls::default() { "http" } else { "https" };
        let url = format!("{scheme}://{}{path}", self.address);
        let caller = Caller::new(client);
        let request = caller.request(method, &url).unwrap();
        let answer = request.timeout(Duration::from_secs(10)).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    async fn get(&self, client: &HttpClient) -> Option<u16> {
        self.ask(client, Method::GET, "/-/healthy").await
    }

    async fn until(&self, what: &str, client: &HttpClient, status: Option<u16>) {
        eventually(what, PATIENCE, || async { (self.get(client).await == status).then_some(()) })
            .await;
    }

    fn curl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("curl");
        command.current_dir(&self.folder).args(["--silent", "--show-error", "--max-time", "10"]);
        command.args(arguments).output().unwrap()
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    command
        .arg("run")
        .arg(format!("--config.file={}", folder.join("starling.yml").display()))
        .arg(format!("--web.config.file={}", folder.join("web.yml").display()))
        .arg(format!("--storage.path={}", folder.join("storage").display()));
    command
}

fn client(tls: Tls, ca: &Authority, token: Option<&str>) -> HttpClient {
    let tls = Tls { ca: Some(Source::File(ca.path.clone())), ..tls };
    HttpClient { tls, ..bearer(token) }
}

pub(crate) fn bearer(token: Option<&str>) -> HttpClient {
    let authorization = token.map(|token| Authorization {
        scheme: "Bearer".to_owned(),
        credentials: Some(Source::Inline(Secret::new(token))),
    });
    HttpClient { authorization, ..HttpClient::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_let_in_whom_they_name() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let ours = Authority::new(folder, "ours");
    let theirs = Authority::new(folder, "theirs");
    ours.issue(folder, "server", &["127.0.0.1"]);
    let boss = ours.issue(folder, "boss", &["boss.example"]);
    let eye = ours.issue(folder, "eye", &["eye.example"]);
    let stranger = theirs.issue(folder, "stranger", &["boss.example"]);
    let agent = Agent::start(
        folder,
        "admin: { read_only_clients: [eye.example] }\n",
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  client_ca_file: ours.crt\n  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [boss.example, eye.example]\nhttp_server_config: { headers: { Strict-Transport-Security: max-age=60 } }\n",
    );
    let boss = client(boss, &ours, None);
    agent.until("it answered", &boss, Some(200)).await;
    let eye = client(eye, &ours, None);
    let reload = "/-/reload";
    assert_eq!(agent.ask(&boss, Method::POST, reload).await, Some(200));
    assert_eq!(agent.get(&eye).await, Some(200));
    let over_http2 = HttpClient { enable_http2: true, ..eye.clone() };
    assert_eq!(agent.get(&over_http2).await, Some(200));
    assert_eq!(agent.ask(&eye, Method::POST, reload).await, Some(403));
    let other = ours.issue(folder, "other", &["other.example"]);
    for (who, tls) in [("nobody", Tls::default()), ("a stranger", stranger), ("another", other)] {
        assert_eq!(agent.get(&client(tls, &ours, None)).await, None, "{who}");
    }
    assert_eq!(agent.get(&HttpClient::default()).await, None, "plain HTTP");

    let log = agent.process.log();
    for (who, role, status) in
        [("certificate boss.example", "admin", 200), ("certificate eye.example", "read_only", 403)]
    {
        let orders = log.lines().filter(|line| line.contains("an order was given"));
        let told = orders.filter(|line| {
            ["method=POST", "path=/-/reload", "from=127.0.0.1", who, &format!("role={role}")]
                .iter()
                .all(|part| line.contains(part))
                && line.contains(&format!("status={status}"))
        });
        assert_eq!(told.count(), 1, "{who} in {log}");
    }

    // A client that shares no code with the server.
    let url = format!("https://{}/metrics", agent.address);
    let files = ["--cacert", "ours.crt", "--cert", "boss.crt", "--key", "boss.key"];
    let answer = agent.curl(&[&files[..], &["--include", &url]].concat());
    let text = String::from_utf8_lossy(&answer.stdout);
    assert!(answer.status.success() && text.contains("HTTP/2 200"), "{answer:?}");
    assert!(text.to_lowercase().contains("strict-transport-security: max-age=60"), "{text}");
    let http1 = agent.curl(&[&files[..], &["--include", "--http1.1", &url]].concat());
    let text = String::from_utf8_lossy(&http1.stdout);
    assert!(http1.status.success() && text.contains("HTTP/1.1 200"), "{http1:?}");
    // Orders and streams as well; the latter have no end but curl's own.
    let order = url.replace("/metrics", "/-/reload");
    let order = agent.curl(&[&files[..], &["--include", "--request", "POST", &order]].concat());
    assert!(String::from_utf8_lossy(&order.stdout).contains("HTTP/2 200"), "{order:?}");
    let stream = url.replace("/metrics", "/api/v1/events");
    let stream = agent.curl(&[&files[..], &["--include", "--max-time", "2", &stream]].concat());
    let text = String::from_utf8_lossy(&stream.stdout).to_lowercase();
    assert!(text.contains("http/2 200") && text.contains("text/event-stream"), "{stream:?}");

    // Both change hands, and nothing is restarted.
    theirs.issue(folder, "server", &["127.0.0.1"]);
    fs::copy(&theirs.path, folder.join("ours.crt")).unwrap();
    let stranger = Tls {
        cert: Some(Source::File(folder.join("stranger.crt"))),
        key: Some(Source::File(folder.join("stranger.key"))),
        ..Tls::default()
    };
    agent.until("the new one came in", &client(stranger, &theirs, None), Some(200)).await;
    let boss =
        HttpClient { tls: Tls { ca: Some(Source::File(theirs.path.clone())), ..boss.tls }, ..boss };
    assert_eq!(agent.get(&boss).await, None, "whom the former authority let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_or_a_token_and_both_where_both_are_needed() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let ours = Authority::new(folder, "ours");
    ours.issue(folder, "server", &["127.0.0.1"]);
    let boss = ours.issue(folder, "boss", &["boss.example"]);
    let config = "admin: { tokens: [{ name: a, role: admin, token: 0123456789abcdef }] }\n";
    let web = |client_auth: &str| {
        format!(
            "tls_server_config: {{ cert_file: server.crt, key_file: server.key, client_ca_file: ours.crt, client_auth_type: {client_auth}, cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384], max_version: TLS12 }}\n"
        )
    };
    let token = Some("0123456789abcdef");
    let with = |tls: &Tls, token| client(tls.clone(), &ours, token);
    let none = Tls::default();

    let agent = Agent::start(folder, config, &web("VerifyClientCertIfGiven"));
    agent.until("it answered", &with(&none, None), Some(401)).await;
    assert_eq!(agent.get(&with(&boss, None)).await, Some(200));
    assert_eq!(agent.get(&with(&none, token)).await, Some(200));
    assert_eq!(agent.get(&with(&boss, Some("x"))).await, Some(401));
    drop(agent);

    let agent = Agent::start(folder, config, &web("RequireAndVerifyClientCert"));
    agent.until("it answered", &with(&boss, None), Some(401)).await;
    assert_eq!(agent.get(&with(&boss, token)).await, Some(200));
    assert_eq!(agent.get(&with(&none, token)).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_tokens_change_without_a_restart() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    fs::write(folder.join("token"), "first-0123456789\n").unwrap();
    // As `htpasswd -nbBC 4 alice` makes it, of `open sesame`.
    let hash = bcrypt::hash("open sesame", 4).unwrap();
    let web = format!("basic_auth_users: {{ alice: '{hash}' }}\n");
    let agent = Agent::start(
        folder,
        "admin: { tokens: [{ name: file, role: admin, token_file: token }] }\n",
        &web,
    );
    agent.until("it answered", &bearer(Some("first-0123456789")), Some(200)).await;
    let url = format!("http://{}/-/healthy", agent.address);
    let status = |user: &str| {
        let answer = agent.curl(&[
            "--user",
            user,
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            &url,
        ]);
        String::from_utf8_lossy(&answer.stdout).into_owned()
    };
    assert_eq!(status("alice:open sesame"), "200");
    assert_eq!(status("any:first-0123456789"), "200");
    assert_eq!(status("bob:open sesame"), "401");

    fs::write(folder.join("token"), "second-0123456789\n").unwrap();
    agent.until("the new token came in", &bearer(Some("second-0123456789")), Some(200)).await;
    assert_eq!(agent.get(&bearer(Some("first-0123456789"))).await, Some(401));
    fs::write(folder.join("web.yml"), web.replace("alice", "carol")).unwrap();
    eventually("the new user came in", PATIENCE, || {
        let known = status("carol:open sesame") == "200";
        async move { known.then_some(()) }
    })
    .await;
    assert_eq!(status("alice:open sesame"), "401");
    let log = agent.process.log();
    for secret in ["first-0123456789", "second-0123456789", "open sesame", hash.as_str()] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn a_web_configuration_with_problems_starts_nothing_and_is_told() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let file = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    let check = |text: &str, web: &str, expected: &[&str]| {
        file("starling.yml", text);
        file("web.yml", web);
        let output = command(folder).arg("--web.listen-address=127.0.0.1:0").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for part in expected {
            assert!(said.contains(part), "no `{part}` in {said}");
        }
    };
    check(
        "a: 1\n",
        "b: 1\n",
        &["starling.yml:1:1: unknown key `a`", "web.yml:1:1: unknown key `b`"],
    );
    let pair = "tls_server_config: { cert_file: a.crt, key_file: a.key }\n";
    check("", pair, &["a.crt", "No such file"]);
    file("a.crt", "no certificate");
    file("a.key", "no key");
    check("", pair, &["a.crt", "holds no PEM certificate"]);
    let token = "admin: { tokens: [{ name: a, role: admin, token_file: gone }] }\n";
    check(token, "", &["the token `a` in", "gone` cannot be read"]);

    file("starling.yml", "");
    file("web.yml", "basic_auth_users: { alice: hunter2 }\n");
    let starling = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
        let output = command.current_dir(folder).arg("check").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = starling(&["starling.yml", "--web.config.file=web.yml"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("web.yml:1:28: `basic_auth_users`: expected a bcrypt hash"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    let (code, said) = starling(&["starling.yml", "--web.listen-address=:9733"]);
    assert!(code == Some(0) && said.contains("asks for no credentials"), "{said}");
    let (code, said) = starling(&["starling.yml", "--web.listen-address=[::1]:9733", "--strict"]);
    assert!(code == Some(0) && !said.contains("credentials"), "{said}");
}
