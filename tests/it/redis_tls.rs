//! Redis by TLS: with a CA of one's own, and refused where the certificate is not good.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::redis_server::RedisServer;
use crate::start_up::{assert_names, refused};
use crate::stores::Stores;
use crate::support::{Server, free_port, text};

/// A CA, and a certificate for 127.0.0.1 that it signed.
struct Certificates {
    dir: TempDir,
}

impl Certificates {
    fn make() -> Self {
        let made = Self { dir: tempfile::tempdir().unwrap() };
        let [ca, ca_key, redis, redis_key] =
            ["ca.pem", "ca.key", "redis.pem", "redis.key"].map(|name| made.path(name));
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
        openssl(&[&key[..], &["-subj", "/CN=a CA of our own", "-keyout", &ca_key, "-out", &ca]].concat());
        let signed =
            ["-CA", &ca, "-CAkey", &ca_key, "-subj", "/CN=redis", "-keyout", &redis_key, "-out", &redis];
        let names =
            ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
        openssl(&[&key[..], &signed, &names].concat());
        made
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

fn openssl(arguments: &[&str]) {
    let made = Command::new("openssl").args(["req", "-x509"]).args(arguments).output();
    let made = made.expect("no openssl: apt-get install openssl");
    assert!(made.status.success(), "{}", text(&made.stderr));
}

/// A Redis that takes TLS on a second port, and its URL there.
async fn start(certificates: &Certificates) -> (RedisServer, String) {
    let port = free_port().to_string();
    let (certificate, key) = (certificates.path("redis.pem"), certificates.path("redis.key"));
    let settings = [
        ("tls-port", port.as_str()),
        ("tls-cert-file", &certificate),
        ("tls-key-file", &key),
        ("tls-auth-clients", "no"),
    ];
    let redis = RedisServer::with(&settings).await;
    (redis, format!("rediss://127.0.0.1:{port}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_by_tls_is_used_where_its_ca_is_named() {
    let certificates = Certificates::make();
    let (redis, url) = start(&certificates).await;
    let ca = certificates.path("ca.pem");
    let server = Server::on(Stores::in_redis(redis).by(url.clone()), &[("SSL_CERT_FILE", &ca)]).await;
    let link = server.send("a", "hello", "").await;
    let got = link.get(&reqwest::Client::new()).send().await.unwrap();
    assert_eq!(got.text().await.unwrap(), "hello");
    // All of it goes by TLS: commands and the listener's.
    let redis = server.stores.in_which_redis();
    let clients: String = redis.ask(&["CLIENT", "LIST"]);
    let port = url.rsplit(':').next().unwrap();
    let by_tls =
        clients.lines().filter(|client| client.contains(&format!("laddr=127.0.0.1:{port} "))).count();
    assert!(by_tls >= 2 && by_tls == clients.lines().count() - 1, "{clients}");
    // Whose CA is not known, or who is somebody else, is not talked to.
    let data = tempfile::tempdir().unwrap();
    let said =
        |url: &str, ca: &str| refused(data.path(), &[("BURNBAG_REDIS_URL", url), ("SSL_CERT_FILE", ca)]);
    let other = Certificates::make();
    let stranger = said(&url, &other.path("ca.pem"));
    assert_names(&stranger, &["certificate", "SSL_CERT_FILE"]);
    let named = said(&url.replace("127.0.0.1", "localhost"), &ca);
    assert_names(&named, &["certificate", "localhost"]);
    assert!(!Path::new(&data.path().join("kek")).exists(), "nothing was begun");
}
