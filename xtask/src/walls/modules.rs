//! Which modules of a crate use which, read from its sources.
//!
//! Siblings are compared at each level of the module tree. A folder's own file is one with its modules: it may use
//! them, and they it. What a doorway re-exports counts as use of the module that defines it. Tests may use anything.
//! Paths inside the bodies of macros, of calls such as `format!` too, are not seen: they are no syntax before expansion.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use syn::{Item, ItemUse, Meta, Token, UseTree, punctuated::Punctuated, visit::Visit};

use crate::failure::Failure;

/// A module: the names of its ancestors and its own. The crate's root is empty.
type Module = Vec<String>;
/// A path in the code, such as `crate::queue::Job` or `super::Job`.
type Segments = Vec<String>;

/// The circles of a crate, one line each.
///
/// # Errors
/// If a source cannot be read or parsed.
pub(super) fn circles(name: &str, root: &Path) -> Result<Vec<String>, Failure> {
    let mut sources = Sources::default();
    sources.read_file(Vec::new(), root, root.parent().unwrap_or(root))?;
    Ok(sources.circles().into_iter().map(|circle| format!("{name}: {circle}")).collect())
}

/// What each module contains.
#[derive(Default)]
struct Sources {
    modules: BTreeMap<Module, Content>,
}

#[derive(Default)]
struct Content {
    /// Names that `use` brings in, and where they come from: for children, which see them as `super::Name`.
    imports: BTreeMap<String, Segments>,
    /// Paths that the module itself uses. Re-exports are not among them.
    uses: BTreeSet<Segments>,
}

impl Sources {
    fn read_file(&mut self, module: Module, file: &Path, folder: &Path) -> Result<(), Failure> {
        let text = std::fs::read_to_string(file).map_err(Failure::at(file.display()))?;
        self.read_text(module, &text, folder).map_err(|failure| failure.within(file.display()))
    }

    fn read_text(&mut self, module: Module, text: &str, folder: &Path) -> Result<(), Failure> {
        let parsed = syn::parse_file(text).map_err(Failure::at("it cannot be parsed"))?;
        self.read_items(module, parsed.items, folder)
    }

    fn read_items(&mut self, module: Module, items: Vec<Item>, folder: &Path) -> Result<(), Failure> {
        self.modules.entry(module.clone()).or_default();
        for item in items {
            match item {
                Item::Mod(inner) => {
                    if is_for_tests(&inner.attrs) {
                        continue;
                    }
                    let name = inner.ident.to_string();
                    let child: Module = module.iter().cloned().chain([name.clone()]).collect();
                    let within = folder.join(&name);
                    match inner.content {
                        Some((_, items)) => self.read_items(child, items, &within)?,
                        None => self.read_file(child, &file_of(folder, &name), &within)?,
                    }
                }
                Item::Use(import) if !is_for_tests(&import.attrs) => self.import(&module, &import),
                item => {
                    let content = self.modules.entry(module.clone()).or_default();
                    Paths(&mut content.uses).visit_item(&item);
                }
            }
        }
        Ok(())
    }

    fn import(&mut self, module: &Module, import: &ItemUse) {
        let mut leaves = Vec::new();
        flatten(&import.tree, &mut Vec::new(), &mut leaves);
        let content = self.modules.entry(module.clone()).or_default();
        let is_re_export = !matches!(import.vis, syn::Visibility::Inherited);
        for (name, path) in leaves {
            if !is_re_export {
                content.uses.insert(path.clone());
            }
            content.imports.insert(name, path);
        }
    }

    /// Where a path leads: the module that defines the item, or the module itself.
    fn resolve(&self, from: &Module, path: &[String]) -> Option<Module> {
        let mut from = from.clone();
        let mut path = path.to_vec();
        // Each step follows one re-export; there are never that many.
        for _ in 0..16 {
            let (base, rest) = self.absolute(&from, &path)?;
            let Some(item) = rest.first() else { return Some(base) };
            match self.modules.get(&base).and_then(|content| content.imports.get(item)) {
                Some(target) if self.absolute(&base, target).is_some() => {
                    path = target.iter().chain(&rest[1..]).cloned().collect();
                    from = base;
                }
                _ => return Some(base),
            }
        }
        None
    }

