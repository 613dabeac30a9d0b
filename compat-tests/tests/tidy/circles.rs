//! No two files of src need each other. A directory's `mod.rs` declares and re-exports; what a path
//! names there counts as the file where it is. Files below `x/` beside an `x.rs` are part of it.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::{Source, assert_none, sources};

#[test]
fn no_circles_between_files() {
    let sources: Vec<_> = sources(&["src"]).into_iter().filter(|file| !file.is_test()).collect();
    let edges = Crate::read(&sources).edges(&sources);
    assert!(edges.values().map(BTreeSet::len).sum::<usize>() > 400, "few edges: {edges:?}");
    assert_none("circle", &circles(&edges));
}

#[test]
fn no_circles_in_the_harness() {
    let mut sources = sources(&["compat-tests/src"]);
    for file in &mut sources {
        file.path = file.path.trim_start_matches("compat-tests/").to_owned();
    }
    let edges = Crate::read(&sources).edges(&sources);
    assert!(edges.values().map(BTreeSet::len).sum::<usize>() > 10, "few edges: {edges:?}");
    assert_none("circle", &circles(&edges));
}

#[test]
fn circles_are_found_in_every_form_of_a_path() {
    let file = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let sources = [
        file("src/lib.rs", "mod a;\nmod b;"),
        file(
            "src/a/mod.rs",
            "mod one;\nmod two;\n\npub(crate) use self::one::{First, Last as End};",
        ),
        file("src/a/one.rs", "use crate::{\n    b::Beside,\n    a::two,\n};"),
        file("src/a/two.rs", "fn f() { super::End::new() }"),
        file("src/a/two/part.rs", "use super::*;"),
        file("src/b.rs", "use std::fmt;"),
    ];
    let edges = Crate::read(&sources).edges(&sources);
    let to = |from: &str| edges[from].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(to("a::one"), ["a::two", "b"]);
    assert_eq!(to("a::two"), ["a::one"]);
    assert_eq!(circles(&edges), [("a::one a::two".to_owned(), 2)].into());
}

/// Modules by their path, and what they re-export.
pub(crate) struct Crate {
    modules: BTreeSet<String>,
    /// For a module: name → path from the root of the crate.
    exports: BTreeMap<String, BTreeMap<String, Path>>,
}

type Path = Vec<String>;

impl Crate {
    pub(crate) fn read(sources: &[Source]) -> Self {
        let modules = sources.iter().map(|file| module(&file.path).join("::")).collect();
        let mut exports = BTreeMap::<_, BTreeMap<_, _>>::new();
        for file in sources {
            let here = module(&file.path);
            let code = file.code();
            let declared: BTreeSet<_> = code.lines().filter_map(declaration).collect();
            for tree in trees(&code, "use ") {
                for (path, name) in paths(tree) {
                    let Some(path) = absolute(&here, &path, &declared) else { continue };
                    exports.entry(here.join("::")).or_default().insert(name, path);
                }
            }
        }
        Self { modules, exports }
    }

    /// For each file the others that it names.
    pub(crate) fn edges(&self, sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
        let mut edges = BTreeMap::<String, BTreeSet<String>>::new();
        for file in sources.iter().filter(|file| !file.path.ends_with("mod.rs")) {
            let here = module(&file.path);
            let from = self.part_of(sources, &here);
            let code = file.code();
            for start in ["crate::", "super::"] {
                for tree in trees(&code, start) {
                    let whole = format!("{start}{tree}");
                    for (path, _) in paths(&whole) {
                        let Some(path) = absolute(&here, &path, &BTreeSet::new()) else { continue };
                        let Some(to) = self.resolve(path) else { continue };
                        let to = self.part_of(sources, &to);
                        if to != from {
                            edges.entry(from.clone()).or_default().insert(to);
                        }
                    }
                }
            }
        }
        edges
    }

    /// The module in which the item of a path is.
    fn resolve(&self, mut path: Path) -> Option<Path> {
        for _ in 0..20 {
            let depth = (0..=path.len())
                .rev()
                .find(|depth| *depth == 0 || self.modules.contains(&path[..*depth].join("::")))?;
            let Some(name) = path.get(depth) else { return Some(path) };
            let exports = self.exports.get(&path[..depth].join("::"));
            match exports.and_then(|exports| exports.get(name)) {
                Some(target) => path = [&target[..], &path[depth + 1..]].concat(),
                None => return Some(path[..depth].to_vec()),
            }
        }
        None
    }

