//! The thread that writes a capture.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::file::CaptureFile;
use super::names::Names;
use crate::runtime::Capture;

/// How long the thread sleeps when nothing waits to be written.
const NAP: Duration = Duration::from_millis(20);
/// Bytes that a file may have, whatever was asked for.
const MOST_FILE_BYTES: u64 = 1 << 30;

/// What others may read of the thread while it writes.
#[derive(Default)]
pub struct Progress {
    /// Packets written, to all files.
    pub packets: AtomicU64,
    /// Bytes written, to all files.
    pub bytes: AtomicU64,
    /// Set, the thread ends when all that waits is written.
    stop: AtomicBool,
    /// Why it has ended by itself.
    pub ended: Mutex<Option<String>>,
}

/// A running writer; dropped, it writes what waits and ends.
pub struct Writer {
    /// How far it is.
    pub progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Writes what `capture` takes to `file`. With `ring` packets in it, the file turns: the last ones stay, as many or
    /// up to twice as many. `ended` is called if it ends by itself.
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn start(
        capture: Arc<Capture>,
        file: CaptureFile,
        names: Names,
        ring: Option<u64>,
        ended: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let progress = Arc::new(Progress::default());
        let mut work = Work { capture, file, names, ring, progress: Arc::clone(&progress) };
        let run = move || {
            let reason = work.run();
            // Whatever it is, nobody writes any more.
            work.capture.close();
            if let Some(reason) = reason {
                *work.progress.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
                ended();
            }
        };
        let thread = std::thread::Builder::new().name("pcap".into()).spawn(run)?;
        Ok(Self { progress, thread: Some(thread) })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.progress.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the thread of the capture panicked");
            }
        }
    }
}

struct Work {
    capture: Arc<Capture>,
    file: CaptureFile,
    names: Names,
    ring: Option<u64>,
    progress: Arc<Progress>,
}

impl Work {
    /// Writes until it is told to stop; returns why it ended by itself.
    fn run(&mut self) -> Option<String> {
        loop {
            // What is asked before the queue is found empty is in the file.
            let (stop, closed) = (self.progress.stop.load(Ordering::Acquire), self.capture.is_closed());
            match self.write_all() {
                Ok(true) => {}
                Ok(false) => return Some(format!("the file has {} MiB", MOST_FILE_BYTES >> 20)),
                Err(error) => return Some(format!("the file cannot be written: {error}")),
            }
            if stop {
                return None;
            }
            if closed {
                return Some("it has as many packets as were asked for".to_owned());
            }
            std::thread::park_timeout(NAP);
        }
    }

    /// Writes what waits; returns whether there is room for more.
    fn write_all(&mut self) -> std::io::Result<bool> {
        while let Some(packet) = self.capture.pop() {
            let before = self.file.bytes;
            self.file.write(&packet, &self.names)?;
            self.progress.packets.fetch_add(1, Ordering::Relaxed);
            self.progress.bytes.fetch_add(self.file.bytes - before, Ordering::Relaxed);
            let is_full = self.file.bytes >= MOST_FILE_BYTES;
            match self.ring {
                Some(ring) if self.file.packets >= ring || is_full => self.file.turn()?,
                None if is_full => {
                    self.file.flush()?;
                    return Ok(false);
                }
                _ => {}
            }
        }
        self.file.flush()?;
        Ok(true)
    }
}
