//! A config file: any text is refused in words, or means something.
//!
//! Promised: the same text means the same; what is refused names the file; what is
//! meant says so of each key; a sound config survives being read with a flag over it.

use std::path::PathBuf;

use edged::config::{Config, Sources};

const NAME: &str = "edged.toml";

/// The text of one file.
///
/// # Panics
/// When a promise is broken.
pub fn play(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match (load(text, None), load(text, None)) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first, second);
            let (config, shown) = first;
            assert!(shown.iter().count() > 0);
            // Another level changes nothing that another key says.
            let (other, _) = load(text, Some("warn")).expect("a flag over a sound config");
            assert_eq!(
                Config {
                    log: config.log.clone(),
                    ..other
                },
                config
            );
        }
        (Err(first), Err(second)) => assert_eq!(first, second),
        (first, second) => panic!("{first:?} and then {second:?}"),
    }
}

type Loaded = (Config, edged::config::Effective);

fn load(text: &str, level: Option<&str>) -> Result<Loaded, String> {
    let sources = Sources::new()
        .file_reads(PathBuf::from(NAME), text.to_owned())
        .default_node(Some("alpha".parse().expect("a name")))
        .flag("--log-level", "log.level", level.map(str::to_owned));
    Config::load(&sources).map_err(|error| {
        let said = error.to_string();
        assert!(!said.is_empty());
        said
    })
}
