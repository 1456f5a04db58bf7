//! What a person does with a link that has a password, in a real browser.

use crate::browser_support::Browser;
use crate::passwords::send;

const PASSWORD: &str = "correct horse: battery stäple";

#[tokio::test]
async fn the_page_asks_for_the_password_where_the_cursor_is_and_says_when_it_is_wrong() {
    let server = super::serve(&[]).await;
    let link = send(&server, "report.txt", "what", "downloads=1", PASSWORD).await;
    let browser = Browser::start().await;

    browser.go(&link.whole).await;
    browser.see("#get").await;
    let hidden = "document.getElementById('password').checkVisibility()";
    assert_eq!(browser.value(hidden).await, false, "nobody is asked before the server asks");
    browser.click("#get").await;
    browser.read("#status", "This link has a password").await;
    let field = browser.see("#password").await;
    let focused = "document.activeElement.id";
    assert_eq!(browser.value(focused).await, "password");
    let named = "document.querySelector('label[for=password]').textContent";
    assert_eq!(browser.value(named).await, "Password");

    // By the keyboard alone; what was wrong is selected, so that typing replaces it.
    field.send_keys("guess\u{E007}").await.unwrap();
    browser.read("#error", "The password is wrong").await;
    assert_eq!(browser.value(focused).await, "password");
    assert_eq!(
        browser.value("document.getElementById('password').getAttribute('aria-invalid')").await,
        "true"
    );
    field.send_keys(&format!("{PASSWORD}\u{E007}")).await.unwrap();
    browser.read("#title", "Your file").await;
    let files = browser.downloads(1).await;
    assert_eq!(files["report.txt"], b"what");
    let left = "document.getElementById('password').value";
    assert_eq!(browser.value(left).await, "", "the page keeps it no longer than it must");
    let errors = browser.errors().await;
    assert!(errors.iter().all(|error| error.contains("401")), "the refusals alone: {errors:?}");
}

#[tokio::test]
async fn without_a_script_the_form_takes_the_password_too() {
    let server = super::serve(&[]).await;
    let link = send(&server, "report.txt", "what", "", PASSWORD).await;
    let browser = Browser::without_script().await;

    browser.go(&link.whole).await;
    browser.see("#secret").await.send_keys(&link.whole).await.unwrap();
    browser.click("#paste button").await;
    browser.read("h1", "This link has a password").await;
    for (password, heading) in [("guess", "The password is wrong"), (PASSWORD, "1 file")] {
        browser.go("about:blank").await;
        browser.go(&link.whole).await;
        browser.see("#secret").await.send_keys(&link.secret).await.unwrap();
        browser.see("#password").await.send_keys(password).await.unwrap();
        browser.click("#paste button").await;
        browser.read("h1", heading).await;
    }
    browser.click(".files li a").await;
    assert_eq!(browser.downloads(1).await["report.txt"], b"what");
}
