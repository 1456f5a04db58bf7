//! Options from query, headers and fields: an unknown name, two values or a value over a limit is refused (DESIGN §10).

use axum::http::{HeaderMap, Uri};

use super::error::Problem;
use super::negotiate::decode;
use crate::service::{ServiceError, refuse_token};
use crate::transfer::policy::{OptionError, Options};

/// Names that never belong in an address: it ends up in logs and histories.
const SECRETS: [&str; 4] = ["password", "secret", "token", "ticket"];

/// The pairs of a query, decoded; a `+` stays one.
pub fn query(uri: &Uri) -> impl Iterator<Item = (String, String)> + '_ {
    uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name).unwrap_or_default(), decode(value).unwrap_or_default())
    })
}

/// Refuses a password or a secret in the query, before the body.
///
/// # Errors
/// `secret_in_query`.
pub fn refuse_secrets(uri: &Uri) -> Result<(), Problem> {
    let found = query(uri).any(|(name, _)| {
        let name = name.to_ascii_lowercase();
        SECRETS.contains(&name.trim_start_matches("burnbag-"))
    });
    if found { Err(Problem::new("secret_in_query")) } else { Ok(()) }
}

/// The options in query and headers.
///
/// # Errors
/// `option_unknown`, `option_invalid`, `option_conflict`, `secret_in_query`.
pub fn options(uri: &Uri, headers: &HeaderMap) -> Result<Options, Problem> {
    let mut options = Options::default();
    for (name, value) in query(uri) {
        if name == "password" {
            return Err(Problem::new("secret_in_query"));
        }
        set(&mut options, &name, &value)?;
    }
    for (name, value) in headers {
        // A password is UTF-8, as it was typed; it is HTTP that takes the blanks around a value away.
        if name == "burnbag-password" {
            let text = std::str::from_utf8(value.as_bytes());
            let text = text.map_err(|_| ServiceError::from(OptionError::password()))?;
            set(&mut options, "password", text)?;
        } else if let Some(name) = name.as_str().strip_prefix("burnbag-") {
            let invalid =
                || Problem::new("option_invalid").field(name).detail(format!("{name} is plain text"));
            set(&mut options, name, value.to_str().map_err(|_| invalid())?.trim())?;
        }
    }
    Ok(options)
}

/// One option more.
///
/// # Errors
/// As [`options`].
pub fn set(options: &mut Options, name: &str, value: &str) -> Result<(), Problem> {
    if name == "password" {
        refuse_token(value).map_err(ServiceError::from)?;
    }
    Ok(options.set(name, value).map_err(ServiceError::from)?)
}
