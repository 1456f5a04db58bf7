//! burnbag on MinIO, and MinIO alone: the same bytes straight into the same server, unsigned.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use aws_sdk_s3::Client as S3;
use aws_sdk_s3::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use burnbag::clock::{Clock as _, SystemClock};
use burnbag::transfer::{BlobKey, FileId, TransferId};
use futures_util::{StreamExt as _, stream};
use tempfile::TempDir;

use crate::client::Client;
use crate::redis::Redis;
use crate::scenarios::{AT_ONCE, BIG, Cost, EACH, GIB, many_big, many_small, one_big};
use crate::server::{Server, free_address};
use crate::service;
use crate::table::{Row, beside_minio, own};

const USER: &str = "bench";
const SECRET: &str = "bench-secret";
/// burnbag's bucket, and the one that anybody may use.
const OURS: &str = "ours";
const STRAIGHT: &str = "straight";
/// S3 takes no more keys in one call.
const DELETED_AT_ONCE: usize = 1000;
/// Calls at once.
const DELETES: usize = 8;

/// A fresh server with both buckets.
pub fn start(root: &Path) -> Server {
    let dir = TempDir::new_in(root).unwrap().keep();
    let address = free_address();
    let mut command = Command::new(program());
    command.args(["server", "--quiet", "--address", &address.to_string()]).arg(dir.join("minio"));
    command.env("MINIO_ROOT_USER", USER).env("MINIO_ROOT_PASSWORD", SECRET);
    command.env("MINIO_BROWSER", "off").env("MINIO_UPDATE", "off").env("HOME", &dir);
    let mut server = Server::start(command, address, dir, "/minio/health/ready", None);
    server.prefix = "/straight";
    service::runtime().block_on(make_buckets(&client(&server)));
    server
}

/// Where `./check` or `go install` puts it, or on the path.
fn program() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.tools/minio");
    let home = std::env::home_dir().unwrap_or_default().join("go/bin/minio");
    [here, home].into_iter().find(|file| file.is_file()).unwrap_or_else(|| "minio".into())
}

fn client(server: &Server) -> S3 {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://{}", server.address))
        .force_path_style(true)
        .credentials_provider(Credentials::new(USER, SECRET, None, None, "bench"))
        .build();
    S3::from_conf(config)
}

