//! The two forms in which metrics are read.

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

/// The form of a scrape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// The text format of Prometheus, 0.0.4: what every other reader takes.
    Prometheus,
}

impl Form {
    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

pub(super) fn write(form: Form, registries: &[&Registry]) -> String {
    let mut text = String::new();
    // Writing into a `String` does not fail.
    for registry in registries {
        let _ = encode_registry(&mut text, registry);
    }
    let _ = encode_eof(&mut text);
    match form {
        Form::OpenMetrics => text,
        Form::Prometheus => prometheus(&text),
    }
}

/// The older text names a counter by its sample, with `_total`, and has neither units nor an end.
fn prometheus(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let named = |line: &str, kind: &str| {
            let (name, rest) = line.strip_prefix(kind)?.split_once(' ')?;
            Some((name.to_owned(), rest.to_owned()))
        };
        // A description is two lines: help, then type.
        let renamed = named(line, "# HELP ").and_then(|(name, help)| {
            let (_, kind) = named(lines.peek()?, "# TYPE ")?;
            (kind == "counter").then(|| format!("# HELP {name}_total {help}\n# TYPE {name}_total counter\n"))
        });
        if let Some(renamed) = renamed {
            text.push_str(&renamed);
            lines.next();
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}
