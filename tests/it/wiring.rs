//! The files of `minio/` and `deploy/` as they are, on real servers: what containers would run, without containers.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::{Server, noise, wait_for};
use crate::wiring_minio::Wired;
use crate::wiring_redis::Redis;

/// A file of the repository.
pub fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn said(output: &Output) -> String {
    [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat()
}

/// What `deploy/secrets.sh` makes, in a directory of its own.
pub struct Secrets(TempDir);

impl Secrets {
    pub fn make() -> Self {
        let secrets = Self(tempfile::tempdir().unwrap());
        secrets.make_again();
        secrets
    }

    pub fn make_again(&self) {
        let made = Command::new(file("deploy/secrets.sh")).arg(self.0.path()).output().unwrap();
        assert!(made.status.success(), "{}", said(&made));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What a test puts in the place of what was made.
    pub fn replace(&self, name: &str, text: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

#[test]
fn secrets_that_are_there_stay_and_what_is_missing_is_made() {
    let secrets = Secrets::make();
    let all = || {
        let mut files: Vec<_> =
            std::fs::read_dir(secrets.0.path()).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files
            .into_iter()
            .map(|file| (file.clone(), std::fs::read_to_string(file).unwrap()))
            .collect::<Vec<_>>()
    };
    let before = all();
    assert_eq!(before.len(), 8);
    secrets.make_again();
    assert_eq!(all(), before);

    // A new password reaches what is made of it.
    std::fs::remove_file(secrets.path("redis_password")).unwrap();
    secrets.make_again();
    assert!(secrets.read("redis_url").contains(&secrets.read("redis_password")));
    assert_ne!(all(), before);
    assert_eq!(secrets.read("kek"), before.iter().find(|(file, _)| file.ends_with("kek")).unwrap().1);
}

/// What `docker-compose.yml` sets for burnbag, with the addresses and files of this test.
fn composed(wired: &Wired, secrets: &Secrets) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(file("docker-compose.yml")).unwrap();
    // Two spaces and a name: a service.
    let service = text.split("\n  burnbag:\n").nth(1).unwrap();
    let lines = service.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    let settings = lines.filter_map(|line| line.strip_prefix("      BURNBAG_")?.split_once(": "));
    secrets.replace("s3_access_key", &wired.user);
    secrets.replace("s3_secret_key", &wired.secret);
    // Below /run/secrets any mode will do.
    std::fs::set_permissions(secrets.path("kek"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let directory = format!("{}/", secrets.0.path().display());
    let value = |name: &str, text: &str| match text {
        "http://minio:9000" => format!("http://{}", wired.server.address()),
        "*expires-max" => "7d".to_owned(),
        "burnbag" if name == "S3_BUCKET" => wired.bucket.clone(),
        // ${NAME:-value}
        text => match text.strip_prefix("${").and_then(|text| text.strip_suffix('}')) {
            Some(text) => text.split_once(":-").unwrap().1.to_owned(),
            None => text.replace("/run/secrets/", &directory),
        },
    };
    settings.map(|(name, text)| (format!("BURNBAG_{name}"), value(name, text))).collect()
}

/// A file comes back as it was, and nothing of it is left when its transfer ends.
async fn goes_round(server: &Server, wired: &Wired) {
    // More than one part, so that a multipart upload is among it.
    let bytes = noise(12 << 20, 1);
    let mut link = server.send("report.pdf", bytes.clone(), "").await;
    link.url = link.url.replace("http://127.0.0.1:8080", &server.url);
    let (client, s3) = (reqwest::Client::new(), wired.root());
    let objects = async || {
        s3.list_objects_v2().bucket(&wired.bucket).prefix("o/").send().await.unwrap().contents().len()
    };
    assert_eq!(objects().await, 1);
    let answer = link.get(&client).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.unwrap() == bytes, "it came back changed");

    let url = format!("{}/api/v1/transfers/{}", server.url, link.transfer);
    let ended = client.delete(url).bearer_auth(&server.token).send().await.unwrap();
    assert!(ended.status().is_success(), "{}", ended.status());
    assert_eq!(link.get(&client).send().await.unwrap().status(), 404);
    wait_for("the object to be deleted", async || (objects().await == 0).then_some(())).await;
    let uploads = s3.list_multipart_uploads().bucket(&wired.bucket).send().await.unwrap();
    assert_eq!(uploads.uploads().len(), 0);
    for complaint in ["does not allow", "AccessDenied", "NOPERM", "was not read", "not known"] {
        assert!(!server.log().contains(complaint), "{complaint}:\n{}", server.log());
    }
}

#[tokio::test]
async fn a_file_goes_round_with_the_bucket_of_the_compose_file() {
    let (wired, secrets) = (Wired::make().await, Secrets::make());
    let mut settings = composed(&wired, &secrets);
    assert!(settings.len() >= 10, "{settings:?}");
    // Records in SQLite.
    settings.retain(|(name, _)| name != "BURNBAG_REDIS_URL_FILE");
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    goes_round(&Server::with(&settings).await, &wired).await;
}

#[tokio::test]
async fn a_file_goes_round_under_all_settings_of_the_compose_file() {
    let (wired, redis) = (Wired::make().await, Redis::start().await);
    redis.secrets.replace("redis_url", &redis.url());
    let settings = composed(&wired, &redis.secrets);
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let server = Server::with(&settings).await;
    goes_round(&server, &wired).await;
    assert!(!server.data().join("burnbag.db").exists(), "the records are in SQLite");
}
