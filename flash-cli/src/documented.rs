//! What the documents say about `flash` is true: the command line takes each command that they show, and `flash.toml`
//! each of its sections. Only for tests; the Rust of `docs/coming-from.md` is checked beside `flash-sdk`.
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;

use crate::{commands, project::Config};

/// A Markdown file: its path from the root of the repository, and its text.
struct Page {
    name: String,
    text: String,
}

impl Page {
    fn read(path: &Path) -> Self {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.strip_prefix(root()).unwrap_or(path).display().to_string();
        Self { name, text }
    }

    /// The pages for users: `README.md`, those of `docs/`, and those of the examples.
    fn all() -> Vec<Self> {
        let inside = |directory: PathBuf| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(&directory).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect()
        };
        let docs = inside(root().join("docs")).into_iter();
        let examples = inside(root().join("examples")).into_iter().map(|example| example.join("README.md"));
        let is_page = |path: &PathBuf| path.is_file() && path.extension().is_some_and(|end| end == "md");
        let mut paths: Vec<_> =
            docs.chain(examples).chain([root().join("README.md")]).filter(is_page).collect();
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// Code between fences, of this language.
    fn blocks(&self, language: &str) -> Vec<String> {
        let opening = format!("```{language}");
        let mut blocks = Vec::new();
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            if line.trim() == opening {
                let inside = lines.by_ref().take_while(|line| line.trim() != "```");
                blocks.push(inside.collect::<Vec<_>>().join("\n"));
            }
        }
        blocks
    }

    /// Code within sentences and tables.
    fn spans(&self) -> Vec<&str> {
        let outside = self.text.split("```").step_by(2);
        outside.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The words of each simple command of this line, without variables set for it, redirections and pipes.
fn simple_commands(line: &str) -> Vec<Vec<String>> {
    let Some(words) = shlex::split(line) else { panic!("a quote is not closed: {line}") };
    let is_operator = |word: &String| matches!(word.as_str(), "|" | "||" | "&&" | ";" | "<" | ">" | ">>");
    let commands = words.split(is_operator);
    let is_variable = |word: &&String| {
        let name = word.split_once('=').map(|(name, _)| name);
        name.is_some_and(|name| name.chars().all(|char| char.is_ascii_uppercase() || char == '_'))
    };
    commands.map(|command| command.iter().skip_while(is_variable).cloned().collect()).collect()
}

/// What the command gets, if it is `flash`.
fn arguments(command: &[String]) -> Option<&[String]> {
    match command {
        [cargo, flash, arguments @ ..] if cargo == "cargo" && flash == "flash" => Some(arguments),
        [flash, arguments @ ..] if flash == "flash" => Some(arguments),
        _ => None,
    }
}

/// Whether the text is a command of `flash`.
fn is_command(code: &str) -> bool {
    ["flash ", "cargo flash "].iter().any(|start| code.starts_with(start))
}

/// The calls of `flash` in this line that its command line refuses, with its reason.
fn refused(line: &str, is_allowed: impl Fn(&clap::Error, &[String]) -> bool) -> Vec<String> {
    let commands = simple_commands(line);
    let calls = commands.iter().filter_map(|command| arguments(command));
    let refused = calls.filter_map(|call| {
        let error = commands::parse(call).err()?;
        (!is_allowed(&error, call)).then(|| format!("{line}\n{error}"))
    });
    refused.collect()
}

#[test]
fn each_command_that_a_page_shows_in_a_block_is_one_of_ours() {
    let mut seen = 0;
    let mut problems = Vec::new();
    for page in Page::all() {
        for block in page.blocks("sh") {
            let block = block.replace("\\\n", " ");
            for line in block.lines().filter(|line| line.contains("flash ")) {
                seen += 1;
                problems.extend(
                    refused(line, |_, _| false).into_iter().map(|why| format!("{}: {why}", page.name)),
                );
            }
        }
    }
    assert!(seen > 60, "only {seen} lines were found");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Sentences name a command without what it needs, and with words such as `ENV` in the place of values.
#[test]
fn each_command_that_a_sentence_names_is_one_of_ours() {
    let is_incomplete = |error: &clap::Error, call: &[String]| match error.kind() {
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => true,
        // Of the last option.
        ErrorKind::InvalidValue => call.last().is_some_and(|word| word.starts_with("--")),
        ErrorKind::ValueValidation => {
            call.iter().any(|word| word.chars().all(|char| char.is_ascii_uppercase()))
        }
        _ => false,
    };
    let mut seen = 0;
    let mut problems = Vec::new();
    for page in Page::all() {
        for code in page.spans().into_iter().filter(|code| is_command(code)) {
            seen += 1;
            // `[ENV]` may be left out.
            let code = code.replace(['[', ']'], "").replace('\n', " ");
            problems
                .extend(refused(&code, is_incomplete).into_iter().map(|why| format!("{}: {why}", page.name)));
        }
    }
    assert!(seen > 150, "only {seen} commands were found");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn each_block_of_settings_is_a_flash_toml() {
    let path = Path::new("flash.toml");
    // Pages also show what goes into `Cargo.toml`.
    let is_ours = |block: &String| !block.contains("flash-sdk =");
    let mut seen = 0;
    for page in Page::all() {
        for block in page.blocks("toml").iter().filter(|block| is_ours(block)) {
            seen += 1;
            // Nobody reads a digest.
            let block = block.replace("sha256:…", &format!("sha256:{}", "0".repeat(64)));
            if let Err(error) = Config::parse(&block, path) {
                panic!("{}: {error}\n{block}", page.name);
            }
        }
    }
    assert!(seen > 15, "only {seen} blocks were found");
}

/// The cells of the tables of `docs/coming-from.md` that say what something is here: all but those of the first column.
fn cells_of_ours(page: &Page) -> Vec<&str> {
    let rows = page.text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| there"));
    rows.flat_map(|row| row.split(" | ").skip(1)).collect()
}

#[test]
fn commands_beside_those_of_other_tools_are_complete() {
    let page = Page::read(&root().join("docs/coming-from.md"));
    let cells = cells_of_ours(&page);
    let codes: Vec<_> = cells.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let commands: Vec<_> = codes.into_iter().filter(|code| is_command(code)).collect();
    assert!(commands.len() > 15, "only {commands:?} were found");
    let problems: Vec<_> = commands.into_iter().flat_map(|line| refused(line, |_, _| false)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// A cell with settings begins with their section, and the rest of its code is the lines below.
#[test]
fn settings_beside_those_of_other_tools_are_a_flash_toml() {
    let page = Page::read(&root().join("docs/coming-from.md"));
    let cells = cells_of_ours(&page).into_iter().filter(|cell| cell.starts_with("`["));
    let files: Vec<_> =
        cells.map(|cell| cell.split('`').skip(1).step_by(2).collect::<Vec<_>>().join("\n")).collect();
    assert!(files.len() > 2, "only {files:?} were found");
    for file in files {
        if let Err(error) = Config::parse(&file, Path::new("flash.toml")) {
            panic!("{error}\n{file}");
        }
    }
}

/// The template of a chat is not compiled for this: its machine-learning library takes minutes.
#[test]
fn the_code_of_the_chat_tutorial_is_that_of_its_template() {
    let page = Page::read(&root().join("docs/tutorial-chat.md"));
    let template = include_str!("../templates/chat/src/lib.rs");
    let blocks = page.blocks("rust");
    assert!(blocks.len() > 1, "only {blocks:?} were found");
    for block in blocks {
        assert!(template.contains(&block), "the template has no\n{block}");
    }
}
