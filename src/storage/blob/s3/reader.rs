//! A range on its way from the bucket. Where the server breaks it off, it goes on at the next byte of the same object.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Buf as _, Bytes};
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use super::{BlobError, BlobReader, Shared};
use crate::transfer::BlobKey;

/// Between two answers that broke off without a byte.
const PAUSE: Duration = Duration::from_millis(200);

/// A GET that is read as fast as it is asked for: what is not read yet stays in the server and the socket.
pub(super) struct S3Reader {
    shared: Arc<Shared>,
    key: String,
    /// What is asked for next, to the end of the range.
    left: Range<u64>,
    /// The object that was met first.
    etag: Option<String>,
    body: Option<ByteStream>,
    /// What came and is not read yet.
    rest: Bytes,
}

impl S3Reader {
    pub(super) async fn open(
        shared: Arc<Shared>,
        key: &BlobKey,
        range: Range<u64>,
    ) -> Result<Self, BlobError> {
        let mut reader =
            Self { shared, key: key.to_string(), left: range, etag: None, body: None, rest: Bytes::new() };
        if !reader.left.is_empty() {
            reader.ask().await?;
        }
        Ok(reader)
    }

    /// Asks for what is left. Past the end of the object nothing is.
    async fn ask(&mut self) -> Result<(), BlobError> {
        let Self { shared, key, left, etag, .. } = self;
        let range = format!("bytes={}-{}", left.start, left.end - 1);
        let get = shared.quick.get_object().bucket(&shared.bucket).key(&*key).range(range);
        let answer = match get.set_if_match(etag.clone()).send().await {
            Ok(answer) => answer,
            Err(error) => {
                match error.raw_response().map(|answer| answer.status().as_u16()) {
                    Some(416) => left.end = left.start,
                    Some(412) => return Err(BlobError::NotFound),
                    _ => return Err(shared.place.failed("GetObject", &error)),
                }
                return Ok(());
            }
        };
        let begins = format!("bytes {}-", left.start);
        if !answer.content_range.is_some_and(|range| range.starts_with(&begins)) {
            return Err(BlobError::Unavailable(
                "the S3 server sent another range than was asked for".to_owned(),
            ));
        }
        *etag = answer.e_tag;
        self.body = Some(answer.body);
        Ok(())
    }

    /// The next bytes; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        let since = Instant::now();
        while !self.left.is_empty() {
            let came = match &mut self.body {
                Some(body) => timeout(self.shared.limits.stalled, body.try_next()).await,
                None => match self.ask().await {
                    Err(BlobError::Unavailable(why)) => {
                        self.pause(since, &why).await?;
                        continue;
                    }
                    asked => {
                        asked?;
                        continue;
                    }
                },
            };
            let why = match came {
                Ok(Ok(Some(mut bytes))) => {
                    bytes.truncate(usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX));
                    self.left.start += bytes.len() as u64;
                    if bytes.is_empty() {
                        continue;
                    }
                    return Ok(Some(bytes));
                }
                Ok(Ok(None)) => "it ended early".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "nothing came for too long".to_owned(),
            };
            self.body = None;
            self.pause(since, &why).await?;
        }
        Ok(None)
    }

    async fn pause(&self, since: Instant, why: &str) -> Result<(), BlobError> {
        if since.elapsed() >= self.shared.limits.patience {
            return Err(BlobError::Unavailable(format!("a download from the bucket broke off: {why}")));
        }
        tracing::debug!(key = self.key, next = self.left.start, why, "a download from the bucket is resumed");
        if since.elapsed() >= PAUSE {
            sleep(PAUSE).await;
        }
        Ok(())
    }
}

#[async_trait]
impl BlobReader for S3Reader {
    async fn read(
        &mut self,
        mut buffer: Zeroizing<Vec<u8>>,
    ) -> Result<(Zeroizing<Vec<u8>>, usize), BlobError> {
        let mut filled = 0;
        while let Some(empty) = buffer.get_mut(filled..).filter(|empty| !empty.is_empty()) {
            if self.rest.is_empty() {
                match self.next().await? {
                    Some(bytes) => self.rest = bytes,
                    None => break,
                }
            }
            let count = empty.len().min(self.rest.len());
            self.rest.copy_to_slice(&mut empty[..count]);
            filled += count;
        }
        Ok((buffer, filled))
    }
}
