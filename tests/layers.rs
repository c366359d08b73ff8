//! The rooms keep their order, and `unsafe` stays where it is allowed.

use std::fs;
use std::path::{Path, PathBuf};

const ORDER: [&str; 9] = ["base", "ir", "cpu", "gpu", "tensor", "graph", "ops", "autograd", "python"];

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn each(mut f: impl FnMut(&str, &str, &str)) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 50);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        let room = name.split('/').next().unwrap().to_owned();
        if room != "lib.rs" {
            f(&name, &room, &text);
        }
    }
}

#[test]
fn each_room_uses_only_rooms_to_its_left() {
    let place = |room: &str| ORDER.iter().position(|r| *r == room);
    let mut wrong = Vec::new();
    each(|name, room, text| {
        let here = place(room).unwrap_or_else(|| panic!("{name}: a room that is not in the order"));
        for (at, _) in text.match_indices("crate::") {
            // A link in a comment shows the way; it uses nothing.
            let line = &text[text[..at].rfind('\n').map_or(0, |i| i + 1)..at];
            if line.trim_start().starts_with("//") {
                continue;
            }
            let used: String = text[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if place(&used).is_some_and(|there| there > here) {
                wrong.push(format!("{name} uses crate::{used}"));
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_is_where_it_may_be_and_says_why() {
    let mut wrong = Vec::new();
    each(|name, room, text| {
        let lines: Vec<&str> = text.lines().collect();
        let blocks: Vec<usize> = (0..lines.len())
            .filter(|&i| !lines[i].trim_start().starts_with("//"))
            .filter(|&i| lines[i].contains("unsafe {") || lines[i].contains("unsafe impl"))
            .collect();
        let allowed = room == "cpu" || name == "base/buffer.rs" || name == "python/interop.rs";
        if !allowed && !blocks.is_empty() {
            wrong.push(format!("{name}:{}: unsafe does not belong here", blocks[0] + 1));
        }
        // A reason stands within the few lines before the block; a fold of blocks may share one.
        for i in blocks {
            let near = &lines[i.saturating_sub(12)..=i];
            if !name.contains("tests") && !near.iter().any(|l| l.contains("SAFETY:") || l.contains("# Safety")) {
                wrong.push(format!("{name}:{}: no SAFETY reason", i + 1));
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
