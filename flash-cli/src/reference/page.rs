//! Pages whose tables are made from the code: each follows a comment with its name.
use std::path::{Path, PathBuf};

/// Accepts what the code says now.
const UPDATE: &str = "UPDATE_SNAPSHOTS";

/// The root of the repository.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The page with these tables, each by its name, in the place of those that it has. The rest of it stays.
///
/// # Panics
/// If the page has no place for a table, or a place for one that does not exist.
fn with_tables(page: &str, tables: &[(String, String)]) -> String {
    let mut made = String::new();
    let mut placed = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        made.push_str(line);
        made.push('\n');
        let Some(name) = line.strip_prefix("<!-- from the code: ").and_then(|rest| rest.strip_suffix(" -->"))
        else {
            continue;
        };
        let table = tables.iter().find(|(known, _)| known == name);
        let Some((_, table)) = table else { panic!("the page has a place for `{name}`, which is no table") };
        placed.push(name);
        made.push('\n');
        made.push_str(table);
        while lines.next_if(|line| line.is_empty() || line.starts_with('|')).is_some() {}
        if lines.peek().is_some() {
            made.push('\n');
        }
    }
    for (name, _) in tables {
        assert!(placed.contains(&name.as_str()), "the page lacks the line `<!-- from the code: {name} -->`");
    }
    made
}

/// Compares a page of `docs/` with these tables.
///
/// # Panics
/// If it differs, unless `UPDATE_SNAPSHOTS` is set: then the page is changed.
pub(super) fn compare(name: &str, tables: &[(String, String)]) {
    let path = root().join("docs").join(name);
    let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let made = with_tables(&page, tables);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &made).unwrap();
        return;
    }
    assert!(
        page == made,
        "docs/{name} is not what the code says; accept it with `{UPDATE}=1 cargo test -p flash-cli reference`, and \
         read the diff"
    );
}

#[test]
fn a_table_replaces_the_one_below_its_name_and_nothing_else() {
    let page = "# Page\n\n<!-- from the code: a -->\n\n| old |\n|---|\n\nText | with a bar.\n\n<!-- from the code: b -->\n";
    let tables = [("a".to_owned(), "| new |\n|---|\n".to_owned()), ("b".to_owned(), "| b |\n".to_owned())];
    let made = with_tables(page, &tables);
    assert_eq!(
        made,
        "# Page\n\n<!-- from the code: a -->\n\n| new |\n|---|\n\nText | with a bar.\n\n<!-- from the code: b -->\n\n| b |\n"
    );
    assert_eq!(with_tables(&made, &tables), made);
}
