//! The templates, embedded in the binary.

/// What a new crate starts from.
#[derive(Debug)]
pub(super) struct Template {
    pub name: &'static str,
    /// In one line, for lists.
    pub description: &'static str,
    /// Whether a worker type has a model, which may run on a GPU.
    pub model: Option<Model>,
    /// The manifest, with placeholders.
    pub manifest: &'static str,
    /// Files by their path in the new crate, with placeholders. Those in `tests/` can be left out.
    pub files: &'static [(&'static str, &'static str)],
    /// What to type first in the new crate.
    pub next: &'static [&'static str],
}

/// Where the worker type with the model runs unless the user says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    OnCpu,
    OnGpu,
}

const FLASH_TOML: &str = include_str!("../../../templates/common/flash.toml");
const GITIGNORE: &str = include_str!("../../../templates/common/gitignore");
const MAIN: &str = include_str!("../../../templates/common/main.rs");
const VARIABLES: &str = include_str!("../../../templates/common/env.example");

const RUN: &str = "flash run";
const PULL: &str = "flash models pull";

/// A file of a template, whose path in the new crate is that in the template.
macro_rules! file {
    ($template:literal, $path:literal) => {
        ($path, include_str!(concat!("../../../templates/", $template, "/", $path)))
    };
}

/// A template with the files that most of them share.
macro_rules! template {
    ($name:literal, $description:literal, $model:expr, [$($path:literal),+], $next:expr) => {
        Template {
            name: $name,
            description: $description,
            model: $model,
            manifest: include_str!(concat!("../../../templates/", $name, "/manifest.toml")),
            files: &[
                (".env.example", VARIABLES),
                (".gitignore", GITIGNORE),
                file!($name, "README.md"),
                ("flash.toml", FLASH_TOML),
                ("src/main.rs", MAIN),
                $(file!($name, $path)),+
            ],
            next: $next,
        }
    };
}

/// All templates, the default first.
pub(super) static TEMPLATES: [Template; 7] = [
    template!(
        "hello",
        "a function behind a queue, and a route that calls it",
        None,
        ["src/lib.rs", "tests/app.rs"],
        &[RUN]
    ),
    template!(
        "pipeline",
        "CPU, GPU, CPU: the worker with the model runs only while the model does",
        Some(Model::OnGpu),
        ["src/lib.rs", "src/sentences.rs", "src/embedder.rs", "src/ranking.rs", "tests/app.rs"],
        &[PULL, RUN]
    ),
    template!(
        "chat",
        "a language model behind OpenAI's API",
        Some(Model::OnCpu),
        ["src/lib.rs"],
        &[PULL, RUN]
    ),
    template!(
        "embeddings",
        "an encoder behind OpenAI's API, batched, and a route that uses it",
        Some(Model::OnCpu),
        ["src/lib.rs", "tests/app.rs"],
        &[PULL, RUN]
    ),
    template!(
        "api",
        "an axum router, and a worker type for what takes long",
        None,
        ["src/lib.rs", "src/web.rs", "src/text.rs", "tests/app.rs"],
        &[RUN]
    ),
    template!(
        "jobs",
        "retries, a schedule, and a long task with progress",
        None,
        ["src/lib.rs", "tests/app.rs"],
        &[RUN]
    ),
    Template {
        name: "python",
        description: "a Rust pipeline in front of an official Python worker",
        model: None,
        manifest: include_str!("../../../templates/python/manifest.toml"),
        files: &[
            (".env.example", VARIABLES),
            (".gitignore", include_str!("../../../templates/python/gitignore")),
            file!("python", "README.md"),
            file!("python", "flash.toml"),
            file!("python", "requirements.txt"),
            file!("python", "worker.py"),
            ("src/main.rs", MAIN),
            file!("python", "src/lib.rs"),
            file!("python", "tests/app.rs"),
        ],
        next: &["python3 -m venv .venv", ".venv/bin/pip install -r requirements.txt", RUN],
    },
];

/// The template of this name.
pub(super) fn named(name: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| template.name == name)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    /// Files that are there in a folder, by their path in it.
    fn files_of(folder: &Path) -> BTreeSet<String> {
        walkdir::WalkDir::new(folder)
            .into_iter()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn each_file_of_a_template_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        for template in &TEMPLATES {
            let embedded: BTreeSet<&str> = template.files.iter().map(|(path, _)| *path).collect();
            for path in files_of(&folder.join(template.name)) {
                let made = match path.as_str() {
                    "manifest.toml" => continue,
                    "gitignore" => ".gitignore",
                    other => other,
                };
                assert!(embedded.contains(made), "{}: {path} is not embedded", template.name);
            }
        }
        let folders: BTreeSet<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "common")
            .collect();
        assert_eq!(folders, TEMPLATES.iter().map(|template| template.name.to_owned()).collect());
    }
}
