//! The shape of the sources: layers that look only to their left, `unsafe` in its rooms, files that stay readable.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Left to right: each uses itself and those before it. `cpu` and `gpu` do not know each other.
const LAYERS: [&str; 9] = ["base", "ir", "cpu", "gpu", "tensor", "graph", "ops", "autograd", "python"];
/// Where `unsafe` may be written.
const UNSAFE: [&str; 3] = ["cpu/", "base/buffer.rs", "python/interop.rs"];
/// Lines of a file, its tests aside.
const LINES: usize = 500;

/// Every source file with its text, comments removed, by its path under `src`.
fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found)
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path)
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
    found.iter().map(|path| (name(path), without_comments(&std::fs::read_to_string(path).unwrap()))).collect()
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("").to_owned() + "\n").collect()
}

/// The first names after each `crate::` of a text: `crate::base::Error`, `use crate::{ensure, base::Result}`.
fn named(text: &str) -> Vec<String> {
    let word = |s: &str| s.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    for (at, found) in text.match_indices("crate::") {
        let rest = &text[at + found.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = 0;
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    names.push(word(&group[start..i]));
                    start = i + 1;
                }
                _ => {}
            }
            if c == '}' && depth == 0 && start == i + 1 {
                break;
            }
        }
    }
    names
}

#[test]
fn names_are_found() {
    let text = "use crate::{a, b::{c, d}, e}; crate::f::g(); use crate::{\n    h::i,\n}; $crate::j::K";
    let names: Vec<String> = named(text).into_iter().filter(|n| !n.is_empty()).collect();
    assert_eq!(names, ["a", "b", "e", "f", "h", "j"]);
}

#[test]
fn layers_look_only_to_their_left() {
    let place = |layer: &str| LAYERS.iter().position(|l| *l == layer);
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let layer = file.split(['/', '.']).next().unwrap_or("");
        let Some(own) = place(layer) else {
            assert_eq!(file, "lib.rs", "{file} is in no layer");
            continue;
        };
        for name in named(&text) {
            let Some(other) = place(&name) else { continue };
            if other > own || (layer == "gpu" && name == "cpu") {
                wrong.push(format!("{file}: {layer} uses crate::{name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_stays_in_its_rooms() {
    for (file, text) in sources() {
        let allowed = UNSAFE.iter().any(|room| file.starts_with(room));
        // The type of an unsafe function is no use of one.
        let code = text.replace("unsafe fn(", "").replace("unsafe extern", "unsafe");
        let found = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
        assert!(allowed || !found, "{file}: unsafe belongs in {UNSAFE:?}");
    }
}

#[test]
fn unsafe_says_why() {
    for file in sources().keys().filter(|file| UNSAFE.iter().any(|room| file.starts_with(room))) {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if !code.contains("unsafe {") && !code.contains("unsafe impl") {
                continue;
            }
            // Above the statement, with room for its first lines.
            let near = &lines[i.saturating_sub(8)..=i];
            assert!(near.iter().any(|l| l.contains("SAFETY")), "{file}:{}: unsafe without a SAFETY line", i + 1);
        }
    }
}

#[test]
fn files_stay_readable() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        // A file of tests only is a table to look things up in.
        if file.contains("tests") {
            continue;
        }
        let lines = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("").lines().count();
        if lines > LINES {
            wrong.push(format!("{file}: {lines} lines, at most {LINES}: it holds two ideas"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
