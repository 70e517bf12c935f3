//! `cargo xtask site`: the documentation as a site, with search.
//!
//! The pages in `docs/` are written for the repository: their links to sources and examples lead to files beside them.
//! A site has only the pages, so a copy of them is built in which those links lead to the repository on the web.
use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use pulldown_cmark::{Event, Parser, Tag};

use crate::{
    command::{self, command},
    failure::Failure,
    output, workspace,
};

/// Where the pages are.
const PAGES: &str = "docs";
/// The list of all pages, in the order of the site.
pub(crate) const CONTENTS: &str = "docs/SUMMARY.md";
/// Where files that are not on the site are.
const REPOSITORY: &str = "https://github.com/flash-rs/flash/tree/main";

/// Build the documentation as a site, in target/site.
///
/// Needs mdBook: `cargo install mdbook`. The pages and their order are those of docs/SUMMARY.md.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Serve it on http://localhost:3000 instead.
    #[arg(long)]
    serve: bool,
}

/// Builds the site.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if !command::succeeds("mdbook", &["--version"]) {
        return Err(Failure::new("mdBook is not installed").hint("cargo install mdbook --locked"));
    }
    let root = workspace::root();
    let source = workspace::target().join("site-source");
    copy_pages(&root, &source)?;
    let site = workspace::target().join("site");
    let task = if arguments.serve { "serve" } else { "build" };
    let mut mdbook = command("mdbook", &[task]);
    mdbook.arg(&source).arg("--dest-dir").arg(&site);
    command::run(&mut mdbook)?;
    output::say("Built", &site.join("index.html").display().to_string());
    Ok(())
}

/// A book of its own: the pages, with their links to the rest of the repository changed.
fn copy_pages(root: &Path, into: &Path) -> Result<(), Failure> {
    let pages = into.join(PAGES);
    if pages.exists() {
        fs::remove_dir_all(&pages).map_err(Failure::at(pages.display()))?;
    }
    fs::create_dir_all(&pages).map_err(Failure::at(pages.display()))?;
    let book = into.join("book.toml");
    fs::copy(root.join("book.toml"), &book).map_err(Failure::at(book.display()))?;
    let from = root.join(PAGES);
    for entry in fs::read_dir(&from).map_err(Failure::at(from.display()))? {
        let path: PathBuf = entry.map_err(Failure::at(from.display()))?.path();
        let copy = pages.join(path.file_name().unwrap_or_default());
        match path.extension().is_some_and(|extension| extension == "md") {
            true => {
                let text = fs::read_to_string(&path).map_err(Failure::at(path.display()))?;
                fs::write(&copy, with_links_to_the_repository(&text)).map_err(Failure::at(copy.display()))?;
            }
            false if path.is_file() => {
                fs::copy(&path, &copy).map_err(Failure::at(copy.display()))?;
            }
            false => {}
        }
    }
    Ok(())
}

/// Links that leave the folder lead to the repository on the web.
fn with_links_to_the_repository(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut copied = 0;
    for (event, span) in Parser::new(page).into_offset_iter() {
        let Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) = event else { continue };
        let Some(outside) = dest_url.strip_prefix("../") else { continue };
        let Some(at) = page[span.clone()].rfind(&*dest_url) else { continue };
        let at = span.start + at;
        text.push_str(&page[copied..at]);
        text.push_str(&format!("{REPOSITORY}/{outside}"));
        copied = at + dest_url.len();
    }
    text.push_str(&page[copied..]);
    text
}

/// Pages that the list of contents leaves out.
pub(crate) fn unlisted<'a>(contents: &str, pages: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let listed: Vec<String> = Parser::new(contents)
        .filter_map(|event| match event {
            Event::Start(Tag::Link { dest_url, .. }) => Some(format!("{PAGES}/{dest_url}")),
            _ => None,
        })
        .collect();
    pages
        .filter(|page| page.starts_with(&format!("{PAGES}/")) && *page != CONTENTS)
        .filter(|page| !listed.iter().any(|listed| listed == page))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_out_of_the_pages_lead_to_the_repository_and_others_stay() {
        let page =
            "See [the code](../crates/x.rs#L1), [a page](run.md#options) and ![a picture](../a.png).\n";
        let changed = with_links_to_the_repository(page);
        let expected = format!(
            "See [the code]({REPOSITORY}/crates/x.rs#L1), [a page](run.md#options) and ![a picture]({REPOSITORY}/a.png).\n"
        );
        assert_eq!(changed, expected);
        assert_eq!(with_links_to_the_repository("no link, `../code`\n"), "no link, `../code`\n");
    }

    #[test]
    fn a_page_that_the_contents_leave_out_is_found() {
        let contents = "# Summary\n\n- [Run](run.md)\n";
        let pages = ["docs/SUMMARY.md", "docs/run.md", "docs/new.md", "README.md"];
        assert_eq!(unlisted(contents, pages.into_iter()), ["docs/new.md"]);
    }
}
