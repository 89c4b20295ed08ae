//! A configuration with a secret in every place that can hold one, run against targets and
//! destinations that fail; then everything that the agent says, answers and writes is searched.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;
use starling::{
    config::{Authorization, HttpClient, Secret, Source},
    runtime::http::Caller,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{sleep, timeout},
};

use crate::{
    eventually,
    process::{Process, free_port},
};

/// What each secret begins with; a number behind it says which one it is.
const MARK: &str = "hush";
const TOKEN: &str = "hush-00-0123456789";
const PATIENCE: Duration = Duration::from_secs(60);
/// Several rounds of scraping and sending: time for each thing to fail, and to be told.
const FAILING: Duration = Duration::from_secs(6);
/// For a stream, which has no end.
const LISTENING: Duration = Duration::from_secs(2);

/// Every secret another one, so that a leak says where it comes from.
fn config(echo: &str, port: u16) -> String {
    format!(
        "global: {{ scrape_interval: 1s, scrape_failure_log_file: failures.log }}
scrape_configs:
- job_name: basic
  basic_auth: {{ username: u, password: hush-01 }}
  params: {{ token: [hush-02], module: [shown] }}
  http_headers: {{ X-Key: {{ secrets: [hush-03], values: [hush-04], files: [header] }} }}
  relabel_configs:
  - {{ target_label: __param_signature, replacement: hush-05 }}
  - {{ source_labels: [__address__], regex: gone:1, action: drop }}
  static_configs: [{{ targets: ['127.0.0.1:1', '{echo}', 'gone:1', 'u:hush-06@127.0.0.1:1'], labels: {{ __param_apikey: hush-07 }} }}]
- job_name: inline
  scheme: https
  authorization: {{ credentials: hush-08 }}
  tls_config: {{ ca: hush-09, cert: hush-10, key: hush-11 }}
  static_configs: [{{ targets: ['127.0.0.1:1'] }}]
- job_name: bearer
  clustering: {{ enabled: true }}
  bearer_token: hush-12
  static_configs: [{{ targets: ['{echo}', '127.0.0.1:1'] }}]
- job_name: files
  basic_auth: {{ username: u, password_file: password }}
  tls_config: {{ key_file: key, cert_file: key }}
  static_configs: [{{ targets: ['127.0.0.1:1'] }}]
- job_name: discovered
  http_sd_configs:
  - {{ url: 'http://u:hush-14@127.0.0.1:1/sd?token=hush-15', refresh_interval: 1s }}
  - {{ url: 'http://{echo}/sd?key=hush-16', refresh_interval: 1s, authorization: {{ credentials: hush-17 }} }}
  - {{ url: 'http://{echo}/targets?key=hush-27', refresh_interval: 1s }}
- job_name: tokens
  oauth2:
    client_id: u
    client_secret: hush-60
    token_url: 'http://u:hush-61@{echo}/token?key=hush-62'
    endpoint_params: {{ api_key: hush-63 }}
    proxy_url: 'http://u:hush-64@{echo}'
  static_configs: [{{ targets: ['127.0.0.1:1'] }}]
- job_name: proxied
  scheme: https
  proxy_url: 'http://u:hush-65@{echo}'
  proxy_connect_header: {{ X-Key: [hush-66] }}
  static_configs: [{{ targets: ['127.0.0.1:1'] }}]
remote_write:
- {{ name: signed, url: 'http://{echo}/write?x=hush-67', sigv4: {{ region: r, access_key: a, secret_key: hush-68 }} }}
- {{ name: granted, url: 'http://{echo}/', oauth2: {{ client_id: u, client_secret_file: password, token_url: 'http://{echo}/?k=hush-69' }} }}
- {{ name: tunnelled, url: 'https://127.0.0.1:1/', proxy_url: 'http://u:hush-70@{echo}', proxy_connect_header: {{ X-Key: [hush-71] }} }}
- {{ name: refused, url: 'http://u:hush-18@127.0.0.1:1/write?token=hush-19', headers: {{ X-Key: hush-20 }} }}
- {{ url: 'http://{echo}/write?x=hush-21', basic_auth: {{ username: u, password: hush-22 }} }}
- {{ name: keyed, url: 'https://127.0.0.1:1/', authorization: {{ credentials_file: password }}, tls_config: {{ ca: hush-23 }} }}
cluster: {{ enabled: true, secret: hush-24-0123456789, listen_address: '127.0.0.1:{port}', advertise_address: 127.0.0.1, peers: ['127.0.0.1:1'] }}
admin:
  burst: 100000
  tokens:
  - {{ name: inline, role: admin, token: {TOKEN} }}
  - {{ name: file, role: read_only, token_file: token }}
"
    )
}

