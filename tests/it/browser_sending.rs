//! What a person does who sends, in a real browser: log in, send files from the form, end them.

use std::path::Path;
use std::sync::{Arc, Mutex};

use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::browser_support::Browser;
use crate::gate::header;
use crate::support::{Link, Server, free_port, wait_for};

/// What the tab key is to `WebDriver`.
const TAB: char = '\u{e004}';
/// The same of the enter key.
const ENTER: &str = "\u{e007}";

const PASSWORD: &str = "correct horse: battery stäple";

const FILES: [(&str, &str); 2] = [("first report.txt", "one"), ("Grüße 🎉.txt", "two")];

async fn log_in(browser: &Browser, server: &Server) {
    browser.go(&server.url).await;
    browser.click(".who a").await;
    browser.at(&format!("{}/login", server.url)).await;
    browser.see("#token").await.send_keys(&server.token).await.unwrap();
    browser.click("main button").await;
    browser.at(&format!("{}/", server.url)).await;
    browser.read(".account", "admin").await;
}

/// Fills the form in, as far as there is something to fill in, and sends it.
async fn send(browser: &Browser, dir: &Path, files: &[(&str, &str)], downloads: &str) {
    let mut paths = Vec::new();
    for (name, bytes) in files {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        paths.push(path.to_str().unwrap().to_owned());
    }
    browser.see("#files").await.send_keys(&paths.join("\n")).await.unwrap();
    browser.see("#downloads").await.send_keys(downloads).await.unwrap();
    browser.see("#password").await.send_keys(PASSWORD).await.unwrap();
    browser.click("#go").await;
}

/// The link on the page after sending, and the id of the transfer.
async fn link(browser: &Browser) -> Link {
    let whole = browser.see("#link-1").await.attr("value").await.unwrap().unwrap();
    let page = browser.see(".next a").await.attr("href").await.unwrap().unwrap();
    Link::parse(&whole, page.rsplit('/').next().unwrap())
}

/// What the receiver does, in a profile of their own: mistypes the password, then gets every file behind the link.
async fn receive(link: &Link) {
    let browser = Browser::start().await;
    browser.go(&link.whole).await;
    browser.click("#get").await;
    browser.read("#status", "This link has a password").await;
    let field = browser.see("#password").await;
    field.send_keys(&format!("guess{ENTER}")).await.unwrap();
    browser.read("#error", "The password is wrong").await;
    field.send_keys(&format!("{PASSWORD}{ENTER}")).await.unwrap();
    browser.read("#title", "Your files").await;
    for n in 1..=FILES.len() {
        browser.click(&format!("#files li:nth-child({n}) a")).await;
        browser.downloads(n).await;
    }
    for (name, bytes) in browser.downloads(FILES.len()).await {
        assert!(FILES.contains(&(name.as_str(), std::str::from_utf8(&bytes).unwrap())), "{name}");
    }
    let cookies = browser.cookies().await;
    assert_eq!(cookies.len(), 1, "the ticket alone: {cookies:?}");
}

/// Takes the link back from the transfer's page, and sees that it opens nothing for anybody.
async fn take_back(browser: &Browser, server: &Server, link: &Link) {
    let page = format!("{}/transfers/{}", server.url, link.transfer);
    browser.go(&page).await;
    browser.read(".link", "Downloaded 1 of 3 times · with a password").await;
    browser.click(".link form button").await;
    browser.read(".link", "It was taken back").await;
    browser.at(&page).await;
    assert_eq!(server.transfer(&link.transfer).await["state"], "available", "only the link went");
    let receiver = Browser::start().await;
    receiver.go(&link.whole).await;
    receiver.click("#get").await;
    receiver.read("#error", "This link does not open anything").await;
}

/// Ends the transfer from its page, and sees that it is gone.
async fn end(browser: &Browser, server: &Server, link: &Link) {
    let page = format!("{}/transfers/{}", server.url, link.transfer);
    browser.go(&page).await;
    browser.read("h1", "Available").await;
    browser.read(".link", "Downloaded 1 of 3 times").await;
    browser.click("#end summary").await;
    browser.click("#end button").await;
    browser.read("h1", "The transfer has ended").await;
    browser.at(&page).await;
    browser.read(".lead", "It was ended by hand").await;
    assert_eq!(server.transfer(&link.transfer).await["reason"], "deleted");
}

