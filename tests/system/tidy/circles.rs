//! Modules of a crate depend on one another in one direction.
//!
//! A module and those inside it belong together, so their edges do not count. Names that a module
//! re-exports are followed to where they are declared; unit tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::root;

/// A module's path inside its crate; the crate's root is empty.
type Module = Vec<String>;

struct Crate {
    texts: BTreeMap<Module, String>,
    /// Names that a module re-exports, and the paths they stand for.
    exports: BTreeMap<Module, BTreeMap<String, Vec<String>>>,
}

impl Crate {
    fn read(home: &Path) -> Self {
        let mut texts = BTreeMap::new();
        collect(&home.join("src"), &[], &mut texts);
        let mut exports: BTreeMap<Module, BTreeMap<String, Vec<String>>> = BTreeMap::new();
        for (module, text) in &texts {
            for path in uses(text, "pub ") {
                let (path, alias) = path.split_once(" as ").unwrap_or((&path, ""));
                let parts = absolute(module, path, &texts);
                let name =
                    if alias.is_empty() { parts.last().cloned() } else { Some(alias.into()) };
                if let Some(name) = name {
                    exports.entry(module.clone()).or_default().insert(name, parts);
                }
            }
        }
        Self { texts, exports }
    }

    /// The module that declares what a path names.
    fn home(&self, path: &[String], depth: usize) -> Module {
        for end in (0..=path.len()).rev() {
            let module = path[..end].to_vec();
            if !self.texts.contains_key(&module) {
                continue;
            }
            let next = path.get(end);
            let target =
                next.and_then(|name| self.exports.get(&module).and_then(|names| names.get(name)));
            return match target {
                Some(target) if depth < 5 && target[..] != path[..=end] => {
                    let rest = target.iter().chain(&path[end + 1..]).cloned().collect::<Vec<_>>();
                    self.home(&rest, depth + 1)
                }
                _ => module,
            };
        }
        Vec::new()
    }

    fn edges(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let mut edges = BTreeMap::new();
        for (module, text) in &self.texts {
            let mut to = BTreeSet::new();
            for path in uses(text, "").into_iter().chain(paths(text)) {
                let path = path.split(" as ").next().unwrap_or_default().to_owned();
                let parts = absolute(module, &path, &self.texts);
                let home = self.home(&parts, 0);
                if !home.starts_with(module) && !module.starts_with(&home) {
                    to.insert(home);
                }
            }
            edges.insert(module.clone(), to);
        }
        edges
    }
}

fn collect(folder: &Path, at: &[String], texts: &mut BTreeMap<Module, String>) {
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut module = at.to_vec();
        if path.is_dir() {
            module.push(name);
            collect(&path, &module, texts);
        } else if path.extension().is_some_and(|end| end == "rs") && name != "tests" {
            if !(at.is_empty() && ["lib", "main"].contains(&name.as_str())) {
                module.push(name.clone());
            }
            if name != "main" || !at.is_empty() {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
                let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
                texts.insert(module, code.collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

/// The paths of all `use` items that begin with `visibility`, braces expanded.
fn uses(text: &str, visibility: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("use ") {
        let before = text[..at].lines().last().unwrap_or_default().trim_start();
        let wanted = if visibility.is_empty() {
            before.is_empty() || before.starts_with("pub")
        } else {
            before.starts_with("pub")
        };
        if wanted && let Some(end) = text[at..].find(';') {
            let item = text[at + 4..at + end].split_whitespace().collect::<Vec<_>>().join(" ");
            expand(&item, &mut found);
        }
    }
    found
}

fn expand(item: &str, found: &mut Vec<String>) {
    let Some((before, inside)) = item.split_once('{') else {
        return found.push(item.trim().to_owned());
    };
    let inside = inside.trim_end().trim_end_matches('}');
    let (mut depth, mut from) = (0, 0);
    for (i, letter) in inside.char_indices().chain([(inside.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let one = inside[from..i].trim();
                // A nested group may have lost its closing brace above.
                let missing = one.matches('{').count() - one.matches('}').count();
                let one = format!("{one}{}", "}".repeat(missing));
                if !one.is_empty() {
                    expand(&format!("{}{one}", before.trim_start()), found);
                }
                from = i + 1;
            }
            _ => {}
        }
    }
}

/// Paths in the code itself.
fn paths(text: &str) -> Vec<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    text.split(|letter: char| !is_part(letter))
        .filter(|word| ["crate::", "super::", "self::"].iter().any(|start| word.starts_with(start)))
        .map(|word| word.trim_end_matches(':').to_owned())
        .collect()
}

fn absolute(module: &[String], path: &str, texts: &BTreeMap<Module, String>) -> Vec<String> {
    let mut parts: Vec<String> = path.split("::").map(|part| part.trim().to_owned()).collect();
    parts.retain(|part| part != "self" && part != "*");
    let up = parts.iter().take_while(|part| *part == "super").count();
    if parts.first().is_some_and(|part| part == "crate") {
        return parts[1..].to_vec();
    }
    if up > 0 || path.starts_with("self") {
        let base = &module[..module.len().saturating_sub(up)];
        return base.iter().chain(&parts[up..]).cloned().collect();
    }
    let inside: Vec<String> = module.iter().chain(&parts).cloned().collect();
    let is_own = parts.first().is_some_and(|first| {
        let mut child = module.to_vec();
        child.push(first.clone());
        texts.contains_key(&child)
    });
    // Another crate's path: its own module, which is no edge.
    if is_own { inside } else { module.to_vec() }
}

/// Modules that lie on a circle: those that reach themselves.
fn circles(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let reaches = |from: &Module| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = open.pop() {
            for next in edges.get(&module).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        seen
    };
    edges.keys().filter(|module| reaches(module).contains(*module)).map(|m| m.join("::")).collect()
}

#[test]
fn no_module_depends_on_itself_in_a_circle() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Value = toml::from_str(&manifest).unwrap();
    let (mut found, mut modules) = (Vec::new(), 0);
    for member in manifest["workspace"]["members"].as_array().unwrap() {
        let member = member.as_str().unwrap();
        let home = root().join(member);
        if member.starts_with("tests") || !home.join("src").is_dir() {
            continue;
        }
        let edges = Crate::read(&home).edges();
        modules += edges.len();
        found.extend(circles(&edges).into_iter().map(|module| format!("{member}: {module}")));
    }
    assert!(modules > 150, "{modules} modules");
    assert!(found.is_empty(), "modules that depend on themselves in a circle: {found:#?}");
}

/// The search sees a circle where there is one.
#[test]
fn a_circle_of_two_modules_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let src = folder.path().join("src");
    std::fs::create_dir_all(src.join("a")).unwrap();
    let write = |file: &str, text: &str| std::fs::write(src.join(file), text).unwrap();
    write("lib.rs", "mod a;\nmod b;\nmod c;\npub use a::One;\n");
    write("a.rs", "mod inner;\nuse crate::b::{Two, three::{Four, Five}};\npub struct One;\n");
    write("a/inner.rs", "use super::One;\n");
    write("b.rs", "use crate::One;\n");
    write("c.rs", "use crate::a::One;\n");
    assert_eq!(circles(&Crate::read(folder.path()).edges()), ["a", "b"]);
    write("b.rs", "pub struct Two;\n");
    assert!(circles(&Crate::read(folder.path()).edges()).is_empty());
}