/// Files that hold nothing but a secret.
const FILES: [(&str, &str); 4] = [
    ("header", "hush-30"),
    ("password", "hush-31"),
    ("key", "hush-32"),
    ("token", "hush-33-0123456789"),
];

/// Refused by what it says, and full of secrets as well.
const REFUSED: &str = "scrape_configs:
- job_name: a
  oauth2: { client_id: a, client_secret: hush-40, token_url: 'http://127.0.0.1:1/?k=hush-41' }
  proxy_url: http://u:hush-42@127.0.0.1:1
  bearer_token: hush-43
  authorization: { credentials: [hush-44] }
  http_headers: { 'X Key': { secrets: [hush-45] } }
remote_write:
- { url: 'ftp://u:hush-46@h/?token=hush-47' }
- { url: 'http://u:hush-48@h/', sigv4: { secret_key: hush-49 } }
cluster: { secret: [hush-50], secret_file: password }
admin: { tokens: [{ name: a, role: b, token: hush-51 }, { name: b, role: admin, token: [hush-52] }] }
";

struct Agent {
    process: Process,
    url: String,
    folder: PathBuf,
}

impl Agent {
    fn start(folder: &Path) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
        command
            .current_dir(folder)
            .args(["run", "--log.level=debug", "--config.file=starling.yml"])
            .args(["--storage.path=storage", "--web.config.file=web.yml"])
            .arg(format!("--web.listen-address={address}"));
        let process = Process::start(&mut command, &folder.join("starling.log"));
        Self { process, url: format!("http://{address}"), folder: folder.to_owned() }
    }

    /// Head and body of an answer; of a stream what comes at first.
    async fn ask(&self, method: &str, path: &str) -> Option<(u16, String)> {
        let credentials = Some(Source::Inline(Secret::new(TOKEN)));
        let authorization = Some(Authorization { scheme: "Bearer".to_owned(), credentials });
        let client = HttpClient { authorization, ..HttpClient::default() };
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let caller = Caller::new(&client);
        let request = caller.request(method, &format!("{}{path}", self.url)).unwrap();
        let mut answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let mut body = format!("{:?}\n", answer.headers()).into_bytes();
        let read = async {
            while let Ok(Some(chunk)) = answer.chunk().await {
                body.extend_from_slice(&chunk);
            }
        };
        let _ = timeout(LISTENING, read).await;
        Some((status, String::from_utf8_lossy(&body).into_owned()))
    }

    async fn json(&self, path: &str) -> Value {
        let (status, text) = self.ask("GET", path).await.unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(text.split_once('\n').unwrap().1).unwrap()
    }

    /// Everything that can be looked at, as the agent describes itself.
    async fn looks(&self) -> Vec<String> {
        let document = self.json("/api/openapi.json").await;
        let found = document["paths"].as_object().unwrap();
        let paths = found.iter().filter(|(_, item)| item.get("get").is_some());
        let ids: Vec<String> = [
            self.json("/api/v1/fleet/targets?limit=1000").await,
            self.json("/api/v1/fleet/targets?limit=1000&state=dropped").await,
        ]
        .iter()
        .flat_map(|list| list["items"].as_array().unwrap().clone())
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect();
        // One is in two jobs, one is dropped, one invalid, and one was found over HTTP.
        assert!(ids.len() >= 9, "{ids:?}");
        let mut looks = vec!["/".to_owned(), "/nothing?token=".to_owned()];
        for (path, _) in paths {
            if !path.contains('{') {
                looks.push(path.clone());
                continue;
            }
            for id in &ids {
                for question in ["", "?job=basic", "?job=bearer"] {
                    looks.push(path.replace("{id}", id) + question);
                }
            }
        }
        // Only one page of many, and its mark of where the next begins.
        looks.push("/api/v1/fleet/targets?limit=1&sort=url".to_owned());
        looks
    }

    async fn search_answers(&self) {
        for path in self.looks().await {
            let (status, text) = self.ask("GET", &path).await.unwrap();
            assert_ne!(status, 401, "{path}");
            search(&path, text.as_bytes());
        }
    }
}

