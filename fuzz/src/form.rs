//! Forms: what a client wrote into one is read as it was meant, in whatever pieces it comes; anything else is an error.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use arbitrary::{Result, Unstructured};
use axum::body::{Body, Bytes};
use axum::extract::Request;
use burnbag::http::error::Problem;
use burnbag::http::incoming::Form;
use burnbag::transfer::FileName;
use burnbag::transfer::policy::Options;

use super::input::{bytes, change, choose, finish, text};

#[derive(PartialEq, Debug, Default)]
struct Read {
    files: Vec<(String, Vec<u8>)>,
    options: Options,
}

pub fn run(data: &[u8]) {
    choose(data, |input| {
        if input.arbitrary()? {
            written(input)
        } else {
            let piece = input.int_in_range(1..=64)?;
            let body = bytes(input, 8192)?;
            let pieces = read(body, piece.max(body.len() / 32), "X").ok();
            assert_eq!(read(body, usize::MAX, "X").ok(), pieces, "pieces make no difference");
            Ok(())
        }
    });
}

/// Parts as curl and browsers write them, then perhaps changed.
fn written(input: &mut Unstructured<'_>) -> Result<()> {
    let boundary = *input.choose(&["X", "----WebKitFormBoundary0123456789abcdef"])?;
    let (mut body, mut meant) = (Vec::new(), Some(Read::default()));
    // What holds the boundary ends there.
    let mut is_plain = true;
    for _ in 0..input.int_in_range(0..=4)? {
        body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        let content = match input.int_in_range(0..=3)? {
            0 => {
                let name = text(input, 90)?.replace(['\r', '\n', '\0', '"', '\\'], "_");
                let head = format!("Content-Disposition: form-data; name=\"f\"; filename=\"{name}\"\r\n\r\n");
                body.extend_from_slice(head.as_bytes());
                let content = bytes(input, 200)?;
                is_plain &= !String::from_utf8_lossy(content).contains(&format!("--{boundary}"));
                meant = meant.and_then(|mut meant| {
                    if !name.is_empty() {
                        FileName::parse(&name).ok()?;
                        meant.files.push((name.replace("%22", "\""), content.to_vec()));
                    }
                    Some(meant)
                });
                content
            }
            kind => {
                let name = *input.choose(&["expires", "downloads", "password", "text", "other"])?;
                let value = match kind {
                    1 => format!("{}h", input.int_in_range(0..=9_u8)?).into_bytes(),
                    2 => input.int_in_range(0..=9_u8)?.to_string().into_bytes(),
                    _ => vec![b'1'; input.int_in_range(0..=1100)?],
                };
                let head = format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n");
                body.extend_from_slice([head.as_bytes(), &value].concat().as_slice());
                meant = meant.and_then(|mut meant| {
                    if name != "text" {
                        let value = String::from_utf8(value).ok().filter(|value| value.len() <= 1024)?;
                        // A page sends what was left empty too.
                        if !value.is_empty() || !Options::knows(name) {
                            meant.options.set(name, &value).ok()?;
                        }
                    } else if !value.is_empty() {
                        meant.files.push(("text.txt".to_owned(), value));
                    }
                    Some(meant)
                });
                &[]
            }
        };
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    // Small pieces, but not thousands of them.
    let piece = input.int_in_range(1..=300)?.max(body.len() / 32);
    if is_plain {
        assert_eq!(read(&body, piece, boundary).ok(), meant, "{}", String::from_utf8_lossy(&body));
    }
    change(input, &mut body)?;
    let whole = read(&body, usize::MAX, boundary).ok();
    assert_eq!(whole, read(&body, piece, boundary).ok(), "pieces make no difference");
    Ok(())
}

fn read(body: &[u8], piece: usize, boundary: &str) -> std::result::Result<Read, Problem> {
    let pieces = Pieces { rest: Bytes::copy_from_slice(body), piece };
    let request = Request::post("/")
        .header("content-type", format!("multipart/form-data; boundary={boundary}"))
        .body(Body::new(pieces))
        .unwrap();
    finish(parts(request))
}

async fn parts(request: Request) -> std::result::Result<Read, Problem> {
    let mut read = Read::default();
    let mut form = Form::read(request).await?;
    while let Some(mut part) = form.next().await? {
        let Some(file) = part.read(&mut read.options).await? else { continue };
        let mut content = file.first.unwrap_or_default().to_vec();
        while let Some(more) = part.chunk().await? {
            content.extend_from_slice(&more);
        }
        read.files.push((file.name.as_str().to_owned(), content));
    }
    Ok(read)
}

/// A body in pieces of so many bytes.
struct Pieces {
    rest: Bytes,
    piece: usize,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<http_body::Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.piece.min(self.rest.len());
        Poll::Ready(Some(Ok(http_body::Frame::data(self.rest.split_to(length)))))
    }
}
