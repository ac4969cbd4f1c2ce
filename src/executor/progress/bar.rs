//! Progress bars that `indicatif` draws.

use std::fmt;

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use super::{Observer, Progress};

const WITH_TOTAL: &str = "{wide_bar} {human_pos}/{human_len} {per_sec} {eta} left";
const WITHOUT_TOTAL: &str = "{spinner} {human_pos} {per_sec} {elapsed}";

/// A progress bar of `indicatif` that follows a map or a loop.
///
/// Made by [`Map::progress_bar`](crate::Map::progress_bar) and
/// [`Map::progress_on`](crate::Map::progress_on), and by their like of [`Loops`](crate::Loops).
pub struct Bar {
    bar: ProgressBar,
    told: u64,
    is_own: bool,
}

impl fmt::Debug for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bar").field("done", &self.told).finish_non_exhaustive()
    }
}

impl Bar {
    /// A bar of its own for each map or loop.
    pub(in crate::executor) fn ready() -> Self {
        Self { bar: ProgressBar::hidden(), told: 0, is_own: true }
    }

    /// Somebody else's bar.
    pub(in crate::executor) fn on(bar: &ProgressBar) -> Self {
        Self { bar: bar.clone(), told: 0, is_own: false }
    }
}

impl Observer for Bar {
    fn begin(&mut self, total: Option<u64>) {
        self.told = 0;
        if !self.is_own {
            if let (None, Some(total)) = (self.bar.length(), total) {
                self.bar.set_length(total);
            }
            return;
        }
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), WITH_TOTAL),
            None => (ProgressBar::no_length(), WITHOUT_TOTAL),
        };
        let style = ProgressStyle::with_template(template).expect("the template is one");
        // Drawn as it is, should a panic end it.
        self.bar = bar.with_style(style).with_finish(ProgressFinish::Abandon);
        self.bar.tick();
    }

    fn hear(&mut self, progress: Progress) {
        self.bar.inc(progress.done.saturating_sub(self.told));
        self.told = progress.done;
    }

    fn end(&mut self, _: bool) {
        if self.is_own {
            self.bar.abandon();
        } else {
            self.bar.force_draw();
        }
    }
}
