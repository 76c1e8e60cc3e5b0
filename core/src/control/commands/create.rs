//! `interface create`, `interface delete`, `show drivers`.

use std::future::Future;

use raddle_plugin_api::command::{NoArguments, Output};
use raddle_plugin_api::config::nearest;
use raddle_plugin_api::{Control, Failure, InterfaceIndex, InterfaceInfo, command, failure};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::driver_options::Options;
use super::layout::{Align, Table, list};
use crate::host::methods::DriverReport;
use crate::net::router_advertisement::after_farewell;

#[derive(Deserialize)]
struct Create {
    name: String,
    driver: String,
    #[serde(default)]
    option: Vec<String>,
}

/// The interface that was made; as text only what is wrong with it.
#[derive(Serialize)]
#[serde(transparent)]
struct Created(InterfaceInfo);

impl Output for Created {
    fn text(&self) -> Option<String> {
        let fault = |fault: &String| format!("interface `{}` is made, and waits: {fault}", self.0.name);
        Some(self.0.fault.as_ref().map(fault).unwrap_or_default())
    }
}

fn create(control: &mut Control<'_>, arguments: Create) -> Result<Created, Failure> {
    let Create { name, driver, option } = arguments;
    let drivers: Vec<DriverReport> = control.call("driver.list", &())?;
    let Some(known) = drivers.iter().find(|known| known.name == driver) else {
        return Err(unknown_driver(&driver, &drivers));
    };
    let Options { mac, mtu, up, own } = Options::read(&driver, &known.schema, &option)?;
    let request = json!({"name": name, "driver": driver, "mac": mac, "mtu": mtu, "options": own});
    let interface: InterfaceIndex = control.call("interface.create", &request)?;
    if up {
        let set_up: Result<(), Failure> =
            control.call("interface.up", &json!({"interface": interface, "up": true}));
        set_up.map_err(|failure| failure!("interface `{name}` is made, but cannot be set up: {failure}"))?;
    }
    Ok(Created(control.interface(&name)?))
}

fn unknown_driver(driver: &str, drivers: &[DriverReport]) -> Failure {
    let names: Vec<&str> = drivers.iter().map(|known| known.name.as_str()).collect();
    match nearest(driver, names.iter().copied()) {
        Some(nearest) => failure!("there is no driver `{driver}`; did you mean `{nearest}`?"),
        None => failure!("there is no driver `{driver}`; there are: {}", names.join(", ")),
    }
}

command! {
    "interface create <name> driver <driver> [<option…>]",
    "makes an interface; options: `mac MAC`, `mtu BYTES`, `up` (else it is down), and the driver's own with their values, as `show drivers` lists them",
    create
}

#[derive(Deserialize)]
struct Delete {
    interface: String,
}

fn delete(
    control: &mut Control<'_>,
    arguments: Delete,
) -> Result<impl Future<Output = Result<(), Failure>> + use<>, Failure> {
    let interface = control.interface(&arguments.interface)?.index;
    Ok(after_farewell(control, Some(interface), move |control| {
        // Meanwhile another one may have its index.
        let interface = control.interface(&arguments.interface)?.index;
        control.call("interface.delete", &json!({"interface": interface}))
    }))
}

command! { "interface delete <interface>", "takes an interface away", async delete }

#[derive(Serialize)]
#[serde(transparent)]
struct Drivers(Vec<DriverReport>);

impl Output for Drivers {
    fn text(&self) -> Option<String> {
        let mut table =
            Table::new(&[("driver", Align::Left), ("summary", Align::Left), ("options", Align::Left)]);
        for driver in &self.0 {
            let options = driver.schema["properties"].as_object().into_iter().flatten();
            let options: Vec<String> = options.map(|(name, _)| name.clone()).collect();
            table.row([driver.name.clone(), driver.summary.clone(), list(&options)]);
        }
        Some(table.to_string())
    }
}

fn show_drivers(control: &mut Control<'_>, _: NoArguments) -> Result<Drivers, Failure> {
    Ok(Drivers(control.call("driver.list", &())?))
}

command! { "show drivers", "shows the drivers of interfaces and their options", show_drivers }
