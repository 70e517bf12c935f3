//! Arguments and help of `flash init`.
use std::path::PathBuf;

use clap::Args;

const EXIT_CODES: &str = "Exit codes: 0 done; 1 a file cannot be written, or cargo cannot read the crate; 2 wrong \
                          usage, no such template, or a file that is there already.";

/// Create a crate from a template.
///
/// On a terminal, asks for what the arguments leave open. Overwrites nothing. Inside a workspace, the crate becomes a member.
#[derive(Args)]
#[command(
    after_help = format!("Examples:\n  flash init hello\n  flash init --list\n  \
                  flash init chat --template chat --gpu --yes\n\n{EXIT_CODES}")
)]
pub(crate) struct InitArguments {
    /// Where to create it; made if it is not there.
    #[arg(value_name = "DIR", default_value = ".")]
    pub(super) directory: PathBuf,
    /// The template: `--list` lists them [default: hello].
    #[arg(long, value_name = "NAME")]
    pub(super) template: Option<String>,
    /// The name of the package [default: that of the directory].
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Run the template's model on a CPU.
    #[arg(long, conflicts_with = "gpu")]
    pub(super) cpu: bool,
    /// Run the template's model on a GPU.
    #[arg(long)]
    pub(super) gpu: bool,
    /// Leave out the tests.
    #[arg(long)]
    pub(super) no_tests: bool,
    /// Do not create a Git repository.
    #[arg(long)]
    pub(super) no_git: bool,
    /// Ask nothing: use defaults for what the arguments leave open.
    #[arg(long, short)]
    pub(super) yes: bool,
    /// List the templates.
    #[arg(long, conflicts_with_all = ["template", "name", "cpu", "gpu", "no_tests", "no_git", "yes"])]
    pub(super) list: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}
