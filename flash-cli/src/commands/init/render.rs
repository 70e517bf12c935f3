//! The texts of a new crate: a template whose placeholders are filled in.
use std::path::{Path, PathBuf};

use super::{
    answers::{Answers, Compute},
    name,
};
use crate::project::MODEL_PROFILE;

/// This crate in the checkout that the binary was built from. `None` in a release of `cargo xtask dist`, which has no path of
/// the machine that compiled it.
const OWN_CRATE: Option<&str> = match option_env!("FLASH_RELEASED") {
    Some(_) => None,
    None => Some(env!("CARGO_MANIFEST_DIR")),
};

/// Where the new crate finds the crates of Flash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// In the checkout that this binary was built from.
    Checkout(PathBuf),
    /// On crates.io, in the version of this binary.
    Published,
}

impl Source {
    /// The checkout, if this binary was built from one that is still there with this version.
    pub(super) fn find() -> Self {
        let checkout = OWN_CRATE.and_then(|own| Path::new(own).parent());
        let version = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
        let is_it = |root: &&Path| {
            root.join("flash-sdk/Cargo.toml").is_file()
                && std::fs::read_to_string(root.join("Cargo.toml")).is_ok_and(|text| text.contains(&version))
        };
        checkout.filter(is_it).map_or(Self::Published, |root| Self::Checkout(root.to_owned()))
    }

    /// The part of a dependency that says where it comes from.
    fn of(&self, folder: &str) -> String {
        match self {
            Self::Checkout(root) => {
                let path = root.join(folder).to_string_lossy().into_owned();
                format!("path = {}", toml::Value::String(path))
            }
            Self::Published => format!("version = \"{}\"", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// What each crate sets for its dev builds. Models need more.
const PROFILE: &str = include_str!("../../../templates/common/profile.toml");

/// Where the settings of the dev profile go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    /// Into the crate's manifest.
    InCrate,
    /// Cargo reads profiles only at the root of a workspace, which is somebody else's file.
    InWorkspace,
}

/// Paths and texts of the files, in the order of their paths.
pub(super) fn files(answers: &Answers, source: &Source, profile: Profile) -> Vec<(&'static str, String)> {
    let has_model = answers.template.model.is_some();
    let profile = match profile {
        Profile::InCrate => [PROFILE, if has_model { MODEL_PROFILE } else { "" }].concat(),
        Profile::InWorkspace => String::new(),
    };
    let compute = match answers.compute {
        Compute::Cpu => "cpu = Cpu3c_2_4",
        Compute::Gpu => "gpu = Ada24",
    };
    let fill = |text: &str| {
        text.replace("{{name}}", &answers.name)
            .replace("{{crate}}", &name::identifier(&answers.name))
            .replace("{{compute}}", compute)
            .replace("{{flash-sdk}}", &source.of("flash-sdk"))
            .replace("{{flash-models}}", &source.of("crates/flash-models"))
            .replace("{{profile}}\n", &profile)
    };
    let template = answers.template;
    let kept = template.files.iter().filter(|(path, _)| answers.tests || !path.starts_with("tests/"));
    let mut files: Vec<_> = kept.map(|(path, text)| (*path, fill(text))).collect();
    files.push(("Cargo.toml", fill(template.manifest)));
    files.sort_unstable_by_key(|(path, _)| *path);
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::init::template::{TEMPLATES, named};

    fn answers(template: &str, compute: Compute, tests: bool) -> Answers {
        let template = named(template).unwrap();
        Answers { template, name: "my-app".to_owned(), compute, tests, git: false }
    }

    fn text(files: &[(&str, String)], path: &str) -> String {
        files.iter().find(|(one, _)| *one == path).unwrap().1.clone()
    }

    /// As in `{{name}}`; braces of Rust's own, as in `{{"text"}}`, are none.
    fn has_placeholder(text: &str) -> bool {
        let is_name = |inside: &str| inside.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).any(|(inside, _)| is_name(inside))
    }

    #[test]
    fn no_placeholder_is_left_and_each_manifest_is_toml() {
        let source = Source::Checkout(PathBuf::from("/home/\"ada\"/flash"));
        for template in &TEMPLATES {
            for (compute, profile) in [(Compute::Cpu, Profile::InCrate), (Compute::Gpu, Profile::InWorkspace)]
            {
                let files = files(&answers(template.name, compute, true), &source, profile);
                for (path, text) in &files {
                    assert!(
                        !has_placeholder(text) && text.ends_with('\n'),
                        "{}: {path}: {text}",
                        template.name
                    );
                }
                let manifest: toml::Table = text(&files, "Cargo.toml").parse().unwrap();
                let path = manifest["dependencies"]["flash-sdk"]["path"].as_str().unwrap();
                assert_eq!(path, "/home/\"ada\"/flash/flash-sdk");
                let own = manifest.get("profile").map(|profile| &profile["dev"]);
                let is_lean = own.is_some_and(|own| own["debug"].as_str() == Some("line-tables-only"));
                assert_eq!(is_lean, profile == Profile::InCrate, "{}", template.name);
                let is_for_models = own.is_some_and(|own| own["package"].get("candle-core").is_some());
                assert_eq!(is_for_models, is_lean && template.model.is_some(), "{}", template.name);
            }
        }
    }

    #[test]
    fn answers_are_in_the_files() {
        let files = files(&answers("pipeline", Compute::Gpu, false), &Source::Published, Profile::InCrate);
        assert!(text(&files, "src/embedder.rs").contains("gpu = Ada24"));
        assert!(text(&files, "src/main.rs").contains("use my_app as _;"));
        assert!(files.iter().all(|(path, _)| !path.starts_with("tests/")), "{files:?}");
        let manifest: toml::Table = text(&files, "Cargo.toml").parse().unwrap();
        assert_eq!(
            manifest["dependencies"]["flash-sdk"]["version"].as_str(),
            Some(env!("CARGO_PKG_VERSION"))
        );
    }
}
