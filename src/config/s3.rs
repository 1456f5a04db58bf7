//! The bucket, where there is one.

use std::fmt;

use zeroize::Zeroizing;

use super::source::Source;

/// S3 takes no more parts of one object.
const PARTS_PER_OBJECT: u32 = 10_000;

/// A bucket, and who asks it.
#[derive(Clone)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// The server; absent: Amazon's for the region.
    pub endpoint: Option<String>,
    /// What requests are signed for.
    pub region: String,
    /// The name of the user.
    pub access_key: String,
    /// What proves it.
    pub secret_key: Zeroizing<String>,
    /// Parts that one object takes. No setting: a larger file has more objects.
    pub parts_per_object: u32,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("name", &self.name)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Bucket {
    /// From the settings; none where no bucket is named.
    pub(super) fn read(source: &mut Source) -> Option<Self> {
        let is_set = |source: &Source, name: &str| source.text(name).is_some_and(|text| !text.is_empty());
        if !is_set(source, "S3_BUCKET") {
            for name in ["S3_ENDPOINT", "S3_REGION", "S3_ACCESS_KEY", "S3_SECRET_KEY"] {
                if is_set(source, name) {
                    source.errors.push(format!(
                        "{name} is set and S3_BUCKET is not: name the bucket, or take {name} away and bytes go into \
                         the data directory"
                    ));
                }
            }
            return None;
        }
        let form = "the name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens";
        let name = source.parsed("S3_BUCKET", form, bucket_name);
        let form = "http:// or https://, a host, and where needed a port, without a path";
        let endpoint =
            source
                .parsed("S3_ENDPOINT", form, |text| {
                    if text.is_empty() { Some(None) } else { endpoint(text).map(Some) }
                })
                .flatten();
        let form = "a region such as us-east-1";
        let region = source.parsed("S3_REGION", form, |text| plain(text).then(|| text.to_owned()));
        // What is wrong with a secret is not shown.
        let mut key = |name: &str, of: &str| {
            let key = source.text(name).filter(|key| !key.is_empty() && plain(key));
            if key.is_none() {
                source.errors.push(format!(
                    "S3_BUCKET is set, and {name} is missing or has other than printable characters: set it to {of}"
                ));
            }
            key
        };
        let access_key = key("S3_ACCESS_KEY", "the name of the bucket's user");
        let secret_key = key("S3_SECRET_KEY", "that user's secret, or S3_SECRET_KEY_FILE to a file with it");
        Some(Self {
            name: name?,
            endpoint,
            region: region.filter(|region| !region.is_empty()).unwrap_or_else(|| "us-east-1".to_owned()),
            access_key: access_key?,
            secret_key: Zeroizing::new(secret_key?),
            parts_per_object: PARTS_PER_OBJECT,
        })
    }
}

fn plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn bucket_name(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    ((3..=63).contains(&text.len()) && text.bytes().all(plain)).then(|| text.to_owned())
}

fn endpoint(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']' | b'_');
    (!host.is_empty() && host.bytes().all(plain)).then(|| text.trim_end_matches('/').to_owned())
}
