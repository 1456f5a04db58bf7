//! What is measured is true, is read by Prometheus' own tool without a complaint, tells no secret, and is described.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use burnbag::app::App;
use burnbag::clock::ManualClock;
use burnbag::config::{Config, Flags};
use burnbag::service::Claim;
use burnbag::transfer::policy::Expires;
use futures_util::future::join_all;
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::metrics_support::{Scrape, Shown, promtool};
use crate::sample::{START, available, system, team};
use crate::start_up::{assert_names, refused};
use crate::support::{Link, Server, files_below, noise, text, wait_for};
use crate::trail::client;

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The metrics of the table in docs/OPERATIONS.md.
fn described() -> BTreeSet<String> {
    let operations = page("docs/OPERATIONS.md");
    let section = operations.split("\n## Metrics").nth(1).unwrap().split("\n## ").next().unwrap();
    let names = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    names.map(|name| name.split('{').next().unwrap().to_owned()).collect()
}

/// Sends, fetches, is refused and ends in every way; returns what must not be in a scrape.
async fn use_it(server: &Server) -> Vec<String> {
    let receiver = client("receiver");
    let small = server.send("quarterly-report.pdf", noise(1000, 1), "").await;
    let large = server.send("big", noise(20 << 20, 2), "").await;
    let once = server.send("once", "hello", "downloads=1").await;
    let short = server.send("short", "hello", "expires=1s").await;
    for (link, length) in [(&small, 1000), (&large, 20 << 20), (&once, 5)] {
        let answer = link.get(&receiver).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.bytes().await.unwrap().len(), length);
    }
    let part = small.get(&receiver).header("range", "bytes=0-99").send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.unwrap().len(), 100);
    let wrong = Link { secret: once.secret.clone(), ..small.clone() };
    assert_eq!(wrong.get(&receiver).send().await.unwrap().status(), 404);
    assert_eq!(receiver.put(format!("{}/x", server.url)).body("x").send().await.unwrap().status(), 401);
    let odd = receiver.put(format!("{}/x?colour=red", server.url)).basic_auth("", Some(&server.token));
    assert_eq!(odd.body("x").send().await.unwrap().status(), 422);
    let brew = reqwest::Method::from_bytes(b"BREW").unwrap();
    assert_eq!(receiver.request(brew, &small.url).send().await.unwrap().status(), 405);
    // A sender who leaves half-way.
    let half = format!(
        "PUT /half HTTP/1.1\r\nhost: b\r\nauthorization: {}\r\ncontent-length: 1000\r\n\r\nhello",
        server.basic()
    );
    server.raw(half.as_bytes(), false).await;
    let delete = receiver.delete(&small.url).basic_auth("", Some(&server.token)).send().await.unwrap();
    assert_eq!(delete.status(), 204);
    let mut told = vec![server.token.clone(), "quarterly-report".to_owned(), "127.0.0.1".to_owned()];
    for link in [&small, &large, &once, &short] {
        told.extend([link.secret.clone(), link.transfer.clone()]);
        told.push(link.url.rsplit('/').next().unwrap().to_owned());
    }
    told
}

