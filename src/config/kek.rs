//! The KEK file: read, checked, and made where there is none (DESIGN §6).

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

/// None is made.
const NONE: fn() -> Option<Zeroizing<String>> = || None;

/// The text of the KEK file; `make` gives one where there is no file, or none if there must be one.
///
/// # Errors
/// What to do, as one sentence.
pub(super) fn read(
    file: &Path,
    make: impl FnOnce() -> Option<Zeroizing<String>>,
) -> Result<Zeroizing<String>, String> {
    let shown = file.display();
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let text = Zeroizing::new(text);
            let mode = std::fs::metadata(file).map_err(|error| format!("{shown}: {error}"))?.mode();
            if mode & 0o077 != 0 && !file.starts_with("/run/secrets") {
                return Err(format!("the KEK file {shown} can be read by others: chmod 600 {shown}"));
            }
            Ok(text)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if let Ok(target) = std::fs::read_link(file) {
                let target = target.display();
                return Err(format!(
                    "the KEK file {shown} is a link to {target}, and nothing is there: put the KEK there"
                ));
            }
            let text = make().ok_or_else(|| {
                format!("there is no KEK file {shown}, and the records were made with one: put it back from where you keep it")
            })?;
            match place(file, &text) {
                Ok(()) => Ok(text),
                // Another instance began at the same time, and made it.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => read(file, NONE),
                Err(error) => Err(format!("cannot make the KEK file {shown}: {error}")),
            }
        }
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(format!(
            "the KEK file {shown} cannot be used: it is no text; put the right file back from where you keep it"
        )),
        Err(error) => Err(format!(
            "cannot read the KEK file {shown}: {error}; it must be a file that belongs to this user, mode 0600"
        )),
    }
}

/// Places a whole file, or none; one that is there stays.
fn place(file: &Path, text: &str) -> std::io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let part = file.with_file_name(name);
    let write = || {
        let mut to =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        to.write_all(text.as_bytes())?;
        to.sync_all()?;
        std::fs::hard_link(&part, file)
    };
    let placed = write();
    std::fs::remove_file(&part)?;
    placed?;
    std::fs::File::open(file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
        .sync_all()
}
