//! `minio/init.sh` and what it makes: what burnbag's user may do in the bucket, and what not.

use std::process::{Command, Output, Stdio};

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier,
    VersioningConfiguration,
};

use crate::minio::{self, Minio};
use crate::tools::tool;
use crate::wiring::{file, said};

/// A bucket of its own on the shared server, and burnbag's user in it, as `minio/init.sh` makes them.
pub struct Wired {
    pub server: &'static Minio,
    pub bucket: String,
    pub user: String,
    pub secret: String,
}

impl Wired {
    pub async fn make() -> Self {
        let [bucket, user, secret] =
            ["wired", "user", "secret"].map(|what| format!("{what}-{:016x}", rand::random::<u64>()));
        let wired = Self { server: Minio::shared().await, bucket, user, secret };
        let made = wired.init(&[]);
        assert!(made.status.success(), "{}", said(&made));
        wired
    }

    /// `minio/init.sh`, with what its container gets, and further settings.
    fn init(&self, settings: &[(&str, &str)]) -> Output {
        let root = self.server.reach("none", self.server.address()).settings;
        Self::run(Command::new("sh").arg(file("minio/init.sh")))
            .env("MINIO_URL", format!("http://{}", self.server.address()))
            .env("MINIO_ROOT_USER", root.access_key)
            .env("MINIO_ROOT_PASSWORD", root.secret_key.as_str())
            .env("BURNBAG_S3_BUCKET", &self.bucket)
            .env("BURNBAG_S3_ACCESS_KEY", &self.user)
            .env("BURNBAG_S3_SECRET_KEY", &self.secret)
            .envs(settings.iter().copied())
            .output()
            .unwrap()
    }

    /// `mc` as root; what it prints.
    fn mc(&self, arguments: &[&str]) -> String {
        let root = self.server.reach("none", self.server.address()).settings;
        let host =
            format!("http://{}:{}@{}", root.access_key, root.secret_key.as_str(), self.server.address());
        let config = tempfile::tempdir().unwrap();
        let ran = Self::run(Command::new(tool("mc")).args(arguments))
            .env("MC_HOST_store", host)
            .env("MC_CONFIG_DIR", config.path())
            .output()
            .unwrap();
        assert!(ran.status.success(), "mc {arguments:?}: {}", said(&ran));
        String::from_utf8(ran.stdout).unwrap()
    }

    /// Nothing of the environment of the tests but the way to programs.
    #[expect(clippy::disallowed_methods, reason = "PATH is no setting")]
    fn run(command: &mut Command) -> &mut Command {
        let own = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect::<Vec<_>>();
        let path = std::iter::once(tool("mc").parent().unwrap().to_owned()).chain(own);
        command.env_clear().env("PATH", std::env::join_paths(path).unwrap()).stdin(Stdio::null())
    }

    /// A client as burnbag's user.
    fn burnbag(&self) -> Client {
        let mut settings = self.server.reach(&self.bucket, self.server.address()).settings;
        settings.access_key.clone_from(&self.user);
        settings.secret_key = self.secret.clone().into();
        minio::client(&settings)
    }

    /// A client that may do everything.
    pub fn root(&self) -> Client {
        self.server.reach(&self.bucket, self.server.address()).client
    }

    /// All that `minio/init.sh` has set, as the server shows it.
    fn all(&self) -> [String; 5] {
        let bucket = format!("store/{}", self.bucket);
        [
            self.mc(&["anonymous", "get", &bucket]),
            self.mc(&["version", "info", &bucket]),
            self.mc(&["ilm", "rule", "export", &bucket]),
            self.mc(&["admin", "policy", "info", "store", &format!("burnbag-{}", self.bucket)])
                .lines()
                // The one line that tells when it was written last.
                .filter(|line| !line.contains("UpdateDate"))
                .collect(),
            self.mc(&["admin", "user", "info", "store", &self.user]),
        ]
    }
}

const KEY: &str = "o/00/transfer/file/00000000-0123456789abcdef";

fn body() -> ByteStream {
    ByteStream::from_static(b"bytes")
}

