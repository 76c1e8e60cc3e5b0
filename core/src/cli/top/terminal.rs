//! The terminal: keys as they are pressed, a screen of its own, and all as it was afterwards.

use std::io::{self, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The smallest screen that is drawn, in rows and columns.
const SMALLEST: (usize, usize) = (8, 40);

/// A terminal in raw mode with the other screen (xterm's private mode 1049); as it was before when dropped.
pub(super) struct Terminal {
    before: Termios,
}

impl Terminal {
    /// Takes the terminal of this process.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        let terminal = Self { before };
        // The other screen, no cursor, no line wrap.
        write_all("\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J")?;
        Ok(terminal)
    }

    /// Rows and columns now.
    pub(super) fn size(&self) -> (usize, usize) {
        let size = tcgetwinsize(io::stdout()).ok();
        let (rows, columns) =
            size.map_or((0, 0), |size| (usize::from(size.ws_row), usize::from(size.ws_col)));
        // A terminal that does not tell (a serial line) has 24 by 80.
        let or = |value: usize, usual: usize| if value == 0 { usual } else { value };
        (or(rows, 24).max(SMALLEST.0), or(columns, 80).max(SMALLEST.1))
    }

    /// The keys that were pressed; waits for the first one at most so long.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn keys(&self, wait: Duration) -> io::Result<Vec<u8>> {
        let stdin = io::stdin();
        let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
        let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
        match poll(&mut polled, Some(&wait)) {
            // A change of the window's size interrupts: the screen is drawn anew.
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = vec![0; 64];
        let count = rustix::io::read(&stdin, &mut bytes)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.truncate(count);
        Ok(bytes)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing any more.
        let _ = write_all("\x1b[?7h\x1b[?25h\x1b[?1049l");
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

fn write_all(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}
