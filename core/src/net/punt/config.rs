//! The configuration section `[punt]`.

use std::collections::BTreeMap;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::punt::PuntLimitConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PuntReasons;

/// `[punt.REASON]`: how many packets the host gets, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PuntConfig(pub BTreeMap<String, PuntLimitConfig>);

config! { "punt", PuntConfig }
on_event! { "config", config_changed }

/// SIGHUP has read the configuration anew.
fn config_changed(control: &mut Control<'_>, _: serde::de::IgnoredAny) -> Result<(), Failure> {
    let reasons = control.resource::<PuntReasons>()?;
    reasons.take_up(control.config("punt")?);
    for failure in reasons.unknown() {
        log_warn!(control, "[punt]: {failure}");
    }
    control.report_section("punt", &reasons.config())
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::config::parse_section;
    use raddle_plugin_api::punt::PuntLimit;

    use super::*;

    #[test]
    fn limits_are_by_reason_and_within_bounds() {
        let config =
            parse_section::<PuntConfig>("[punt.tcp]\nrate = 10\nburst = 5\n", "punt").unwrap().unwrap();
        assert_eq!(PuntLimit::from(config.0["tcp"]), PuntLimit { rate: 10, burst: 5 });
        let error = parse_section::<PuntConfig>("[punt.tcp]\nrate = 0\nburst = 5\n", "punt").unwrap_err();
        assert_eq!(error.to_string(), "2:8: expected a number from 1 to 10000000, found integer `0`");
        let error = parse_section::<PuntConfig>("[punt.tcp]\nrate = 1\nbirst = 5\n", "punt").unwrap_err();
        assert!(error.to_string().contains("did you mean `burst`?"), "{error}");
    }
}
