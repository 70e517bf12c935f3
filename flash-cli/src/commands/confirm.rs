//! Asks for confirmation before something changes: on a terminal by a prompt, elsewhere by a flag.
use std::io::IsTerminal as _;

use dialoguer::{Confirm, Input};

use super::prompt::prompt;
use crate::exit::Failure;

/// Whether the user can be prompted.
pub(super) fn is_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Whether a change is already confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// Confirmed by a flag.
    Already,
    /// Not yet: prompt the user.
    Ask,
}

impl Confirmation {
    /// From `--yes`.
    pub(super) fn given(yes: bool) -> Self {
        if yes { Self::Already } else { Self::Ask }
    }

    /// Continues once the change is confirmed.
    ///
    /// # Errors
    /// When the user says no, and without a terminal to prompt on.
    pub(super) fn or_prompt(self, question: &str) -> Result<(), Failure> {
        if self == Self::Already {
            return Ok(());
        }
        self.require_terminal()?;
        let ask = || Confirm::new().with_prompt(question).default(false).interact();
        match tokio::task::block_in_place(|| prompt(ask))? {
            true => Ok(()),
            false => Err(Failure::failed("not confirmed: nothing was changed")),
        }
    }

    /// Like [`Confirmation::or_prompt`], but the user must type the name of what is removed.
    ///
    /// # Errors
    /// As for [`Confirmation::or_prompt`].
    pub(super) fn or_prompt_for_name(self, name: &str) -> Result<(), Failure> {
        if self == Self::Already {
            return Ok(());
        }
        self.require_terminal()?;
        let question = format!("Type `{name}` to remove it");
        let ask = || Input::<String>::new().with_prompt(question).interact_text();
        match tokio::task::block_in_place(|| prompt(ask))?.trim() == name {
            true => Ok(()),
            false => Err(Failure::failed("not confirmed: nothing was changed")),
        }
    }

    /// Whether confirmation is possible at all. Checked before slow work starts.
    ///
    /// # Errors
    /// Without a terminal to prompt on.
    pub(super) fn is_possible(self) -> Result<(), Failure> {
        match self {
            Self::Already => Ok(()),
            Self::Ask => self.require_terminal(),
        }
    }

    fn require_terminal(self) -> Result<(), Failure> {
        match is_terminal() {
            true => Ok(()),
            false => {
                Err(Failure::unusable("not a terminal, cannot ask for confirmation: nothing was changed")
                    .hint("confirm with --yes"))
            }
        }
    }
}
