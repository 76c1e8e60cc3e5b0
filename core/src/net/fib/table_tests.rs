//! The route table: sources, sharing, recursion, loops, paging, and equality with a model.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::net::fib::Path;

/// Leaves by index with their content; a leaf that is used after its release shows.
#[derive(Default)]
struct Leaves {
    live: BTreeMap<LeafIndex, Forwarding>,
    next: LeafIndex,
    updates: usize,
    refuse: bool,
}

impl Resolver for Leaves {
    fn create(
        &mut self,
        forwarding: &Forwarding,
        instead_of: Option<LeafIndex>,
    ) -> Result<LeafIndex, Box<dyn Error + Send + Sync>> {
        assert!(instead_of.is_none_or(|leaf| self.live.contains_key(&leaf)), "a leaf in use is replaced");
        if self.refuse {
            return Err("interface 9 does not exist".into());
        }
        self.next += 1;
        self.live.insert(self.next, forwarding.clone());
        Ok(self.next)
    }

    fn update(&mut self, leaf: LeafIndex, forwarding: &Forwarding) {
        self.updates += 1;
        *self.live.get_mut(&leaf).expect("an updated leaf is live") = forwarding.clone();
    }

    fn release(&mut self, leaf: LeafIndex) {
        self.live.remove(&leaf).expect("a released leaf is live");
    }
}

struct Bed {
    fib: Fib<u32>,
    leaves: Leaves,
}

impl Bed {
    fn new() -> Self {
        Self { fib: Fib::new().unwrap(), leaves: Leaves::default() }
    }

    fn add(&mut self, prefix: &str, action: Action) {
        self.try_add(prefix, Source::STATIC, action).unwrap();
    }

    fn try_add(&mut self, route: &str, source: Source, action: Action) -> Result<(), FibError> {
        self.fib.add(prefix(route), source, action, &mut self.leaves)
    }

    fn remove(&mut self, route: &str) {
        self.fib.remove(prefix(route), Source::STATIC, &mut self.leaves).unwrap();
    }

    /// What a packet to `address` meets by way of the forwarding table.
    fn forwarding(&self, address: &str) -> Option<&Forwarding> {
        let leaf = self.fib.reader().lookup(number(address));
        (leaf != 0).then(|| &self.leaves.live[&leaf])
    }
}

fn number(address: &str) -> u32 {
    u32::from_ip(address.parse().unwrap()).unwrap()
}

