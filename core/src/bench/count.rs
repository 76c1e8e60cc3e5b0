//! Having a given number of packets pass, for whoever counts instructions from outside: where clocks drift with the
//! machine, instructions do not.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use raddle_plugin_api::abi::NodeKind;

use super::cases::cases;
use super::measure::refuse_unknown;
use super::stage::Stage;

/// How long the packets may take, under a tool that makes every instruction fifty.
const LIMIT: Duration = Duration::from_secs(600);

/// Sets the case up and returns how many packets were generated once they were at least `packets`: whole frames are
/// generated. Without workers one thread does all.
///
/// Two runs of different lengths differ by what the packets cost alone; what the set-up cost is in both.
///
/// # Errors
/// An unknown case, one that does not run, or one whose packets do not come.
pub fn pass(name: &str, packets: u64, workers: usize, plugins: Option<&Path>) -> anyhow::Result<u64> {
    let all = cases();
    let names: Vec<_> = all.iter().map(|case| case.name.as_ref()).collect();
    refuse_unknown("case", &[name.to_owned()], &names)?;
    let case = all.iter().find(|case| case.name == name).expect("it is among the names");
    let stage = Stage::set(case, workers, plugins)?;
    let engine = &stage.engine;
    let kinds = engine.node_kinds();
    let inputs: Vec<_> = (0..kinds.len()).filter(|&node| kinds[node].1 == NodeKind::INPUT).collect();
    // Asked in every turn: it must cost next to nothing.
    let generated = || inputs.iter().map(|&node| engine.node_total(node).packets).sum::<u64>();
    if workers == 0 {
        engine.run_until(LIMIT, || generated() >= packets);
    } else {
        let began = Instant::now();
        while generated() < packets && began.elapsed() < LIMIT {
            // Whoever reads the workers' counters is in their way, and so is a main thread that never sleeps.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    if generated() < packets {
        bail!("{} of {packets} packets came in {} s", generated(), LIMIT.as_secs());
    }
    Ok(generated())
}
