//! The shape of every list: `{items, next}` (API.md).

use axum::Json;
use serde::Serialize;

/// A page of a list: `next` is the cursor of the page after it, and null on the last.
#[derive(Serialize)]
pub(super) struct List<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl<T> List<T> {
    /// All there is.
    pub(super) fn whole(items: impl IntoIterator<Item = T>) -> Json<Self> {
        Self::page(items, None)
    }

    pub(super) fn page(items: impl IntoIterator<Item = T>, next: Option<String>) -> Json<Self> {
        Json(Self { items: items.into_iter().collect(), next })
    }
}
