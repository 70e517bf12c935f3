//! Arguments with a fixed list of values, for types that know nothing of command lines: their names and their help.
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use flash_containers::Kind;
use flash_target::{LogLevel, LogStream, TargetKind};

/// A type whose values a user chooses from.
pub(crate) trait Choice: Copy + Send + Sync + 'static {
    /// In the order of the help.
    const ALL: &'static [Self];

    /// As the user types it.
    fn name(self) -> &'static str;

    /// What it means, for `--help`.
    fn help(self) -> &'static str;
}

/// The parser of an argument of this type. Help and errors list the values.
pub(crate) fn choice<T: Choice>() -> impl TypedValueParser<Value = T> {
    let names = T::ALL.iter().map(|value| PossibleValue::new(value.name()).help(value.help()));
    PossibleValuesParser::new(names).map(|typed| {
        let of_name = |value: &&T| value.name() == typed;
        *T::ALL.iter().find(of_name).expect("the parser accepts only these names")
    })
}

impl Choice for TargetKind {
    const ALL: &'static [Self] = &[Self::Local, Self::Runpod, Self::Kubernetes];

    fn name(self) -> &'static str {
        self.as_str()
    }

    fn help(self) -> &'static str {
        match self {
            Self::Local => "The background service on this machine",
            Self::Runpod => "Runpod's cloud",
            Self::Kubernetes => "A Kubernetes cluster of yours",
        }
    }
}

impl Choice for Kind {
    const ALL: &'static [Self] = &Kind::ALL;

    fn name(self) -> &'static str {
        Self::name(self)
    }

    fn help(self) -> &'static str {
        match self {
            Self::Podman => "Version 4.0 or newer; chosen where both are installed",
            Self::Docker => "With a daemon on this machine; neither Docker Desktop nor rootless",
        }
    }
}

impl Choice for LogLevel {
    const ALL: &'static [Self] = &[Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error];

    fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::Trace => "Every detail; the lowest level",
            Self::Debug => "Details for finding faults",
            Self::Info => "Normal events; also lines without a level",
            Self::Warn => "Possible problems; also lines of stderr without a level",
            Self::Error => "Failures; also `critical` and `fatal` lines",
        }
    }
}

impl Choice for LogStream {
    const ALL: &'static [Self] = &[Self::Stdout, Self::Stderr, Self::System];

    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::System => "system",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::Stdout => "A worker's standard output; on Runpod, all of its output",
            Self::Stderr => "A worker's standard error",
            Self::System => "The platform itself",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use clap::Command;

    use super::*;

    fn parsed<T: Choice>(typed: &str) -> Result<T, String> {
        choice::<T>()
            .parse_ref(&Command::new("flash"), None, OsStr::new(typed))
            .map_err(|error| error.to_string())
    }

    fn check<T: Choice + PartialEq + std::fmt::Debug>(names: &[&str]) {
        assert_eq!(T::ALL.iter().map(|value| value.name()).collect::<Vec<_>>(), names);
        for value in T::ALL {
            assert_eq!(parsed::<T>(value.name()).as_ref(), Ok(value));
        }
    }

    #[test]
    fn every_value_is_accepted_by_its_name() {
        check::<TargetKind>(&["local", "runpod", "kubernetes"]);
        check::<Kind>(&["podman", "docker"]);
        check::<LogLevel>(&["trace", "debug", "info", "warn", "error"]);
        check::<LogStream>(&["stdout", "stderr", "system"]);
    }

    #[test]
    fn another_value_is_refused_with_the_list() {
        let error = parsed::<LogLevel>("warning").unwrap_err();
        assert!(error.contains("[possible values: trace, debug, info, warn, error]"), "{error}");
    }
}
