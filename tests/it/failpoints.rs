//! The process ends at each point of a transfer's life: when it is started again, or another instance runs on the same
//! stores, nothing is left of what ended, and nothing that was acknowledged is lost.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use burnbag::failpoint::{COMPILED, POINTS};
use burnbag::transfer::BlobKey;
use futures_util::{StreamExt as _, stream};

use crate::aftermath::{Lives, NOTHING, each_event_once, verify};
use crate::metrics_support::Shown;
use crate::stores::{Stored, Stores};
use crate::support::{Server, files_below, noise};
use crate::trail::{self, client};

/// A claim of the process that ended comes back after 30 s; a slow machine takes its time on top.
const CLEAN: Duration = Duration::from_secs(90);
/// Cases on Redis and MinIO that run beside each other.
const AT_ONCE: usize = 5;
/// Several parts.
const SIZE: usize = 20 << 20;

/// Where the process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    /// While a file is sent.
    Sending,
    /// After its deletion was acknowledged, or instead.
    Deleting,
    /// When its deadline comes.
    Expiring,
}

/// Who cleans up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    /// The same one, started again.
    Itself,
    /// Another instance on the same stores, which runs on while the first stays dead.
    Another,
}

struct Case {
    /// It ends at the point.
    server: Server,
    shown: Shown,
    other: Option<(Server, Shown)>,
    /// The objects that the records named when it had ended.
    keys: Vec<BlobKey>,
}

const SETTINGS: [(&str, &str); 3] =
    [("BURNBAG_UPLOAD_IDLE", "3s"), ("BURNBAG_SWEEP_EVERY", "2s"), ("BURNBAG_SWEEP_MIN_AGE", "10s")];

impl Case {
    /// A server that ends at this point, on these stores.
    async fn start(stores: Stores, point: &str, by: By) -> Self {
        let shown = Shown::new();
        let settings: Vec<_> = SETTINGS.into_iter().chain([("FAILPOINT", point)]).collect();
        let server = shown.server_on(stores, &settings).await;
        let other = match by {
            By::Itself => None,
            By::Another => {
                let shown = Shown::new();
                let settings: Vec<_> = SETTINGS.into_iter().chain([shown.setting()]).collect();
                let other = server.beside(&settings).await;
                Some((other, shown))
            }
        };
        Self { server, shown, other, keys: Vec::new() }
    }

    /// Comes to the point, and ends there.
    async fn end(&mut self, when: When) {
        let other = self.other.as_ref().filter(|_| when != When::Sending);
        // It would be quicker to end what is due.
        other.inspect(|(other, _)| other.freeze());
        self.act(when).await;
        let status = self.server.ended().await;
        self.keys = self.server.stores.named_keys();
        // Or nothing would be found to be unfinished.
        assert!(when != When::Sending || self.other.is_none() || !self.keys.is_empty());
        let other = self.other.as_ref().filter(|_| when != When::Sending);
        other.inspect(|(other, _)| other.resume());
        assert_eq!(status.signal(), Some(6), "{status}\n{}", self.server.log());
        assert!(self.server.log().contains("failpoint: the process ends here"));
    }

    async fn act(&self, when: When) {
        let client = client("sender");
        let (server, token) = (&self.server, Some(&self.server.token));
        match when {
            When::Sending => {
                let put = client.put(format!("{}/large", server.url)).basic_auth("", token);
                let answer = put.body(noise(SIZE, 1)).send().await;
                assert!(answer.is_err(), "it should have ended: {answer:?}");
            }
            When::Deleting => {
                let link = server.send("large", noise(SIZE, 1), "").await;
                // Whether the answer comes before the end is for chance to say.
                let _ = client.delete(&link.url).basic_auth("", token).send().await;
            }
            When::Expiring => {
                server.send("large", noise(SIZE, 1), "expires=1s").await;
            }
        }
    }

    /// The instance that cleans up.
    fn cleaner(&self) -> (&Server, &Shown) {
        self.other.as_ref().map_or((&self.server, &self.shown), |(server, shown)| (server, shown))
    }

    fn lives(&self) -> Lives {
        Lives::of(&trail::lines(&self.server.data().join("audit")))
    }

