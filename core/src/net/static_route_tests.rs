use super::*;
use crate::net::link::Link;

fn hop(via: &str, interface: Option<&str>) -> RouteTarget {
    RouteTarget::Hop(RouteHop {
        via: Some(via.parse().unwrap()),
        interface: interface.map(Into::into),
        weight: 1,
    })
}

fn spec(prefix: &str, target: RouteTarget) -> RouteSpec {
    RouteSpec { prefix: prefix.parse().unwrap(), table: TableKey::DEFAULT, target }
}

fn links(up: bool) -> Links {
    let mut links = Links::default();
    for (index, name) in [(1, "lan"), (2, "wan")] {
        let is_up = up || name == "lan";
        links.set(InterfaceIndex(index), Link { name: name.into(), is_up, mtu: 1500, has_ethernet: true });
    }
    links
}

#[test]
fn next_hops_of_one_prefix_add_up() {
    let first = StaticRoute::with(None, &spec("10.0.0.0/8", hop("192.0.2.1", None))).unwrap();
    let both = StaticRoute::with(Some(&first), &spec("10.0.0.0/8", hop("192.0.2.2", Some("wan")))).unwrap();
    let again = StaticRoute::with(Some(&both), &spec("10.0.0.0/8", hop("192.0.2.1", None)));
    assert_eq!(again.unwrap_err().to_string(), "route 10.0.0.0/8 via 192.0.2.1 is there already");
    let left = both.without(&spec("10.0.0.0/8", hop("192.0.2.2", None))).unwrap();
    assert_eq!(left, Some(first.clone()));
    assert_eq!(first.without(&spec("10.0.0.0/8", hop("192.0.2.1", None))), Ok(None));
    let unknown = first.without(&spec("10.0.0.0/8", hop("192.0.2.9", None)));
    assert_eq!(unknown.unwrap_err().to_string(), "route 10.0.0.0/8 has no next hop via 192.0.2.9");
}

#[test]
fn what_makes_no_sense_is_refused_in_one_sentence() {
    for (prefix, target, message) in [
        (
            "10.0.0.0/8",
            hop("2001:db8::1", None),
            "next hop 2001:db8::1 is of another family than route 10.0.0.0/8",
        ),
        ("10.0.0.0/8", hop("0.0.0.0", None), "next hop 0.0.0.0 of route 10.0.0.0/8 is no router's address"),
        (
            "10.0.0.0/8",
            hop("224.0.0.5", None),
            "next hop 224.0.0.5 of route 10.0.0.0/8 is no router's address",
        ),
        (
            "2001:db8::/32",
            hop("fe80::1", None),
            "next hop fe80::1 of route 2001:db8::/32 is link-local, so it needs an interface",
        ),
    ] {
        let error = StaticRoute::with(None, &spec(prefix, target)).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let present = StaticRoute::Reject(Rejection::Blackhole);
    let error = StaticRoute::with(Some(&present), &spec("10.0.0.0/8", hop("192.0.2.1", None))).unwrap_err();
    assert_eq!(error.to_string(), "route 10.0.0.0/8 is there already, blackhole");
}

#[test]
fn only_next_hops_over_interfaces_that_are_up_count() {
    let prefix = "10.0.0.0/8".parse().unwrap();
    let mut networks = Networks::new();
    networks.insert("192.0.2.0/24".parse().unwrap(), InterfaceIndex(2));
    let route = StaticRoute::with(None, &spec("10.0.0.0/8", hop("192.0.2.1", None))).unwrap();
    let on_wan = NextHop::on_link("192.0.2.1".parse().unwrap(), 2);
    assert_eq!(route.action(prefix, &links(true), &networks), Some(Action::via(on_wan)));
    assert_eq!(route.action(prefix, &links(false), &networks), None);
    let two = StaticRoute::with(Some(&route), &spec("10.0.0.0/8", hop("198.51.100.1", Some("lan")))).unwrap();
    let on_lan = NextHop::on_link("198.51.100.1".parse().unwrap(), 1);
    assert_eq!(two.action(prefix, &links(false), &networks), Some(Action::via(on_lan)));
    let far = StaticRoute::with(None, &spec("10.0.0.0/8", hop("203.0.113.1", None))).unwrap();
    let recursive = NextHop::recursive("203.0.113.1".parse().unwrap());
    assert_eq!(far.action(prefix, &links(false), &networks), Some(Action::via(recursive)));
}

#[test]
fn route_to_neighbours_is_on_the_link_and_to_one_host_is_that_neighbour() {
    let target = || RouteTarget::Hop(RouteHop { via: None, interface: Some("wan".into()), weight: 1 });
    for (prefix, expected) in [
        ("10.0.0.0/8", Action::Connected { interface: 2 }),
        ("10.9.9.9/32", Action::via(NextHop::on_link("10.9.9.9".parse().unwrap(), 2))),
    ] {
        let route = StaticRoute::with(None, &spec(prefix, target())).unwrap();
        let prefix = prefix.parse().unwrap();
        assert_eq!(route.action(prefix, &links(true), &Networks::new()), Some(expected));
        assert_eq!(route.action(prefix, &links(false), &Networks::new()), None);
    }
}

#[test]
fn route_into_another_table_stands_alone() {
    let target = |id| RouteTarget::Table(TableKey::Id(id));
    let route = StaticRoute::with(None, &spec("10.0.0.0/8", target(7))).unwrap();
    assert_eq!(route.table(), Some(7));
    for (target, message) in [
        (target(7), "route 10.0.0.0/8 via table 7 is there already"),
        (target(8), "route 10.0.0.0/8 is there already, via table 7"),
        (hop("192.0.2.1", None), "route 10.0.0.0/8 is there already, via table 7"),
    ] {
        let error = StaticRoute::with(Some(&route), &spec("10.0.0.0/8", target)).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let other = route.without(&spec("10.0.0.0/8", target(8))).unwrap_err();
    assert_eq!(other.to_string(), "route 10.0.0.0/8 is not via table 8, but via table 7");
    assert_eq!(route.without(&spec("10.0.0.0/8", target(7))), Ok(None));
}