#[tokio::test]
async fn a_person_sends_two_files_another_gets_them_and_the_first_takes_them_back() {
    let server = super::serve(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    let browser = Browser::start().await;
    log_in(&browser, &server).await;
    let cookies = browser.cookies().await;
    let [session] = cookies.as_slice() else { panic!("one cookie: {cookies:?}") };
    assert_eq!(
        (&session["name"], &session["path"], &session["sameSite"]),
        (&"__Host-bb".into(), &"/".into(), &"Lax".into())
    );
    assert_eq!((&session["httpOnly"], &session["secure"]), (&true.into(), &true.into()));
    assert_eq!(browser.value("document.cookie").await, "", "no script reads the session");
    send(&browser, dir.path(), &FILES, "3").await;
    browser.read("h1", "Available").await;
    for (n, (name, _)) in FILES.iter().enumerate() {
        browser.read(&format!(".files li:nth-child({})", n + 1), name).await;
    }
    let link = link(&browser).await;
    browser.at(&format!("{}/transfers/{}", server.url, link.transfer)).await;
    browser.click("[data-copy]").await;
    browser.read("[data-copy]", "Cop").await;
    assert_eq!(browser.errors().await, Vec::<String>::new(), "no violation of the policy, no error");
    drop(browser);

    receive(&link).await;

    let browser = Browser::start().await;
    log_in(&browser, &server).await;
    take_back(&browser, &server, &link).await;
    end(&browser, &server, &link).await;
    browser.click(".who button").await;
    browser.at(&format!("{}/", server.url)).await;
    browser.read(".who", "Log in").await;
    assert_eq!(browser.cookies().await.len(), 0);
    assert_eq!(browser.errors().await, Vec::<String>::new());
    browser.go(&format!("{}/transfers/{}", server.url, link.transfer)).await;
    browser.read("h1", "A token is needed").await;
    browser.go(&link.whole).await;
    browser.click("#get").await;
    browser.read("#error", "This link does not open anything").await;
}

#[tokio::test]
async fn without_a_script_the_forms_do_the_same() {
    let server = super::serve(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    let browser = Browser::without_script().await;
    browser.go(&format!("{}/login", server.url)).await;
    browser.see("#token").await.send_keys(&server.token[..42]).await.unwrap();
    browser.click("main button").await;
    browser.read("#error", "The token is not valid").await;
    log_in(&browser, &server).await;
    send(&browser, dir.path(), &FILES, "3").await;
    browser.read("h1", "Sent").await;
    let link = link(&browser).await;
    drop(browser);

    receive(&link).await;

    let browser = Browser::without_script().await;
    log_in(&browser, &server).await;
    end(&browser, &server, &link).await;
    browser.click(".who button").await;
    browser.read(".who", "Log in").await;
    assert_eq!(browser.cookies().await.len(), 0);
}

#[tokio::test]
async fn the_form_tells_what_was_refused_and_keeps_what_was_filled_in() {
    let server = super::serve(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    let browser = Browser::start().await;
    log_in(&browser, &server).await;
    // Logged out elsewhere meanwhile.
    let cookies = browser.cookies().await;
    let cookie = format!("__Host-bb={}", cookies[0]["value"].as_str().unwrap());
    let logout = reqwest::Client::new().post(format!("{}/logout", server.url)).header("cookie", cookie);
    logout.send().await.unwrap();
    send(&browser, dir.path(), &FILES, "7").await;
    browser.read("#error", "Log in").await;
    assert_eq!(browser.see("#downloads").await.prop("value").await.unwrap().as_deref(), Some("7"));
    assert_eq!(browser.value("document.getElementById('files').files.length").await, 2);
    browser.click("#error a").await;
    browser.see("#token").await.send_keys(&format!("{}{ENTER}", server.token)).await.unwrap();
    browser.read(".account", "admin").await;

    // Dropped onto the page: files are taken, and all that is sent is what was taken.
    browser.see("#drop").await;
    let drop = "(() => { const all = new DataTransfer(); \
        all.items.add(new File(['dropped'], 'dropped.txt')); all.items.add(new File(['too'], 'too.txt')); \
        const event = new DragEvent('drop', { dataTransfer: all, bubbles: true, cancelable: true }); \
        document.getElementById('drop').dispatchEvent(event); return event.defaultPrevented; })()";
    assert_eq!(browser.value(drop).await, true);
    browser.read("#chosen li:nth-child(2)", "too.txt").await;
    browser.click("#go").await;
    browser.read("h1", "Available").await;
    browser.read(".files li:nth-child(1)", "dropped.txt").await;
    let sent = link(&browser).await;
    assert_eq!(server.transfer(&sent.transfer).await["files"][1]["size"], 3);
}

/// All that can be reached with the tab key, in order, by what is there to see of it.
async fn tabs(browser: &Browser) -> Vec<String> {
    let here = "(document.activeElement.id || document.activeElement.textContent || '').trim()";
    let mut reached = Vec::new();
    for _ in 0..40 {
        let down = KeyActions::new("keys".to_owned()).then(KeyAction::Down { value: TAB });
        browser.page.perform_actions(down.then(KeyAction::Up { value: TAB })).await.unwrap();
        let at = browser.value("document.activeElement.tagName").await;
        if at == "BODY" || at == "HTML" {
            break;
        }
        let name = browser.value(here).await.as_str().unwrap().to_owned();
        if reached.first() == Some(&name) {
            break;
        }
        reached.push(name);
    }
    reached
}

#[tokio::test]
async fn every_control_is_reached_with_the_tab_key_and_works_without_a_mouse() {
    let server = super::serve(&[]).await;
    let sent = server.send("f.txt", "what", "").await;
    let browser = Browser::start().await;
    browser.go(&format!("{}/login", server.url)).await;
    browser.see("#token").await;
    // The field has the focus from the beginning.
    let active = browser.page.active_element().await.unwrap();
    active.send_keys(&format!("{}{ENTER}", server.token)).await.unwrap();
    browser.at(&format!("{}/", server.url)).await;
    browser.read(".account", "admin").await;
    assert_eq!(
        tabs(&browser).await,
        ["burnbag", "Log out", "files", "expires", "downloads", "password", "go"]
    );
    browser.go(&format!("{}/transfers/{}", server.url, sent.transfer)).await;
    browser.see("[data-copy]").await;
    assert_eq!(
        tabs(&browser).await,
        [
            "burnbag",
            "Log out",
            "link-1",
            "Copy",
            "Take the link back",
            "End it now",
            "This page",
            "Send more files"
        ]
    );
    browser.see("#end summary").await.send_keys(ENTER).await.unwrap();
    browser.see("#end button").await.send_keys(ENTER).await.unwrap();
    browser.read("h1", "The transfer has ended").await;
    browser.see(".who button").await.send_keys(ENTER).await.unwrap();
    browser.read(".who", "Log in").await;
}

/// A site of somebody else: one page with a form for each of these requests.
struct Evil {
    url: String,
    serving: tokio::task::JoinHandle<()>,
}

impl Evil {
    async fn with(forms: &[String]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let html = format!("<!doctype html><title>evil</title>{}", forms.concat());
        let serving = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let html = html.clone();
                tokio::spawn(async move {
                    head_of(&mut client).await;
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
                    let answer = format!("{head}Content-Length: {}\r\n\r\n{html}", html.len());
                    let _ = client.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { url, serving }
    }
}

impl Drop for Evil {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What comes up to the end of a head, and perhaps a little more.
async fn head_of(from: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if from.read_buf(&mut head).await.unwrap_or(0) == 0 {
            break;
        }
    }
    head
}

/// A proxy in front of a service that asks for Basic at `/challenge`, as one on plain http is seen to do. It passes on
/// everything else, and keeps the heads.
struct Front {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Front {
    async fn before(address: String, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&heads);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(Self::lead(client, address.clone(), Arc::clone(&kept)));
            }
        });
        Self { url: format!("http://127.0.0.1:{port}"), heads, serving }
    }

    /// One request a connection.
    async fn lead(mut client: TcpStream, address: String, kept: Arc<Mutex<Vec<String>>>) {
        let request = head_of(&mut client).await;
        let text = String::from_utf8_lossy(&request).into_owned();
        if text.starts_with("GET /challenge ") {
            let answer = if header(&text, "authorization").is_some() {
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
            } else {
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"burnbag\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            };
            let _ = client.write_all(answer.as_bytes()).await;
            return;
        }
        kept.lock().unwrap().push(text.clone());
        let Ok(mut server) = TcpStream::connect(address).await else { return };
        let line = text.find("\r\n").unwrap_or(0);
        // The browser's next request comes on a new connection, so that its head is seen too.
        let alone: Vec<u8> = [&request[..line], b"\r\nConnection: close", &request[line..]].concat();
        if server.write_all(&alone).await.is_ok() {
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        }
    }

    /// The heads of the requests that begin so.
    fn heads(&self, line: &str) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        heads.iter().filter(|head| head.starts_with(line)).cloned().collect()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Forms that would end a transfer, log its sender out, log in as somebody else, and send a file.
fn forms(ours: &str, transfer: &str, token: &str) -> Vec<String> {
    let form = |id: &str, path: &str, rest: &str| {
        format!("<form method=post action=\"{ours}{path}\" {rest}<button id={id}>{id}</button></form>")
    };
    vec![
        form("end", &format!("/transfers/{transfer}/end"), ">"),
        form("logout", "/logout", ">"),
        form("login", "/login", &format!("><input name=token value=\"{token}\">")),
        form("send", "/", "enctype=\"multipart/form-data\"><input name=text value=planted>"),
    ]
}

/// Clicks through the forms of another site, each of which must be refused.
async fn click_all(browser: &Browser, evil: &Evil) {
    // By its port another origin of the same site, so that cookies are sent; by its name another site.
    for there in [evil.url.clone(), evil.url.replace("127.0.0.1", "localhost")] {
        for id in ["end", "logout", "login", "send"] {
            browser.go(&there).await;
            browser.click(&format!("#{id}")).await;
            let says = if id == "login" { "#error" } else { "h1" };
            browser.read(says, "The request came from another site").await;
        }
    }
}

#[tokio::test]
async fn a_form_of_another_origin_does_nothing_with_the_session() {
    // The session's requests are seen by a proxy, so the service is behind it.
    let port = free_port();
    let public = format!("http://127.0.0.1:{port}");
    let server = super::serve(&[("BURNBAG_PUBLIC_URL", &public)]).await;
    let front = Front::before(server.address().to_owned(), port).await;
    let sent = server.send("f", "what", "").await;
    let evil = Evil::with(&forms(&front.url, &sent.transfer, &server.token)).await;
    let browser = Browser::start().await;
    browser.go(&format!("{}/login", front.url)).await;
    browser.see("#token").await.send_keys(&format!("{}{ENTER}", server.token)).await.unwrap();
    browser.read(".account", "admin").await;
    let session = browser.cookies().await;

    click_all(&browser, &evil).await;

    let ends = front.heads(&format!("POST /transfers/{}/end", sent.transfer));
    let with_session = ends.iter().filter(|head| head.contains("__Host-bb=bb_ses_")).count();
    assert_eq!(
        (ends.len(), with_session),
        (2, 1),
        "the browser sent the cookie from the other port: {ends:#?}"
    );
    assert_eq!(server.transfer(&sent.transfer).await["state"], "available");
    assert_eq!(server.stored().await.len(), 1);
    assert_eq!(browser.cookies().await[0]["value"], session[0]["value"]);
    browser.go(&front.url).await;
    browser.read(".account", "admin").await;
}

#[tokio::test]
async fn a_form_of_another_origin_does_nothing_with_basic_that_the_browser_has_kept() {
    let port = free_port();
    let public = format!("http://127.0.0.1:{port}");
    let server = super::serve(&[("BURNBAG_PUBLIC_URL", &public)]).await;
    let front = Front::before(server.address().to_owned(), port).await;
    let sent = server.send("f", "what", "").await;
    let evil = Evil::with(&forms(&front.url, &sent.transfer, &server.token)).await;
    let browser = Browser::start().await;
    browser.go(&format!("http://x:{}@127.0.0.1:{port}/challenge", server.token)).await;
    browser.go(&format!("{}/transfers/{}", front.url, sent.transfer)).await;
    browser.read("h1", "Available").await;
    browser.read(".account", "admin").await;

    click_all(&browser, &evil).await;

    let ends = front.heads(&format!("POST /transfers/{}/end", sent.transfer));
    let with_token = ends.iter().filter(|head| header(head, "authorization").is_some()).count();
    assert_eq!((ends.len(), with_token), (2, 2), "the browser sent the token by itself: {ends:#?}");
    assert_eq!(server.transfer(&sent.transfer).await["state"], "available");
    assert_eq!(server.stored().await.len(), 1);
    // From our own page it is done.
    browser.go(&format!("{}/transfers/{}", front.url, sent.transfer)).await;
    browser.click("#end summary").await;
    browser.click("#end button").await;
    browser.read("h1", "The transfer has ended").await;
    wait_for("the end", async || {
        (server.transfer(&sent.transfer).await["state"] != "available").then_some(())
    })
    .await;
}
