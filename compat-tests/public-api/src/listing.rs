//! From items in the form of the crate public-api to lines.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use public_api::PublicItem;
use serde_json::Value;

use crate::{known, names_hidden};

/// What is printed of a module, a type, a trait or a function.
struct Entry {
    id: String,
    path: String,
    line: String,
}

/// As it is listed under a type or trait.
struct Impl<'a> {
    id: &'a str,
    parent: &'a str,
    line: &'a str,
}

#[derive(Default)]
struct Parts {
    traits: BTreeSet<String>,
    /// Fields, or variants with theirs.
    fields: Vec<String>,
    methods: Vec<String>,
}

/// The lines, with paths of this crate in full. What is public under two paths is described under
/// the shorter one.
pub fn listing<'a>(
    index: &Value,
    hidden: &[String],
    items: impl Iterator<Item = &'a PublicItem>,
) -> Vec<String> {
    let (mut entries, mut parts) = (Vec::new(), HashMap::<String, Parts>::new());
    let mut variants = HashMap::new();
    for item in items {
        let (id, line) = (item.id().0.to_string(), known::shorten(&item.to_string()));
        let parent = item.parent_id().map(|id| id.0.to_string()).unwrap_or_default();
        let kind = |id: &str| {
            let inner = index[id]["inner"].as_object();
            inner.and_then(|inner| inner.keys().next()).map_or("", String::as_str)
        };
        match (kind(&id), kind(&parent)) {
            ("impl", _) => {
                let this = Impl { id: &id, parent: &parent, line: &line };
                add_impl(&mut parts, index, &this, hidden);
            }
            (_, "impl") if !index[&parent]["inner"]["impl"]["trait"].is_null() => {}
            (_, "impl") => {
                let owner = owner_of(index, &parent).unwrap_or_default();
                push(&mut parts.entry(owner).or_default().methods, named(&line, index, &id));
            }
            (_, "trait") => {
                let has_body = index[&id]["inner"]["function"]["has_body"] == true;
                let line = named(&line, index, &id) + if has_body { " { … }" } else { "" };
                push(&mut parts.entry(parent).or_default().methods, line);
            }
            ("variant", _) => {
                let fields = &mut parts.entry(parent.clone()).or_default().fields;
                variants.insert(id.clone(), (parent, fields.len()));
                push(fields, named(&line, index, &id));
            }
            ("struct_field", "variant") => {
                let Some((of, at)) = variants.get(&parent) else { continue };
                let Some(variant) = parts.get_mut(of).and_then(|of| of.fields.get_mut(*at)) else {
                    continue;
                };
                add_field(variant, &named(&line, index, &id));
            }
            ("struct_field", _) => {
                push(&mut parts.entry(parent).or_default().fields, named(&line, index, &id));
            }
            _ => entries.push(Entry { path: path_of(&line), id, line }),
        }
    }
    print(entries, &parts)
}

/// Each once, under its shortest path; modules in their order.
fn print(mut entries: Vec<Entry>, parts: &HashMap<String, Parts>) -> Vec<String> {
    // Of two of one length, that which signatures name.
    let signatures: Vec<_> = parts.values().flat_map(|parts| &parts.methods).collect();
    let named = |path: &str| signatures.iter().filter(|line| line.contains(path)).count();
    let rank = |path: &str| (path.matches("::").count(), usize::MAX - named(path));
    let mut shortest = BTreeMap::<String, String>::new();
    for Entry { id, path, .. } in &entries {
        let best = shortest.entry(id.clone()).or_insert_with(|| path.clone());
        if rank(path) < rank(best) {
            best.clone_from(path);
        }
    }
    entries.sort_by_key(|entry| (module_of(entry), entry.path.clone()));
    let mut lines = Vec::new();
    let mut again: Vec<String> = Vec::new();
    let mut module = String::new();
    for entry in entries {
        if module_of(&entry) != module {
            flush(&mut lines, &module, &mut again);
            module = module_of(&entry);
        }
        let Entry { id, path, line } = entry;
        if shortest[&id] != path {
            again.push(shortest[&id].clone());
            continue;
        }
        let empty = Parts::default();
        let Parts { traits, fields, methods } = parts.get(&id).unwrap_or(&empty);
        let line = line.strip_prefix("pub ").unwrap_or(&line).replace("] pub ", "] ");
        let mut traits: Vec<_> = traits.iter().cloned().collect();
        // Generics come before the name.
        traits.sort_by_key(|of| of.rsplit_once("> ").map_or(of.clone(), |(_, of)| of.to_owned()));
        let head =
            if traits.is_empty() { line } else { format!("{line} is {}", traits.join(", ")) };
        wrap(&mut lines, "", head.split(", "));
        wrap(&mut lines, "    ", fields.iter().map(String::as_str));
        // By name: which of several impls has one is nobody's business.
        let mut methods: Vec<_> = methods.iter().collect();
        methods.sort_by_key(|line| line.split_once("fn ").map_or(line.as_str(), |(_, name)| name));
        lines.extend(methods.into_iter().map(|method| format!("    {method}")));
    }
    flush(&mut lines, &module, &mut again);
    lines
}

