//! A real Chromium under chromedriver: a fresh profile, downloads into a directory of its own, all of it stopped by pid.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::support::{SOON, free_port, wait_for};

/// A browser wants a core to itself.
static BROWSERS: Semaphore = Semaphore::const_new(2);

/// What Debian calls them; both packages put them there.
const CHROMEDRIVER: &str = "/usr/bin/chromedriver";
const CHROMIUM: &str = "/usr/bin/chromium";

/// What pauses and resumes the only download on Chromium's own page of downloads.
const DOWNLOAD_SWITCH: &str = "document.querySelector('downloads-manager')?.shadowRoot\
    .querySelector('downloads-item')?.shadowRoot.querySelector('#pause-or-resume')";

/// A running browser. Dropped, it is killed with all its processes; its profile goes with it.
pub struct Browser {
    pub page: Client,
    driver: Driver,
    session: String,
    dir: TempDir,
    _permit: SemaphorePermit<'static>,
}

impl Browser {
    pub async fn start() -> Self {
        Self::with(true).await
    }

    /// With scripts switched off, as a careful person has it.
    pub async fn without_script() -> Self {
        Self::with(false).await
    }

    async fn with(script: bool) -> Self {
        let permit = BROWSERS.acquire().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        for name in ["profile", "downloads", "tmp"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let driver = Driver::start(dir.path()).await;
        let mut prefs = json!({
            "download.default_directory": dir.path().join("downloads"),
            "download.prompt_for_download": false,
        });
        if !script {
            prefs["profile.managed_default_content_settings.javascript"] = json!(2);
        }
        let profile = format!("--user-data-dir={}", dir.path().join("profile").display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            &profile,
        ];
        let capabilities = json!({
            "goog:chromeOptions": { "binary": CHROMIUM, "args": arguments, "prefs": prefs },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let page = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&driver.url)
            .await
            .unwrap_or_else(|error| panic!("no session: {error}; is the package chromium installed?"));
        let session = page.session_id().await.unwrap().unwrap();
        Self { page, driver, session, dir, _permit: permit }
    }

    pub async fn go(&self, url: &str) {
        self.page.goto(url).await.unwrap();
    }

    /// Follows a link to `url` on a page of another site, as in a mail.
    pub async fn click_in_a_mail(&self, url: &str) {
        let mail = self.dir.path().join("mail.html");
        std::fs::write(&mail, format!("<!doctype html><p><a id=sent href=\"{url}\">{url}</a>")).unwrap();
        self.go(&format!("file://{}", mail.display())).await;
        self.click("#sent").await;
    }

    /// Waits for an element that can be seen.
    pub async fn see(&self, css: &str) -> Element {
        wait_for(css, async || {
            let found = self.page.find(Locator::Css(css)).await.ok()?;
            found.is_displayed().await.ok()?.then_some(found)
        })
        .await
    }

    pub async fn click(&self, css: &str) {
        self.see(css).await.click().await.unwrap();
    }

    /// Waits until an element that can be seen has `words` in it.
    pub async fn read(&self, css: &str, words: &str) {
        let end = Instant::now() + SOON;
        loop {
            let text = match self.page.find(Locator::Css(css)).await {
                Ok(found) => found.text().await.unwrap_or_default(),
                Err(_) => String::new(),
            };
            if text.contains(words) {
                return;
            }
            assert!(Instant::now() < end, "{css} says {text:?} and not {words:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the address is this one. A fragment stays with its page through a redirect, so it does not count.
    pub async fn at(&self, url: &str) {
        let end = Instant::now() + SOON;
        loop {
            let mut now = self.page.current_url().await.unwrap();
            now.set_fragment(None);
            if now.as_str() == url {
                return;
            }
            assert!(Instant::now() < end, "the browser is at {now} and not at {url}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until so many downloads are there and whole; their bytes by the name that Chromium gave them.
    pub async fn downloads(&self, count: usize) -> BTreeMap<String, Vec<u8>> {
        let place = self.dir.path().join("downloads");
        let end = Instant::now() + SOON;
        loop {
            let names: Vec<_> = std::fs::read_dir(&place)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            let running = names.iter().any(|name| name.ends_with(".crdownload") || name.starts_with('.'));
            if !running && names.len() >= count {
                assert_eq!(names.len(), count, "{names:?}");
                let read = |name: String| (name.clone(), std::fs::read(place.join(name)).unwrap());
                return names.into_iter().map(read).collect();
            }
            assert!(Instant::now() < end, "waited for {count} downloads: {names:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Presses Pause beside the only download on Chromium's own page of downloads.
    pub async fn pause_the_download(&self) {
        self.press("Pause").await;
        self.offers("Resume", true).await;
    }

    /// Presses Resume there.
    pub async fn resume_the_download(&self) {
        self.press("Resume").await;
        self.offers("Resume", false).await;
    }

    async fn press(&self, what: &str) {
        if self.page.current_url().await.unwrap().scheme() != "chrome" {
            self.go("chrome://downloads").await;
        }
        self.offers(what, true).await;
        self.value(&format!("{DOWNLOAD_SWITCH}.click()")).await;
    }

    /// Waits until that page offers to pause or to resume, or does so no more.
    async fn offers(&self, what: &str, does: bool) {
        let says = format!("{DOWNLOAD_SWITCH}?.textContent.trim()");
        wait_for(what, async || ((self.value(&says).await == what) == does).then_some(())).await;
    }

    /// The value of a script's expression.
    pub async fn value(&self, expression: &str) -> Value {
        self.page.execute(&format!("return {expression}"), vec![]).await.unwrap()
    }

    /// The cookies that the browser has, those out of any script's reach too.
    pub async fn cookies(&self) -> Vec<Value> {
        let asked = json!({ "cmd": "Network.getAllCookies", "params": {} });
        let mut answer = self.driver.post(&self.session, "goog/cdp/execute", &asked).await;
        serde_json::from_value(answer["value"]["cookies"].take()).unwrap()
    }

    /// The errors in the browser's own log, since it was last asked.
    pub async fn errors(&self) -> Vec<String> {
        let answer = self.driver.post(&self.session, "se/log", &json!({ "type": "browser" })).await;
        let entries = answer["value"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let errors = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        errors.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }
}

/// A running chromedriver on a port that it chose itself.
struct Driver {
    url: String,
    child: Child,
}

impl Driver {
    async fn start(dir: &Path) -> Self {
        let log = dir.join("chromedriver.log");
        let out = std::fs::File::create(&log).unwrap();
        let port = free_port();
        let child = Command::new(CHROMEDRIVER)
            .arg(format!("--port={port}"))
            .env("HOME", dir)
            .env("TMPDIR", dir.join("tmp"))
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{CHROMEDRIVER} does not start: {error}; install the packages chromium and chromium-driver")
            });
        let mut driver = Self { url: format!("http://127.0.0.1:{port}"), child };
        let status = format!("{}/status", driver.url);
        let end = Instant::now() + SOON;
        while !reqwest::get(&status).await.is_ok_and(|answer| answer.status() == 200) {
            let ended = driver.child.try_wait().unwrap();
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none(), "chromedriver ended: {ended:?}\n{}", said());
            assert!(Instant::now() < end, "chromedriver is not ready\n{}", said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        driver
    }

    async fn post(&self, session: &str, command: &str, body: &Value) -> Value {
        let url = format!("{}/session/{session}/{command}", self.url);
        reqwest::Client::new().post(url).json(body).send().await.unwrap().json().await.unwrap()
    }
}

impl Drop for Driver {
    /// The browser does not end with its driver, so all that came of it is killed too.
    fn drop(&mut self) {
        let ours = descendants(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in &ours {
            if let Some(pid) = Pid::from_raw(i32::try_from(*pid).unwrap()) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        // What is left of a profile in use cannot be removed.
        let end = Instant::now() + Duration::from_secs(5);
        while ours.iter().any(|pid| runs(*pid)) && Instant::now() < end {
            std::thread::yield_now();
        }
    }
}

/// The processes that came of this one.
fn descendants(pid: u32) -> Vec<u32> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let child = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some((child, parent)) = child.and_then(|child| Some((child, parent(child)?))) {
            parents.insert(child, parent);
        }
    }
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(child, _)| *child));
        at += 1;
    }
    found.split_off(1)
}

/// What follows the command's name in `/proc/<pid>/stat`: the state, the parent ...
fn stat(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/stat"))).ok()?;
    Some(text.rsplit_once(") ")?.1.to_owned())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.split(' ').nth(1)?.parse().ok()
}

fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| !stat.starts_with('Z'))
}
