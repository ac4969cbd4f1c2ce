//! How many items to draw, and how many of them make a batch.

/// How long the items of a batch take together, as long as single ones take less.
const BATCH_NS: u64 = 100_000;
/// The most items of a batch whose size nobody has set.
const BATCH_MAX: u64 = 4096;
/// A batch has at most so many times the items of one that was measured.
const GROWTH: u64 = 4;
/// Batches of a window for each worker: one runs, one is queued, and as many are being filled or
/// read.
const BATCHES_A_WORKER: u64 = 4;
/// The share of the budget that results of one map may hold before they are asked for, and so its
/// arguments: a quarter. As much may lie in freed memory that is kept warm.
const SHARE: u64 = 4;

/// Results from this size on lie on pages of their own, which other processes get when they are
/// free. Memory of smaller ones stays with its worker, so that each may come to hold the share.
const LARGE_BYTES: u64 = 64 * 1024;

/// What a map has learned of its items, and what it was told.
#[derive(Debug)]
pub(super) struct Flow {
    window: Option<u64>,
    batch: Option<u64>,
    /// What a batch has at present, unless it was set.
    size: u64,
    item_ns: u64,
    share_bytes: u64,
    /// Of one item, at most; 0: no result has come yet.
    result_bytes: u64,
    /// Of one item, as of late.
    argument_bytes: u64,
}

impl Flow {
    pub(super) fn new(budget_bytes: u64) -> Self {
        Self {
            window: None,
            batch: None,
            size: 1,
            item_ns: 0,
            share_bytes: budget_bytes / SHARE,
            result_bytes: 0,
            argument_bytes: 0,
        }
    }

    pub(super) fn set_window(&mut self, items: usize) {
        self.window = Some((items as u64).max(1));
    }

    pub(super) fn set_batch(&mut self, items: usize) {
        self.batch = Some((items as u64).max(1));
    }

    /// Tells whether the window is to be filled to the item.
    pub(super) fn is_strict(&self) -> bool {
        self.window.is_some()
    }

    /// How many items the next batch has at most, and how many may be drawn and not returned.
    pub(super) fn sizes(&self, workers: u64) -> (u64, u64) {
        let batches = BATCHES_A_WORKER * workers;
        // Of results whose size nobody knows there is one for each worker at first.
        let by_bytes = match self.result_bytes {
            0 => workers,
            bytes if bytes < LARGE_BYTES => (self.share_bytes / workers / bytes).max(1),
            bytes => (self.share_bytes / bytes).max(1),
        };
        let most = self.window.unwrap_or(u64::MAX).min(by_bytes);
        let batch = match self.batch {
            Some(batch) => batch.min(most),
            None => self.size.min((most / (2 * workers)).max(1)),
        };
        let window = self.window.unwrap_or(batches * batch);
        (batch, window.min(by_bytes))
    }

    /// How many items the next batch has at most for the bytes of their arguments, while so many
    /// are held by others.
    pub(super) fn fit_arguments(&self, batch: u64, held_bytes: u64) -> u64 {
        if held_bytes == 0 {
            return batch;
        }
        let left = self.share_bytes.saturating_sub(held_bytes);
        batch.min(left / self.argument_bytes.max(1))
    }

    /// A worker has run so many items in so long.
    pub(super) fn learn_time(&mut self, items: u64, ns: u64) {
        if items == 0 {
            return;
        }
        let ns = (ns / items).max(1);
        self.item_ns = if self.item_ns == 0 { ns } else { self.item_ns.midpoint(ns) };
        let wanted = (BATCH_NS / self.item_ns).clamp(1, BATCH_MAX);
        self.size = wanted.min(self.size.max(items * GROWTH));
    }

    /// Tells whether a result has come.
    pub(super) fn knows_results(&self) -> bool {
        self.result_bytes > 0
    }

    /// A result had so many bytes.
    pub(super) fn learn_result(&mut self, bytes: u64) {
        let faded = self.result_bytes - self.result_bytes / 16;
        self.result_bytes = bytes.max(faded).max(1);
    }

    /// So many items had so many bytes of arguments together.
    pub(super) fn learn_arguments(&mut self, items: u64, bytes: u64) {
        self.argument_bytes = bytes / items.max(1);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_step_by_step_to_their_time_and_shrink_at_once() {
        let mut flow = Flow::new(1 << 30);
        flow.learn_result(8);
        let mut sizes = vec![flow.sizes(2).0];
        while sizes.len() < 9 {
            let size = flow.sizes(2).0;
            flow.learn_time(size, size * 30);
            sizes.push(flow.sizes(2).0);
        }
        assert_eq!(sizes, [1, 4, 16, 64, 256, 1024, 3333, 3333, 3333]);
        flow.learn_time(3333, 3333 * 1_000_000);
        assert_eq!(flow.sizes(2).0, 1);
    }

    #[test]
    fn the_window_holds_four_batches_a_worker_unless_it_is_set() {
        let mut flow = Flow::new(1 << 30);
        assert_eq!(flow.sizes(2), (1, 2), "one result a worker while their size is not known");
        flow.learn_result(8);
        assert_eq!(flow.sizes(2), (1, 8));
        flow.learn_time(100, 3000);
        assert_eq!(flow.sizes(2), (400, 3200));
        flow.set_window(10);
        assert_eq!(flow.sizes(2), (2, 10));
        flow.set_batch(100);
        assert_eq!(flow.sizes(2), (10, 10));
    }

    #[test]
    fn large_results_and_arguments_are_held_to_their_share_and_one_always_goes() {
        let mut flow = Flow::new(64 << 20);
        for (bytes, most) in [(1 << 20, 16), (8 << 20, 2), (1 << 30, 1)] {
            flow.learn_result(bytes);
            assert_eq!(flow.sizes(2).1.min(16), most.min(8), "{bytes} bytes");
        }
        flow.learn_arguments(1, 8 << 20);
        for (held, most) in [(0, 1), (8 << 20, 1), (16 << 20, 0)] {
            assert_eq!(flow.fit_arguments(1, held), most, "{held} bytes");
        }
    }
}
