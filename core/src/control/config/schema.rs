//! The JSON Schema of the configuration file, for editors.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::ip_sections::{IcmpConfig, Ip4Config, MartiansConfig};
use super::sections::{
    BuffersConfig, ControlConfig, EcmpConfig, InterfaceConfig, LogConfig, MetricsConfig, NeighborConfig,
    NeighborTableConfig, PluginsConfig, RouteConfig, RuntimeConfig, TableConfig,
};
use crate::host::section_schemas;

use crate::net::l2::BridgeConfig;

/// The schema of the core's sections, and of those that its modules registered. Sections of plugins and the keys of drivers are open: their owners know them.
pub fn schema() -> Value {
    let mut generator = SchemaGenerator::default();
    let mut interface = of::<InterfaceConfig>(&mut generator);
    if let Some(schema) = interface.as_object_mut() {
        schema.insert("additionalProperties".into(), true.into());
    }
    let mut properties = json!({
        "runtime": of::<RuntimeConfig>(&mut generator),
        "buffers": of::<BuffersConfig>(&mut generator),
        "control": of::<ControlConfig>(&mut generator),
        "plugins": of::<PluginsConfig>(&mut generator),
        "log": of::<LogConfig>(&mut generator),
        "metrics": of::<MetricsConfig>(&mut generator),
        "ecmp": of::<EcmpConfig>(&mut generator),
        "table": { "type": "object", "additionalProperties": of::<TableConfig>(&mut generator) },
        "icmp": of::<IcmpConfig>(&mut generator),
        "ip4": of::<Ip4Config>(&mut generator),
        "martians": of::<MartiansConfig>(&mut generator),
        "interface": { "type": "object", "additionalProperties": interface },
        "bridge": { "type": "object", "additionalProperties": of::<BridgeConfig>(&mut generator) },
        "route": { "type": "array", "items": of::<RouteConfig>(&mut generator) },
        "neighbor": { "type": "array", "items": of::<NeighborConfig>(&mut generator) },
        "neighbor-table": of::<NeighborTableConfig>(&mut generator),
    });
    let mut definitions = generator.take_definitions(true);
    for (name, mut section) in section_schemas() {
        let (Some(properties), Some(own)) = (properties.as_object_mut(), section.as_object_mut()) else {
            continue;
        };
        own.remove("$schema");
        if let Some(Value::Object(more)) = own.remove("$defs") {
            definitions.extend(more);
        }
        properties.entry(name).or_insert(section);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "raddle configuration",
        "type": "object",
        "properties": properties,
        "additionalProperties": { "description": "a section of the plugin of that name" },
        "$defs": definitions,
    })
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    T::json_schema(generator).to_value()
}

#[cfg(test)]
mod tests {
    use super::super::load::CORE_SECTIONS;
    use super::*;

    #[test]
    fn every_core_section_is_described() {
        let schema = schema();
        let names: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert!(CORE_SECTIONS.iter().all(|section| names.contains(section)), "{names:?}");
        assert_eq!(schema["properties"]["reassembly"]["properties"]["fragments"]["maximum"], 1024);
        assert_eq!(schema["properties"]["runtime"]["properties"]["workers"]["type"], "integer");
        assert!(schema["$defs"]["IpPrefix"].is_object(), "{}", schema["$defs"]);
    }
}