/// What is listed elsewhere.
fn flush(lines: &mut Vec<String>, module: &str, again: &mut Vec<String>) {
    again.sort();
    again.dedup();
    if let Some(first) = again.first_mut() {
        *first = format!("use in {module}: {first}");
    }
    wrap(lines, "", again.iter().map(String::as_str));
    again.clear();
}

/// Joins with commas, in lines of about 120 characters.
fn wrap<'a>(lines: &mut Vec<String>, indent: &str, parts: impl Iterator<Item = &'a str>) {
    let mut line = String::new();
    for part in parts {
        let width = (line.len() + part.len()) - 8 * line.matches("ruserf::").count();
        if line.is_empty() {
            line = format!("{indent}{part}");
        } else if width < 116 {
            line += &format!(", {part}");
        } else {
            lines.push(line + ",");
            line = format!("{indent}    {part}");
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
}

/// Notes which trait a type has, and which type of others a trait of ours.
fn add_impl(parts: &mut HashMap<String, Parts>, index: &Value, this: &Impl<'_>, hidden: &[String]) {
    // Without a trait it only says that methods follow.
    let Some((of, to)) = this.line.rsplit_once(" for ") else { return };
    let of = of.strip_prefix("impl ").unwrap_or(of.trim_start_matches("impl"));
    // Lifetimes alone say nothing.
    let of = match of.split_once("> ") {
        Some((generics, rest)) if !generics.contains([':', ',']) && generics.contains('\'') => rest,
        _ => of,
    };
    let name = of.rsplit(' ').next().unwrap_or(of);
    if names_hidden(of, hidden) || BY_ITSELF.contains(&name) {
        return;
    }
    let is_trait = index[this.parent]["inner"].get("trait").is_some();
    let is_own = to.contains("ruserf::");
    let traits = match (is_trait, owner_of(index, this.id).as_deref() == Some(this.parent)) {
        (true, _) if is_own => return,
        (true, _) => format!("implemented for {to}"),
        (false, true) => of.to_owned(),
        (false, false) if to.starts_with('&') => format!("{of} for {to}"),
        // A conversion into something else; what is ours says so itself.
        (false, false) if is_own => return,
        (false, false) => format!("Into<{to}>"),
    };
    parts.entry(this.parent.to_owned()).or_default().traits.insert(traits);
}

/// The type that an inherent impl is of.
fn owner_of(index: &Value, of: &str) -> Option<String> {
    let id = &index[of]["inner"]["impl"]["for"]["resolved_path"]["id"];
    (!id.is_null()).then(|| id.to_string())
}

/// `line` without visibility and path in front of the item's own name.
fn named(line: &str, index: &Value, id: &str) -> String {
    let Some(name) = index[id]["name"].as_str() else { return line.to_owned() };
    let line = line.replacen("pub ", "", 1);
    let start = line.find("ruserf::").unwrap_or(0);
    let wanted = format!("::{name}");
    let ends = |at: usize| {
        let next = line[at + wanted.len()..].chars().next();
        next.is_none_or(|next| !next.is_alphanumeric() && next != '_' && next != ':')
            || line[at + wanted.len()..].starts_with(": ")
    };
    let found = line.match_indices(&wanted).map(|(at, _)| at).find(|at| *at > start && ends(*at));
    match found {
        Some(at) => format!("{}{}", &line[..start], &line[at + 2..]),
        None => line,
    }
}

/// A field into its variant, in braces.
fn add_field(variant: &mut String, field: &str) {
    *variant = match variant.strip_suffix(" }") {
        Some(open) => format!("{open}, {field} }}"),
        None => format!("{variant} {{ {field} }}"),
    };
}

fn push(list: &mut Vec<String>, line: String) {
    // What is public under two paths comes twice.
    if !list.contains(&line) {
        list.push(line);
    }
}

fn path_of(line: &str) -> String {
    let from = &line[line.find("ruserf").unwrap_or(0)..];
    let ends = |c: char| !c.is_alphanumeric() && c != '_' && c != ':';
    from.split(ends).next().unwrap_or_default().trim_end_matches(':').to_owned()
}

/// A module comes before what it has.
fn module_of(entry: &Entry) -> String {
    if entry.line.contains("pub mod ") {
        return entry.path.clone();
    }
    entry.path.rsplit_once("::").map_or("", |(module, _)| module).to_owned()
}

/// What the compiler gives to all that can have it. That a type has not `Send` or `Sync` is listed.
const BY_ITSELF: [&str; 14] = [
    "Freeze",
    "!Freeze",
    "RefUnwindSafe",
    "!RefUnwindSafe",
    "Send",
    "StructuralPartialEq",
    "Sync",
    "TrivialClone",
    "Unpin",
    "!Unpin",
    "UnsafeUnpin",
    "!UnsafeUnpin",
    "UnwindSafe",
    "!UnwindSafe",
];
