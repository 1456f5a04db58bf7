//! The pages as a browser gets them.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use burnbag::clock::Timestamp;
use burnbag::http::pages::{self, Index, IndexFile, IndexTransfer, Who};
use burnbag::http::problems::{self, PROBLEMS};
use burnbag::service::{FileView, LinkView, TransferView};
use burnbag::transfer::policy::Policy;
use burnbag::transfer::{EndReason, FileId, LinkId, State, TransferId};
use proptest::prelude::*;

/// The codes of the API's table, by status.
const CODES: &str = "
400 request_malformed content_range_unsupported secret_in_query cursor_invalid
401 token_required token_invalid link_secret_required password_required password_wrong
403 capability_missing cross_site transfer_held
404 link_not_found not_found
405 method_not_allowed
408 body_timeout
409 name_taken transfer_sealed transfer_ended upload_incomplete upload_locked offset_mismatch
409 idempotency_in_progress conflict
412 precondition_failed tus_version
413 file_too_large quota_exceeded
415 media_type_unsupported
416 range_unsatisfiable
422 option_unknown option_invalid option_conflict expires_too_long name_invalid file_missing too_many_files
422 idempotency_mismatch
429 rate_limited too_many_attempts
460 checksum_mismatch
500 internal
503 draining link_busy buffers_busy password_busy audit_unavailable store_unavailable
507 storage_full
";

const HARD_NAMES: [&str; 10] = [
    r#"a "quoted" name's.txt"#,
    "<script>alert(1)</script>.html",
    "100%.txt",
    "%2e%2e%2Fetc",
    "résumé 日本 🔥.pdf",
    "a:b?c#d&e=f;g.txt",
    "folder/sub folder/ü.txt",
    "javascript:alert(1)",
    "&amp;&#60;.txt",
    "...",
];

const LINK: &str =
    "https://bag.example/d/0198c0ffee00700080000123456789ab#kY3rX0Zc9mPq4tVw7uJ1aB5nD8sF2gH6iL0oE9xT3zQ";
const DEADLINE: &str = "2030-01-31T18:00:00.000Z";

fn file(name: &str) -> IndexFile {
    IndexFile { name: name.to_owned(), size: 1_234_567, media_type: "text/plain".to_owned() }
}

fn index_of<'a>(names: impl IntoIterator<Item = &'a str>) -> Index {
    let files = names.into_iter().map(file).collect();
    Index { transfer: IndexTransfer { deadline: DEADLINE.to_owned(), files } }
}

const POLICY: Policy = Policy {
    expires_default: Duration::from_hours(24),
    expires_max: Duration::from_hours(168),
    max_upload_bytes: Some(5_000_000_000),
};

fn who(account: &str) -> Who {
    Who { account: account.to_owned(), session: true }
}

/// A transfer as its owner sees it: a file of each hard name, a link.
fn transfer(state: State, reason: Option<EndReason>) -> TransferView {
    let name = |name: &str| FileView {
        id: FileId::from_bytes([2; 16]),
        name: Some(name.to_owned()),
        size: Some(1_234_567),
        media_type: None,
        sha256: None,
    };
    let link = LinkView {
        id: LinkId::from_bytes([3; 16]),
        url: Some(LINK.to_owned()),
        tool_url: None,
        label: Some("for the <b>printer</b>".to_owned()),
        created: Timestamp::default(),
        deadline: None,
        downloads: Some(3),
        used: 1,
        last_used: None,
        password: true,
        revoked: false,
        tries: 0,
        stopped: false,
    };
    TransferView {
        id: TransferId::from_bytes([1; 16]),
        state,
        reason,
        created: Timestamp::default(),
        deadline: DEADLINE.parse().unwrap(),
        files: HARD_NAMES.map(name).into(),
        links: vec![link],
        own: true,
        version: 1,
    }
}