    /// The longest part of the path that is a module, and the rest; `None` for paths into other crates.
    fn absolute(&self, from: &Module, path: &[String]) -> Option<(Module, Segments)> {
        let mut rest = path;
        let mut base = match rest.first()?.as_str() {
            "crate" => Vec::new(),
            "self" => from.clone(),
            "super" => from[..from.len().checked_sub(1)?].to_vec(),
            child => {
                let is_child = self.modules.contains_key(&[from.as_slice(), &[child.to_owned()]].concat());
                let is_import = self.modules.get(from).is_some_and(|content| {
                    content.imports.get(child).is_some_and(|target| target.first() != rest.first())
                });
                if !is_child && !is_import {
                    return None;
                }
                rest = path;
                return Some(self.descend(from.clone(), rest));
            }
        };
        rest = &rest[1..];
        while rest.first().is_some_and(|next| next == "super") {
            base.pop()?;
            rest = &rest[1..];
        }
        Some(self.descend(base, rest))
    }

    fn descend(&self, mut base: Module, mut rest: &[String]) -> (Module, Segments) {
        while let Some(next) = rest.first() {
            base.push(next.clone());
            if !self.modules.contains_key(&base) {
                base.pop();
                break;
            }
            rest = &rest[1..];
        }
        (base, rest.to_vec())
    }

    fn circles(&self) -> Vec<String> {
        let mut edges: BTreeSet<(Module, Module)> = BTreeSet::new();
        for (module, content) in &self.modules {
            for path in &content.uses {
                if let Some(target) = self.resolve(module, path).filter(|target| target != module) {
                    edges.insert((module.clone(), target));
                }
            }
        }
        let parents: BTreeSet<Module> = self
            .modules
            .keys()
            .filter_map(|module| Some(module[..module.len().checked_sub(1)?].to_vec()))
            .collect();
        parents.iter().flat_map(|parent| circles_in(parent, &edges)).collect()
    }
}

fn file_of(folder: &Path, name: &str) -> PathBuf {
    let file = folder.join(format!("{name}.rs"));
    if file.exists() { file } else { folder.join(name).join("mod.rs") }
}

/// Whether an item is compiled for tests: by `#[cfg(test)]`, and by one of several predicates.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    let predicates = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    predicates.filter_map(|cfg| cfg.parse_args().ok()).any(|predicate| names_test(&predicate))
}

fn names_test(predicate: &Meta) -> bool {
    match predicate {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("any") || list.path.is_ident("all") => {
            let inner = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
            inner.is_ok_and(|inner| inner.iter().any(names_test))
        }
        Meta::List(_) | Meta::NameValue(_) => false,
    }
}

/// The names that a `use` brings in, with their paths. A glob brings in its module's name only.
fn flatten(tree: &UseTree, path: &mut Segments, leaves: &mut Vec<(String, Segments)>) {
    match tree {
        UseTree::Path(next) => {
            path.push(next.ident.to_string());
            flatten(&next.tree, path, leaves);
            path.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            leaves.push((path.last().cloned().unwrap_or_default(), path.clone()));
        }
        UseTree::Name(name) => {
            let whole = path.iter().cloned().chain([name.ident.to_string()]).collect();
            leaves.push((name.ident.to_string(), whole));
        }
        UseTree::Rename(rename) => {
            let whole = path.iter().cloned().chain([rename.ident.to_string()]).collect();
            leaves.push((rename.rename.to_string(), whole));
        }
        UseTree::Glob(_) => leaves.push((format!("*{}", path.join("::")), path.clone())),
        UseTree::Group(group) => group.items.iter().for_each(|item| flatten(item, path, leaves)),
    }
}

/// Collects the paths of an item, apart from those of its tests.
struct Paths<'a>(&'a mut BTreeSet<Segments>);

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 && path.leading_colon.is_none() {
            self.0.insert(segments);
        }
        syn::visit::visit_path(self, path);
    }

    /// One in the body of a function.
    fn visit_item_use(&mut self, import: &'ast ItemUse) {
        if !is_for_tests(&import.attrs) {
            let mut leaves = Vec::new();
            flatten(&import.tree, &mut Vec::new(), &mut leaves);
            self.0.extend(leaves.into_iter().map(|(_, path)| path));
        }
    }

    fn visit_item_mod(&mut self, inner: &'ast syn::ItemMod) {
        if !is_for_tests(&inner.attrs) {
            syn::visit::visit_item_mod(self, inner);
        }
    }
}

