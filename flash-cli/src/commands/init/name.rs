//! Names of packages: what cargo takes, and what does not clash with what a template uses.
use std::path::Path;

/// Words of Rust, crates that every program has, and those that templates depend on.
const TAKEN: [&str; 58] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "flash_models",
    "flash_sdk",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "schemars",
    "self",
    "serde",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "tower",
    "tracing",
    "trait",
    "true",
    "try",
    "type",
    "unsafe",
    "use",
    "where",
    "while",
];

/// Why a name cannot be that of a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NameError {
    #[error("`{0}` is not a package name: it must start with a letter, then letters, digits, `-` and `_`")]
    Characters(String),
    #[error("`{0}` is taken: it is a word of Rust or a crate that the template uses")]
    Taken(String),
    #[error("`{0}` is too long for a package name: 64 characters are allowed")]
    Long(String),
}

/// The name, if a package may have it.
///
/// # Errors
/// When cargo or the compiler would refuse it.
pub(super) fn checked(name: &str) -> Result<String, NameError> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    if !name.starts_with(|letter: char| letter.is_ascii_alphabetic()) || !name.chars().all(allowed) {
        return Err(NameError::Characters(name.to_owned()));
    }
    if name.len() > 64 {
        return Err(NameError::Long(name.to_owned()));
    }
    if TAKEN.contains(&identifier(name).to_ascii_lowercase().as_str()) {
        return Err(NameError::Taken(name.to_owned()));
    }
    Ok(name.to_owned())
}

/// What the crate is called in Rust.
pub(super) fn identifier(name: &str) -> String {
    name.replace('-', "_")
}

/// The name of a directory as that of a package.
pub(super) fn of_directory(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    name.trim().replace([' ', '.'], "-").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_cargo_and_the_compiler_take() {
        for good in ["hello", "my-app", "app_2", "A"] {
            assert_eq!(checked(good).as_deref(), Ok(good));
        }
        for bad in ["", "2app", "-app", "my app", "größe", "a/b", "a\n"] {
            assert_eq!(checked(bad), Err(NameError::Characters(bad.to_owned())));
        }
        for taken in ["fn", "Self", "test", "proc-macro", "flash-sdk"] {
            assert_eq!(checked(taken), Err(NameError::Taken(taken.to_owned())));
        }
        assert_eq!(checked(&"a".repeat(65)), Err(NameError::Long("a".repeat(65))));
    }

    #[test]
    fn a_directory_names_the_package() {
        assert_eq!(of_directory(Path::new("/home/ada/My App.v2")), "my-app-v2");
        assert_eq!(of_directory(Path::new("/")), "");
    }
}
