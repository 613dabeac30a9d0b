//! The book: every page is in its contents, and every link leads somewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use super::sources::{read, root, tracked};

#[test]
fn the_contents_of_the_book_have_every_page_once() {
    let summary = read(&root().join("docs/SUMMARY.md"));
    let listed: Vec<_> = links(&summary).into_iter().collect();
    let pages: BTreeSet<_> = tracked()
        .into_iter()
        .filter_map(|path| Some(path.strip_prefix("docs/")?.to_owned()))
        .filter(|path| path.ends_with(".md") && path != "SUMMARY.md")
        .collect();
    assert!(pages.len() > 20, "{pages:?}");
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), pages);
    assert_eq!(listed.len(), pages.len(), "a page twice");
}

#[test]
fn links_of_documents_lead_somewhere() {
    let mut anchors = BTreeMap::new();
    let (mut found, mut checked) = (Vec::new(), 0);
    for path in tracked().into_iter().filter(|path| path.ends_with(".md")) {
        for link in links(&read(&root().join(&path))) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            checked += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => PathBuf::from(&path),
                file => normal(&Path::new(&path).with_file_name(file)),
            };
            let is_there = root().join(&target).exists();
            let has_anchor = anchor.is_empty() || {
                let of = anchors.entry(target.clone()).or_insert_with(|| anchors_of(&target));
                of.contains(anchor)
            };
            if !is_there || !has_anchor {
                found.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(checked > 100, "{checked} links");
    assert!(found.is_empty(), "links to nothing:\n{}", found.join("\n"));
}

#[test]
fn links_and_anchors_are_recognized() {
    let text = "# A `b` & c\n[x](y.md#z), ![p](q.svg) `[no](code)`\n```\n# no\n[n](o)\n```\n\
                ## A `b` & c\n";
    assert_eq!(links(text), ["y.md#z", "q.svg"]);
    let found = anchors(text);
    assert_eq!(found, ["a-b--c", "a-b--c-1"].map(str::to_owned).into());
}

/// Targets of links and pictures outside of code.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(text) {
        // What is in backquotes is no link.
        let line: String = line.split('`').step_by(2).collect();
        for rest in line.split("](").skip(1) {
            links.extend(rest.split_once(')').map(|(target, _)| target.to_owned()));
        }
    }
    links
}

fn anchors_of(path: &Path) -> BTreeSet<String> {
    let path = root().join(path);
    if path.extension().is_some_and(|ext| ext == "md") && path.exists() {
        anchors(&read(&path))
    } else {
        BTreeSet::new()
    }
}

/// The ids that mdBook and code hosts give to headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut anchors = BTreeSet::new();
    for heading in prose(text).filter(|line| line.starts_with('#')) {
        let title = heading.trim_start_matches('#').trim();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
        let id: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let id = id.to_lowercase();
        let count = seen.entry(id.clone()).or_default();
        anchors.insert(if *count == 0 { id } else { format!("{id}-{count}") });
        *count += 1;
    }
    anchors
}

/// Lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// Without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            out.pop();
        } else {
            out.push(part);
        }
    }
    out
}