    /// `x` for `x::y` if there is a file `x.rs`.
    fn part_of(&self, sources: &[Source], module: &[String]) -> String {
        let whole = (1..=module.len()).find(|depth| {
            let file = format!("src/{}.rs", module[..*depth].join("/"));
            sources.iter().any(|source| source.path == file)
        });
        module[..whole.unwrap_or(module.len())].join("::")
    }
}

/// Sets of modules that reach each other, with their sizes.
pub(crate) fn circles(edges: &BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, usize> {
    let reached = |from: &String| {
        let mut seen = BTreeSet::new();
        let mut open: Vec<_> = edges.get(from).into_iter().flatten().collect();
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(edges.get(next).into_iter().flatten());
            }
        }
        seen
    };
    let reached: BTreeMap<_, _> = edges.keys().map(|from| (from, reached(from))).collect();
    let mut circles = BTreeMap::new();
    for (from, to) in &reached {
        let back = |other: &&&String| reached.get(*other).is_some_and(|back| back.contains(from));
        let names: BTreeSet<_> = to.iter().filter(back).map(|name| name.as_str()).collect();
        if names.contains(from.as_str()) {
            let names: Vec<_> = names.into_iter().collect();
            circles.insert(names.join(" "), names.len());
        }
    }
    circles
}

/// The module of a file.
fn module(path: &str) -> Path {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    let parts = inside.split('/').filter(|part| !["mod", "lib"].contains(part));
    parts.map(str::to_owned).collect()
}

/// The name in `mod name;`.
fn declaration(line: &str) -> Option<&str> {
    let (_, name) = line.strip_suffix(';')?.split_once("mod ")?;
    Some(name)
}

/// What follows each `start` in the code, up to the end of the path or of its group.
fn trees<'a>(code: &'a str, start: &str) -> Vec<&'a str> {
    let starts = code.match_indices(start).filter(|(at, _)| {
        let before = code[..*at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
    });
    let ends = |rest: &str| {
        let mut depth = 0;
        rest.find(|c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            let inside = depth > 0 || c.is_alphanumeric() || "_:}*".contains(c);
            depth < 0 || !inside
        })
    };
    let rest = starts.map(|(at, found)| &code[at + found.len()..]);
    rest.map(|rest| {
        // `x as y` outside of a group.
        let end = ends(rest).unwrap_or(rest.len());
        let more = rest[end..].strip_prefix(" as ").and_then(ends);
        &rest[..more.map_or(end, |more| end + " as ".len() + more)]
    })
    .collect()
}

/// The paths of a tree, each with the name it gives.
fn paths(tree: &str) -> Vec<(Path, String)> {
    let Some((before, group)) = tree.split_once('{') else {
        let (path, name) = tree.split_once(" as ").unwrap_or((tree, ""));
        let path: Path = path.trim().split("::").map(str::to_owned).collect();
        let last = path.last().cloned().unwrap_or_default();
        return vec![(path, if name.is_empty() { last } else { name.trim().to_owned() })];
    };
    let before: Path =
        before.split("::").map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect();
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let mut depth = 0;
    let branches = group.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let branches = branches.map(str::trim).filter(|branch| !branch.is_empty());
    let found = branches.flat_map(paths).map(|(path, name)| ([&before[..], &path].concat(), name));
    found.collect()
}

/// From the root of the crate; `None` if it leads out of it. `declared`: modules inside `here`,
/// which an import may name without a prefix.
fn absolute(here: &[String], path: &[String], declared: &BTreeSet<&str>) -> Option<Path> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" | "super" => {
            let mut at = here;
            let mut rest = path;
            while let Some((first, more)) = rest.split_first() {
                match first.as_str() {
                    "self" => {}
                    "super" => at = at.split_last()?.1,
                    _ => break,
                }
                rest = more;
            }
            Some([at, rest].concat())
        }
        name if declared.contains(name) => Some([here, path].concat()),
        _ => None,
    }
}
