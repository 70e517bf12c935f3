//! The order of the steps of `flash init`.
use std::{
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
};

use serde_json::json;

use super::{
    answers::{Answers, Git, Open},
    arguments::InitArguments,
    files,
    render::{self, Profile, Source},
    template::TEMPLATES,
    workspace,
};
use crate::{
    commands::{
        command::{Command, Context},
        confirm::is_terminal,
        endpoint_table::quoted,
    },
    exit::{Code, Failure, FailureCode},
    output::{Format, Output},
    project::MODEL_PROFILE,
};

impl Command for InitArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        let output = context.output();
        match self.list {
            true => list(output),
            false => create(&self, output)?,
        }
        Ok(Code::Success)
    }
}

fn list(output: &Output) {
    if output.is_json() {
        for template in &TEMPLATES {
            output.object(&json!({ "template": template.name, "description": template.description }));
        }
        return;
    }
    let row = |name: &str, description: &str| vec![name.to_owned(), description.to_owned()];
    let rows: Vec<_> = TEMPLATES.iter().map(|template| row(template.name, template.description)).collect();
    output.table(&["template", "what it is"], &rows);
}

fn create(arguments: &InitArguments, output: &Output) -> Result<(), Failure> {
    let directory = absolute(&arguments.directory)?;
    let open = if arguments.yes || arguments.json || !is_terminal() { Open::ByDefault } else { Open::Ask };
    let git = if has_git(&directory) { Git::Possible } else { Git::No };
    let answers = Answers::of(arguments, &directory, open, git)?;
    let workspace = workspace::above(&directory);
    let profile = if workspace.is_some() { Profile::InWorkspace } else { Profile::InCrate };
    let files = render::files(&answers, &Source::find(), profile);
    files::write(&directory, &files).map_err(|error| match &error {
        files::WriteError::Exists { .. } => {
            Failure::of(FailureCode::Unusable, &error).hint("choose another directory: flash init DIR")
        }
        files::WriteError::Write { .. } => Failure::of(FailureCode::Failed, &error),
    })?;
    let joined = match &workspace {
        Some(manifest) => workspace::join(manifest, &directory).and_then(|_| workspace::check(&directory)),
        None => workspace::check(&directory),
    };
    joined.map_err(|error| {
        Failure::of(FailureCode::Failed, &error).hint(format!("the files are in {}", directory.display()))
    })?;
    if answers.git {
        create_repository(&directory, output);
    }
    report(&answers, &directory, workspace.as_deref(), arguments, output);
    Ok(())
}

fn report(
    answers: &Answers,
    directory: &Path,
    workspace: Option<&Path>,
    arguments: &InitArguments,
    output: &Output,
) {
    let Answers { template, name, .. } = answers;
    if output.is_json() {
        output.object(&json!({
            "name": name,
            "template": template.name,
            "directory": directory,
            "workspace": workspace,
            "next": template.next,
        }));
        return;
    }
    output.status(
        "Created",
        &format!("{name} in {} (template {})", arguments.directory.display(), template.name),
    );
    if let Some(manifest) = workspace {
        output.status("Joined", &format!("the workspace of {}", manifest.display()));
        if template.model.is_some() {
            output.note(&format!("add this to {}:\n{}", manifest.display(), MODEL_PROFILE.trim()));
        }
    }
    let mut next = Vec::new();
    if arguments.directory.as_os_str() != "." {
        next.push(format!("cd {}", quoted(&arguments.directory.display().to_string())));
    }
    next.extend(template.next.iter().map(|&command| command.to_owned()));
    output.status("Next", &next.join(" && "));
}

/// The directory without `.` and `..`, which exists or can be made.
fn absolute(directory: &Path) -> Result<PathBuf, Failure> {
    let failed =
        |error: std::io::Error| Failure::unusable(format!("cannot use {}: {error}", directory.display()));
    if directory.exists() && !directory.is_dir() {
        return Err(Failure::unusable(format!("{} is not a directory", directory.display())));
    }
    if let Ok(found) = directory.canonicalize() {
        return Ok(found);
    }
    // Only what is there has a real path: links above the new directory are followed.
    let path = std::path::absolute(directory).map_err(failed)?;
    let there = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
    Ok(there.canonicalize().map_err(failed)?.join(rest))
}

/// Whether Git is there, and the directory is in no repository yet.
fn has_git(directory: &Path) -> bool {
    let Some(there) = directory.ancestors().find(|ancestor| ancestor.is_dir()) else { return false };
    let asked = Process::new("git")
        .args(["rev-parse", "--is-inside-work-tree"])
        .current_dir(there)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| !status.success())
}

fn create_repository(directory: &Path, output: &Output) {
    let made =
        Process::new("git").args(["init", "--quiet"]).current_dir(directory).stdin(Stdio::null()).output();
    let failed = match made {
        Ok(done) if done.status.success() => return,
        Ok(done) => String::from_utf8_lossy(&done.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    output.warning(&format!("could not create a Git repository: {failed}"));
}
