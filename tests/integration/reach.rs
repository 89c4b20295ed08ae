//! By which way targets, discovery and destinations are reached: through a proxy, with tokens and
//! signatures, and over TLS to Debian's Prometheus.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use rcgen::{CertificateParams, KeyPair};
use reqwest::Method;
use starling::{
    config::{BasicAuth, HttpClient, Secret, Source, Tls},
    runtime::http::Caller,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    eventually,
    process::{Process, free_port},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// The heads of all requests that came to the proxy.
type Heads = Arc<Mutex<Vec<String>>>;

/// A proxy that is itself all servers behind it: their names lead nowhere else.
async fn proxy() -> (String, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads = Heads::default();
    let seen = Arc::clone(&heads);
    starling::runtime::tasks::spawn("proxy", async move {
        while let Ok((stream, _)) = listener.accept().await {
            starling::runtime::tasks::spawn("proxy connection", serve(stream, Arc::clone(&seen)));
        }
    });
    (address, heads)
}

async fn serve(mut stream: TcpStream, heads: Heads) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let asked = head.split(' ').nth(1).unwrap().to_owned();
        heads.lock().unwrap().push(head);
        let (kind, body) = match asked.as_str() {
            "http://tokens.invalid/token" => {
                ("application/json", r#"{"access_token":"given","expires_in":3600}"#)
            }
            "http://discovery.invalid/" => {
                ("application/json", r#"[{"targets":["found.invalid:80"]}]"#)
            }
            _ => ("text/plain; version=0.0.4", "a 1\n"),
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn agent(folder: &Path, config: &str) -> Process {
    fs::write(folder.join("starling.yml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    command
        .current_dir(folder)
        .args(["run", "--config.file=starling.yml", "--storage.path=storage"])
        .arg(format!("--web.listen-address=127.0.0.1:{}", free_port()));
    Process::start(&mut command, &folder.join("starling.log"))
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_discovery_and_destinations_are_reached_alike() {
    let temporary = tempfile::tempdir().unwrap();
    let (address, heads) = proxy().await;
    let proxy = format!("proxy_url: http://me:pass@{address}");
    let oauth2 = format!(
        "oauth2: {{ client_id: me, client_secret: pass, token_url: http://tokens.invalid/token, {proxy} }}"
    );
    let config = format!(
        "global: {{ scrape_interval: 1s }}
scrape_configs:
- job_name: a
  {proxy}
  {oauth2}
  http_sd_configs:
  - url: http://discovery.invalid/
    refresh_interval: 1s
    {proxy}
    {oauth2}
remote_write:
- url: http://granted.invalid/
  {proxy}
  {oauth2}
- url: http://signed.invalid/
  {proxy}
  sigv4: {{ region: r1, access_key: AK, secret_key: s }}
"
    );
    let _agent = agent(temporary.path(), &config);
    let bearer = "authorization: bearer given";
    let signed = "authorization: aws4-hmac-sha256 credential=ak/";
    for (asked, shown) in [
        ("get http://discovery.invalid/ ", bearer),
        ("get http://found.invalid/metrics ", bearer),
        ("post http://granted.invalid/ ", bearer),
        ("post http://signed.invalid/ ", signed),
    ] {
        let head = eventually(&format!("`{asked}` came"), PATIENCE, || async {
            let heads = heads.lock().unwrap();
            heads.iter().find(|head| head.starts_with(asked)).cloned()
        })
        .await;
        assert!(head.contains(&format!("\r\n{shown}")), "no `{shown}` in {head}");
        let mine = "\r\nproxy-authorization: basic bwu6cgfzcw==\r\n";
        assert!(head.contains(mine), "no `{mine}` in {head}");
    }
    let heads = heads.lock().unwrap();
    let signed = heads.iter().find(|head| head.contains("signed.invalid")).unwrap();
    assert!(signed.contains("/r1/aps/aws4_request"), "{signed}");
    let tokens = heads.iter().filter(|head| head.starts_with("post http://tokens.invalid/token "));
    assert_eq!(tokens.count(), 3, "one for the job, its discovery and its destination each");
}

/// Certificate and key for this host, which is its own authority.
fn certificate(folder: &Path) -> Tls {
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    fs::write(folder.join("backend.crt"), certificate.pem()).unwrap();
    fs::write(folder.join("backend.key"), key.serialize_pem()).unwrap();
    Tls { ca: Some(Source::File(folder.join("backend.crt"))), ..Tls::default() }
}

/// Debian's Prometheus behind TLS and a password, over both versions of HTTP.
#[tokio::test(flavor = "multi_thread")]
async fn prometheus_takes_samples_over_tls_from_who_has_the_password() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let tls = certificate(folder);
    let hash = bcrypt::hash("open sesame", 4).unwrap();
    let web = format!(
        "tls_server_config: {{ cert_file: backend.crt, key_file: backend.key }}\nbasic_auth_users: {{ me: '{hash}' }}\n"
    );
    fs::write(folder.join("web.yml"), web).unwrap();
    fs::write(folder.join("prometheus.yml"), "global: {}\n").unwrap();
    let base = format!("https://127.0.0.1:{}", free_port());
    let mut command = Command::new("prometheus");
    command
        .current_dir(folder)
        .args(["--config.file=prometheus.yml", "--web.config.file=web.yml"])
        .arg("--storage.tsdb.path=tsdb")
        .arg(format!("--web.listen-address={}", base.trim_start_matches("https://")))
        .arg("--web.enable-remote-write-receiver");
    let _backend = Process::start(&mut command, &folder.join("prometheus.log"));

    let target = Target::start(1).await;
    fs::write(folder.join("password"), "open sesame\n").unwrap();
    let destination = |name: &str, enable_http2: bool| {
        format!(
            "- url: {base}/api/v1/write\n  name: {name}\n  enable_http2: {enable_http2}\n  basic_auth: {{ username: me, password_file: password }}\n  tls_config: {{ ca_file: backend.crt }}\n  write_relabel_configs: [{{ target_label: by, replacement: {name} }}]\n"
        )
    };
    let config = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n- job_name: a\n  static_configs: [{{ targets: ['{}'] }}]\nremote_write:\n{}{}",
        target.address,
        destination("one", false),
        destination("two", true),
    );
    let _agent = agent(folder, &config);

    let basic = BasicAuth {
        username: Source::Inline(Secret::new("me")),
        password: Some(Source::Inline(Secret::new("open sesame"))),
    };
    let client = HttpClient { basic_auth: Some(basic), tls, ..HttpClient::default() };
    let caller = Caller::new(&client);
    for name in ["one", "two"] {
        let url = format!("{base}/api/v1/query?query=scrapes_total%7Bby%3D%22{name}%22%7D");
        eventually(&format!("samples came by destination `{name}`"), PATIENCE, || async {
            let answer = caller.request(Method::GET, &url).unwrap().send().await.ok()?;
            answer.text().await.ok()?.contains("\"value\"").then_some(())
        })
        .await;
    }
}
