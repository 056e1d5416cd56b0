//! Secrets of the settings: named by where they lie, so that a file of settings needs to hold none.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

/// A password, key or token: `{ env = "NAME" }`, `{ file = "/path" }`, or the text itself.
///
/// It is looked up when it is needed, so that a file can be renewed under a running process, and
/// it is never shown: neither by `Debug` nor in settings that are written out.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Secret {
    Text(String),
    Env(FromEnv),
    File(FromFile),
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromEnv {
    env: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromFile {
    file: PathBuf,
}

/// A secret that is not where the settings say.
#[derive(Debug, thiserror::Error)]
pub enum SecretMissing {
    #[error("the environment has no {name}")]
    Env { name: String },
    #[error("the file {} cannot be read", path.display())]
    File {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
}

impl Secret {
    /// The secret itself. The last line break of a file does not belong to it.
    pub fn reveal(&self) -> Result<String, SecretMissing> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Env(FromEnv { env }) => {
                std::env::var(env).map_err(|_| SecretMissing::Env { name: env.clone() })
            }
            Self::File(FromFile { file }) => match std::fs::read_to_string(file) {
                Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(cause) => Err(SecretMissing::File { path: file.clone(), cause }),
            },
        }
    }
}

const HIDDEN: &str = "(hidden)";

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str(HIDDEN),
            Self::Env(FromEnv { env }) => write!(f, "env {env}"),
            Self::File(FromFile { file }) => write!(f, "file {}", file.display()),
        }
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(_) => serializer.serialize_str(HIDDEN),
            Self::Env(env) => env.serialize(serializer),
            Self::File(file) => file.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Settings {
        password: Secret,
    }

    #[test]
    fn a_secret_is_looked_up_where_the_settings_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "from the file\n").unwrap();
        let file = format!("password = {{ file = '{}' }}", path.display());
        for (text, expected) in [
            ("password = 'as it is'", "as it is"),
            ("password = { env = 'CARGO_PKG_NAME' }", "streamgate"),
            (file.as_str(), "from the file"),
        ] {
            let settings: Settings = toml::from_str(text).unwrap();
            assert_eq!(settings.password.reveal().unwrap(), expected);
        }
        let missing: Settings = toml::from_str("password = { env = 'NO_SUCH_NAME' }").unwrap();
        let problem = missing.password.reveal().unwrap_err().to_string();
        assert_eq!(problem, "the environment has no NO_SUCH_NAME");
    }

    #[test]
    fn a_secret_is_never_shown() {
        let settings: Settings = toml::from_str("password = 'hush'").unwrap();
        let shown = format!("{settings:?} {}", toml::to_string(&settings).unwrap());
        assert!(!shown.contains("hush"), "{shown}");
    }
}
