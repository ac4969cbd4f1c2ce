//! Workers that somebody has stopped, and that would be waited for in vain.

use super::{Seat, Supervisor};

impl Supervisor {
    /// Kills workers that are stopped (SIGSTOP) and run no task.
    ///
    /// Called while the executor starts or closes and nothing goes on, and when a task waits for
    /// longer than it may run: such a worker may have taken its id from the ring, or the wake-up
    /// for it, and leaves only when somebody continues it. The burial puts all of that right.
    ///
    /// A stopped worker that runs a task is left to the task's deadline, or to whoever stopped it.
    pub(super) fn end_stopped(&self) {
        for (index, seat) in self.seats.iter().enumerate() {
            let Seat::Taken(process) = seat else { continue };
            // In this order: it cannot claim a task while it is stopped.
            if process.is_stopped() && !self.desk.runs_task(index) {
                process.kill();
            }
        }
    }
}
