//! File names: kept as they came, or refused; never a path on disk (DESIGN §10 "Names").

use std::fmt;

/// The most bytes of one segment.
pub const MAX_SEGMENT: usize = 255;
/// The most bytes of a whole name.
pub const MAX_NAME: usize = 1024;

/// A file's name: one or more segments, joined by `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

/// Why a name is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidName {
    /// Nothing, `.`, `..`, or two slashes in a row.
    #[error("a file name has no empty, \".\" or \"..\" part")]
    Segment,
    /// A control character or a backslash.
    #[error("a file name has no control character and no backslash")]
    Character,
    /// Too long.
    #[error("a file name has at most {MAX_SEGMENT} bytes between slashes and {MAX_NAME} in all")]
    TooLong,
    /// Not UTF-8.
    #[error("a file name is UTF-8")]
    NotUtf8,
    /// A slash where one segment is asked for.
    #[error("a file name has no slash here")]
    Slash,
}

impl FileName {
    /// A name of one or more segments.
    ///
    /// # Errors
    /// See [`InvalidName`].
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text.len() > MAX_NAME {
            return Err(InvalidName::TooLong);
        }
        for segment in text.split('/') {
            if matches!(segment, "" | "." | "..") {
                return Err(InvalidName::Segment);
            }
            if segment.len() > MAX_SEGMENT {
                return Err(InvalidName::TooLong);
            }
            if segment.chars().any(|c| c.is_control() || c == '\\') {
                return Err(InvalidName::Character);
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// A name of one segment.
    ///
    /// # Errors
    /// See [`InvalidName`].
    pub fn parse_segment(text: &str) -> Result<Self, InvalidName> {
        if text.contains('/') { Err(InvalidName::Slash) } else { Self::parse(text) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    #[must_use]
    pub fn base(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Debug for FileName {
    /// Names stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileName(..)")
    }
}
