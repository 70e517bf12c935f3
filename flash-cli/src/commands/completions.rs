//! `flash completions` and `flash man`: what shells and `man` show about the command line, made from it.
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum as _};
use clap_complete::Shell;

use super::command::{Command, Context};
use crate::{
    exit::{Code, Failure},
    output::Format,
};

/// Print the completions of a shell.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    flash completions bash > ~/.local/share/bash-completion/completions/flash\n  \
    flash completions zsh > ~/.zfunc/_flash\n  \
    flash completions fish > ~/.config/fish/completions/flash.fish\n\n\
    Exit codes: 0 success; 2 wrong usage, or the shell is not known.")]
pub(crate) struct CompletionsArguments {
    /// The shell; by default the one in $SHELL.
    #[arg(value_enum)]
    shell: Option<Shell>,
}

impl Command for CompletionsArguments {
    fn format(&self) -> Format {
        Format::Text
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        let shell = self.shell.or_else(Shell::from_env).ok_or_else(|| {
            let known: Vec<String> = Shell::value_variants().iter().map(Shell::to_string).collect();
            Failure::unusable("the shell is not known: $SHELL names none that has completions")
                .hint(format!("name one: {}", known.join(", ")))
        })?;
        // Into memory first: the generator panics if its writer fails, and a closed pipe is no reason to.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut context.command_line(), "flash", &mut script);
        context.output().raw(script);
        Ok(Code::Success)
    }
}

/// Write the manual pages, one for each command.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    flash man                                    read the page of flash itself\n  \
    flash man --dir ~/.local/share/man/man1      then: man flash-deploy-send\n\n\
    Exit codes: 0 success; 1 a page cannot be written; 2 wrong usage.")]
pub(crate) struct ManArguments {
    /// Write all pages to this directory, which is created if it is missing. Without it, the page of `flash` is
    /// printed, in the format that `man` reads.
    #[arg(long = "dir", value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Command for ManArguments {
    fn format(&self) -> Format {
        Format::Text
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        match self.directory {
            None => context.output().raw(page(context.command_line())?),
            Some(directory) => {
                write_pages(context.command_line(), &directory)?;
                context.output().status("Wrote", &format!("manual pages to {}", directory.display()));
            }
        }
        Ok(Code::Success)
    }
}

/// The manual page of one command.
fn page(command: clap::Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| Failure::failed(format!("cannot render a manual page: {error}")))?;
    Ok(page)
}

/// Writes the pages of `flash` and of all commands below it.
fn write_pages(command_line: clap::Command, directory: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command_line, directory))
        .map_err(|error| {
            Failure::failed(format!("cannot write manual pages to {}: {error}", directory.display()))
        })
}