#[tokio::test]
async fn burnbags_user_can_do_what_burnbag_does() {
    let wired = Wired::make().await;
    let (s3, bucket) = (wired.burnbag(), wired.bucket.as_str());

    // What a start looks at. A bucket without a policy has none to show.
    s3.head_bucket().bucket(bucket).send().await.unwrap();
    assert_eq!(s3.get_bucket_versioning().bucket(bucket).send().await.unwrap().status, None);
    assert_eq!(code(&s3.get_bucket_policy().bucket(bucket).send().await), "NoSuchBucketPolicy");
    // MinIO says FALSE, which the SDK cannot read; that it says so is what counts.
    let policy = s3.get_bucket_policy_status().bucket(bucket).send().await;
    assert!(policy.map_or_else(|error| error.raw_response().unwrap().status().is_success(), |_| true));
    let id = || s3.put_object().bucket(bucket).key("burnbag-store-id").if_none_match("*").body(body()).send();
    id().await.unwrap();
    assert_eq!(code(&id().await), "PreconditionFailed");
    s3.get_object().bucket(bucket).key("burnbag-store-id").send().await.unwrap();

    // Objects, whole and in parts, under both prefixes.
    for key in [KEY, "t/00/transfer/file/00000000-0123456789abcdef"] {
        s3.put_object().bucket(bucket).key(key).body(body()).send().await.unwrap();
        s3.head_object().bucket(bucket).key(key).send().await.unwrap();
        s3.get_object().bucket(bucket).key(key).range("bytes=1-2").send().await.unwrap();
        let delete =
            Delete::builder().objects(ObjectIdentifier::builder().key(key).build().unwrap()).build().unwrap();
        let deleted = s3.delete_objects().bucket(bucket).delete(delete).send().await.unwrap();
        assert_eq!(deleted.errors(), []);
        assert_eq!(code(&s3.head_object().bucket(bucket).key(key).send().await), "NotFound");
    }
    let upload =
        s3.create_multipart_upload().bucket(bucket).key(KEY).send().await.unwrap().upload_id.unwrap();
    let part = s3
        .upload_part()
        .bucket(bucket)
        .key(KEY)
        .upload_id(&upload)
        .part_number(1)
        .body(body())
        .send()
        .await
        .unwrap();
    let listed = s3.list_multipart_uploads().bucket(bucket).prefix(KEY).send().await.unwrap();
    assert_eq!(listed.uploads().len(), 1);
    let part = CompletedPart::builder().part_number(1).set_e_tag(part.e_tag).build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    s3.complete_multipart_upload()
        .bucket(bucket)
        .key(KEY)
        .upload_id(&upload)
        .multipart_upload(parts)
        .send()
        .await
        .unwrap();
    let upload =
        s3.create_multipart_upload().bucket(bucket).key(KEY).send().await.unwrap().upload_id.unwrap();
    s3.abort_multipart_upload().bucket(bucket).key(KEY).upload_id(&upload).send().await.unwrap();

    // What the sweep and the deletion of versions look at.
    assert_eq!(s3.list_objects_v2().bucket(bucket).prefix("o/").send().await.unwrap().contents().len(), 1);
    let versions = s3.list_object_versions().bucket(bucket).prefix(KEY).send().await.unwrap();
    let version = versions.versions()[0].version_id().unwrap();
    s3.delete_object().bucket(bucket).key(KEY).version_id(version).send().await.unwrap();
}

#[tokio::test]
async fn burnbags_user_can_do_nothing_else() {
    let wired = Wired::make().await;
    let other = wired.server.bucket().await;
    other.client.put_object().bucket(&other.name).key(KEY).body(body()).send().await.unwrap();
    let (s3, bucket) = (wired.burnbag(), wired.bucket.as_str());

    // Its own bucket, but not its place in it.
    assert_eq!(
        code(&s3.put_object().bucket(bucket).key("elsewhere").body(body()).send().await),
        "AccessDenied"
    );
    wired.root().put_object().bucket(bucket).key("elsewhere").body(body()).send().await.unwrap();
    assert_eq!(code(&s3.get_object().bucket(bucket).key("elsewhere").send().await), "AccessDenied");
    assert_eq!(code(&s3.delete_object().bucket(bucket).key("elsewhere").send().await), "AccessDenied");
    s3.put_object().bucket(bucket).key("burnbag-store-id").body(body()).send().await.unwrap();
    assert_eq!(code(&s3.delete_object().bucket(bucket).key("burnbag-store-id").send().await), "AccessDenied");

    // What the bucket is.
    assert_eq!(code(&s3.put_bucket_policy().bucket(bucket).policy("{}").send().await), "AccessDenied");
    assert_eq!(code(&s3.delete_bucket_lifecycle().bucket(bucket).send().await), "AccessDenied");
    let versions = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let versions = s3.put_bucket_versioning().bucket(bucket).versioning_configuration(versions).send().await;
    assert_eq!(code(&versions), "AccessDenied");
    assert_eq!(code(&s3.delete_bucket().bucket(bucket).send().await), "AccessDenied");
    assert_eq!(code(&s3.create_bucket().bucket("a-bucket-of-its-own").send().await), "AccessDenied");

    // Others.
    assert_eq!(code(&s3.list_objects_v2().bucket(&other.name).send().await), "AccessDenied");
    assert_eq!(code(&s3.get_object().bucket(&other.name).key(KEY).send().await), "AccessDenied");
    assert_eq!(code(&s3.put_object().bucket(&other.name).key(KEY).body(body()).send().await), "AccessDenied");
    assert_eq!(code(&s3.delete_object().bucket(&other.name).key(KEY).send().await), "AccessDenied");
    let seen = s3.list_buckets().send().await.unwrap();
    let seen: Vec<_> = seen.buckets().iter().filter_map(|bucket| bucket.name()).collect();
    assert_eq!(seen, [bucket]);
}

