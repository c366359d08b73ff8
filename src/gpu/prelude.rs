//! The functions that shaders share (`wgsl/math.wgsl`): a shader gets the ones that it names, and those they name.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

pub const MATH: &str = include_str!("wgsl/math.wgsl");

struct Item {
    text: &'static str,
    uses: Vec<&'static str>,
}

/// Items in the file's order, and where each name is.
struct Prelude {
    items: Vec<Item>,
    place: HashMap<&'static str, usize>,
}

/// The `oxg_…` and `Oxg…` names in a text.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| w.starts_with("oxg_") || w.starts_with("Oxg"))
}

fn prelude() -> &'static Prelude {
    static PRELUDE: OnceLock<Prelude> = OnceLock::new();
    PRELUDE.get_or_init(|| {
        let (mut items, mut place) = (Vec::new(), HashMap::new());
        for part in MATH.split("\n\n") {
            // Comments above an item stay in the file.
            let Some(start) = ["fn ", "struct "].iter().filter_map(|w| find_line(part, w)).min() else { continue };
            let text = part[start..].trim_end();
            let Some(name) = names(text).next() else { continue };
            let uses = names(text).skip(1).filter(|n| *n != name).collect();
            place.insert(name, items.len());
            items.push(Item { text, uses });
        }
        Prelude { items, place }
    })
}

/// Where a line begins with `word`.
fn find_line(text: &str, word: &str) -> Option<usize> {
    if text.starts_with(word) {
        return Some(0);
    }
    text.find(&format!("\n{word}")).map(|i| i + 1)
}

/// Whether the prelude has a function.
pub fn has(name: &str) -> bool {
    prelude().place.contains_key(name)
}

/// The part of the prelude that a text needs.
pub fn needed(text: &str) -> String {
    let prelude = prelude();
    let (mut wanted, mut stack) = (HashSet::new(), Vec::new());
    stack.extend(names(text).filter_map(|n| prelude.place.get(n).copied()));
    while let Some(i) = stack.pop() {
        if wanted.insert(i) {
            stack.extend(prelude.items[i].uses.iter().filter_map(|n| prelude.place.get(n).copied()));
        }
    }
    let mut order: Vec<usize> = wanted.into_iter().collect();
    order.sort_unstable();
    order.iter().map(|&i| format!("{}\n\n", prelude.items[i].text)).collect()
}
