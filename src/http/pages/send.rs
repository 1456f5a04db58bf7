//! The front page of who is logged in: a form that sends files.

use std::time::Duration;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::Who;
use crate::transfer::policy::{MAX_DOWNLOADS, Policy, words};

#[derive(Template)]
#[template(path = "send.html")]
struct Page<'a> {
    who: Option<&'a Who>,
    may_send: bool,
    lives: Vec<Life>,
    most_downloads: u32,
    largest: Option<String>,
}

/// A time to live that can be chosen.
struct Life {
    value: String,
    text: String,
    chosen: bool,
}

/// What is offered, as far as the operator allows it.
const HOURS: [u64; 7] = [1, 8, 24, 72, 168, 336, 720];

fn lives(policy: &Policy) -> Vec<Life> {
    let mut offered: Vec<_> = HOURS.into_iter().map(Duration::from_hours).collect();
    offered.extend([policy.expires_default, policy.expires_max]);
    offered.retain(|life| *life <= policy.expires_max);
    offered.sort_unstable();
    offered.dedup();
    let life = |life: Duration| Life {
        value: words(life),
        text: in_full(life),
        chosen: life == policy.expires_default,
    };
    offered.into_iter().map(life).collect()
}

/// `1 hour`, `3 days`; what is no whole number of hours as the option is written.
fn in_full(life: Duration) -> String {
    let hours = life.as_secs() / 3600;
    let (number, unit) = if hours.is_multiple_of(24) { (hours / 24, "day") } else { (hours, "hour") };
    match number {
        _ if hours == 0 || !life.as_secs().is_multiple_of(3600) => words(life),
        1 => format!("1 {unit}"),
        _ => format!("{number} {unit}s"),
    }
}

/// The page at `/` for who is logged in. `may_send`: whether account and token allow it.
#[must_use]
pub fn send(who: &Who, may_send: bool, policy: &Policy) -> Response {
    let page = Page {
        who: Some(who),
        may_send,
        lives: lives(policy),
        most_downloads: MAX_DOWNLOADS,
        largest: policy.max_upload_bytes.map(super::size_words),
    };
    super::page(StatusCode::OK, &page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_allowed_and_the_default_is_chosen() {
        let hours = Duration::from_hours;
        for (default, max, offered) in [
            (hours(24), hours(168), "1h 8h [1d] 3d 7d"),
            (hours(2), hours(12), "1h [2h] 8h 12h"),
            (Duration::from_mins(5), Duration::from_mins(90), "[5m] 1h 90m"),
        ] {
            let policy = Policy { expires_default: default, expires_max: max, max_upload_bytes: None };
            let shown: Vec<_> = lives(&policy)
                .into_iter()
                .map(|life| if life.chosen { format!("[{}]", life.value) } else { life.value })
                .collect();
            assert_eq!(shown.join(" "), offered);
        }
        assert_eq!(in_full(hours(1)), "1 hour");
        assert_eq!(in_full(hours(72)), "3 days");
        assert_eq!(in_full(Duration::from_mins(90)), "90m");
    }
}