fn code<T, E: ProvideErrorMetadata>(answer: &Result<T, SdkError<E>>) -> String {
    let error = answer.as_ref().err().expect("it is allowed");
    error.code().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn init_run_again_changes_nothing_but_what_differs() {
    let mut wired = Wired::make().await;
    let s3 = wired.burnbag();
    s3.put_object().bucket(&wired.bucket).key(KEY).body(body()).send().await.unwrap();
    let before = wired.all();
    assert!(before[0].contains("private") && before[1].contains("un-versioned"), "{before:?}");
    // 7 days of upload, 7 that a file may live, 2 days more; for objects and for tails.
    assert_eq!(before[2].matches("\"Days\":16").count(), 2, "{}", before[2]);

    let again = wired.init(&[]);
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(wired.all(), before);
    s3.get_object().bucket(&wired.bucket).key(KEY).send().await.unwrap();

    // Files may live for longer.
    assert!(wired.init(&[("BURNBAG_EXPIRES_MAX", "721h")]).status.success());
    let after = wired.all();
    assert_eq!(after[2].matches("\"Days\":40").count(), 2, "{}", after[2]);
    assert_eq!(
        (&after[0], &after[1], &after[3], &after[4]),
        (&before[0], &before[1], &before[3], &before[4])
    );

    // Somebody opened the bucket.
    let open = format!("store/{}", wired.bucket);
    wired.mc(&["anonymous", "set", "public", &open]);
    let anonymous = format!("http://{}/{}/{KEY}", wired.server.address(), wired.bucket);
    assert_eq!(reqwest::get(&anonymous).await.unwrap().status(), 200);
    assert!(wired.init(&[]).status.success());
    assert_eq!(reqwest::get(&anonymous).await.unwrap().status(), 403);

    // A new secret key, and the old one is of no use.
    wired.secret.insert(0, 'x');
    assert!(wired.init(&[]).status.success());
    wired.burnbag().get_object().bucket(&wired.bucket).key(KEY).send().await.unwrap();
    assert_eq!(code(&s3.get_object().bucket(&wired.bucket).key(KEY).send().await), "SignatureDoesNotMatch");
}

#[tokio::test]
async fn init_says_what_is_wrong_and_changes_nothing() {
    let wired = Wired::make().await;
    let before = wired.all();
    for (setting, value, says) in [
        ("BURNBAG_EXPIRES_MAX", "7w", "BURNBAG_EXPIRES_MAX is 7w: it takes a time such as 36h or 7d"),
        (
            "BURNBAG_S3_SECRET_KEY",
            "",
            "BURNBAG_S3_SECRET_KEY is not set: set it, or BURNBAG_S3_SECRET_KEY_FILE",
        ),
        ("MINIO_ROOT_PASSWORD", "a@b", "must be of letters, digits"),
        ("MINIO_ROOT_PASSWORD", "wrong-password", "signature"),
    ] {
        let refused = wired.init(&[(setting, value)]);
        assert!(
            !refused.status.success() && said(&refused).contains(says),
            "{setting}={value}: {}",
            said(&refused)
        );
    }
    assert_eq!(wired.all(), before);
}
