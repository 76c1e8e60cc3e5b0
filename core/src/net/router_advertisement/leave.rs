//! The end of advertisements on an interface that the operator takes from its link.

use std::future::Future;
use std::time::Duration;

use raddle_plugin_api::{Control, Failure, InterfaceIndex, task};

use super::RouterAdvertisements;

/// How long the last word has to leave.
const TIME_TO_LEAVE: Duration = Duration::from_millis(50);

/// Does `change`, by which an interface is set up or down, or goes. Where it leaves its link, `leaving`, hosts there hear first
/// that this is no default router any more (RFC 4861 §6.2.5), if they were told that it is one; and are told anew if the change
/// fails.
pub fn after_farewell<C>(
    control: &Control<'_>,
    leaving: Option<InterfaceIndex>,
    change: C,
) -> impl Future<Output = Result<(), Failure>> + use<C>
where
    C: FnOnce(&mut Control<'_>) -> Result<(), Failure>,
{
    let told = leaving.zip(control.resource::<RouterAdvertisements>().ok());
    let told = told.filter(|(interface, advertisements)| advertisements.farewell_on(control, *interface));
    let later = control.for_task();
    async move {
        if told.is_some() {
            task::sleep(TIME_TO_LEAVE).await;
        }
        later.with(|control| {
            let done = change(control);
            if let (Err(_), Some((interface, advertisements))) = (&done, told) {
                advertisements.refresh(control, interface);
            }
            done
        })
    }
}
