//! The JSON Schema of the configuration file, for editors.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::sections::{
    BuffersConfig, ControlConfig, InterfaceConfig, LogConfig, NeighborConfig, PluginsConfig, RouteConfig,
    RuntimeConfig,
};

/// The schema of the core's sections. Sections of plugins and the keys of drivers are open: their owners know them.
pub fn schema() -> Value {
    let mut generator = SchemaGenerator::default();
    let mut interface = of::<InterfaceConfig>(&mut generator);
    if let Some(schema) = interface.as_object_mut() {
        schema.insert("additionalProperties".into(), true.into());
    }
    let properties = json!({
        "runtime": of::<RuntimeConfig>(&mut generator),
        "buffers": of::<BuffersConfig>(&mut generator),
        "control": of::<ControlConfig>(&mut generator),
        "plugins": of::<PluginsConfig>(&mut generator),
        "log": of::<LogConfig>(&mut generator),
        "interface": { "type": "object", "additionalProperties": interface },
        "route": { "type": "array", "items": of::<RouteConfig>(&mut generator) },
        "neighbor": { "type": "array", "items": of::<NeighborConfig>(&mut generator) },
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "raddle configuration",
        "type": "object",
        "properties": properties,
        "additionalProperties": { "description": "a section of the plugin of that name" },
        "$defs": generator.take_definitions(true),
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
        assert_eq!(names, CORE_SECTIONS);
        assert_eq!(schema["properties"]["runtime"]["properties"]["workers"]["type"], "integer");
        assert!(schema["$defs"]["IpPrefix"].is_object(), "{}", schema["$defs"]);
    }
}
