//! A browser as a test sees it: Chromium through its driver, spoken to as the standard of the web's drivers says.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};
use starling::{config::HttpClient, runtime::http::Caller};

use crate::{
    eventually,
    process::{Process, free_port, status},
};

const ANSWER_MAX: Duration = Duration::from_secs(60);
const ARGUMENTS: [&str; 3] = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"];

/// Of a screen: its width and height.
pub(crate) type Size = (u32, u32);

pub(crate) struct Browser {
    caller: Caller,
    address: String,
    session: String,
    /// Ends after the session, whose end closes the browser.
    _driver: Process,
}

impl Browser {
    /// What it writes goes below `directory`.
    pub(crate) async fn start(directory: &Path) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={}", &address["127.0.0.1:".len()..])).env("TMPDIR", directory);
        let driver = Process::start(&mut command, &directory.join("chromedriver.log"));
        let ready = format!("http://{address}/status");
        eventually("the driver was ready", ANSWER_MAX, || async {
            (status(&ready).await == Some(200)).then_some(())
        })
        .await;
        let caller = Caller::new(&HttpClient::default());
        let mut browser = Self { caller, address, session: String::new(), _driver: driver };
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": ARGUMENTS },
            "goog:loggingPrefs": { "browser": "ALL" },
        }}});
        let session = browser.post("", &wanted).await["sessionId"].as_str().unwrap().to_owned();
        browser.session = format!("/{session}");
        browser
    }

    pub(crate) async fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url })).await;
    }

    /// Of the body of a function.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// Of the body of a function that hands its answer to `done`.
    pub(crate) async fn run_async(&self, script: &str) -> Value {
        let script = format!("const done = arguments[arguments.length - 1]; {script}");
        self.post("/execute/async", &json!({ "script": script, "args": [] })).await
    }

    /// Into whatever has the focus.
    pub(crate) async fn press(&self, keys: &str) {
        let strokes = keys.chars().flat_map(|key| ["keyDown", "keyUp"].map(|kind| (kind, key)));
        let strokes: Vec<_> =
            strokes.map(|(kind, key)| json!({ "type": kind, "value": key.to_string() })).collect();
        let hand = json!({ "type": "key", "id": "keyboard", "actions": strokes });
        self.post("/actions", &json!({ "actions": [hand] })).await;
    }

    /// As a screen of this size would show it to someone who likes it so.
    pub(crate) async fn look_like(&self, (width, height): Size, scheme: &str) {
        let tell = async |command: &str, parameters: Value| {
            self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters })).await
        };
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        tell("Emulation.setDeviceMetricsOverride", size).await;
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        tell("Emulation.setEmulatedMedia", features).await;
    }

    pub(crate) async fn screenshot(&self, file: &Path) {
        let picture = self.ask(Method::GET, "/screenshot", None).await;
        fs::write(file, STANDARD.decode(picture.as_str().unwrap()).unwrap()).unwrap();
    }

    /// What the console has said since it was last asked for.
    pub(crate) async fn console(&self) -> Vec<Value> {
        let said = self.post("/se/log", &json!({ "type": "browser" })).await;
        said.as_array().unwrap().clone()
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let url = format!("http://{}/session{}{path}", self.address, self.session);
        let request = self.caller.request(method, &url).unwrap().timeout(ANSWER_MAX);
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let (is_well, body) = (answer.status().is_success(), answer.text().await.unwrap());
        assert!(is_well, "{path}: {body}");
        serde_json::from_str::<Value>(&body).unwrap()["value"].take()
    }
}

impl Drop for Browser {
    /// Also where a test fails: a driver that is killed leaves its browser behind.
    fn drop(&mut self) {
        let Ok(mut stream) = TcpStream::connect(&self.address) else { return };
        let head = format!("DELETE /session{} HTTP/1.1\r\nhost: localhost\r\n\r\n", self.session);
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.read(&mut [0; 512]));
    }
}
