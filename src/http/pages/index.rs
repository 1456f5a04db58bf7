//! The index of a link: as an object for scripts, as a page with relative links for people, `wget -r` and rclone.

use std::collections::BTreeMap;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

/// All but the unreserved characters of RFC 3986 §2.3. A colon counts among them: `a:b` alone would name a scheme.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What the holder of a link sees of its transfer: the answer to a ticket, and of `/d/{link}/`.
///
/// `{"transfer":{"deadline":"…Z","files":[{"name":"a/b.txt","size":123,"type":"text/plain"}]}}`
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Index {
    /// The transfer behind the link.
    pub transfer: IndexTransfer,
}

/// The transfer in an [`Index`].
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct IndexTransfer {
    /// The instant after which no byte is served: RFC 3339 in UTC, ending in `Z`.
    pub deadline: String,
    /// Its files, in the order in which they were sent.
    pub files: Vec<IndexFile>,
}

/// A file in an [`Index`]. No `Debug`: names stay out of logs.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct IndexFile {
    /// The whole name, folders and all, not encoded.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// The media type that the sender gave.
    #[serde(rename = "type")]
    pub media_type: String,
}

#[derive(Template)]
#[template(path = "index.html")]
struct IndexPage<'a> {
    heading: String,
    deadline: &'a str,
    deadline_words: String,
    groups: Vec<Group>,
}

struct Group {
    folder: Option<Folder>,
    files: Vec<Row>,
}

struct Folder {
    name: String,
    href: String,
}

/// A file as a line of a list. `href` is relative to the page's own folder.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) href: String,
    pub(super) size: String,
}

impl Row {
    pub(super) fn new(file: &IndexFile, below: &str) -> Self {
        Self { name: below.to_owned(), href: href(below), size: super::size_words(file.size) }
    }
}

/// A relative address: each segment percent-encoded, the slashes kept.
fn href(name: &str) -> String {
    name.split('/')
        .map(|segment| utf8_percent_encode(segment, SEGMENT).to_string())
        .collect::<Vec<_>>()
        .join("/")
}

/// The page at `/d/{link}/`: every file, those in folders under a heading that leads to [`folder`].
#[must_use]
pub fn index(index: &Index) -> Response {
    let files: Vec<_> = index.transfer.files.iter().map(|file| (file, file.name.as_str())).collect();
    list(index, count(files.len()), &files)
}

/// The page at `/d/{link}/{path}/`: what is in that folder, for clients that walk folder by folder, as rclone does.
/// `path` is decoded and has no slash at either end. None if no file is in it.
#[must_use]
pub fn folder(index: &Index, path: &str) -> Option<Response> {
    let inside = |name| str::strip_prefix(name, path)?.strip_prefix('/');
    let files: Vec<_> = (index.transfer.files.iter())
        .filter_map(|file| inside(&file.name).map(|below| (file, below)))
        .collect();
    (!files.is_empty()).then(|| list(index, format!("{} in {path}/", count(files.len())), &files))
}

fn count(files: usize) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

/// `files`: each with its name below the page's folder.
fn list(index: &Index, heading: String, files: &[(&IndexFile, &str)]) -> Response {
    let mut here = Vec::new();
    let mut folders: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    for (file, below) in files {
        match below.split_once('/') {
            None => here.push(Row::new(file, below)),
            Some((first, rest)) => {
                let row = Row { name: rest.to_owned(), ..Row::new(file, below) };
                folders.entry(first).or_default().push(row);
            }
        }
    }
    let mut groups = Vec::with_capacity(folders.len() + 1);
    if !here.is_empty() {
        groups.push(Group { folder: None, files: here });
    }
    groups.extend(folders.into_iter().map(|(name, files)| {
        let folder = Folder { name: name.to_owned(), href: format!("{}/", href(name)) };
        Group { folder: Some(folder), files }
    }));
    let deadline = &index.transfer.deadline;
    let page = IndexPage { heading, deadline, deadline_words: super::deadline_words(deadline), groups };
    super::page(StatusCode::OK, &page)
}
