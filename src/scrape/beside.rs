//! Work that takes long, done where other tasks can leave the thread.

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};

/// A body of this size takes some 0.2 ms to read; a larger one is read where other tasks can leave
/// the thread.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// Runs what takes long without holding up the tasks that wait for this thread.
pub(super) fn beside_others<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let may_leave = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    if bytes > INLINE_BYTES_MAX && may_leave { block_in_place(work) } else { work() }
}
