//! Which free pages still hold memory: the ranges that were used and not given back yet.

use std::collections::BTreeMap;

/// Disjoint ranges of pages, neighbours merged.
#[derive(Debug, Default)]
pub(crate) struct Warm {
    ranges: BTreeMap<u64, u64>,
    pages: u64,
}

/// `len` pages from `start` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pages {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl Pages {
    fn end(self) -> u64 {
        self.start + self.len
    }
}

impl Warm {
    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }

    /// Adds a range that overlaps none that is here.
    pub(crate) fn put(&mut self, range: Pages) {
        if range.len == 0 {
            return;
        }
        self.pages += range.len;
        let mut merged = range;
        if let Some((&start, &len)) = self.ranges.range(..range.start).next_back()
            && start + len == range.start
        {
            merged = Pages { start, len: len + range.len };
        }
        if let Some(len) = self.ranges.remove(&range.end()) {
            merged.len += len;
        }
        self.ranges.insert(merged.start, merged.len);
    }

    /// Takes out what of `range` is here.
    pub(crate) fn take(&mut self, range: Pages) -> Vec<Pages> {
        let mut taken = Vec::new();
        let first = match self.ranges.range(..=range.start).next_back() {
            Some((&start, _)) => start,
            None => range.start,
        };
        let touched: Vec<Pages> = self
            .ranges
            .range(first..range.end())
            .map(|(&start, &len)| Pages { start, len })
            .filter(|here| here.end() > range.start)
            .collect();
        for here in touched {
            self.ranges.remove(&here.start);
            self.pages -= here.len;
            let start = here.start.max(range.start);
            let end = here.end().min(range.end());
            self.put(Pages { start: here.start, len: start - here.start });
            self.put(Pages { start: end, len: here.end() - end });
            taken.push(Pages { start, len: end - start });
        }
        taken
    }

    /// The end of the last range, at most `len` pages: what is least likely to be used again, since
    /// allocation starts from low addresses.
    pub(crate) fn last(&self, len: u64) -> Option<Pages> {
        let (&start, &all) = self.ranges.last_key_value()?;
        let len = len.min(all);
        Some(Pages { start: start + all - len, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(start: u64, len: u64) -> Pages {
        Pages { start, len }
    }

    #[test]
    fn ranges_merge_and_are_cut_where_they_are_taken() {
        let mut warm = Warm::default();
        warm.put(pages(0, 4));
        warm.put(pages(8, 4));
        warm.put(pages(4, 4));
        assert_eq!((warm.pages(), warm.ranges.len()), (12, 1));
        assert_eq!(warm.take(pages(2, 3)), [pages(2, 3)]);
        assert_eq!(warm.take(pages(0, 20)), [pages(0, 2), pages(5, 7)]);
        assert_eq!((warm.pages(), warm.ranges.len()), (0, 0));
        assert_eq!(warm.take(pages(0, 20)), []);
    }

    #[test]
    fn any_sequence_of_puts_and_takes_matches_a_plain_set() {
        let mut warm = Warm::default();
        let mut set = std::collections::BTreeSet::new();
        let mut random = 12345_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        for _ in 0..if cfg!(miri) { 100 } else { 5000 } {
            let range = pages(next(60), next(9));
            if next(2) == 0 && (range.start..range.end()).all(|page| !set.contains(&page)) {
                warm.put(range);
                set.extend(range.start..range.end());
            } else {
                let taken = warm.take(range);
                let expected = (range.start..range.end()).filter(|page| set.remove(page)).count();
                assert_eq!(taken.iter().map(|t| t.len).sum::<u64>(), expected as u64);
            }
            assert_eq!(warm.pages(), set.len() as u64);
        }
    }

    #[test]
    fn the_last_pages_are_offered_first() {
        let mut warm = Warm::default();
        assert_eq!(warm.last(3), None);
        warm.put(pages(0, 4));
        warm.put(pages(10, 5));
        assert_eq!(warm.last(3), Some(pages(12, 3)));
        assert_eq!(warm.last(30), Some(pages(10, 5)));
    }
}
