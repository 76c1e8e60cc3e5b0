//! Order of registrations: by the names that each wants before and after itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::Failure;

/// One thing to be ordered.
pub(super) struct Item<'a> {
    pub(super) name: &'a str,
    pub(super) before: Vec<&'a str>,
    pub(super) after: Vec<&'a str>,
}

/// Positions of `items` in an order that all of them agree to; among equals by name. Names that are not there count
/// for nothing.
pub(super) fn order(items: &[Item<'_>]) -> Result<Vec<usize>, Failure> {
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (position, item) in items.iter().enumerate() {
        by_name.entry(item.name).or_default().push(position);
    }
    let named = |name: &str| by_name.get(name).into_iter().flatten().copied();
    let mut later: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); items.len()];
    for (position, item) in items.iter().enumerate() {
        for &name in &item.before {
            later[position].extend(named(name));
        }
        for &name in &item.after {
            for earlier in named(name) {
                later[earlier].insert(position);
            }
        }
    }
    let mut waits = vec![0_usize; items.len()];
    for &position in later.iter().flatten() {
        waits[position] += 1;
    }
    let mut ready: BTreeSet<(&str, usize)> =
        (0..items.len()).filter(|&position| waits[position] == 0).map(|p| (items[p].name, p)).collect();
    let mut ordered = Vec::with_capacity(items.len());
    while let Some((_, position)) = ready.pop_first() {
        ordered.push(position);
        for &next in &later[position] {
            waits[next] -= 1;
            if waits[next] == 0 {
                ready.insert((items[next].name, next));
            }
        }
    }
    if ordered.len() < items.len() {
        let stuck: Vec<&str> = (0..items.len()).filter(|p| waits[*p] > 0).map(|p| items[p].name).collect();
        crate::bail!("the order runs in a circle: {}", stuck.join(", "));
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item<'a>(name: &'a str, before: &[&'a str], after: &[&'a str]) -> Item<'a> {
        Item { name, before: before.to_vec(), after: after.to_vec() }
    }

    #[test]
    fn before_and_after_are_kept_and_equals_go_by_name() {
        let items =
            [item("d", &[], &[]), item("c", &["a"], &[]), item("a", &[], &[]), item("b", &[], &["d", "x"])];
        let names: Vec<&str> = order(&items).unwrap().into_iter().map(|p| items[p].name).collect();
        assert_eq!(names, ["c", "a", "d", "b"]);
    }

    #[test]
    fn a_circle_is_reported_with_its_members() {
        let items = [item("a", &["b"], &[]), item("b", &["a"], &[]), item("c", &[], &[])];
        assert_eq!(order(&items).unwrap_err().to_string(), "the order runs in a circle: a, b");
    }
}
