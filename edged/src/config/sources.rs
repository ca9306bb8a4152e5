//! The layers of a config, and how they become one tree.
//!
//! Built-in → file → `conf.d/*.toml` beside it in name order → environment
//! `EDGED_<SECTION>__<KEY>` → flags. The environment is handed in by the
//! caller, so that a test can bring its own.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use relay_core::id::NodeId;

use super::error::{ConfigError, Fault};
use super::tree::{self, Entry, Origin, Tree, Value};

/// Where to look, from the lowest layer to the uppermost.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    instead: Option<(PathBuf, String)>,
    environment: Vec<(String, OsString)>,
    flags: Vec<(&'static str, &'static str, String)>,
    node: Option<NodeId>,
}

/// Tables inside tables that a variable may name: `EDGED_RELAY__RETRY__FIRST`.
const MOST_LEVELS: usize = 3;
/// The folder beside the config file whose files are laid over it.
const DROP_INS: &str = "conf.d";

impl Sources {
    /// Nothing but what is built in.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads this file and the `conf.d` beside it.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Takes `text` for what stands in the file, which messages then call `name`.
    #[must_use]
    pub fn file_reads(mut self, name: PathBuf, text: String) -> Self {
        self.instead = Some((name, text));
        self
    }

    /// Takes the variables of the form `EDGED_<SECTION>__<KEY>` and leaves the
    /// others, such as `EDGED_SOCKET`, alone.
    #[must_use]
    pub fn environment<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let named = variables
            .into_iter()
            .filter_map(|(n, v)| Some((n.into().into_string().ok()?, v.into())));
        let ours = |name: &str| {
            name.strip_prefix("EDGED_")
                .is_some_and(|rest| rest.contains("__"))
        };
        self.environment
            .extend(named.filter(|(name, _)| ours(name)));
        self.environment.sort();
        self
    }

    /// Sets `key` (such as `log.level`) to what the flag `name` was given.
    #[must_use]
    pub fn flag(mut self, name: &'static str, key: &'static str, value: Option<String>) -> Self {
        self.flags.extend(value.map(|value| (name, key, value)));
        self
    }

    /// The node id when no layer says one: usually made of the host's name.
    #[must_use]
    pub fn default_node(mut self, id: Option<NodeId>) -> Self {
        self.node = id;
        self
    }

    pub(super) const fn node(&self) -> Option<&NodeId> {
        self.node.as_ref()
    }

    /// The folder that relative paths in files start from.
    pub(super) fn base(&self) -> PathBuf {
        let folder = self
            .file
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or(Path::new(""));
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
    }

    /// All layers, laid over each other.
    pub(super) fn tree(&self) -> Result<Tree, ConfigError> {
        let mut tree = Tree::new();
        if let Some((name, text)) = &self.instead {
            tree::lay_over(&mut tree, tree::parse(text, name)?);
        }
        if let Some(file) = &self.file {
            let own = self.instead.is_none().then(|| file.clone());
            for path in own.into_iter().chain(drop_ins(file)?) {
                let unreadable = |source| ConfigError::Unreadable {
                    path: path.clone(),
                    source,
                };
                let text = fs::read_to_string(&path).map_err(unreadable)?;
                tree::lay_over(&mut tree, tree::parse(&text, &path)?);
            }
        }
        for (name, value) in &self.environment {
            let origin = Origin::Environment(name.clone());
            let levels: Vec<_> = name
                .trim_start_matches("EDGED_")
                .split("__")
                .map(str::to_ascii_lowercase)
                .collect();
            let Some(value) = value.to_str() else {
                let fault = Fault::Value("a value that is not UTF-8".to_owned());
                return Err(ConfigError::Key {
                    origin,
                    key: levels.join("."),
                    fault,
                });
            };
            set(&mut tree, &levels, value, origin)?;
        }
        for (name, key, value) in &self.flags {
            let levels: Vec<_> = key.split('.').map(str::to_owned).collect();
            set(&mut tree, &levels, value, Origin::Flag((*name).to_owned()))?;
        }
        Ok(tree)
    }
}

/// The `*.toml` files of the `conf.d` beside `file`, in name order.
fn drop_ins(file: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let folder = file.with_file_name(DROP_INS);
    let unreadable = |source| ConfigError::Unreadable {
        path: folder.clone(),
        source,
    };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let paths = entries
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(unreadable)?;
    paths.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    paths.sort();
    Ok(paths)
}

/// Writes one value at the end of `levels`, making tables on the way.
fn set(tree: &mut Tree, levels: &[String], value: &str, origin: Origin) -> Result<(), ConfigError> {
    let refused = |why: &str| {
        let fault = Fault::Value(why.to_owned());
        ConfigError::Key {
            origin: origin.clone(),
            key: levels.join("."),
            fault,
        }
    };
    let (last, path) = levels.split_last().expect("a split text has a first part");
    if levels.len() > MOST_LEVELS || levels.iter().any(String::is_empty) {
        return Err(refused("not a key, expected EDGED_<SECTION>__<KEY>"));
    }
    let mut table = tree;
    for level in path {
        let new = || Entry {
            value: Value::Table(Tree::new()),
            origin: origin.clone(),
        };
        let entry = table.entry(level.clone()).or_insert_with(new);
        let Value::Table(below) = &mut entry.value else {
            return Err(refused("cannot be set here, only in a file"));
        };
        table = below;
    }
    table.insert(
        last.clone(),
        Entry {
            value: Value::Text(value.to_owned()),
            origin,
        },
    );
    Ok(())
}
