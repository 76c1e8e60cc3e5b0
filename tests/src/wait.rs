//! Waiting for a condition instead of sleeping for a guess.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks at the condition.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `condition` holds; `what` names it in the error.
///
/// # Errors
/// When it does not hold within `timeout`.
pub fn wait_until(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    wait_for(what, timeout, || Ok(condition().then_some(())))
}

/// Waits until `probe` yields a value; `what` names it in the error.
///
/// # Errors
/// When it yields none within `timeout`, or the probe itself fails.
pub fn wait_for<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if begin.elapsed() >= timeout {
            bail!("waited {timeout:?} in vain for {what}");
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_as_soon_as_the_condition_holds() {
        let mut looks = 0;
        let done = wait_until("three looks", Duration::from_secs(60), || {
            looks += 1;
            looks == 3
        });
        assert!(done.is_ok());
        assert_eq!(looks, 3);
    }

    #[test]
    fn names_what_it_waited_for() {
        let error = wait_until("the moon", Duration::ZERO, || false).unwrap_err();
        assert!(error.to_string().contains("the moon"), "{error}");
    }

    #[test]
    fn hands_on_the_probe_error_at_once() {
        let result: Result<()> = wait_for("nothing", Duration::from_secs(60), || bail!("probe broke"));
        assert_eq!(result.unwrap_err().to_string(), "probe broke");
    }
}
