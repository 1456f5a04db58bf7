//! A body of options as one JSON object (RFC 8259): an unknown name, a name given twice or a value of another form is refused, never
//! ignored (DESIGN §10 "Options").

use std::fmt;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::error::Problem;

/// The longest body.
const LONGEST: usize = 64 * 1024;

/// The fields of the body; none where there is no body. Each is taken once, by its name; [`Fields::end`] refuses what is left.
pub struct Fields(Vec<(String, Value)>);

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let malformed = |why: &str| Problem::new("request_malformed").detail(format!("the body {why}"));
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_json = kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/json"));
        let body = to_bytes(request.into_body(), LONGEST)
            .await
            .map_err(|_| malformed("is longer than 64 KiB, or ended before it was whole"))?;
        if body.is_empty() {
            return Ok(Self(Vec::new()));
        }
        if !is_json {
            return Err(Problem::new("media_type_unsupported").detail("this takes application/json"));
        }
        let mut reader = serde_json::Deserializer::from_slice(&body);
        let fields = reader.deserialize_map(Pairs).map_err(|_| malformed("is no JSON object"))?;
        reader.end().map_err(|_| malformed("has more than one JSON object"))?;
        Ok(Self(fields))
    }
}

impl Fields {
    /// The value of a field, if it is there and not null. `expected` ends the sentence "<name> is …".
    ///
    /// # Errors
    /// `option_conflict` if it was given twice; `option_invalid` if `read` takes nothing from it.
    pub fn take<T>(
        &mut self,
        name: &'static str,
        expected: impl fmt::Display,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let mut found = self.0.extract_if(.., |(field, _)| field == name);
        let Some((_, value)) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(Problem::new("option_conflict")
                .field(name)
                .detail(format!("{name} was given twice")));
        }
        if value.is_null() {
            return Ok(None);
        }
        let invalid = || Problem::new("option_invalid").field(name).detail(format!("{name} is {expected}"));
        read(&value).map(Some).ok_or_else(invalid)
    }

    /// A text.
    ///
    /// # Errors
    /// As [`Fields::take`].
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        self.take(name, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// Whether a field was given, null or not.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }

    /// Every field was taken. `known` names those that there are.
    ///
    /// # Errors
    /// `option_unknown`.
    pub fn end(self, known: &str) -> Result<(), Problem> {
        let Some((name, _)) = self.0.into_iter().next() else { return Ok(()) };
        let name: String = name.chars().take(64).collect();
        let detail = format!("there is no field {name:?} here; the fields are {known}");
        Err(Problem::new("option_unknown").detail(detail).field(name))
    }
}

/// The pairs of an object in order, also where a name comes twice.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}
