//! What is made: from the arguments, from what the user answers on a terminal, or by default.
use std::path::Path;

use dialoguer::{Confirm, Input, Select};

use super::{
    arguments::InitArguments,
    name,
    template::{self, Model, TEMPLATES, Template},
};
use crate::{commands::prompt::prompt, exit::Failure};

/// What is made.
#[derive(Debug)]
pub(super) struct Answers {
    pub template: &'static Template,
    pub name: String,
    pub compute: Compute,
    pub tests: bool,
    pub git: bool,
}

/// Where the worker type with the model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compute {
    Cpu,
    Gpu,
}

/// How what the arguments leave open is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Open {
    Ask,
    ByDefault,
}

/// Whether the new crate could get a Git repository of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Git {
    Possible,
    /// It lies in a repository, or Git is not installed.
    No,
}

impl Answers {
    /// For a crate in this directory.
    ///
    /// # Errors
    /// When a value is not valid, or the user gives no answer.
    pub(super) fn of(
        arguments: &InitArguments,
        directory: &Path,
        open: Open,
        git: Git,
    ) -> Result<Self, Failure> {
        let name = named(arguments, directory, open)?;
        let template = chosen(arguments, open)?;
        let compute = match template.model {
            Some(model) => computed(arguments, model, open)?,
            None if arguments.gpu => {
                let templates = TEMPLATES.iter().filter(|one| one.model.is_some()).map(|one| one.name);
                let named: Vec<_> = templates.collect();
                let error = format!("the template `{}` has no model to run on a GPU", template.name);
                return Err(
                    Failure::unusable(error).hint(format!("templates with one: {}", named.join(", ")))
                );
            }
            None => Compute::Cpu,
        };
        let has_tests = template.files.iter().any(|(path, _)| path.starts_with("tests/"));
        let tests = has_tests && !arguments.no_tests && confirmed("Add tests?", open)?;
        let git = git == Git::Possible && !arguments.no_git && confirmed("Create a Git repository?", open)?;
        Ok(Self { template, name, compute, tests, git })
    }
}

fn named(arguments: &InitArguments, directory: &Path, open: Open) -> Result<String, Failure> {
    if let Some(name) = &arguments.name {
        return name::checked(name).map_err(|error| Failure::unusable(error.to_string()));
    }
    let proposed = name::checked(&name::of_directory(directory));
    match (open, proposed) {
        (Open::ByDefault, Ok(name)) => Ok(name),
        (Open::ByDefault, Err(error)) => {
            Err(Failure::unusable(error.to_string()).hint("choose a name with --name NAME"))
        }
        (Open::Ask, proposed) => {
            let mut input = Input::<String>::new()
                .with_prompt("Name")
                .validate_with(|name: &String| name::checked(name).map(drop));
            if let Ok(name) = proposed {
                input = input.default(name);
            }
            prompt(|| input.interact_text())
        }
    }
}

fn chosen(arguments: &InitArguments, open: Open) -> Result<&'static Template, Failure> {
    if let Some(name) = &arguments.template {
        return template::named(name).ok_or_else(|| {
            let names: Vec<_> = TEMPLATES.iter().map(|template| template.name).collect();
            Failure::unusable(format!("there is no template `{name}`"))
                .hint(format!("templates: {}", names.join(", ")))
        });
    }
    if open == Open::ByDefault {
        return Ok(&TEMPLATES[0]);
    }
    let lines = TEMPLATES.iter().map(|template| format!("{:<11} {}", template.name, template.description));
    let select = Select::new().with_prompt("Template").items(lines).default(0);
    Ok(&TEMPLATES[prompt(|| select.interact())?])
}

fn computed(arguments: &InitArguments, model: Model, open: Open) -> Result<Compute, Failure> {
    match (arguments.cpu, arguments.gpu, model) {
        (true, _, _) => return Ok(Compute::Cpu),
        (_, true, _) => return Ok(Compute::Gpu),
        (false, false, _) => {}
    }
    if open == Open::ByDefault {
        return Ok(match model {
            Model::OnCpu => Compute::Cpu,
            Model::OnGpu => Compute::Gpu,
        });
    }
    let first = usize::from(model == Model::OnGpu);
    let select = Select::new().with_prompt("The model runs on").items(["CPU", "GPU"]).default(first);
    Ok(match prompt(|| select.interact())? {
        0 => Compute::Cpu,
        _ => Compute::Gpu,
    })
}

fn confirmed(question: &str, open: Open) -> Result<bool, Failure> {
    match open {
        Open::ByDefault => Ok(true),
        Open::Ask => prompt(|| Confirm::new().with_prompt(question).default(true).interact()),
    }
}