async fn make_buckets(s3: &S3) {
    for bucket in [OURS, STRAIGHT] {
        s3.create_bucket().bucket(bucket).send().await.unwrap();
    }
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":["*"]}},"Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::{STRAIGHT}/*"]}}]}}"#
    );
    s3.put_bucket_policy().bucket(STRAIGHT).policy(policy).send().await.unwrap();
}

/// What leads burnbag to its bucket.
pub fn settings(minio: &Server) -> Vec<(&'static str, String)> {
    vec![
        ("S3_BUCKET", OURS.to_owned()),
        ("S3_ENDPOINT", format!("http://{}", minio.address)),
        ("S3_ACCESS_KEY", USER.to_owned()),
        ("S3_SECRET_KEY", SECRET.to_owned()),
    ]
}

fn burnbag(root: &Path, minio: &Server) -> Server {
    Server::burnbag_with(root, &settings(minio))
}

/// Objects a second that the server deletes by itself: as small as in a flood of ends, under such names, in full batches,
/// as many batches at once as serve it best.
pub fn delete_rate(minio: &Server, count: usize) -> f64 {
    service::runtime().block_on(async {
        let s3 = client(minio);
        let keys: Vec<String> = (0..count)
            .map(|_| {
                let now = SystemClock.now();
                let (transfer, file) = (TransferId::generate(now), FileId::generate(now));
                BlobKey::generate(0, transfer, file, 0).to_string()
            })
            .collect();
        stream::iter(&keys)
            .map(|key| s3.put_object().bucket(STRAIGHT).key(key).body(b"sealed".to_vec().into()).send())
            .buffer_unordered(DELETES)
            .for_each(|put| async { drop(put.unwrap()) })
            .await;
        let begun = Instant::now();
        let batches = keys.chunks(DELETED_AT_ONCE).map(|keys| {
            let keys = keys.iter().map(|key| ObjectIdentifier::builder().key(key).build().unwrap()).collect();
            let delete = Delete::builder().set_objects(Some(keys)).build().unwrap();
            s3.delete_objects().bucket(STRAIGHT).delete(delete).send()
        });
        let mut deleted = 0;
        let mut answers = stream::iter(batches.collect::<Vec<_>>()).buffer_unordered(DELETES);
        while let Some(answer) = answers.next().await {
            let answer = answer.unwrap();
            assert!(answer.errors().is_empty(), "{:?}", answer.errors());
            deleted += answer.deleted().len();
        }
        assert_eq!(deleted, count);
        count as f64 / begun.elapsed().as_secs_f64()
    })
}

/// What MinIO took of the time of both.
fn watched<T>(minio: &Server, work: impl FnOnce() -> T) -> (f64, T) {
    let before = minio.cpu();
    let done = work();
    let now = minio.cpu();
    (now.user + now.system - before.user - before.system, done)
}

/// One file of 1 GiB, then 100 KiB files by 32 at once.
pub fn beside(root: &Path, pattern: &[u8]) -> Vec<Row> {
    let minio = start(root);
    let server = burnbag(root, &minio);
    let straight = one_big(&minio, pattern);
    let (below, ours) = watched(&minio, || one_big(&server, pattern));
    let small = many_small(&minio, pattern, false);
    let (below_small, ours_small) = watched(&minio, || many_small(&server, pattern, false));
    let files = (AT_ONCE * EACH) as f64;
    let both = |name: &str, aim, of: &dyn Fn(&Cost) -> f64, costs: [&Cost; 2]| {
        beside_minio(name, aim, costs.map(|cost| Some(of(cost))))
    };
    let ratio = |aim, [ours, straight]: [&Cost; 2]| {
        let ratio = straight.seconds / ours.seconds;
        beside_minio("the same: speed of burnbag beside it", aim, [None, Some(ratio)])
    };
    let (up, down) = ([&ours.up, &straight.up], [&ours.again, &straight.again]);
    let (up_small, down_small) = ([&ours_small.up, &small.up], [&ours_small.down, &small.down]);
    let (seconds, cpu) = (|cost: &Cost| cost.seconds, |cost: &Cost| cost.cpu);
    let rate = |cost: &Cost| files / cost.seconds;
    vec![
        both("1 GiB up into MinIO, s", "", &seconds, up),
        ratio("≥ 0.9", up),
        both("the same: CPU s of the server", "≤ 1.5", &cpu, up),
        both("1 GiB down from MinIO, s", "", &seconds, down),
        ratio("≥ 0.65", down),
        both("the same: CPU s of the server", "≤ 0.8", &cpu, down),
        own("MinIO below burnbag, up once and down twice, CPU s", "", below),
        own("1 GiB up and down, peak RSS MiB", "", ours.peak),
        both("100 KiB up into MinIO, 32 at once, files/s", "", &rate, up_small),
        ratio("≥ 0.8", up_small),
        both("the same: CPU ms each", "", &|cost: &Cost| cost.cpu * 1e3 / files, up_small),
        both("100 KiB down from MinIO, 32 at once, files/s", "", &rate, down_small),
        both("the same: CPU ms each", "", &|cost: &Cost| cost.cpu * 1e3 / files, down_small),
        own("MinIO below burnbag, up and down, CPU ms each", "", below_small * 1e3 / files),
    ]
}

/// The production form: on MinIO, with the records in Redis.
pub fn production(root: &Path, minio: &Server, redis: &Redis) -> Server {
    let redis = ("REDIS_URL", redis.url().to_owned());
    Server::burnbag_with(root, &[settings(minio), vec![redis]].concat())
}

/// Many large files at once, and one that is larger, which comes without a length and is compared with what comes back.
pub fn memory(root: &Path, pattern: &[u8]) -> Vec<Row> {
    let minio = start(root);
    let (up, down) = {
        let redis = Redis::start(&TempDir::new_in(root).unwrap().keep());
        let server = production(root, &minio, &redis);
        let mut client = Client::connect(&server, pattern);
        let link = client.send_in_chunks("load.bin", 5 * GIB);
        let up = server.memory().1;
        client.verify(&link, 5 * GIB);
        (up, server.memory().1)
    };
    // Another server: the bucket of the first belongs to other records.
    drop(minio);
    let minio = start(root);
    let mut rows = vec![
        own("5 GiB without a length up into MinIO, records in Redis, peak RSS MiB", "≤ 64", up),
        own("the same, fetched and compared, peak RSS MiB", "≤ 64", down),
    ];
    rows.extend(many_big(&burnbag(root, &minio), BIG, pattern));
    rows
}
