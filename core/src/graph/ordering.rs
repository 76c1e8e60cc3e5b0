//! Order by names: runs-before and runs-after.

use std::collections::BTreeMap;

/// Something that stands in an order by names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered<T> {
    /// Its name.
    pub name: String,
    /// Names of those that come later.
    pub runs_before: Vec<String>,
    /// Names of those that come earlier.
    pub runs_after: Vec<String>,
    /// What it is.
    pub item: T,
}

/// Why there is no order.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Each of these runs before the next, and the last before the first.
    #[error("runs-before and runs-after make a loop: {}", .0.join(" -> "))]
    Loop(Vec<String>),
    /// Two have this name.
    #[error("there are two of the name `{0}`")]
    Duplicate(String),
}

/// Puts `items` into the order that their names ask for. Names that nobody has ask for nothing. Where nothing is asked
/// for, the alphabet decides, so that the result does not hang on the order of registration.
///
/// # Errors
/// The names ask for a loop, or one name stands twice.
pub fn order<T>(items: Vec<Ordered<T>>) -> Result<Vec<Ordered<T>>, OrderError> {
    let mut by_name = BTreeMap::new();
    for (position, item) in items.iter().enumerate() {
        if by_name.insert(item.name.as_str(), position).is_some() {
            return Err(OrderError::Duplicate(item.name.clone()));
        }
    }
    let mut later = vec![Vec::new(); items.len()];
    for (position, item) in items.iter().enumerate() {
        later[position]
            .extend(item.runs_before.iter().filter_map(|name| by_name.get(name.as_str()).copied()));
        for &earlier in item.runs_after.iter().filter_map(|name| by_name.get(name.as_str())) {
            later[earlier].push(position);
        }
    }
    let mut earlier_count = vec![0; items.len()];
    for targets in &mut later {
        targets.sort_unstable();
        targets.dedup();
        for &target in targets.iter() {
            earlier_count[target] += 1;
        }
    }
    let mut ready: BTreeMap<&str, usize> = by_name
        .iter()
        .filter(|&(_, &position)| earlier_count[position] == 0)
        .map(|(&n, &p)| (n, p))
        .collect();
    let mut sequence = Vec::with_capacity(items.len());
    while let Some((_, position)) = ready.pop_first() {
        sequence.push(position);
        for &target in &later[position] {
            earlier_count[target] -= 1;
            if earlier_count[target] == 0 {
                ready.insert(&items[target].name, target);
            }
        }
    }
    if sequence.len() < items.len() {
        let names = loop_members(&later, &earlier_count);
        return Err(OrderError::Loop(
            names.into_iter().map(|position| items[position].name.clone()).collect(),
        ));
    }
    let mut slots: Vec<_> = items.into_iter().map(Some).collect();
    // Each position stands in the sequence once.
    Ok(sequence.into_iter().filter_map(|position| slots[position].take()).collect())
}

/// Members of one loop among those that are still waited for, closed by its first member.
fn loop_members(later: &[Vec<usize>], earlier_count: &[usize]) -> Vec<usize> {
    let waiting = |position: &usize| earlier_count[*position] > 0;
    let Some(mut at) = (0..later.len()).find(|position| waiting(position)) else { return Vec::new() };
    // Every waiting item has a waiting one before it, so walking backwards must come round.
    let mut path = Vec::new();
    while !path.contains(&at) {
        path.push(at);
        let before = (0..later.len()).find(|position| waiting(position) && later[*position].contains(&at));
        let Some(before) = before else { break };
        at = before;
    }
    let start = path.iter().position(|&position| position == at).unwrap_or(0);
    let mut members = path.split_off(start);
    members.reverse();
    // Turn it so that it starts and ends with the same member.
    members.insert(0, at);
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, before: &[&str], after: &[&str]) -> Ordered<()> {
        let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Ordered { name: name.to_owned(), runs_before: own(before), runs_after: own(after), item: () }
    }

    fn names(items: Vec<Ordered<()>>) -> Vec<String> {
        order(items).expect("an order").into_iter().map(|item| item.name).collect()
    }

    #[test]
    fn obeys_both_directions_and_then_the_alphabet() {
        let items =
            [item("d", &["a"], &[]), item("c", &[], &["b"]), item("b", &[], &[]), item("a", &[], &[])];
        assert_eq!(names(items.to_vec()), ["b", "c", "d", "a"]);
    }

    #[test]
    fn does_not_hang_on_the_order_of_registration() {
        let mut items = vec![item("x", &["m"], &[]), item("m", &[], &[]), item("k", &[], &["m"])];
        let forward = names(items.clone());
        items.reverse();
        assert_eq!(names(items), forward);
    }

    #[test]
    fn ignores_names_that_nobody_has() {
        assert_eq!(names(vec![item("a", &["ghost"], &["other-ghost"])]), ["a"]);
    }

    #[test]
    fn reports_the_members_of_a_loop_only() {
        let items = vec![
            item("a", &["b"], &[]),
            item("b", &["c"], &[]),
            item("c", &["a"], &[]),
            item("bystander", &[], &["a"]),
            item("first", &["a"], &[]),
        ];
        let Err(OrderError::Loop(members)) = order(items) else { panic!("a loop") };
        assert_eq!(members.first(), members.last());
        let mut sorted = members[1..].to_vec();
        sorted.sort();
        assert_eq!(sorted, ["a", "b", "c"]);
    }

    #[test]
    fn reports_what_runs_before_itself() {
        let Err(OrderError::Loop(members)) = order(vec![item("a", &["a"], &[])]) else { panic!("a loop") };
        assert_eq!(members, ["a", "a"]);
    }

    #[test]
    fn refuses_two_of_one_name() {
        assert_eq!(
            order(vec![item("a", &[], &[]), item("a", &[], &[])]),
            Err(OrderError::Duplicate("a".into()))
        );
    }
}
