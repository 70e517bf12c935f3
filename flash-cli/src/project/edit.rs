//! Changes that `flash` itself makes to `flash.toml`. The rest of the file is kept: comments, order and spaces. The
//! file is replaced atomically, so that nobody reads a partial file.
use std::{
    io::{self, Write as _},
    net::IpAddr,
    path::{Path, PathBuf},
};

use toml_edit::{DocumentMut, Item, Table, value};

use flash_target::TargetKind;

/// Why the file was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot parse {}: {reason}", path.display())]
    Syntax { path: PathBuf, reason: String },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// What [`Declaration::kubernetes`] may set.
const CLUSTER_KEYS: [&str; 4] = ["context", "namespace", "host", "service_account"];

/// The declaration of an environment.
#[derive(Debug, Clone)]
pub(crate) struct Declaration {
    pub target: TargetKind,
    pub listen: Option<IpAddr>,
    pub port: Option<u16>,
    pub registry: Option<String>,
    /// Settings of its cluster, by their names.
    pub kubernetes: Vec<(&'static str, String)>,
}

/// Declares an environment in this directory's `flash.toml`, creating the file if needed. An existing declaration
/// is kept, except for what is given here.
///
/// # Errors
/// When the file cannot be read, parsed or written; it is then unchanged.
pub(crate) fn add_environment(
    directory: &Path,
    name: &str,
    declaration: &Declaration,
) -> Result<(), EditError> {
    let Declaration { target, listen, port, registry, kubernetes } = declaration;
    edit(directory, |document| {
        let environments = document.entry("environments").or_insert_with(implicit_table);
        let Some(environments) = environments.as_table_like_mut() else { return false };
        let environment = environments.entry(name).or_insert_with(|| Item::Table(Table::new()));
        let Some(environment) = environment.as_table_like_mut() else { return false };
        environment.insert("target", value(target.as_str()));
        if let Some(listen) = listen {
            environment.insert("listen", value(listen.to_string()));
        }
        if let Some(port) = port {
            environment.insert("port", value(i64::from(*port)));
        }
        if let Some(registry) = registry {
            environment.insert("registry", value(registry));
        }
        if !kubernetes.is_empty() {
            let table = environment.entry("kubernetes").or_insert_with(|| Item::Table(Table::new()));
            let Some(table) = table.as_table_like_mut() else { return false };
            for (name, text) in kubernetes {
                table.insert(name, value(text));
            }
        }
        true
    })
}

/// Removes what [`add_environment`] writes for an environment, and the table if nothing else is in it: variables
/// and settings of worker types are the user's work. Does nothing if there is nothing to remove.
///
/// # Errors
/// As for [`add_environment`].
pub(crate) fn remove_environment(directory: &Path, name: &str) -> Result<(), EditError> {
    edit(directory, |document| {
        let environments = document.get_mut("environments").and_then(Item::as_table_like_mut);
        let Some(environments) = environments else { return false };
        let Some(environment) = environments.get_mut(name) else { return false };
        let Some(settings) = environment.as_table_like_mut() else { return false };
        let mut has_changed = false;
        for key in ["listen", "port", "registry"] {
            has_changed |= settings.remove(key).is_some();
        }
        if let Some(cluster) = settings.get_mut("kubernetes").and_then(Item::as_table_like_mut) {
            for key in CLUSTER_KEYS {
                has_changed |= cluster.remove(key).is_some();
            }
            if cluster.is_empty() {
                settings.remove("kubernetes");
            }
        }
        // Where it is needed for what is left, such as the data centers of a cloud.
        if settings.iter().all(|(key, _)| ["target", "variables", "workers"].contains(&key)) {
            has_changed |= settings.remove("target").is_some();
        }
        if settings.is_empty() {
            environments.remove(name);
            has_changed = true;
        } else if let Some(table) = environment.as_table_mut()
            && table.iter().all(|(_, item)| item.is_table())
            && table.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default().trim().is_empty()
        {
            // As before: subtables need no header of their own.
            table.set_implicit(true);
        }
        if environments.is_empty() {
            document.remove("environments");
        }
        has_changed
    })
}

/// A table without a header of its own: only `[environments.a]`.
fn implicit_table() -> Item {
    let mut table = Table::new();
    table.set_implicit(true);
    Item::Table(table)
}

/// Reads the file, changes it, and replaces it if `change` reports a change.
fn edit(directory: &Path, change: impl FnOnce(&mut DocumentMut) -> bool) -> Result<(), EditError> {
    let path = directory.join("flash.toml");
    // A link is kept: its target is replaced.
    let path = path.canonicalize().unwrap_or(path);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(EditError::Read { path, source }),
    };
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        EditError::Syntax { path: path.clone(), reason: error.message().to_owned() }
    })?;
    if !change(&mut document) {
        return Ok(());
    }
    replace(&path, &document.to_string()).map_err(|source| EditError::Write { path, source })
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::Builder::new().prefix(".flash.toml.").tempfile_in(directory)?;
    new.write_all(text.as_bytes())?;
    let mode = std::fs::metadata(path).map(|old| old.permissions());
    match mode {
        Ok(permissions) => new.as_file().set_permissions(permissions)?,
        // The mode of a new source file, not of a secret one.
        Err(_) => new.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?,
    }
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Config;

    fn local(port: Option<u16>) -> Declaration {
        Declaration { target: TargetKind::Local, listen: None, port, registry: None, kubernetes: Vec::new() }
    }

    fn edited(before: &str, edit: impl FnOnce(&Path)) -> String {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("flash.toml");
        std::fs::write(&path, before).unwrap();
        edit(directory.path());
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn an_environment_is_added_and_everything_else_stays_as_written() {
        let before = "# ours\n[run]\nport   = 9000 # odd\n\n[prices]\nADA_24 = 0.1\n";
        let after = edited(before, |directory| {
            add_environment(directory, "production", &local(Some(8123))).unwrap();
        });
        assert!(after.starts_with(before), "{after}");
        assert_eq!(
            after[before.len()..].trim(),
            "[environments.production]\ntarget = \"local\"\nport = 8123"
        );
        let config = Config::parse(&after, Path::new("flash.toml")).unwrap();
        assert_eq!(config.environment("production").unwrap().port, Some(8123));
    }

    #[test]
    fn what_was_added_is_removed_again() {
        let before = "[run]\nport = 1 # one\n";
        let after = edited(before, |directory| {
            add_environment(directory, "production", &local(None)).unwrap();
            remove_environment(directory, "production").unwrap();
            remove_environment(directory, "other").unwrap();
        });
        assert_eq!(after, before);
    }

    #[test]
    fn what_somebody_wrote_of_an_environment_outlives_it() {
        let before =
            "[run]\nport = 1\n\n# Smaller there.\n[environments.cloud.workers.page]\ncpu = \"cpu3c-2-4\"\n";
        let after = edited(before, |directory| {
            add_environment(directory, "cloud", &local(Some(8123))).unwrap();
            remove_environment(directory, "cloud").unwrap();
        });
        assert_eq!(after.trim(), before.trim());
        let before = "# Ours.\n[environments.a]\ntarget = \"local\"\n[environments.a.variables]\nX = \"1\"\n";
        let after = edited(before, |directory| remove_environment(directory, "a").unwrap());
        assert_eq!(after, before.replace("target = \"local\"\n", ""));
    }

    #[test]
    fn a_file_is_valid_after_an_environment_that_needs_its_target_was_removed() {
        for left in ["data_centers = [\"EU-RO-1\"]\n", "[environments.a.kubernetes]\nstorage = \"1Gi\"\n"] {
            let target =
                if left.contains("kubernetes") { TargetKind::Kubernetes } else { TargetKind::Runpod };
            let before = format!("[environments.a]\ntarget = \"{target}\"\n{left}");
            let after = edited(&before, |directory| {
                let namespace = ("namespace", "ml".to_owned());
                let kubernetes = if target == TargetKind::Kubernetes { vec![namespace] } else { Vec::new() };
                let registry = Some("ghcr.io/me/app".to_owned());
                let own = Declaration { target, listen: None, port: None, registry, kubernetes };
                add_environment(directory, "a", &own).unwrap();
                remove_environment(directory, "a").unwrap();
            });
            assert_eq!(after, before);
            Config::parse(&after, Path::new("flash.toml")).unwrap();
        }
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_left_alone() {
        let before = "[run\nport = 1\n";
        let after = edited(before, |directory| {
            let error = add_environment(directory, "a", &local(None)).unwrap_err();
            assert!(matches!(error, EditError::Syntax { .. }), "{error}");
        });
        assert_eq!(after, before);
    }

    #[test]
    fn a_declared_environment_keeps_its_own_settings() {
        let before = "[environments.a]\n# for the team\nport = 1234\n[environments.a.variables]\nX = \"1\"\n";
        let after = edited(before, |directory| {
            add_environment(directory, "a", &local(None)).unwrap();
        });
        assert!(
            after.contains("# for the team\nport = 1234") && after.contains("target = \"local\""),
            "{after}"
        );
        assert!(after.contains("X = \"1\""), "{after}");
    }
}
