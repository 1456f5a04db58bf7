//! The page of a transfer, for its owner and team; also what follows an upload from a form.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::Who;
use crate::service::{FileView, LinkView, TransferView};
use crate::transfer::{EndReason, State};

#[derive(Template)]
#[template(path = "transfer.html")]
struct Transfer<'a> {
    who: Option<&'a Who>,
    heading: &'static str,
    /// What there is to say of its state.
    lead: &'static str,
    id: String,
    /// Where it can still be fetched.
    deadline: Option<String>,
    deadline_words: String,
    links: Vec<Row>,
    files: Vec<(String, String)>,
    may_end: bool,
}

/// A link as its owner sees it.
struct Row {
    id: String,
    label: Option<String>,
    url: Option<String>,
    uses: String,
    password: bool,
    revoked: bool,
}

impl Row {
    fn of(link: &LinkView) -> Self {
        let times = |n: u32| if n == 1 { "once".to_owned() } else { format!("{n} times") };
        let uses = match link.downloads {
            Some(most) => format!("Downloaded {} of {}", link.used, times(most)),
            None if link.used == 0 => "Not downloaded yet".to_owned(),
            None => format!("Downloaded {}", times(link.used)),
        };
        Self {
            id: link.id.to_string(),
            label: link.label.clone(),
            url: link.url.clone().filter(|_| !link.revoked),
            uses,
            password: link.password,
            revoked: link.revoked,
        }
    }
}

fn file(file: &FileView) -> (String, String) {
    let name = file.name.clone().unwrap_or_else(|| "Only its sender sees the name".to_owned());
    (name, file.size.map(super::size_words).unwrap_or_default())
}

const ENDED: &str = "The transfer has ended";

const fn said(state: State, reason: Option<EndReason>) -> (&'static str, &'static str) {
    match state {
        State::Uploading => (
            "Being sent",
            "Its files are still on their way. Nothing can be fetched before the last one is whole.",
        ),
        State::Held => ("Held", "It waits for a check or an approval. Nothing can be fetched before."),
        State::Available => (
            "Available",
            "Give a link to one person, over a channel that you trust. Whoever has the link has the files.",
        ),
        State::Ended | State::Purged => (
            ENDED,
            match reason {
                Some(EndReason::Expired) => {
                    "Its deadline has passed. The keys are destroyed: nobody can read the files any more."
                }
                Some(EndReason::Exhausted) => {
                    "Every download was used. The keys are destroyed: nobody can read the files any more."
                }
                Some(EndReason::Rejected) => {
                    "It was refused by a check or an approver. The keys are destroyed: nobody can read the files any more."
                }
                Some(EndReason::Abandoned) => {
                    "It was never sent whole. The keys are destroyed: nobody can read the files any more."
                }
                Some(EndReason::Deleted) | None => {
                    "It was ended by hand. The keys are destroyed: nobody can read the files any more."
                }
            },
        ),
    }
}

fn answer(
    status: StatusCode,
    heading: Option<&'static str>,
    view: &TransferView,
    who: &Who,
    may_end: bool,
) -> Response {
    let (state, lead) = said(view.state, view.reason);
    let live = view.state.is_live();
    let deadline = (view.state == State::Available).then(|| view.deadline.to_string());
    let page = Transfer {
        who: Some(who),
        heading: heading.unwrap_or(state),
        lead,
        id: view.id.to_string(),
        deadline_words: deadline.as_deref().map(super::deadline_words).unwrap_or_default(),
        deadline,
        links: if live { view.links.iter().map(Row::of).collect() } else { Vec::new() },
        files: if live { view.files.iter().map(file).collect() } else { Vec::new() },
        may_end: may_end && live,
    };
    super::page(status, &page)
}

/// The page at `/transfers/{id}`. `may_end`: whether who looks may end it.
#[must_use]
pub fn transfer(view: &TransferView, who: &Who, may_end: bool) -> Response {
    answer(StatusCode::OK, None, view, who, may_end)
}

/// The same page after an upload from a form: 201.
#[must_use]
pub fn sent(view: &TransferView, who: &Who, may_end: bool) -> Response {
    answer(StatusCode::CREATED, Some("Sent"), view, who, may_end)
}
