//! What an AF_XDP driver asks of Linux, in safe Rust: sockets with their rings, programs and maps by `bpf(2)`, addresses that a link
//! is to take frames for.
//!
//! All `unsafe` of the plugin is here: `ring` (memory that is shared with the kernel), `bpf` (the system call), `option` (socket
//! options and one ioctl that `rustix` does not have). `socket` and `queue` are safe by themselves, and make the whole safe: the
//! kernel writes only into buffers that were lent, and these go back to the pool only when the kernel has let go of the socket.

pub mod bpf;
mod option;
mod queue;
mod ring;
mod socket;

pub use option::{Filtering, Membership, real_queues};
pub use queue::{Delivery, Queue, Receiver, Sender};
pub use socket::{BindError, BindMode, Options, QueueStatistics, RingFill, Step};
