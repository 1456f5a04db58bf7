//! The configuration file: what is taken is shown so that it can be given again, and everything else is an error.

use std::fs;
use std::sync::LazyLock;

use burnbag::config::{Config, Flags, settings_help};
use tempfile::NamedTempFile;

/// Every setting by its name.
static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let names = settings_help();
    let names = names.lines().filter_map(|line| line.trim().strip_prefix("BURNBAG_")?.split(' ').next());
    names.map(|name| &*name.to_owned().leak()).collect()
});

thread_local! {
    static FILE: NamedTempFile = NamedTempFile::new().unwrap();
}

pub fn run(data: &[u8]) {
    FILE.with(|file| {
        fs::write(file.path(), data).unwrap();
        let flags = Flags { file: Some(file.path().to_owned()), settings: Vec::new() };
        match Config::load(&flags) {
            Ok(config) => shown_is_taken(&config),
            Err(errors) => {
                let text = errors.to_string();
                assert!(text.lines().count() > 1, "an error says what is wrong: {text}");
            }
        }
    });
}

fn shown_is_taken(config: &Config) {
    assert!(config.expires_default <= config.expires_max && config.connections > 0);
    let url = &config.public_url;
    assert!(url.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'<'), "no origin: {url:?}");
    let shown = config.to_string();
    let setting = |name: &&'static str| {
        let line = format!("BURNBAG_{name}=");
        let value = shown.lines().find_map(|shown| shown.strip_prefix(&line));
        (*name, value.unwrap_or_default().to_owned())
    };
    let settings: Vec<_> = NAMES.iter().map(setting).collect();
    let again = Config::load(&Flags { file: None, settings }).expect("what is in force can be given again");
    assert_eq!(again.to_string(), shown);
}