/// A server that sends all requests away, with their credentials in the answer's head, where only
/// a careless client looks; but it has a list of targets.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    starling::runtime::tasks::spawn("echo", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            starling::runtime::tasks::spawn("echo connection", async move {
                let mut request = vec![0; 16 << 10];
                while let Ok(read @ 1..) = stream.read(&mut request).await {
                    let asked = String::from_utf8_lossy(&request[..read]).into_owned();
                    let answer = if asked.starts_with("GET /targets") {
                        let targets = r#"[{"targets":["127.0.0.1:2","invalid/x?token=hush-13"],"labels":{"__param_token":"hush-28","__meta_secret":"hush-29"}}]"#;
                        let length = targets.len();
                        format!(
                            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{targets}"
                        )
                    } else {
                        "HTTP/1.1 302 Found\r\nlocation: http://u:hush-25@127.0.0.1:1/?token=hush-26\r\ncontent-length: 0\r\n\r\n".to_owned()
                    };
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[track_caller]
fn search(place: &str, bytes: &[u8]) {
    // As a header carries it, of the one user there is.
    let carried = BASE64_STANDARD.encode(format!("u:{MARK}"));
    let carried = &carried[..carried.len() / 4 * 4 - 4];
    for mark in [MARK, carried, "$2b$"] {
        if let Some(at) = bytes.windows(mark.len()).position(|part| part == mark.as_bytes()) {
            let from = at.saturating_sub(200);
            let around = &bytes[from..bytes.len().min(at + 100)];
            panic!("a secret in {place}: …{}…", String::from_utf8_lossy(around));
        }
    }
}

/// But for the outbox: there lies what is sent, and an `instance` with a password in it is sent.
fn search_files(folder: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("storage/outbox") {
            continue;
        }
        if path.is_dir() {
            count += search_files(&path);
        } else {
            search(&path.display().to_string(), &fs::read(&path).unwrap());
            count += 1;
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_said_answered_or_written() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    for (name, text) in FILES {
        write(name, text);
    }
    let hash = bcrypt::hash("hush-34", 4).unwrap();
    assert!(hash.starts_with("$2b$"), "what is searched for");
    write("web.yml", &format!("basic_auth_users: {{ u: '{hash}' }}\n"));
    write("starling.yml", &config(&echo().await, free_port()));

    let agent = Agent::start(folder);
    eventually("it was ready", PATIENCE, || async {
        let (status, _) = agent.ask("GET", "/-/ready").await?;
        (status == 200).then_some(())
    })
    .await;
    eventually("every job has failed", PATIENCE, || async {
        let (_, text) = agent.ask("GET", "/api/v1/targets?state=active").await?;
        (!text.contains("\"health\":\"unknown\"") && text.contains("127.0.0.1:2")).then_some(())
    })
    .await;
    sleep(FAILING).await;
    agent.search_answers().await;
    let shown = agent.ask("GET", "/api/v1/targets").await.unwrap().1;
    assert!(shown.contains("module=shown") && shown.contains("token=xxxxx"), "{shown}");

    write("starling.yml", REFUSED);
    let (status, refused) = agent.ask("POST", "/-/reload").await.unwrap();
    assert!(status == 500 && refused.contains("oauth2"), "{refused}");
    search("the refusal", refused.as_bytes());
    agent.search_answers().await;

    let checked = Command::new(env!("CARGO_BIN_EXE_starling"))
        .current_dir(folder)
        .args(["check", "starling.yml", "--web.config.file=web.yml"])
        .output()
        .unwrap();
    search("the check of what is refused", &checked.stdout);
    write("starling.yml", &config("127.0.0.1:1", 1));
    let checked = Command::new(env!("CARGO_BIN_EXE_starling"))
        .current_dir(folder)
        .args(["check", "starling.yml", "--web.config.file=web.yml"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("destination `refused`"), "{said}");
    search("the check", &checked.stdout);

    let Agent { mut process, folder, .. } = agent;
    process.signal(rustix::process::Signal::TERM);
    process.ended().await;
    let log = process.log();
    search("the log", log.as_bytes());
    assert!(log.contains("DEBUG") && log.contains("an order was given"), "{log}");
    let failures = fs::read(folder.join("failures.log")).unwrap();
    search("the log of failures", &failures);
    assert!(!failures.is_empty());
    assert!(folder.join("storage/history.db").exists());
    assert!(search_files(&folder.join("storage")) > 2);
}
