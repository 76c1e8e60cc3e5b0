//! Laws of the mirror: whatever the kernel told, and in however many turns it was taken over, both sides come out the same.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::route::RouteTarget;
use raddle_plugin_api::wire::IpPrefix;

use super::table_tests::{reread, set_devices, take as take_from};
use super::{Device, Hop, KernelRoute, KernelTarget, MirrorTable};
use crate::netlink::Edit;

#[derive(Clone, Debug)]
enum Step {
    Edit(u8, u8, u8, Edit),
    Take(u8),
    Refuse(u8),
    Retry,
    Devices(u8),
    Reread(Vec<(u8, u8, u8)>),
}

fn step() -> impl Strategy<Value = Step> {
    let edit = prop_oneof![Just(Edit::Replace), Just(Edit::Append), Just(Edit::Prepend), Just(Edit::Remove)];
    prop_oneof![
        6 => (0u8..6, 0u8..3, 0u8..6, edit).prop_map(|(prefix, metric, target, edit)| Step::Edit(prefix, metric, target, edit)),
        2 => (1u8..4).prop_map(Step::Take),
        2 => (1u8..4).prop_map(Step::Refuse),
        1 => Just(Step::Retry),
        1 => (0u8..4).prop_map(Step::Devices),
        1 => proptest::collection::vec((0u8..6, 0u8..3, 0u8..6), 0..6).prop_map(Step::Reread),
    ]
}

fn prefix(number: u8) -> IpPrefix {
    match number {
        0..3 => format!("10.{number}.0.0/16").parse().unwrap(),
        _ => format!("2001:db8:{number}::/48").parse().unwrap(),
    }
}

fn route(metric: u8, target: u8) -> KernelRoute {
    let target = match target {
        0 => KernelTarget::Blackhole,
        1 => KernelTarget::Object(u32::from(target)),
        _ => KernelTarget::Hops(vec![Hop {
            gateway: Some("10.0.0.1".parse().unwrap()),
            device: u32::from(target),
            weight: 1,
        }]),
    };
    KernelRoute { metric: metric.into(), protocol: 12, variant: 0, target: Arc::new(target) }
}

proptest! {
    #[test]
    fn in_the_end_both_sides_are_the_same(steps in proptest::collection::vec(step(), 0..60)) {
        let mut table = MirrorTable::default();
        reread(&mut table, HashMap::new());
        let mut here: HashMap<IpPrefix, RouteTarget> = HashMap::new();
        let take = |table: &mut MirrorTable, here: &mut HashMap<_, _>, most: usize| {
            for (prefix, target) in take_from(table, most) {
                match target {
                    Some(target) => drop(here.insert(prefix, target)),
                    None => prop_assert!(here.remove(&prefix).is_some(), "what is not here is not taken away"),
                }
            }
            Ok(())
        };
        for step in steps {
            match step {
                Step::Edit(at, metric, target, edit) => {
                    table.edit(prefix(at), route(metric, target), edit);
                }
                Step::Take(most) => take(&mut table, &mut here, most.into())?,
                Step::Refuse(most) => {
                    for (prefix, target) in take_from(&mut table, most.into()) {
                        // The refused one is taken away, whatever was there.
                        let was_here = here.remove(&prefix).is_some();
                        prop_assert!(was_here || target.is_some());
                        if target.is_some() {
                            table.refused(prefix, "no room".into());
                        }
                    }
                }
                Step::Retry => table.retry(),
                Step::Devices(count) => {
                    let device = |number: u8| (u32::from(number) + 2, Device::Interface(InterfaceIndex(number.into())));
                    set_devices(&mut table, (0..count).map(device).collect());
                }
                Step::Reread(routes) => {
                    let mut read: HashMap<IpPrefix, Vec<KernelRoute>> = HashMap::new();
                    for (at, metric, target) in routes {
                        read.entry(prefix(at)).or_default().push(route(metric, target));
                    }
                    reread(&mut table, read);
                }
            }
        }
        table.retry();
        take(&mut table, &mut here, usize::MAX)?;
        prop_assert!(table.is_in_sync());
        let told: HashMap<_, _> = table.here().map(|(prefix, target)| (*prefix, target.clone())).collect();
        prop_assert_eq!(&told, &here);
        let standing = table.standing();
        prop_assert_eq!(standing.kernel, standing.in_sync + standing.foreign);
        prop_assert_eq!((standing.pending, standing.failed), (0, 0));
    }
}