/// The body; a page's body is whole in memory, so nothing is waited for.
fn text(response: Response) -> String {
    let body = axum::body::to_bytes(response.into_body(), usize::MAX);
    let bytes = futures_util::FutureExt::now_or_never(body).expect("a body in memory").unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn every_page() -> Vec<(&'static str, Response)> {
    let index = index_of(HARD_NAMES);
    let evil = "<b onclick=x>\"'</b>";
    vec![
        ("receive", pages::receive()),
        ("index", pages::index(&index)),
        ("folder", pages::folder(&index, "folder").unwrap()),
        ("home", pages::home("https://bag.example")),
        ("login", pages::login("http://bag.example")),
        ("login again", pages::login_again(StatusCode::UNAUTHORIZED, evil, evil, "https://bag.example")),
        ("send", pages::send(&who(evil), true, &POLICY)),
        ("send, not allowed", pages::send(&who("admin"), false, &POLICY)),
        ("sent", pages::sent(&transfer(State::Available, None), &who(evil), true)),
        ("ended", pages::transfer(&transfer(State::Ended, Some(EndReason::Deleted)), &who("admin"), true)),
        (
            "problem of a caller",
            pages::problem_for(Some(&who(evil)), StatusCode::NOT_FOUND, evil, evil, "not_found"),
        ),
        ("problem", pages::problem(StatusCode::NOT_FOUND, evil, evil, "link_not_found")),
        ("strange problem", pages::problem(StatusCode::IM_A_TEAPOT, evil, evil, evil)),
        ("problem_doc", pages::problem_doc("storage_full").unwrap()),
    ]
}

/// The start tags of a page, without their angle brackets.
fn tags(html: &str) -> Vec<&str> {
    html.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag).collect()
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    tag.split_once(&format!(" {name}=\""))?.1.split('"').next()
}

fn unescape(html: &str) -> String {
    let mut text = html.to_owned();
    for (entity, plain) in [
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&quot;", "\""),
        ("&lt;", "<"),
        ("&gt;", ">"),
    ] {
        text = text.replace(entity, plain);
    }
    text.replace("&amp;", "&").replace("&#38;", "&")
}

fn decode(href: &str) -> String {
    percent_encoding::percent_decode_str(&unescape(href)).decode_utf8().unwrap().into_owned()
}

/// The links of a file list, as they stand in the page.
fn file_links(html: &str) -> Vec<&str> {
    let list = html.split_once("<main>").unwrap().1.split_once("</main>").unwrap().0;
    tags(list)
        .into_iter()
        .filter(|tag| tag.starts_with("a "))
        .filter_map(|tag| attribute(tag, "href"))
        .collect()
}

#[test]
fn no_page_has_a_script_or_a_style_of_its_own() {
    for (name, response) in every_page() {
        let html = text(response);
        for tag in tags(&html) {
            let element = tag.split_whitespace().next().unwrap();
            assert_ne!(element, "style", "{name}: <{tag}>");
            assert_ne!(element, "base", "{name}: <{tag}>");
            if element == "script" {
                assert!(
                    attribute(tag, "src").is_some_and(|src| src.starts_with("/assets/")),
                    "{name}: <{tag}>"
                );
            }
            for word in tag.split_whitespace().skip(1) {
                assert!(!word.starts_with("on") && !word.starts_with("style="), "{name}: <{tag}>");
            }
            for place in ["href", "src", "action"] {
                let address = attribute(tag, place).unwrap_or_default();
                assert!(!address.contains("javascript:") && !address.contains("data:"), "{name}: <{tag}>");
            }
        }
        assert!(html.contains("<script type=\"module\" src=\"/assets/"), "{name} has a script to look at");
        assert!(html.split_once("</script>").unwrap().0.ends_with('>'), "{name}: the script is empty inside");
    }
}

#[test]
fn every_page_has_the_headers_that_guard_it() {
    for (name, response) in every_page() {
        let headers = response.headers();
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], pages::CSP, "{name}");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{name}");
        assert_eq!(headers[header::REFERRER_POLICY], "same-origin", "{name}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{name}");
        assert_eq!(headers["x-robots-tag"], "noindex", "{name}");
        assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8", "{name}");
    }
}