    /// Waits until nothing is left of what ended: no object, no file under way, nothing overdue, no memory taken.
    async fn clean(&self) {
        let give_up = Instant::now() + CLEAN;
        let (server, shown) = self.cleaner();
        loop {
            let lives = self.lives();
            let objects: Vec<String> = server.stored().await.iter().map(Stored::transfer).collect();
            let known: Vec<&String> = lives.live.iter().collect();
            let settled = !lives.created.is_empty() && lives.are_settled();
            let scrape = shown.scrape().await;
            let nothing = |gauge: &&str| scrape.value(&format!("burnbag_{gauge}")) == Some(0.0);
            let unfinished = server.stores.unfinished(&self.keys).await;
            if settled
                && objects.iter().collect::<Vec<_>>() == known
                && files_below(&server.data().join("tmp")).is_empty()
                && unfinished.is_empty()
                && NOTHING.iter().all(nothing)
            {
                return;
            }
            assert!(
                Instant::now() < give_up,
                "left: {lives:?} {objects:?} {unfinished:?}\n{}\n{}",
                scrape.0,
                server.log()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What is live is whole, and can be ended.
    async fn end_what_is_live(&self) {
        let (server, _) = self.cleaner();
        for id in self.lives().live {
            let transfer = server.transfer(&id).await;
            assert_eq!(transfer["state"], "available");
            assert_eq!(transfer["files"][0]["size"].as_u64(), Some(SIZE as u64));
            let url = format!("{}/api/v1/transfers/{id}", server.url);
            let ended = client("sender").delete(url).bearer_auth(&server.token).send().await.unwrap();
            assert_eq!(ended.status(), 204);
        }
    }
}

/// Ends at the point, and looks that nothing is left when somebody has cleaned up.
async fn ends_and_is_cleaned_up(stores: Stores, point: &str, when: When, by: By) {
    eprintln!("{point} {when:?} by {by:?}");
    let mut case = Case::start(stores, point, by).await;
    case.end(when).await;
    if by == By::Itself {
        case.server.set("FAILPOINT", "");
        case.server.start_again().await;
    }
    case.clean().await;
    case.end_what_is_live().await;
    case.clean().await;
    assert!(case.cleaner().0.stored().await.is_empty());
    let audit = case.server.data().join("audit");
    match &mut case.other {
        Some((other, _)) => other.stop().await,
        None => case.server.stop().await,
    }
    each_event_once(&trail::lines(&audit));
    verify(&case.server, &audit);
}

macro_rules! points {
    ($($name:ident $point:literal $when:ident)+) => {
        mod embedded {
            use super::{By, Stores, When, ends_and_is_cleaned_up};
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    ends_and_is_cleaned_up(Stores::default(), $point, When::$when, By::Itself).await;
                }
            )+
        }

        /// The points that have tests.
        const TESTED: &[(&str, When)] = &[$(($point, When::$when)),+];
    };
}

points! {
    after_the_record "after_record" Sending
    after_the_upload_was_opened "after_open" Sending
    after_the_upload_was_journalled "after_journal" Sending
    after_the_first_part "after_part" Sending
    after_the_second_part "after_part:2" Sending
    before_the_object_is_complete "before_complete" Sending
    after_the_object_is_complete "after_complete" Sending
    before_the_transfer_is_available "before_commit" Sending
    after_the_transfer_is_available "after_commit" Sending
    before_the_deadline_is_committed "before_end" Expiring
    after_the_deadline_is_committed "after_end" Expiring
    before_the_objects_are_deleted "before_delete" Deleting
    after_the_objects_are_deleted "after_delete" Deleting
    after_the_purge "after_purge" Expiring
}

/// On Redis and MinIO, several at once: they wait more than they work.
async fn in_production(points: impl Iterator<Item = (&str, When)>, by: By) {
    let cases = stream::iter(points).for_each_concurrent(AT_ONCE, |(point, when)| async move {
        ends_and_is_cleaned_up(Stores::redis_and_minio().await, point, when, by).await;
    });
    cases.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_instance_on_redis_and_minio_cleans_up_after_one_that_was_sent_to() {
    in_production(TESTED.iter().copied().filter(|(_, when)| *when == When::Sending), By::Another).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_instance_on_redis_and_minio_cleans_up_after_one_that_ended_transfers() {
    in_production(TESTED.iter().copied().filter(|(_, when)| *when != When::Sending), By::Another).await;
}

/// The others differ in nothing that the stores could see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_on_redis_and_minio_cleans_up_after_itself() {
    let some = ["after_open", "after_complete", "before_delete", "after_end"];
    in_production(TESTED.iter().copied().filter(|(point, _)| some.contains(point)), By::Itself).await;
}

#[test]
fn every_point_has_a_test_and_a_release_has_no_point() {
    let tested: BTreeSet<&str> = TESTED.iter().map(|(point, _)| point.split(':').next().unwrap()).collect();
    assert_eq!(tested, POINTS.iter().copied().collect());
    const { assert!(COMPILED, "the tests need debug assertions") };
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    assert!(!manifest.contains("debug-assertions"), "a profile changes what failpoints hang on");
    let named: String =
        files_below(&root.join("src")).iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    for point in POINTS {
        assert!(named.contains(&format!("failpoint::hit(\"{point}\")")), "{point} is nowhere");
    }
}