fn prefix(text: &str) -> Prefix<u32> {
    let (address, len) = text.split_once('/').unwrap();
    Prefix::new_checked(number(address), len.parse().unwrap()).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn on_link(address: &str, interface: u32) -> Action {
    Action::via(NextHop::on_link(ip(address), interface))
}

fn recursive(address: &str) -> Action {
    Action::via(NextHop::recursive(ip(address)))
}

fn paths(list: &[(&str, u32, u32)]) -> Forwarding {
    Forwarding::Paths(
        list.iter()
            .map(|(address, interface, weight)| Path {
                address: Some(ip(address)),
                interface: *interface,
                weight: *weight,
            })
            .collect(),
    )
}

#[test]
fn routes_that_say_the_same_share_a_leaf() {
    let mut bed = Bed::new();
    for i in 0..1000 {
        bed.add(&format!("10.{}.{}.0/24", i / 256, i % 256), on_link("192.0.2.1", 1));
    }
    assert_eq!((bed.fib.len(), bed.fib.path_sets(), bed.leaves.live.len()), (1000, 1, 1));
}

#[test]
fn order_of_next_hops_makes_no_other_set() {
    let mut bed = Bed::new();
    let (a, b) = (NextHop::on_link(ip("192.0.2.1"), 1), NextHop::on_link(ip("192.0.2.2"), 1));
    bed.add("10.0.0.0/8", Action::Via(vec![a, b]));
    bed.add("11.0.0.0/8", Action::Via(vec![b, a]));
    assert_eq!(bed.fib.path_sets(), 1);
}

#[test]
fn least_preference_wins_and_gives_way() {
    let mut bed = Bed::new();
    let dynamic = Source::dynamic(20, 3);
    bed.try_add("10.0.0.0/8", dynamic, on_link("192.0.2.9", 9)).unwrap();
    bed.add("10.0.0.0/8", on_link("192.0.2.1", 1));
    bed.try_add("10.0.0.0/8", Source::INTERFACE, Action::Connected { interface: 4 }).unwrap();
    assert_eq!(bed.forwarding("10.1.1.1"), Some(&Forwarding::Glean { interface: 4 }));
    let view = bed.fib.exact(prefix("10.0.0.0/8")).unwrap();
    assert_eq!(view.others.iter().map(|(source, _)| *source).collect::<Vec<_>>(), [Source::STATIC, dynamic]);
    bed.fib.remove(prefix("10.0.0.0/8"), Source::INTERFACE, &mut bed.leaves).unwrap();
    assert_eq!(bed.forwarding("10.1.1.1"), Some(&paths(&[("192.0.2.1", 1, 1)])));
    bed.remove("10.0.0.0/8");
    assert_eq!(bed.forwarding("10.1.1.1"), Some(&paths(&[("192.0.2.9", 9, 1)])));
    bed.fib.remove(prefix("10.0.0.0/8"), dynamic, &mut bed.leaves).unwrap();
    assert_eq!(bed.forwarding("10.1.1.1"), None);
}

#[test]
fn removal_restores_the_covering_route() {
    let mut bed = Bed::new();
    bed.add("0.0.0.0/0", Action::Unreachable);
    bed.add("10.0.0.0/8", Action::Blackhole);
    bed.add("10.1.0.0/16", Action::Prohibit);
    bed.add("10.1.1.0/24", on_link("192.0.2.1", 1));
    bed.remove("10.1.0.0/16");
    assert_eq!(bed.forwarding("10.1.2.1"), Some(&Forwarding::Blackhole));
    bed.remove("10.1.1.0/24");
    assert_eq!(bed.forwarding("10.1.1.1"), Some(&Forwarding::Blackhole));
    bed.remove("10.0.0.0/8");
    assert_eq!(bed.forwarding("10.1.1.1"), Some(&Forwarding::Unreachable));
}

#[test]
fn removing_what_is_not_there_is_an_error() {
    let mut bed = Bed::new();
    bed.add("10.0.0.0/8", Action::Blackhole);
    for (route, source) in [("10.0.0.0/9", Source::STATIC), ("10.0.0.0/8", Source::INTERFACE)] {
        let error = bed.fib.remove(prefix(route), source, &mut bed.leaves).unwrap_err();
        assert_eq!(error.to_string(), format!("there is no route {route} from that source"));
    }
}

#[test]
fn leaf_is_released_after_its_readers_only() {
    let mut bed = Bed::new();
    bed.fib.set_epoch(1);
    bed.add("10.0.0.0/8", on_link("192.0.2.1", 1));
    bed.remove("10.0.0.0/8");
    bed.fib.set_epoch(2);
    bed.fib.reclaim(1, &mut bed.leaves);
    assert_eq!(bed.leaves.live.len(), 1);
    bed.fib.reclaim(2, &mut bed.leaves);
    assert_eq!((bed.leaves.live.len(), bed.fib.retired()), (0, 0));
}

#[test]
fn recursive_next_hop_takes_the_neighbor_of_a_connected_network() {
    let mut bed = Bed::new();
    bed.add("10.0.0.0/8", recursive("192.0.2.7"));
    assert_eq!(bed.forwarding("10.0.0.1"), Some(&Forwarding::Unreachable));
    bed.try_add("192.0.2.0/24", Source::INTERFACE, Action::Connected { interface: 5 }).unwrap();
    assert_eq!(bed.forwarding("10.0.0.1"), Some(&paths(&[("192.0.2.7", 5, 1)])));
}

#[test]
fn change_of_a_next_hop_costs_one_update_for_all_routes() {
    let mut bed = Bed::new();
    bed.add("192.0.2.0/24", on_link("198.51.100.1", 1));
    for i in 0..1000 {
        bed.add(&format!("10.{}.{}.0/24", i / 256, i % 256), recursive("192.0.2.7"));
    }
    let (leaf, updates) = (bed.fib.reader().lookup(number("10.0.0.1")), bed.leaves.updates);
    bed.add("192.0.2.0/24", on_link("198.51.100.2", 2));
    assert_eq!(bed.leaves.updates, updates + 1);
    assert_eq!(bed.fib.reader().lookup(number("10.0.0.1")), leaf);
    assert_eq!(bed.forwarding("10.3.9.1"), Some(&paths(&[("198.51.100.2", 2, 1)])));
}

#[test]
fn change_goes_through_several_recursions() {
    let mut bed = Bed::new();
    bed.add("10.0.0.0/8", recursive("172.16.0.1"));
    bed.add("172.16.0.0/16", recursive("192.0.2.1"));
    bed.add("192.0.2.0/24", on_link("198.51.100.1", 1));
    assert_eq!(bed.forwarding("10.0.0.1"), Some(&paths(&[("198.51.100.1", 1, 1)])));
    bed.add("192.0.2.1/32", on_link("198.51.100.9", 9));
    assert_eq!(bed.forwarding("10.0.0.1"), Some(&paths(&[("198.51.100.9", 9, 1)])));
    bed.remove("192.0.2.1/32");
    bed.remove("192.0.2.0/24");
    assert_eq!(bed.forwarding("10.0.0.1"), Some(&Forwarding::Unreachable));
}

#[test]
fn weights_multiply_through_recursion() {
    let mut bed = Bed::new();
    let two = |a: &str, b: &str, weight| {
        let mut hops = [NextHop::on_link(ip(a), 1), NextHop::on_link(ip(b), 1)];
        hops[0].weight = weight;
        Action::Via(hops.to_vec())
    };
    bed.add("192.0.2.0/24", two("198.51.100.1", "198.51.100.2", 2));
    let direct = NextHop::on_link(ip("198.51.100.3"), 1);
    bed.add("10.0.0.0/8", Action::Via(vec![NextHop::recursive(ip("192.0.2.1")), direct]));
    let expected = paths(&[("198.51.100.1", 1, 2), ("198.51.100.2", 1, 1), ("198.51.100.3", 1, 3)]);
    assert_eq!(bed.forwarding("10.0.0.1"), Some(&expected));
}

#[test]
fn route_through_itself_is_refused_and_changes_nothing() {
    let mut bed = Bed::new();
    let error = bed.try_add("0.0.0.0/0", Source::STATIC, recursive("192.0.2.1")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "route 0.0.0.0/0 would be reached through itself: next hop 192.0.2.1 resolves to it"
    );
    bed.add("10.0.0.0/8", recursive("172.16.0.1"));
    bed.add("172.16.0.0/16", recursive("192.0.2.1"));
    bed.add("192.0.0.0/16", on_link("198.51.100.1", 1));
    let error = bed.try_add("192.0.2.0/24", Source::STATIC, recursive("10.9.9.9")).unwrap_err();
    assert!(matches!(error, FibError::Loop { next_hop, .. } if next_hop == ip("192.0.2.1")), "{error}");
    assert_eq!((bed.fib.len(), bed.fib.path_sets()), (3, 3));
    assert_eq!(bed.forwarding("10.0.0.1"), Some(&paths(&[("198.51.100.1", 1, 1)])));
}

#[test]
fn loop_closed_by_a_removal_is_unreachable_until_opened() {
    let mut bed = Bed::new();
    bed.add("172.16.0.0/16", on_link("198.51.100.1", 1));
    bed.add("172.0.0.0/8", recursive("10.0.0.1"));
    bed.add("10.0.0.0/8", recursive("172.16.0.1"));
    assert_eq!(bed.forwarding("172.1.1.1"), Some(&paths(&[("198.51.100.1", 1, 1)])));
    bed.remove("172.16.0.0/16");
    assert_eq!(bed.forwarding("172.1.1.1"), Some(&Forwarding::Unreachable));
    assert_eq!(bed.forwarding("10.0.0.1"), Some(&Forwarding::Unreachable));
    bed.add("172.16.0.0/16", on_link("198.51.100.2", 2));
    assert_eq!(bed.forwarding("172.1.1.1"), Some(&paths(&[("198.51.100.2", 2, 1)])));
    assert_eq!(bed.forwarding("10.0.0.1"), Some(&paths(&[("198.51.100.2", 2, 1)])));
}

#[test]
fn senseless_next_hops_are_refused() {
    let mut bed = Bed::new();
    let hop =
        |address: Option<&str>, interface, weight| NextHop { address: address.map(ip), interface, weight };
    let table = [
        (vec![], "route 10.0.0.0/8 has no next hop"),
        (vec![hop(None, None, 1)], "a next hop of 10.0.0.0/8 has neither an address nor an interface"),
        (vec![hop(None, Some(1), 0)], "a next hop of 10.0.0.0/8 has weight 0"),
        (vec![hop(Some("0.0.0.0"), Some(1), 1)], "next hop 0.0.0.0 of 10.0.0.0/8 is no host's address"),
        (vec![hop(Some("224.0.0.5"), None, 1)], "next hop 224.0.0.5 of 10.0.0.0/8 is no host's address"),
        (
            vec![hop(Some("2001:db8::1"), None, 1)],
            "next hop 2001:db8::1 of 10.0.0.0/8 is of the other family and needs an interface",
        ),
        (vec![hop(None, Some(1), 1); 257], "route 10.0.0.0/8 has 257 next hops, more than 256"),
    ];
    for (next_hops, message) in table {
        let error = bed.try_add("10.0.0.0/8", Source::STATIC, Action::Via(next_hops)).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    assert!(bed.fib.is_empty());
}

#[test]
fn resolver_that_refuses_leaves_the_table_as_it_was() {
    let mut bed = Bed::new();
    bed.leaves.refuse = true;
    let error = bed.try_add("10.0.0.0/8", Source::STATIC, on_link("192.0.2.1", 9)).unwrap_err();
    assert_eq!(error.to_string(), "route 10.0.0.0/8 cannot be resolved: interface 9 does not exist");
    assert_eq!((bed.fib.len(), bed.fib.path_sets(), bed.forwarding("10.0.0.1")), (0, 0, None));
}

#[test]
fn paging_visits_each_prefix_once_while_the_table_changes() {
    let mut bed = Bed::new();
    for i in 0..100 {
        bed.add(&format!("10.0.{i}.0/24"), Action::Blackhole);
    }
    let (mut cursor, mut seen) = (None, 0);
    loop {
        let page: Vec<_> = bed.fib.routes_after(cursor).take(7).map(|view| view.prefix).collect();
        let Some(last) = page.last() else { break };
        assert!(page.is_sorted());
        seen += page.len();
        cursor = Some(*last);
        bed.remove(&last.to_string());
    }
    assert_eq!(seen, 100);
}

#[test]
fn adding_and_removing_100_000_routes_returns_all_memory() {
    let mut bed = Bed::new();
    bed.add("10.0.0.0/8", Action::Blackhole);
    let before = bed.fib.lpm_bytes();
    let route = |i: u32| Prefix::containing(i.wrapping_mul(2_654_435_761) & !0xf, 20 + (i % 13) as u8);
    let mut added = std::collections::BTreeSet::new();
    for i in 0..100_000 {
        if added.insert(route(i)) {
            bed.fib.add(route(i), Source::STATIC, on_link("192.0.2.1", 1 + i % 50), &mut bed.leaves).unwrap();
        }
    }
    assert!(bed.fib.len() > 99_000 && bed.fib.path_sets() == 51);
    for route in added {
        bed.fib.remove(route, Source::STATIC, &mut bed.leaves).unwrap();
    }
    bed.fib.set_epoch(1);
    bed.fib.reclaim(1, &mut bed.leaves);
    assert_eq!((bed.fib.lpm_bytes(), bed.fib.retired(), bed.leaves.live.len()), (before, 0, 1));
}

#[derive(Clone, Debug)]
enum Step {
    Add { route: Prefix<u32>, source: u8, next_hop: u8 },
    Remove { pick: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let route = (0..4_u32, 0..4_u32, 0..4_u32, 0..=32_u8)
        .prop_map(|(a, b, c, len)| Prefix::containing(0x0a00_0000 | a << 16 | b << 8 | c << 30 | c, len));
    prop_oneof![
        3 => (route, 0..3_u8, 0..12_u8).prop_map(|(route, source, next_hop)| Step::Add { route, source, next_hop }),
        2 => any::<usize>().prop_map(|pick| Step::Remove { pick }),
    ]
}

/// Next hops 0 to 3 are on links, the others addresses within the random prefixes.
fn action(next_hop: u8) -> Action {
    if next_hop < 4 {
        return Action::via(NextHop { address: None, interface: Some(u32::from(next_hop)), weight: 1 });
    }
    let n = u32::from(next_hop);
    recursive(&std::net::Ipv4Addr::from_bits(0x0a00_0000 | (n & 3) << 16 | (n >> 2) << 8 | 1).to_string())
}

/// Follows routes from `address` by scanning them all; none where there is no way out or it turns in a circle.
fn follow(routes: &BTreeMap<(Prefix<u32>, u8), u8>, address: u32, hops: u8) -> Option<u32> {
    let longest =
        routes.keys().filter(|(prefix, _)| prefix.contains(address)).map(|(prefix, _)| prefix.len()).max()?;
    let best = routes.iter().find(|((prefix, _), _)| prefix.contains(address) && prefix.len() == longest)?;
    match (action(*best.1), hops) {
        (_, 0) => None,
        (Action::Via(next_hops), _) => match next_hops[0] {
            NextHop { interface: Some(interface), .. } => Some(interface),
            NextHop { address: Some(address), .. } => follow(routes, u32::from_ip(address)?, hops - 1),
            NextHop { .. } => None,
        },
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn table_with_recursion_equals_following_the_routes(steps in prop::collection::vec(step(), 1..80)) {
        let mut bed = Bed::new();
        let mut routes = BTreeMap::new();
        for step in steps {
            match step {
                Step::Add { route, source, next_hop } => {
                    match bed.fib.add(route, Source::dynamic(source, 0), action(next_hop), &mut bed.leaves) {
                        Ok(()) => { routes.insert((route, source), next_hop); }
                        Err(FibError::Loop { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                Step::Remove { pick } => {
                    let picked = routes.keys().nth(pick % routes.len().max(1)).copied();
                    if let Some((route, source)) = picked {
                        routes.remove(&(route, source));
                        bed.fib.remove(route, Source::dynamic(source, 0), &mut bed.leaves).unwrap();
                    }
                }
            }
            bed.fib.reclaim(u64::MAX, &mut bed.leaves);
            let ends = routes.keys().flat_map(|(prefix, _)| [prefix.address(), prefix.last_address()]);
            for address in ends.collect::<Vec<_>>() {
                let leaf = bed.fib.reader().lookup(address);
                let interface = match &bed.leaves.live[&leaf] {
                    Forwarding::Paths(paths) => Some(paths[0].interface),
                    _ => None,
                };
                prop_assert_eq!(interface, follow(&routes, address, 16));
            }
        }
    }
}

proptest! {
    #[test]
    fn bulk_with_held_sets_comes_to_the_same_as_route_by_route(
        steps in prop::collection::vec((step(), any::<bool>()), 1..80),
    ) {
        let (mut bulk, mut single) = (Bed::new(), Bed::new());
        let actions: Vec<_> = (0..12).map(action).collect();
        let mut pins: [Vec<Option<crate::net::fib::Pinned>>; 3] =
            std::array::from_fn(|_| actions.iter().map(|_| None).collect());
        let mut present = std::collections::BTreeSet::new();
        for (step, is_held) in steps {
            let (route, source, place) = match step {
                Step::Add { route, source, next_hop } => (route, source, Some(usize::from(next_hop))),
                Step::Remove { pick } => {
                    let Some(&(route, source)) = present.iter().nth(pick % present.len().max(1)) else { continue };
                    (route, source, None)
                }
            };
            let by = Source::dynamic(source, 0);
            let expected = match place {
                Some(place) => single.fib.add(route, by, actions[place].clone(), &mut single.leaves),
                None => single.fib.remove(route, by, &mut single.leaves),
            };
            // Now and then the other way, so that both meet the other's sets.
            let (fib, leaves) = (&mut bulk.fib, &mut bulk.leaves);
            let found = match place {
                Some(place) if !is_held => fib.add(route, by, actions[place].clone(), leaves),
                place => fib.change_pinned(route, by, &actions, &mut pins[usize::from(source)], place, leaves),
            };
            prop_assert_eq!(found.is_ok(), expected.is_ok(), "{:?} {:?}", found, expected);
            if expected.is_ok() {
                match place {
                    Some(_) => present.insert((route, source)),
                    None => present.remove(&(route, source)),
                };
            }
            for bed in [&mut bulk, &mut single] {
                bed.fib.reclaim(u64::MAX, &mut bed.leaves);
            }
            for (prefix, _) in &present {
                for address in [prefix.address(), prefix.last_address()] {
                    let found = bulk.leaves.live.get(&bulk.fib.reader().lookup(address));
                    prop_assert_eq!(found, single.leaves.live.get(&single.fib.reader().lookup(address)));
                }
            }
        }
        // What was held is given back, and with the last route all is.
        for pin in pins.into_iter().flatten().flatten() {
            bulk.fib.unpin(pin);
        }
        for (route, source) in present {
            bulk.fib.remove(route, Source::dynamic(source, 0), &mut bulk.leaves).unwrap();
        }
        bulk.fib.reclaim(u64::MAX, &mut bulk.leaves);
        prop_assert_eq!((bulk.fib.len(), bulk.fib.path_sets(), bulk.leaves.live.len()), (0, 0, 0));
    }
}

#[test]
fn route_by_a_loop_that_a_removal_closed_is_refused_whatever_else_is_in_the_table() {
    for has_unrelated_next_hop in [false, true] {
        let mut bed = Bed::new();
        bed.add("172.16.0.0/16", on_link("192.0.2.1", 1));
        bed.add("0.0.0.0/0", recursive("172.16.0.1"));
        if has_unrelated_next_hop {
            bed.add("198.51.100.0/24", recursive("10.0.0.9"));
        }
        bed.remove("172.16.0.0/16");
        let refused = bed.try_add("10.0.0.0/8", Source::STATIC, recursive("172.16.0.1"));
        assert!(matches!(refused, Err(FibError::Loop { .. })), "{refused:?}");
    }
}

#[test]
fn readers_on_another_thread_meet_leaves_that_are_there() {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    // A leaf in use is odd in this list, one that was released even: a reader must never meet that between its quiescent
    // points, which it counts.
    struct Watched(std::sync::Arc<Vec<AtomicU32>>, Vec<LeafIndex>, LeafIndex);
    impl Resolver for Watched {
        fn create(
            &mut self,
            _: &Forwarding,
            _: Option<LeafIndex>,
        ) -> Result<LeafIndex, Box<dyn Error + Send + Sync>> {
            let leaf = self.1.pop().unwrap_or_else(|| {
                self.2 += 1;
                self.2
            });
            self.0[leaf as usize].store(1, Ordering::SeqCst);
            Ok(leaf)
        }
        fn update(&mut self, leaf: LeafIndex, _: &Forwarding) {
            assert_eq!(self.0[leaf as usize].load(Ordering::SeqCst), 1);
        }
        fn release(&mut self, leaf: LeafIndex) {
            self.0[leaf as usize].store(0, Ordering::SeqCst);
            self.1.insert(0, leaf);
        }
    }
    let live: std::sync::Arc<Vec<AtomicU32>> =
        std::sync::Arc::new((0..1024).map(|_| AtomicU32::new(0)).collect());
    let mut fib = Fib::<u32>::new().unwrap();
    let mut leaves = Watched(std::sync::Arc::clone(&live), Vec::new(), 0);
    let (stop, passes) = (AtomicBool::new(false), AtomicU32::new(0));
    let reader = fib.reader();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut address = 0x0a00_0000_u32;
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..256 {
                    address = 0x0a00_0000 | address.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) >> 12;
                    let leaf = reader.lookup(address);
                    assert!(
                        leaf == 0 || live[leaf as usize].load(Ordering::SeqCst) == 1,
                        "leaf {leaf} was released"
                    );
                }
                passes.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut epoch = 0;
        for round in 0..20_000_u32 {
            let mixed = round.wrapping_mul(2_654_435_761);
            let route = Prefix::containing(0x0a00_0000 | mixed >> 12, 12 + (mixed % 17) as u8);
            let action = match mixed >> 8 & 3 {
                0 => Action::Blackhole,
                1 => recursive("10.0.16.1"),
                _ => on_link("192.0.2.1", mixed >> 16 & 0xff),
            };
            // What leads to itself is refused, and what is not there cannot go.
            let _ = fib.add(route, Source::dynamic((mixed >> 5 & 1) as u8, 0), action, &mut leaves);
            let gone = round.wrapping_sub(500).wrapping_mul(2_654_435_761);
            let route = Prefix::containing(0x0a00_0000 | gone >> 12, 12 + (gone % 17) as u8);
            let _ = fib.remove(route, Source::dynamic((gone >> 5 & 1) as u8, 0), &mut leaves);
            if round % 64 == 0 {
                epoch += 1;
                fib.set_epoch(epoch);
                let seen = passes.load(Ordering::SeqCst);
                // Two ends of a pass later every lookup that was under way is over.
                while passes.load(Ordering::SeqCst) < seen + 2 {
                    std::thread::yield_now();
                }
                fib.reclaim(epoch, &mut leaves);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}
