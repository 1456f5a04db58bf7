//! Where settings stand: the file, the environment, the flags. Later wins, and each remembers its place.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Flags, KNOWN};

/// What is not shown in an error.
const SECRET: &[&str] = &["REDIS_URL"];

/// The settings by name, with where each stands.
pub(super) struct Source {
    values: BTreeMap<String, (String, String)>,
    pub(super) errors: Vec<String>,
}

impl Source {
    pub(super) fn read(flags: &Flags) -> Self {
        let mut source = Self { values: BTreeMap::new(), errors: Vec::new() };
        let environment = Self::environment_only();
        let file = flags.file.clone().map(|file| (file, "--config"));
        if let Some((file, named)) = file {
            source.read_file(&file, named);
        }
        source.values.extend(environment.values);
        source.errors.extend(environment.errors);
        for (name, value) in &flags.settings {
            let flag = format!("--{}", name.to_ascii_lowercase().replace('_', "-"));
            source.values.insert((*name).to_owned(), (value.clone(), flag));
        }
        source
    }

    /// `BURNBAG_X`, or the content of the file that `BURNBAG_X_FILE` names.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub(super) fn environment_only() -> Self {
        let mut source = Self { values: BTreeMap::new(), errors: Vec::new() };
        for (name, value) in std::env::vars() {
            let Some(setting) = name.strip_prefix("BURNBAG_") else { continue };
            let is_setting = |setting: &str| KNOWN.iter().any(|known| known.name == setting);
            match setting
                .strip_suffix("_FILE")
                .filter(|plain| !is_setting(setting) && (is_setting(plain) || *plain == "TOKEN"))
            {
                Some(plain) => match std::fs::read_to_string(&value) {
                    Ok(text) => {
                        let text = text.trim_end_matches(['\r', '\n']).to_owned();
                        source.values.entry(plain.to_owned()).or_insert((text, name.clone()));
                    }
                    Err(error) => source.errors.push(format!("{name}: cannot read {value}: {error}")),
                },
                None => {
                    source.values.insert(setting.to_owned(), (value, name.clone()));
                }
            }
        }
        source
    }

    fn read_file(&mut self, file: &Path, named: &str) {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                self.errors.push(format!("{named} {}: {error}", file.display()));
                return;
            }
        };
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                self.errors.push(format!("{}: {error}", file.display()));
                return;
            }
        };
        for (name, value) in table {
            let value = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                other => {
                    let kind = other.type_str();
                    self.errors.push(format!("{}: {name} is a {kind}: write it as text", file.display()));
                    continue;
                }
            };
            let place = format!("{name} in {}", file.display());
            self.values.insert(name.to_ascii_uppercase(), (value, place));
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.values.get(name).map(|(value, _)| value.trim().to_owned())
    }

    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    pub(super) fn parsed<T>(
        &mut self,
        name: &str,
        form: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let (value, place) = self.values.get(name)?;
        let parsed = parse(value.trim());
        if parsed.is_none() && SECRET.contains(&name) {
            self.errors.push(format!("{place} (not shown: it may hold a secret): it takes {form}"));
        } else if parsed.is_none() {
            self.errors.push(format!("{place} is {value:?}: it takes {form}"));
        }
        parsed
    }

    pub(super) fn value<T: FromStr<Err: Display>>(&mut self, name: &str, default: T) -> T {
        let Some((value, place)) = self.values.get(name) else { return default };
        value.trim().parse().unwrap_or_else(|error| {
            self.errors.push(format!("{place} is {value:?}: {error}"));
            default
        })
    }

    /// A typo must not leave a setting at its default.
    pub(super) fn refuse_unknown(&mut self) {
        for (name, (_, place)) in &self.values {
            if name != "TOKEN" && !KNOWN.iter().any(|known| known.name == name) {
                self.errors.push(format!("{place}: there is no such setting; see `burnbag serve --help`"));
            }
        }
    }
}
