//! Headless Chromium, controlled through its pipe for developer tools, with JSON messages that end
//! with a zero byte. For tests: all functions panic if the browser or the page fails.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::wait::{PATIENCE, eventually};

/// A browser with one page. Dropping it ends the browser.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    last: u64,
    session: Option<String>,
    /// Errors of the page: exceptions, and violations of its policy.
    troubles: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// The program, if there is one.
    pub fn program() -> Option<String> {
        let names = ["chromium", "chromium-browser", "google-chrome", "chromium-headless-shell"];
        let runs = |name: &String| {
            let probe = Command::new(name).arg("--version").stdout(Stdio::null()).status();
            probe.is_ok_and(|status| status.success())
        };
        env::var("CHROMIUM").ok().into_iter().chain(names.map(str::to_owned)).find(runs)
    }

    /// Starts it with an empty page.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(program: &str) -> Self {
        let profile = tempfile::tempdir().expect("a directory for the profile");
        // The pipes are descriptors 3 and 4 of the browser. Some tests run it as root, where its
        // own sandbox does not work.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null", "sh"])
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-background-networking", "--no-proxy-server"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("--remote-debugging-pipe")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let to = child.stdin.take().expect("a pipe");
        let from = messages(child.stdout.take().expect("a pipe"));
        let (session, troubles) = (None, Vec::new());
        let mut browser = Self { child, to, from, last: 0, session, troubles, _profile: profile };
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Sets the size of the page, and whether dark colours are preferred.
    pub fn look(&mut self, width: u32, height: u32, dark: bool) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500,
        });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = if dark { "dark" } else { "light" };
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call("Emulation.setEmulatedMedia", json!({ "features": [feature] }));
    }

    /// Opens an address.
    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// Evaluates a JavaScript expression in the page; awaits a promise.
    ///
    /// # Panics
    /// When it throws.
    pub fn eval(&mut self, expression: &str) -> Value {
        let how = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
            "userGesture": true,
        });
        let answer = self.call("Runtime.evaluate", how);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub fn wait(&mut self, expression: &str) {
        // While a page is loading, evaluation fails.
        let whole = format!("(() => {{ try {{ return Boolean({expression}) }} catch {{}} }})()");
        eventually(&format!("{expression}\n{:?}", self.troubles), || {
            self.eval(&whole) == json!(true)
        });
    }

    /// Presses and releases a key, as a person does: `Enter`, `ArrowDown`, `/`.
    pub fn press(&mut self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            _ if key.chars().count() == 1 => key,
            _ => "",
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            self.call("Input.dispatchKeyEvent", json!({ "type": kind, "key": key, "text": text }));
        }
    }

    /// Types a text into the focused element.
    pub fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// The page as a picture, PNG in base64.
    pub fn picture(&mut self) -> String {
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        picture["data"].as_str().expect("a picture").to_owned()
    }

    /// The errors so far.
    pub fn troubles(&self) -> &[String] {
        &self.troubles
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut request = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        let mut bytes = request.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("the browser reads");
        loop {
            let answer = self.from.recv_timeout(PATIENCE);
            let mut answer = answer.unwrap_or_else(|error| panic!("{method}: {error}"));
            if answer["id"] == json!(self.last) {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
            self.troubles.extend(trouble(&answer));
        }
    }
}

/// Exceptions and violations; answers with a status such as 401 or 503 are no errors.
fn trouble(message: &Value) -> Option<String> {
    let params = &message["params"];
    match message["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
        "Log.entryAdded" if params["entry"]["source"] != "network" => Some(params.to_string()),
        _ => None,
    }
}

fn messages(from: ChildStdout) -> Receiver<Value> {
    let (send, messages) = mpsc::channel();
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        loop {
            let mut bytes = Vec::new();
            if !matches!(from.read_until(0, &mut bytes), Ok(1..)) {
                return;
            }
            bytes.pop();
            let Ok(message) = serde_json::from_slice(&bytes) else { return };
            if send.send(message).is_err() {
                return;
            }
        }
    });
    messages
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends its own processes when the pipe is closed; the wait for that is bounded.
        let close = json!({ "id": 0, "method": "Browser.close" }).to_string() + "\0";
        let _ = self.to.write_all(close.as_bytes());
        let ended = crate::wait::poll(PATIENCE, || {
            matches!(self.child.try_wait(), Ok(Some(_))).then_some(())
        });
        if ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
