//! Asks before something changes: on a terminal the user, elsewhere the flags.
use std::io::IsTerminal as _;

use dialoguer::{Confirm, Input};

use crate::exit::Failure;

/// Whether somebody can be asked.
pub(super) fn is_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// How much a change is agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreed {
    /// By a flag.
    Already,
    /// Not yet: whoever is there is asked.
    Ask,
}

impl Agreed {
    /// By `--yes`.
    pub(super) fn by(yes: bool) -> Self {
        if yes { Self::Already } else { Self::Ask }
    }

    /// Goes on when it is agreed on.
    ///
    /// # Errors
    /// When the user says no, and off a terminal, where there is no one to ask.
    pub(super) fn or_ask(self, question: &str) -> Result<(), Failure> {
        if self == Self::Already {
            return Ok(());
        }
        self.somebody_is_there()?;
        let said =
            tokio::task::block_in_place(|| Confirm::new().with_prompt(question).default(false).interact());
        match said.map_err(unanswered)? {
            true => Ok(()),
            false => Err(Failure::failed("not confirmed: nothing was changed")),
        }
    }

    /// As [`Agreed::or_ask`], by the typed name of what goes.
    ///
    /// # Errors
    /// As there.
    pub(super) fn or_ask_for_name(self, name: &str) -> Result<(), Failure> {
        if self == Self::Already {
            return Ok(());
        }
        self.somebody_is_there()?;
        let question = format!("Type `{name}` to remove it");
        let said =
            tokio::task::block_in_place(|| Input::<String>::new().with_prompt(question).interact_text());
        match said.map_err(unanswered)?.trim() == name {
            true => Ok(()),
            false => Err(Failure::failed("not confirmed: nothing was changed")),
        }
    }

    /// Whether it can be agreed on later, asked before what takes long.
    ///
    /// # Errors
    /// Off a terminal, where there is no one to ask.
    pub(super) fn can_be_asked(self) -> Result<(), Failure> {
        match self {
            Self::Already => Ok(()),
            Self::Ask => self.somebody_is_there(),
        }
    }

    fn somebody_is_there(self) -> Result<(), Failure> {
        match is_terminal() {
            true => Ok(()),
            false => {
                Err(Failure::unusable("not a terminal, cannot ask for confirmation: nothing was changed")
                    .hint("confirm with --yes"))
            }
        }
    }
}

/// A question that was broken off.
pub(super) fn unanswered(error: dialoguer::Error) -> Failure {
    Failure::failed(format!("no answer: {error}"))
}
