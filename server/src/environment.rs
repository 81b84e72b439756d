//! What a config refers to outside of itself, as this process sees it: variables, files, and the
//! system's certificates.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use tollgate_core::config::{self, Loaded, Surroundings};

use crate::fault::Fault;
use crate::roots;

/// Configs, keys and certificates are small; a longer file is a mistake, such as a device.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Reads the config `file`; without one, makes do with the environment.
///
/// # Errors
/// The file cannot be read, or has faults.
pub(crate) fn load(file: Option<&Path>) -> Result<Loaded, Fault> {
    let roots = roots::load();
    let folder = file.and_then(Path::parent).unwrap_or(Path::new(""));
    let surroundings = Surroundings {
        env: &|name| env::var(name).ok(),
        read_file: &|path| read(&folder.join(path)).map_err(|error| reason(&error)),
        roots: &roots.certificates,
    };
    let mut loaded = match file {
        None => config::builtin(&surroundings),
        Some(file) => {
            let name = file.display().to_string();
            let bytes = read(file)
                .map_err(|error| format!("cannot read the config {name}: {}", reason(&error)))?;
            let text = String::from_utf8(bytes)
                .map_err(|error| format!("the config {name} is not UTF-8 text: {error}"))?;
            config::load(&name, &text, &surroundings).map_err(Fault::Config)?
        }
    };
    loaded.warnings.extend(roots.warnings);
    let speaks_tls = loaded
        .snapshot
        .providers
        .iter()
        .any(|provider| provider.tls.is_some());
    match roots.fault {
        Some(fault) if speaks_tls => Err(Fault::Other(fault)),
        _ => Ok(loaded),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "longer than 16 MiB",
        ));
    }
    Ok(bytes)
}

/// Why, without the error's number, which says the same once more.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    let mut letters = words.chars();
    // In the middle of a sentence.
    letters.next().map_or(String::new(), |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_words() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(reason(&error), "no such file or directory");
    }

    #[test]
    fn a_device_without_end_is_refused() {
        assert!(read(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn without_a_file_the_demo_model_is_there() {
        let Ok(loaded) = load(None) else { panic!() };
        assert!(loaded.snapshot.resolve(config::DEMO).is_some());
    }
}
