//! The process ends at each point of a transfer's life: what is started again cleans up after it, and nothing that was
//! acknowledged is lost.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use burnbag::failpoint::{COMPILED, POINTS};

use crate::aftermath::{Lives, NOTHING, each_event_once, verify, with_objects};
use crate::metrics_support::Shown;
use crate::support::{Server, files_below, noise};
use crate::trail::{self, client};

/// A claim of the process that ended comes back after 30 s; a slow machine takes its time on top.
const CLEAN: Duration = Duration::from_secs(90);
/// Three parts.
const SIZE: usize = 20 << 20;

/// Where the process ends.
#[derive(Clone, Copy, Debug)]
enum When {
    /// While a file is sent.
    Sending,
    /// After its deletion was acknowledged, or instead.
    Deleting,
    /// When its deadline comes.
    Expiring,
}

struct Case {
    server: Server,
    shown: Shown,
}

impl Case {
    /// A server that ends at this point, on stores with these settings.
    async fn start(stores: &[(&str, &str)], point: &str) -> Self {
        let shown = Shown::new();
        let mut settings = vec![
            ("BURNBAG_UPLOAD_IDLE", "3s"),
            ("BURNBAG_SWEEP_EVERY", "2s"),
            ("BURNBAG_SWEEP_MIN_AGE", "10s"),
            ("FAILPOINT", point),
        ];
        settings.extend_from_slice(stores);
        let server = shown.server(&settings).await;
        Self { server, shown }
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

    fn lives(&self) -> Lives {
        Lives::of(&trail::lines(&self.server.data().join("audit")))
    }

    /// Waits until nothing is left of what ended: no object, no file under way, nothing overdue, no memory taken.
    async fn clean(&self) {
        let give_up = Instant::now() + CLEAN;
        loop {
            let (lives, objects) = (self.lives(), with_objects(&self.server));
            let known: Vec<&String> = lives.live.iter().collect();
            let settled = !lives.created.is_empty() && lives.are_settled();
            let scrape = self.shown.scrape().await;
            let nothing = |gauge: &&str| scrape.value(&format!("burnbag_{gauge}")) == Some(0.0);
            if settled
                && objects.iter().collect::<Vec<_>>() == known
                && files_below(&self.server.data().join("tmp")).is_empty()
                && NOTHING.iter().all(nothing)
            {
                return;
            }
            let log = self.server.log();
            assert!(Instant::now() < give_up, "left: {lives:?} {objects:?}\n{}\n{log}", scrape.0);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What is live is whole, and can be ended.
    async fn end_what_is_live(&self) {
        for id in self.lives().live {
            let transfer = self.server.transfer(&id).await;
            assert_eq!(transfer["state"], "available");
            assert_eq!(transfer["files"][0]["size"].as_u64(), Some(SIZE as u64));
            let url = format!("{}/api/v1/transfers/{id}", self.server.url);
            let ended = client("sender").delete(url).bearer_auth(&self.server.token).send().await.unwrap();
            assert_eq!(ended.status(), 204);
        }
    }
}

/// Ends at the point, starts again on the same stores, and looks that nothing is left.
async fn ends_and_is_cleaned_up(stores: &[(&str, &str)], point: &str, when: When) {
    let mut case = Case::start(stores, point).await;
    case.act(when).await;
    let status = case.server.ended().await;
    assert_eq!(status.signal(), Some(6), "{status}\n{}", case.server.log());
    assert!(case.server.log().contains("failpoint: the process ends here"));
    case.server.set("FAILPOINT", "");
    case.server.start_again().await;
    case.clean().await;
    case.end_what_is_live().await;
    case.clean().await;
    assert!(case.server.objects().is_empty());
    case.server.stop().await;
    let audit = case.server.data().join("audit");
    each_event_once(&trail::lines(&audit));
    verify(&case.server, &audit);
}

macro_rules! points {
    ($stores:ident: $settings:expr; $($name:ident $point:literal $when:ident)+) => {
        mod $stores {
            use super::{When, ends_and_is_cleaned_up};
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    ends_and_is_cleaned_up($settings, $point, When::$when).await;
                }
            )+

            /// The points that have a test here.
            pub fn tested() -> Vec<&'static str> {
                vec![$($point),+]
            }
        }
    };
    ($stores:ident: $settings:expr) => {
        points! { $stores: $settings;
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
    };
}

points!(embedded: &[]);

#[test]
fn every_point_has_a_test_and_a_release_has_no_point() {
    let tested: BTreeSet<&str> =
        embedded::tested().into_iter().map(|point| point.split(':').next().unwrap()).collect();
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