#[test]
fn the_policy_of_a_page_is_the_one_that_was_agreed() {
    assert_eq!(
        pages::CSP,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
}

#[test]
fn the_page_of_a_link_is_always_the_same_and_names_no_link() {
    let first = text(pages::receive());
    assert_eq!(first, text(pages::receive()));
    let longest = first.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max().unwrap();
    assert!(longest < 16, "no id in it: {longest} hexadecimal digits in a row");
    assert!(!first.contains("/d/"), "it spells no path below /d/");
}

#[test]
fn the_form_of_a_link_posts_the_secret_to_its_own_page() {
    let html = text(pages::receive());
    let form = tags(&html).into_iter().find(|tag| tag.starts_with("form")).unwrap();
    assert_eq!(attribute(form, "method"), Some("post"));
    assert_eq!(attribute(form, "action"), None, "no action is the page's own address, fragment left out");
    let field = tags(&html).into_iter().find(|tag| attribute(tag, "name") == Some("secret")).unwrap();
    assert_eq!(attribute(field, "autocomplete"), Some("off"));
    assert!(html.contains("<label for=\"secret\">"));
    let hidden = tags(&html).into_iter().any(|tag| tag.starts_with("form") && tag.contains("hidden"));
    assert!(!hidden, "without a script the form is there");
}

#[test]
fn a_pasted_link_gives_its_secret() {
    let secret = LINK.split_once('#').unwrap().1;
    assert_eq!(pages::pasted_secret(LINK), secret);
    assert_eq!(pages::pasted_secret(&format!("  {LINK}\r\n")), secret);
    assert_eq!(pages::pasted_secret(secret), secret);
    assert_eq!(pages::pasted_secret(""), "");
}

#[test]
fn an_index_has_the_agreed_shape_as_json() {
    let json = serde_json::to_string(&index_of(["a/b.txt"])).unwrap();
    assert_eq!(
        json,
        r#"{"transfer":{"deadline":"2030-01-31T18:00:00.000Z","files":[{"name":"a/b.txt","size":1234567,"type":"text/plain"}]}}"#
    );
}

#[test]
fn hard_names_are_escaped_and_their_links_lead_back_to_them() {
    let html = text(pages::index(&index_of(HARD_NAMES)));
    assert!(!html.contains("<script>alert"), "no markup from a name");
    let links: Vec<_> = file_links(&html).into_iter().map(decode).collect();
    for name in HARD_NAMES {
        assert!(links.iter().any(|link| link == name), "{name} is not among {links:?}");
    }
    for name in HARD_NAMES.iter().filter(|name| !name.contains('/')) {
        assert!(unescape(&html).contains(name), "{name} is shown as it is");
    }
}

proptest! {
    #[test]
    fn any_name_round_trips_through_a_relative_link(name in "[^/\\\\\\p{C}]{1,40}(/[^/\\\\\\p{C}]{1,40}){0,3}") {
        prop_assume!(burnbag::transfer::FileName::parse(&name).is_ok());
        let html = text(pages::index(&index_of([name.as_str()])));
        let links = file_links(&html);
        let link = links.last().unwrap();
        prop_assert_eq!(decode(link), name);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~%/".contains(c);
        prop_assert!(link.chars().all(plain), "{} is relative and needs no further encoding", link);
    }
}

#[test]
fn folders_can_be_walked_one_by_one() {
    let index = index_of(["top.txt", "a b/one.txt", "a b/deep/two.txt", "a bc/three.txt"]);
    let root = text(pages::index(&index));
    assert_eq!(
        file_links(&root),
        ["top.txt", "a%20b/", "a%20b/one.txt", "a%20b/deep/two.txt", "a%20bc/", "a%20bc/three.txt"]
    );
    let folder = text(pages::folder(&index, "a b").unwrap());
    assert_eq!(file_links(&folder), ["one.txt", "deep/", "deep/two.txt"]);
    let deep = text(pages::folder(&index, "a b/deep").unwrap());
    assert_eq!(file_links(&deep), ["two.txt"]);
    for nothing in ["a", "top.txt", "", "a b/one.txt", "a b/", "A B"] {
        assert!(pages::folder(&index, nothing).is_none(), "{nothing:?} is no folder");
    }
}

#[test]
fn an_index_leads_nowhere_but_down() {
    let html = text(pages::index(&index_of(HARD_NAMES)));
    for tag in tags(&html).into_iter().filter(|tag| tag.starts_with("a ")) {
        let href = attribute(tag, "href").unwrap();
        assert!(
            !href.starts_with('/') && !href.starts_with("..") || href == "...",
            "wget -r would climb to {href}"
        );
    }
}

#[test]
fn every_code_of_the_api_is_in_the_table_once_with_its_status() {
    let mut expected = BTreeSet::new();
    for line in CODES.lines().filter(|line| !line.is_empty()) {
        let (status, codes) = line.split_once(' ').unwrap();
        expected.extend(codes.split(' ').map(|code| (code, status.parse::<u16>().unwrap())));
    }
    assert_eq!(expected.len(), 49);
    let table: BTreeSet<_> = PROBLEMS.iter().map(|kind| (kind.code, kind.status)).collect();
    assert_eq!(table, expected);
    assert_eq!(PROBLEMS.len(), expected.len(), "no code twice");
}

#[test]
fn every_problem_says_what_happened_and_what_to_do() {
    for kind in PROBLEMS {
        assert!(StatusCode::from_u16(kind.status).is_ok());
        assert!(!kind.title.is_empty() && !kind.title.ends_with('.'), "{}", kind.code);
        assert!(kind.help.len() > 20, "{}", kind.code);
        let page = pages::problem_doc(kind.code).unwrap();
        assert_eq!(page.status(), StatusCode::OK);
        let html = unescape(&text(page));
        assert!(
            html.contains(kind.title) && html.contains(kind.help) && html.contains(kind.code),
            "{}",
            kind.code
        );
    }
    assert!(pages::problem_doc("no_such_code").is_none());
    assert!(problems::kind("no_such_code").is_none());
}

#[test]
fn an_error_page_escapes_what_it_is_told() {
    let response =
        pages::problem(StatusCode::UNPROCESSABLE_ENTITY, "A <title>", "name \"<i>\" refused", "name_invalid");
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let html = text(response);
    assert!(!html.contains("<i>") && !html.contains("A <title>"));
    assert!(unescape(&html).contains("name \"<i>\" refused"));
    assert!(html.contains("href=\"/problems/name_invalid\""));
    assert!(html.contains(problems::kind("name_invalid").unwrap().help.split(',').next().unwrap()));
}

#[test]
fn an_error_page_does_not_say_its_help_twice() {
    let kind = problems::kind("link_not_found").unwrap();
    let detail = format!("This link does not open anything: {}", kind.help);
    let html = text(pages::problem(StatusCode::NOT_FOUND, kind.title, &detail, kind.code));
    assert_eq!(html.matches(kind.help).count(), 1);
}

#[test]
fn the_page_after_an_upload_has_the_whole_link() {
    let response = pages::sent(&transfer(State::Available, None), &who("admin"), true);
    assert_eq!(response.status(), StatusCode::CREATED);
    let html = text(response);
    let field = tags(&html).into_iter().find(|tag| attribute(tag, "id") == Some("link-1")).unwrap();
    assert_eq!(attribute(field, "value").map(unescape).as_deref(), Some(LINK));
    for name in HARD_NAMES {
        assert!(unescape(&html).contains(name), "{name}");
    }
    assert!(html.contains(&format!("datetime=\"{DEADLINE}\"")) && html.contains("2030-01-31 18:00 UTC"));
    assert!(html.contains("Downloaded 1 of 3 times · with a password"), "{html}");
}

#[test]
fn a_transfer_that_has_ended_shows_why_and_offers_nothing_more() {
    for (reason, why) in [
        (EndReason::Expired, "Its deadline has passed."),
        (EndReason::Exhausted, "Every download was used."),
        (EndReason::Deleted, "It was ended by hand."),
        (EndReason::Rejected, "It was refused"),
        (EndReason::Abandoned, "It was never sent whole."),
    ] {
        for state in [State::Ended, State::Purged] {
            let html = text(pages::transfer(&transfer(state, Some(reason)), &who("admin"), true));
            assert!(html.contains("<h1>The transfer has ended</h1>") && html.contains(why), "{html}");
            assert!(!html.contains("/end\"") && !html.contains(LINK) && !html.contains("<time"), "{html}");
        }
    }
    let other = text(pages::transfer(&transfer(State::Available, None), &who("bob"), false));
    assert!(!other.contains("/end\""), "nobody is offered what he may not do");
}

#[test]
fn every_control_has_a_label_and_every_form_is_a_post_to_us() {
    for (name, response) in every_page() {
        let html = text(response);
        let tags = tags(&html);
        for tag in &tags {
            let element = tag.split_whitespace().next().unwrap();
            if ["input", "select", "progress"].contains(&element) {
                let id = attribute(tag, "id").unwrap_or_else(|| panic!("{name}: <{tag}>"));
                assert!(html.contains(&format!("<label for=\"{id}\"")), "{name}: <{tag}>");
            }
            if element == "form" {
                assert_eq!(attribute(tag, "method"), Some("post"), "{name}: <{tag}>");
                assert!(attribute(tag, "action").is_none_or(|to| to.starts_with('/')), "{name}: <{tag}>");
            }
            for described in attribute(tag, "aria-describedby").unwrap_or_default().split_whitespace() {
                assert!(html.contains(&format!("id=\"{described}\"")), "{name}: <{tag}>");
            }
        }
        let mut ids: Vec<_> = tags.iter().filter_map(|tag| attribute(tag, "id")).collect();
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{name}: an id twice in {ids:?}");
    }
}

#[test]
fn a_page_of_the_logged_in_has_the_account_and_a_way_out() {
    let name = "bob <b>& sons";
    for page in [
        pages::send(&who(name), true, &POLICY),
        pages::sent(&transfer(State::Available, None), &who(name), true),
        pages::problem_for(Some(&who(name)), StatusCode::NOT_FOUND, "t", "d", "not_found"),
    ] {
        let html = text(page);
        assert!(!html.contains("<b>") && unescape(&html).contains(name), "{html}");
        assert!(html.contains("<form method=\"post\" action=\"/logout\">"), "{html}");
    }
    let by_token = Who { account: name.to_owned(), session: false };
    assert!(!text(pages::send(&by_token, true, &POLICY)).contains("/logout"), "a token is not logged out");
    let html = text(pages::home("https://bag.example"));
    assert!(html.contains("href=\"/login\"") && !html.contains("/logout"));
    assert!(!text(pages::receive()).contains("/log"), "the page of a link is nobody's");
}

#[test]
fn a_password_field_says_what_it_is_for() {
    let field = |html: &str, name| {
        let tags = tags(html);
        let tag = tags.into_iter().find(|tag| attribute(tag, "name") == Some(name)).unwrap();
        (attribute(tag, "type").unwrap().to_owned(), attribute(tag, "autocomplete").unwrap().to_owned())
    };
    let login = text(pages::login("https://bag.example"));
    assert_eq!(field(&login, "token"), ("password".to_owned(), "current-password".to_owned()));
    let send = text(pages::send(&who("admin"), true, &POLICY));
    assert_eq!(field(&send, "password"), ("password".to_owned(), "new-password".to_owned()));
    assert!(
        !login.contains("needs https") && text(pages::login("http://bag.example")).contains("needs https")
    );
}

#[test]
fn every_curl_line_shows_an_error_as_one() {
    for public_url in ["https://bag.example", "https://bag.example/"] {
        let usage = pages::usage(public_url);
        assert!(usage.contains("'https://bag.example/'") && usage.ends_with('\n') && !usage.contains("//'"));
        let home = unescape(&text(pages::home(public_url)));
        assert!(home.contains("'https://bag.example/'"));
        let receive = unescape(&text(pages::receive()));
        for shown in [&usage, &home, &receive] {
            assert!(shown.contains("curl "));
            for line in shown.lines().filter(|line| line.contains("curl -") || line.contains("| curl")) {
                assert!(line.contains("curl --fail-with-body "), "{line}");
            }
        }
    }
}

#[test]
fn whatever_a_page_or_a_module_asks_for_is_embedded() {
    let mut asked = BTreeSet::new();
    for (_, response) in every_page() {
        let html = text(response);
        for tag in tags(&html) {
            for place in ["src", "href"] {
                asked.extend(
                    attribute(tag, place).and_then(|to| to.strip_prefix("/assets/")).map(str::to_owned),
                );
            }
        }
    }
    assert!(asked.contains("style.css") && asked.contains("receive.js") && asked.contains("favicon.svg"));
    for module in ["page.js", "receive.js", "send.js", "words.js"] {
        let script = text(pages::asset(module, &HeaderMap::new()).unwrap());
        asked.extend(
            script.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned),
        );
    }
    assert!(asked.contains("words.js"));
    for name in asked {
        let response = pages::asset(&name, &HeaderMap::new()).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(response.status(), StatusCode::OK);
        let kind = match name.rsplit('.').next().unwrap() {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(response.headers()[header::CONTENT_TYPE], kind);
        assert!(!text(response).contains("http://") || name == "favicon.svg", "{name} asks nobody else");
    }
    assert!(pages::asset("../Cargo.toml", &HeaderMap::new()).is_none());
}

#[test]
fn an_asset_that_the_browser_has_is_not_sent_again() {
    let first = pages::asset("style.css", &HeaderMap::new()).unwrap();
    let mut again = HeaderMap::new();
    again.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
    let second = pages::asset("style.css", &again).unwrap();
    assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(second.headers()[header::ETAG], first.headers()[header::ETAG]);
    assert!(text(second).is_empty());
    let other = pages::asset("page.js", &again).unwrap();
    assert_eq!(other.status(), StatusCode::OK, "the tag of another file does not count");
    assert_eq!(first.headers()[header::CACHE_CONTROL], "public, no-cache");
}

#[test]
fn crawlers_are_kept_out_and_wget_is_let_in() {
    let text = text(pages::robots());
    let records: Vec<_> = text.split("\n\n").map(str::trim_end).collect();
    assert_eq!(records, ["User-agent: *\nDisallow: /", "User-agent: Wget\nDisallow:"]);
}
