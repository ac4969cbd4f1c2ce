//! Holds the tree to the house rules, and says of every breach what to do about it.
//!
//! The rules are in `tidy/rules.rs`, the import table and the confinement list in `tidy/layers.rs`.
//! `tidy/samples.rs` shows that each rule catches what it is for.

#![cfg(not(any(loom, miri)))]

#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/samples.rs"]
mod samples;
#[path = "tidy/source.rs"]
mod source;

use source::Tree;

#[test]
fn the_tree_holds_to_the_house_rules() {
    let tree = Tree::read(env!("CARGO_MANIFEST_DIR"));
    assert!(tree.rust.len() > 40, "only {} files were found", tree.rust.len());
    let mut breaches: Vec<_> = rules::RULES.iter().flat_map(|(_, rule)| rule(&tree)).collect();
    breaches.sort();
    let list: Vec<String> = breaches.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} breaches of the house rules\n{}", list.len(), list.join("\n"));
}
