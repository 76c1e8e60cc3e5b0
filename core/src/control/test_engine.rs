//! An engine with the executor of the control socket in front of it, and a driver that needs no device: for tests.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use raddle_plugin_api::driver::{
    Change, Device, Driver, Properties, Receive, Request, RxQueue, Transmit, TxQueue,
};
use raddle_plugin_api::wire::MacAddress;
use raddle_plugin_api::{Control, Failure, driver};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::executor::EngineExecutor;
use super::protocol::{Executor, Failure as Refusal, Format};
use crate::host::{Engine, EngineConfig};
use crate::memory::HugePages;
use crate::runtime::WorkerConfig;

/// Runs `script` on a thread of its own against an engine with so many workers.
pub fn with_engine<R: Send>(workers: usize, script: impl FnOnce(&Session) -> R + Send) -> R {
    let config = EngineConfig {
        workers: vec![WorkerConfig::default(); workers],
        buffers: 4096,
        hugepages: HugePages::Never,
        ..EngineConfig::default()
    };
    let engine = Engine::create(config).expect("an engine");
    engine.start_workers().expect("workers");
    let executor = Arc::new(EngineExecutor::new(engine.remote()));
    let remote = engine.remote();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done = &done;
        let script = scope.spawn(move || {
            let session = Session { executor };
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| script(&session)));
            done.store(true, Ordering::Release);
            remote.run(|_| {});
            result
        });
        engine.run_until(Duration::from_secs(60), || done.load(Ordering::Acquire));
        match script.join().expect("panics are caught") {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A client of the executor.
pub struct Session {
    pub executor: Arc<EngineExecutor>,
}

impl Session {
    /// The data of a command that is carried out.
    pub fn data(&self, line: &str) -> Value {
        self.executor.execute(line, Format::Both).unwrap_or_else(|failure| panic!("{line}: {failure}")).data
    }

    /// The text of a command that is carried out.
    pub fn text(&self, line: &str) -> String {
        let output = self.executor.execute(line, Format::Both);
        output.unwrap_or_else(|failure| panic!("{line}: {failure}")).into_text()
    }

    /// What is said of a command that is not carried out.
    pub fn refusal(&self, line: &str) -> Refusal {
        match self.executor.execute(line, Format::Both) {
            Ok(output) => panic!("{line}: {output:?}"),
            Err(failure) => failure,
        }
    }

    /// The candidates at the end of the line.
    pub fn candidates(&self, line: &str) -> Vec<String> {
        let completion = self.executor.complete(line, line.len());
        completion.candidates.into_iter().map(|candidate| candidate.text).collect()
    }
}

/// Frames come in as often as the options say, then the device is silent; what is sent is swallowed.
struct TestDevice {
    properties: Properties,
    queues: VecDeque<TestRx>,
}

struct TestRx {
    left: u32,
    frame: Vec<u8>,
}

struct TestTx;

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Plain,
    Broken,
}

/// The options, one of each JSON type.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[derive(Default)]
struct TestOptions {
    device: Option<String>,
    frames: u32,
    link: Option<bool>,
    queues: Option<u32>,
    mode: Mode,
    labels: Vec<String>,
}

impl Driver for TestDevice {
    const NAME: &'static str = "test";
    const SUMMARY: &'static str = "a device of the tests";
    type Options = TestOptions;
    type Device = Self;

    fn open(_: &mut Control<'_>, request: &Request, options: TestOptions) -> Result<Self, Failure> {
        static OPEN: Mutex<u8> = Mutex::new(0);
        if matches!(options.mode, Mode::Broken) {
            raddle_plugin_api::bail!("the device {:?} is broken", options.device.unwrap_or_default());
        }
        let number = {
            let mut open = OPEN.lock().expect("no panic");
            *open = open.wrapping_add(1);
            *open
        };
        let rx_queues = options.queues.unwrap_or(1);
        // Of an EtherType that nobody takes: dropped by whichever node sees it first.
        let mut frame = vec![0; 60];
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        let queues = (0..rx_queues)
            .map(|queue| TestRx { left: if queue == 0 { options.frames } else { 0 }, frame: frame.clone() });
        Ok(Self {
            properties: Properties {
                mac: Some(request.mac.unwrap_or(MacAddress([2, 0, 0, 0, 0, number]))),
                mtu: request.mtu.unwrap_or(1500),
                max_mtu: 9000,
                link_up: options.link.unwrap_or(true),
                rx_queues,
                tx_checksum: false,
                tx_gso: false,
                generation: 0,
                fault: options.link.filter(|link| !link).map(|_| format!("no cable; {:?}", options.labels)),
            },
            queues: queues.collect(),
        })
    }
}

impl Device for TestDevice {
    type Rx = TestRx;
    type Tx = TestTx;

    fn properties(&mut self) -> Properties {
        self.properties.clone()
    }

    fn details(&self) -> Value {
        serde_json::json!({"speed": "10 kbit/s"})
    }

    fn rx_queue(&mut self, _: u32) -> Option<TestRx> {
        self.queues.pop_front()
    }

    fn tx_queue(&mut self, _: u32) -> Result<TestTx, Failure> {
        Ok(TestTx)
    }

    fn change(&mut self, change: Change) -> Result<(), Failure> {
        match change {
            Change::Mtu(mtu) => self.properties.mtu = mtu,
            Change::Mac(mac) => self.properties.mac = Some(mac),
            Change::Up(_) | Change::Promiscuous(_) | Change::Address { .. } => {}
        }
        Ok(())
    }
}

impl RxQueue for TestRx {
    fn receive(&mut self, rx: &mut Receive<'_>) {
        while self.left > 0 && rx.push(&self.frame, |_| {}) {
            self.left -= 1;
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn wants_polling(&self) -> bool {
        self.left > 0
    }
}

impl TxQueue for TestTx {
    fn transmit(&mut self, tx: &mut Transmit<'_>) -> usize {
        tx.len()
    }
}

driver!(TestDevice);