/// The circles between the children of a module.
fn circles_in(parent: &Module, edges: &BTreeSet<(Module, Module)>) -> Vec<String> {
    let child =
        |module: &Module| -> Option<String> { module.strip_prefix(parent.as_slice())?.first().cloned() };
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (from, to) in edges {
        if let (Some(from), Some(to)) = (child(from), child(to))
            && from != to
        {
            graph.entry(from).or_default().insert(to);
        }
    }
    let place = if parent.is_empty() { "the crate's root".to_owned() } else { parent.join("/") };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for start in graph.keys() {
        let circle: BTreeSet<&String> = reachable(&graph, start)
            .into_iter()
            .filter(|other| reachable(&graph, other).contains(start))
            .collect();
        if circle.len() > 1 && seen.insert(circle.clone()) {
            let names: Vec<&str> = circle.into_iter().map(String::as_str).collect();
            found.push(format!("in {place}, {} use each other", names.join(", ")));
        }
    }
    found
}

/// What can be reached from a node, itself included.
fn reachable<'a>(graph: &'a BTreeMap<String, BTreeSet<String>>, start: &'a String) -> BTreeSet<&'a String> {
    let mut found = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(node) = open.pop() {
        for next in graph.get(node).into_iter().flatten() {
            if found.insert(next) {
                open.push(next);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate whose modules are all in one text.
    fn circles_of(text: &str) -> Vec<String> {
        let mut sources = Sources::default();
        sources.read_text(Vec::new(), text, Path::new("nowhere")).unwrap();
        sources.circles()
    }

    #[test]
    fn siblings_that_use_each_other_are_found() {
        let found = circles_of(
            "mod a { use super::b::B; pub struct A; } mod b { pub struct B; fn f() { crate::a::A; } } mod c { use crate::a::A; }",
        );
        assert_eq!(found, ["in the crate's root, a, b use each other"]);
    }

    #[test]
    fn a_re_export_counts_for_the_module_that_defines_the_item() {
        let text =
            "mod a { mod inner { pub struct A; } pub use inner::A; } mod b { use crate::A; } pub use a::A;";
        assert_eq!(circles_of(text), Vec::<String>::new());
        let hidden = "mod a { use crate::B; pub struct A; } mod b { use crate::A; pub struct B; } pub use a::A; pub use b::B;";
        assert_eq!(circles_of(hidden), ["in the crate's root, a, b use each other"]);
    }

    #[test]
    fn a_folder_and_its_own_file_are_one() {
        let text = "mod pool { mod worker { use super::Pool; pub struct Worker; } use worker::Worker; pub struct Pool; }";
        assert_eq!(circles_of(text), Vec::<String>::new());
    }

    #[test]
    fn tests_may_use_anything() {
        let text = "mod a { pub struct A; #[cfg(test)] mod tests { use crate::b::B; } } mod b { use crate::a::A; pub struct B; }";
        assert_eq!(circles_of(text), Vec::<String>::new());
    }

    #[test]
    fn a_use_within_a_function_counts() {
        let text =
            "mod a { pub struct A; fn f() { use crate::b::B; } } mod b { use crate::a::A; pub struct B; }";
        assert_eq!(circles_of(text), ["in the crate's root, a, b use each other"]);
    }

    #[test]
    fn what_is_for_tests_is_a_predicate_of_its_own() {
        let is_for_tests = |cfg: &str| {
            let item: syn::ItemMod = syn::parse_str(&format!("#[cfg({cfg})] mod a {{}}")).unwrap();
            is_for_tests(&item.attrs)
        };
        for cfg in ["test", "any(test, fuzzing)", "all(unix, any(fuzzing, test))"] {
            assert!(is_for_tests(cfg), "{cfg}");
        }
        for cfg in [
            "unix",
            "not(test)",
            "any(unix, not(test))",
            "feature = \"latest\"",
            "feature = \"test\"",
            "latest",
        ] {
            assert!(!is_for_tests(cfg), "{cfg}");
        }
    }
}
