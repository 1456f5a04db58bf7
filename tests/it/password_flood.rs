//! A thousand wrong guesses at once, over three instances: what may run runs, in bounded memory, and the stop holds everywhere.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use burnbag::transfer::tries::{LINK_FREE, LINK_STOP, delay};
use futures_util::future::join_all;
use reqwest::Client;
use serde_json::json;

use crate::metrics_support::Shown;
use crate::passwords::{asked, checks, code, send, with};
use crate::stores::Stores;
use crate::support::{Link, Server, wait_for};

const PASSWORD: &str = "correct horse battery staple";
const GUESSES: u16 = 1000;

/// Each from an address of its own, so that it is the link's tries that are counted.
fn from(n: u16) -> Client {
    let [high, low] = n.to_be_bytes();
    Client::builder().local_address(IpAddr::from([127, 0, 1 + high, low.max(1)])).build().unwrap()
}

/// A line of `/proc/<pid>/status`, in MiB.
fn memory(server: &Server, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

/// So many tries of a link at most are taken in a time.
fn allowed(time: Duration) -> u32 {
    let mut waited = Duration::ZERO;
    let mut most = LINK_FREE;
    while waited + delay(most, LINK_FREE) <= time {
        waited += delay(most, LINK_FREE);
        most += 1;
    }
    most
}

async fn runs(shown: &[Shown]) -> f64 {
    join_all(shown.iter().map(Shown::scrape)).await.iter().map(checks).sum()
}

fn at(server: &Server, link: &Link) -> Link {
    Link { url: format!("{}/d/{}", server.url, link.url.rsplit('/').next().unwrap()), ..link.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_guesses_over_three_instances_only_those_allowed_are_tried_and_a_stop_holds_everywhere()
{
    let shown = [Shown::new(), Shown::new(), Shown::new()];
    let first = Server::on(Stores::redis().await, &[shown[0].setting()]).await;
    let second = first.beside(&[shown[1].setting()]).await;
    let third = first.beside(&[shown[2].setting()]).await;
    let mut servers = [first, second, third];
    let link = send(&servers[0], "f", "what", "", PASSWORD).await;
    let beside = servers[0].send("beside", vec![7; 1 << 20], "").await;
    let client = Client::new();
    let said = json!({"secret": link.secret, "password": PASSWORD});
    let ticket = client.post(format!("{}/ticket", link.url)).json(&said).send().await.unwrap();
    let cookie = ticket.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let by_ticket = async |server: &Server| {
        let file = format!("{}/f", at(server, &link).url);
        client.get(file).header("cookie", &cookie).send().await.unwrap().status().as_u16()
    };

    let idle = memory(&servers[0], "VmRSS");
    let before = runs(&shown).await;
    let begun = Instant::now();
    let guesses = (0..GUESSES).map(async |n| {
        let (there, guess) = (at(&servers[usize::from(n % 3)], &link), format!("guess {n}"));
        code(with(&from(n), &there, &guess)).await
    });
    // Others' downloads go on beside it.
    let others = async {
        for n in 0..30 {
            let got = at(&servers[n % 3], &beside).get(&client).send().await.unwrap();
            assert_eq!(got.status(), 200);
            assert_eq!(got.bytes().await.unwrap().len(), 1 << 20);
        }
    };
    let (answers, ()) = tokio::join!(join_all(guesses), others);
    let most = f64::from(allowed(begun.elapsed()));
    let wrong = answers.iter().filter(|answer| **answer == (401, "password_wrong".to_owned())).count();
    for (status, code) in &answers {
        assert!(
            matches!(
                (status, code.as_str()),
                (401, "password_wrong") | (429, "too_many_attempts") | (503, "password_busy")
            ),
            "{status} {code}"
        );
    }
    let ran = runs(&shown).await - before;
    assert!((1.0..=most).contains(&ran), "{ran} of at most {most}");
    #[expect(clippy::cast_precision_loss, reason = "at most a thousand")]
    let told = wrong as f64;
    assert!((told - ran).abs() < 0.5, "{wrong} were told so, {ran} ran");
    let tries = async |server: &Server| {
        let view = server.transfer(&link.transfer).await;
        (view["links"][0]["tries"].as_u64().unwrap(), view["links"][0]["stopped"] == true)
    };
    let failed = u64::try_from(wrong).unwrap();
    assert_eq!(tries(&servers[0]).await, (failed, false));
    for server in &servers {
        let peak = memory(server, "VmHWM");
        assert!(peak <= idle + 400.0, "{peak:.0} MiB, {idle:.0} idle");
        assert_eq!(by_ticket(server).await, 200, "a ticket goes on");
    }

    // A restart forgets nothing.
    for server in &mut servers {
        server.stop().await;
        server.start_again().await;
    }
    assert_eq!(tries(&servers[1]).await, (failed, false));

    // What hours of guesses come to.
    let key = format!("bb:{{bb.0}}:try:{}", link.url.rsplit('/').next().unwrap());
    let redis = servers[0].stores.in_which_redis();
    let stands: String = redis.ask(&["GET", &key]);
    let mut stands: serde_json::Value = serde_json::from_str(&stands).unwrap();
    stands["failures"] = LINK_STOP.into();
    redis.ask::<String>(&["SET", &key, &stands.to_string()]);
    for _ in 0..2 {
        for server in &servers {
            let answer = with(&client, &at(server, &link), PASSWORD).send().await.unwrap();
            assert_eq!(answer.status(), 429, "the right one too");
            assert_eq!(answer.headers().get("retry-after"), None, "no time ends it");
            let said = answer.text().await.unwrap();
            assert!(said.contains("Only its sender can lift that"), "{said}");
            assert_eq!(tries(server).await, (u64::from(LINK_STOP), true));
            assert_eq!(by_ticket(server).await, 200, "a ticket goes on");
        }
        assert!(runs(&shown).await < 0.5, "nothing ran since the start");
        for server in &mut servers {
            server.stop().await;
            server.start_again().await;
        }
    }

    let id = link.url.rsplit('/').next().unwrap();
    let unlock = format!("{}/api/v1/transfers/{}/links/{id}/unlock", servers[2].url, link.transfer);
    let lifted = client.post(unlock).bearer_auth(&servers[2].token).send().await.unwrap();
    assert_eq!(lifted.status(), 204);
    for server in &servers {
        let got = with(&client, &at(server, &link), PASSWORD).send().await.unwrap();
        assert_eq!(got.status(), 200);
    }
    assert_eq!(tries(&servers[0]).await, (0, false));
    wait_for("the event", async || {
        servers[0].events().iter().any(|event| event["type"] == "link.unlocked").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_guesses_at_one_link_four_ask_the_store_and_the_refusal_of_one_is_that_of_all_who_waited() {
    const PLACES: f64 = 4.0;
    let shown = Shown::new();
    let server = shown.server(&[]).await;
    let link = send(&server, "f", "what", "", PASSWORD).await;
    let openings = async || asked(&shown.scrape().await, "opening");
    // Look-ups are answered, and no try is taken.
    let other = rusqlite::Connection::open(server.data().join("burnbag.db")).unwrap();
    wait_for("guesses that all wait at once", async || {
        let before = openings().await;
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let guesses: Vec<_> =
            (0..40).map(|n| tokio::spawn(code(with(&from(n), &link, &format!("guess {n}"))))).collect();
        wait_for("all are here, and some are in the store", async || {
            let scrape = shown.scrape().await;
            let here = scrape.value("burnbag_connections").unwrap() >= 40.0;
            (here && asked(&scrape, "opening") - before >= PLACES).then_some(())
        })
        .await;
        let without_password = code(link.get(&Client::new())).await;
        let came_in = openings().await - before;
        // The store gives up in the end, and the next ones come in.
        let all_waited = guesses.iter().all(|guess| !guess.is_finished());
        other.execute_batch("ROLLBACK").unwrap();
        join_all(guesses).await;
        let in_all = openings().await - before;
        all_waited.then(|| {
            assert_eq!(without_password, (401, "password_required".to_owned()));
            assert!((came_in - PLACES - 1.0).abs() < 0.5, "{came_in} asked the store");
            // Each free try, those beside the first that is refused, and the one without a password.
            let most = f64::from(LINK_FREE) + PLACES + 1.0;
            assert!(in_all <= most, "{in_all} asked the store");
        })
    })
    .await;
}

/// The nice values of the threads of this name (proc(5), stat).
#[cfg(target_os = "linux")]
fn nice_of(pid: u32, name: &str) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // A thread may be gone before it is read.
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    let named = stats.filter(|stat| stat.contains(&format!("({name})")));
    named
        .map(|stat| stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().parse().unwrap())
        .collect()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_derived_behind_the_requests_and_these_keep_their_priority() {
    let server = Server::start().await;
    let usual = nice_of(server.pid(), "burnbag");
    let sending = async {
        loop {
            send(&server, "f", "what", "", PASSWORD).await;
        }
    };
    let derived = wait_for("a thread of a lower priority", async || {
        nice_of(server.pid(), "argon2").into_iter().find(|nice| *nice > usual[0])
    });
    tokio::select! {
        _ = derived => {}
        () = sending => {}
    }
    let workers = nice_of(server.pid(), "tokio-rt-worker");
    assert!(
        !workers.is_empty() && workers.iter().all(|nice| *nice == usual[0]),
        "{workers:?} beside {usual:?}"
    );
}