/// Scrapes until this holds.
async fn until(shown: &Shown, what: &str, holds: impl Fn(&Scrape) -> bool) -> Scrape {
    wait_for(what, async || Some(shown.scrape().await).filter(&holds)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrape_counts_what_was_done_tells_nothing_secret_and_promtool_finds_nothing_to_say() {
    let shown = Shown::new();
    let settings = [("BURNBAG_SWEEP_EVERY", "1s"), ("BURNBAG_LEASE_RETRY", "1s")];
    let server = shown.server(&settings).await;
    let told = use_it(&server).await;
    let ends = ["expired", "exhausted", "deleted", "abandoned"];
    let scrape = until(&shown, "the ends, and a sweep after them", |scrape| {
        ends.iter().all(|why| scrape.value(&format!("burnbag_ends_total{{reason=\"{why}\"}}")) == Some(1.0))
            && scrape.value("burnbag_deletion_lateness_seconds_count") == Some(4.0)
            && scrape.value("burnbag_sweep_objects") == Some(1.0)
            && scrape.value("burnbag_downloads_running") == Some(0.0)
            && scrape.value("burnbag_oldest_overdue_seconds") == Some(0.0)
            && scrape.value("burnbag_outbox_events") == Some(0.0)
    })
    .await;
    let is = |sample: &str, value: f64| assert_eq!(scrape.value(sample), Some(value), "{sample}\n{scrape:?}");
    is("burnbag_upload_duration_seconds_count{outcome=\"completed\"}", 4.0);
    is("burnbag_upload_duration_seconds_count{outcome=\"sender_left\"}", 1.0);
    is("burnbag_download_duration_seconds_count{outcome=\"completed\"}", 4.0);
    is("burnbag_uploads_running", 0.0);
    is("burnbag_received_bytes_total", f64::from((20 << 20) + 1000 + 5 + 5 + 5));
    is("burnbag_sent_bytes_total", f64::from((20 << 20) + 1000 + 5 + 100));
    is("burnbag_end_lateness_seconds_count", 1.0);
    assert!(scrape.value("burnbag_end_lateness_seconds_sum").unwrap() < 10.0);
    // The deadline and the last download; the other two ended by a request.
    is("burnbag_ends_noticed_total{layer=\"index\"}", 2.0);
    is("burnbag_ends_noticed_total{layer=\"sweep\"}", 0.0);
    is("burnbag_http_requests_total{method=\"GET\",route=\"/d/{link}\",status=\"2xx\"}", 4.0);
    is("burnbag_http_requests_total{method=\"other\",route=\"/d/{link}\",status=\"4xx\"}", 1.0);
    for code in ["link_not_found", "token_required", "option_unknown", "method_not_allowed"] {
        is(&format!("burnbag_problems_total{{code=\"{code}\"}}"), 1.0);
    }
    for (store, operation, times) in [
        ("records", "lease_open", 4.0),
        ("blobs", "put", 3.0),
        ("blobs", "open", 1.0),
        ("blobs", "complete", 1.0),
        ("records", "commit", 10.0),
    ] {
        let count = format!(
            "burnbag_store_operation_duration_seconds_count{{store=\"{store}\",operation=\"{operation}\"}}"
        );
        assert!(scrape.value(&count) >= Some(times), "{count} {:?}", scrape.value(&count));
    }
    for up in ["burnbag_store_up{store=\"records\"}", "burnbag_store_up{store=\"blobs\"}"] {
        is(up, 1.0);
    }
    for open in ["burnbag_audit_gate_open{for=\"uploads\"}", "burnbag_audit_gate_open{for=\"downloads\"}"] {
        is(open, 1.0);
    }
    is("burnbag_buffer_bytes", 0.0);
    is("burnbag_buffer_limit_bytes", f64::from(320 << 20));
    is("burnbag_oldest_undeleted_seconds", 0.0);
    assert!(scrape.value("burnbag_blob_store_free_bytes") > Some(0.0));
    assert!(scrape.value("process_resident_memory_bytes") > Some(1e6));
    assert!(scrape.value("process_cpu_seconds_total") > Some(0.0));
    assert!(scrape.value("process_open_fds") > Some(5.0));
    let age = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
        - scrape.value("process_start_time_seconds").unwrap();
    assert!((0.0..600.0).contains(&age), "it began {age} s ago");

    for secret in &told {
        assert!(!scrape.0.contains(secret.as_str()), "{secret} is in it");
    }
    let described = described();
    let scraped: BTreeSet<String> = scrape.names().into_iter().map(str::to_owned).collect();
    let unknown: Vec<_> = scraped.difference(&described).collect();
    assert!(unknown.is_empty(), "not in docs/OPERATIONS.md: {unknown:?}");

    let said = promtool(&["check", "metrics"], &scrape.0);
    assert!(said.status.success(), "{}", text(&said.stderr));
    assert_eq!(text(&said.stdout) + &text(&said.stderr), "");
    assert!(!promtool(&["check", "metrics"], "# TYPE a_total gauge\na_total 1\n").status.success());
}

#[tokio::test]
async fn who_asks_for_openmetrics_gets_what_prometheus_can_read_as_such() {
    let shown = Shown::new();
    let server = shown.server(&[]).await;
    server.send("a", "hello", "").await;
    // As Prometheus 2.42 asks.
    let accept = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let answer = client("prometheus").get(shown.url()).header("accept", accept).send().await.unwrap();
    assert_eq!(
        answer.headers()["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let open = answer.text().await.unwrap();
    assert!(open.ends_with("# EOF\n"));
    assert!(open.contains("# TYPE burnbag_ends counter\n") && open.contains("\nburnbag_ends_total{"));
    // The one thing of Prometheus that reads a file of it takes samples with a time alone.
    let dated = open.lines().map(|line| match line {
        comment if comment.starts_with('#') => format!("{comment}\n"),
        sample => format!("{sample} 1700000000\n"),
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scrape");
    std::fs::write(&file, dated.collect::<String>()).unwrap();
    let blocks = dir.path().join("blocks");
    let paths = [file.to_str().unwrap(), blocks.to_str().unwrap()];
    let read = promtool(&["tsdb", "create-blocks-from", "openmetrics", paths[0], paths[1]], "");
    assert!(read.status.success(), "{}{}", text(&read.stdout), text(&read.stderr));
    let refusing = "application/openmetrics-text;q=0, text/plain";
    let answer = client("other").get(shown.url()).header("accept", refusing).send().await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
}

#[test]
fn the_alert_rules_can_be_loaded_fire_as_they_should_and_name_metrics_that_there_are() {
    for arguments in [["check", "rules", "deploy/alerts.yml"], ["test", "rules", "tests/alerts.yml"]] {
        let said = promtool(&arguments, "");
        assert!(said.status.success(), "{}{}", text(&said.stdout), text(&said.stderr));
    }
    let described = described();
    let rules = page("deploy/alerts.yml");
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let named = rules
        .split(|c| !is_of_a_name(c))
        .filter(|word| word.starts_with("burnbag_") || word.starts_with("process_"));
    let named: BTreeSet<&str> = named.map(|word| word.strip_suffix("_bucket").unwrap_or(word)).collect();
    assert!(named.len() > 10);
    for name in named {
        assert!(described.contains(name), "{name} is not in docs/OPERATIONS.md");
    }
}

#[test]
fn every_metric_that_is_described_is_one_that_is_registered() {
    let mut sources = page("src/metrics.rs");
    for file in files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/metrics")) {
        sources.push_str(&std::fs::read_to_string(file).unwrap());
    }
    for name in described() {
        let registered = format!("\"{}\"", name.strip_suffix("_total").unwrap_or(&name));
        assert!(sources.contains(&registered), "{name} is described and not registered");
    }
}

#[test]
fn every_call_of_a_store_is_passed_on() {
    // One that a trait gives a body of its own would not be missed by the compiler.
    for (traits, measured) in [("records", "records"), ("blob", "blobs")] {
        let traits = page(&format!("src/storage/{traits}.rs"));
        let measured = page(&format!("src/storage/measured/{measured}.rs"));
        let bodies = traits.split("\npub trait ").skip(1).map(|body| body.split("\n}").next().unwrap());
        let calls: Vec<&str> = bodies
            .flat_map(|body| body.split("fn ").skip(1))
            .map(|call| call.split(['(', '<']).next().unwrap())
            .collect();
        assert!(calls.len() > 10, "{calls:?}");
        for call in calls {
            assert!(
                measured.contains(&format!("self.inner.{call}("))
                    || measured.contains(&format!(" inner.{call}(")),
                "{call} is not passed on"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_listener_has_metrics_alone_and_room_for_one_more() {
    let shown = Shown::new();
    let server = shown.server(&[]).await;
    let client = client("operator");
    let elsewhere = client.get(format!("http://{}/", shown.address)).send().await.unwrap();
    assert_eq!(elsewhere.status(), StatusCode::NOT_FOUND);
    assert!(elsewhere.text().await.unwrap().contains("/metrics"));
    let posted = client.post(shown.url()).body("x").send().await.unwrap();
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(posted.headers()["allow"], "GET,HEAD");
    let head = client.head(shown.url()).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    assert!(head.bytes().await.unwrap().is_empty());
    // Metrics are not where the files are.
    let main = client.get(format!("{}/metrics", server.url)).send().await.unwrap();
    assert_eq!(main.status(), StatusCode::NOT_FOUND);

    // Many that say nothing give way to one that asks.
    let connect = || async { TcpStream::connect(&shown.address).await.unwrap() };
    let mut idle = join_all((0..40).map(|_| connect())).await;
    assert!(shown.scrape().await.0.contains("burnbag_build_info"));
    let mut closed = 0;
    for stream in &mut idle {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut byte)).await;
        closed += usize::from(matches!(read, Ok(Ok(0) | Err(_))));
    }
    assert!(closed >= 40 - 16, "{closed} of 40 were closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_is_seen_while_it_is() {
    let shown = Shown::new();
    let server = shown.server(&[]).await;
    let head = format!(
        "PUT /slow HTTP/1.1\r\nhost: b\r\nauthorization: {}\r\ncontent-length: 10\r\n\r\nhello",
        server.basic()
    );
    let mut sender = TcpStream::connect(server.address()).await.unwrap();
    sender.write_all(head.as_bytes()).await.unwrap();
    let scrape = until(&shown, "an upload", |scrape| {
        scrape.value("burnbag_uploads_running") == Some(1.0)
            && scrape.value("burnbag_received_bytes_total") == Some(5.0)
    })
    .await;
    assert!(scrape.value("burnbag_buffer_bytes") > Some(0.0));
    assert!(scrape.value("burnbag_connections") >= Some(1.0));
    drop(sender);
    until(&shown, "its end", |scrape| {
        scrape.value("burnbag_uploads_running") == Some(0.0)
            && scrape.value("burnbag_buffer_bytes") == Some(0.0)
            && scrape.value("burnbag_connections") == Some(0.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_answer_is_shown_and_what_it_alone_knows_is_left_out() {
    let shown = Shown::new();
    let mut server = shown.server(&[]).await;
    let link = server.send("kept", "hello", "").await;
    server.stop().await;
    server.start_again().await;
    let objects = server.data().join("objects");
    let away = server.data().join("objects.away");
    std::fs::rename(&objects, &away).unwrap();
    std::fs::write(&objects, "no directory").unwrap();
    let down = |store: &'static str| {
        move |scrape: &Scrape| scrape.value(&format!("burnbag_store_up{{store=\"{store}\"}}")) == Some(0.0)
    };
    let scrape = until(&shown, "the objects to be missed", down("blobs")).await;
    assert!(scrape.sum("burnbag_store_errors_total", "store=\"blobs\"") >= 1.0, "{scrape:?}");
    assert_eq!(scrape.value("burnbag_oldest_overdue_seconds"), Some(0.0));
    std::fs::remove_file(&objects).unwrap();
    std::fs::rename(&away, &objects).unwrap();
    until(&shown, "the objects", |scrape| scrape.value("burnbag_store_up{store=\"blobs\"}") == Some(1.0))
        .await;

    crate::database::damage(&server.data().join("burnbag.db"));
    // What the workers read all the time may be in memory by now.
    assert!(link.get(&client("receiver")).send().await.unwrap().status().is_server_error());
    let scrape = until(&shown, "the damage to be met", down("records")).await;
    for unknown in
        ["burnbag_oldest_overdue_seconds", "burnbag_oldest_undeleted_seconds", "burnbag_outbox_events"]
    {
        assert_eq!(scrape.value(unknown), None, "{unknown}");
    }
    assert!(scrape.sum("burnbag_store_errors_total", "error=\"damaged\"") >= 1.0);
}

#[tokio::test]
async fn what_is_overdue_is_seen_though_it_is_claimed_or_put_off() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let settings = vec![("DATA_DIR", dir.path().display().to_string())];
    let config = Config::load(&Flags { file: None, settings }).unwrap();
    let app = App::open(config, Arc::new(clock.clone())).await.unwrap();
    let service = &app.service;
    let seen = async || {
        let observed = service.observe().await;
        assert!(observed.records_up && observed.blobs_up);
        (observed.oldest_overdue.unwrap().as_secs(), observed.oldest_undeleted.unwrap().as_secs())
    };
    for seconds in [10, 30] {
        let change = available(team(1), Expires::After(seconds * 1000), &[1], None, &system(START));
        service.records.commit(change).await.unwrap();
    }
    clock.advance(Duration::from_secs(9));
    assert_eq!(seen().await, (0, 0), "not due yet");
    clock.advance(Duration::from_secs(26));
    assert_eq!(seen().await, (25, 0));
    // Claimed by somebody who never comes back: its place in the index has moved on, the truth has not.
    let claimed = service.records.claim(0, Claim::All, 1, Duration::from_secs(30)).await.unwrap();
    assert_eq!(claimed.transfers.len(), 1);
    assert_eq!(seen().await, (25, 0));
    clock.advance(Duration::from_secs(30));
    assert_eq!(seen().await, (55, 0));
    let pass = service.expire_due(0, Claim::All).await.unwrap();
    assert_eq!(pass.changed, 2);
    assert_eq!(seen().await, (0, 0), "ended just now");
    clock.advance(Duration::from_secs(40));
    assert_eq!(seen().await, (40, 40));
    // A deletion that failed is put off; its objects are still there.
    let pass = service.expire_due(0, Claim::All).await.unwrap();
    assert_eq!(pass.purge.len(), 2);
    for transfer in &pass.purge {
        let later = START.after(Duration::from_secs(105 + 300));
        service.records.retry(transfer.team(), transfer.id(), later).await.unwrap();
    }
    assert_eq!(seen().await, (40, 40));
    service.purge(pass.purge).await;
    assert_eq!(seen().await, (0, 0));
}

#[tokio::test]
async fn an_address_that_is_taken_or_none_is_refused_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refused(dir.path(), &[("BURNBAG_METRICS_LISTEN", &address)]);
    assert_names(&said, &["cannot listen on", &address]);
    let said = refused(dir.path(), &[("BURNBAG_METRICS_LISTEN", "9464")]);
    assert_names(&said, &["METRICS_LISTEN", "127.0.0.1:9464"]);
}
