//! Settings of maps, and a map with them.

/// Settings of a map: its batch and its window, 0 for what it finds best.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub batch: usize,
    pub window: usize,
    pub unordered: bool,
}

pub const fn sizes(batch: usize, window: usize) -> Sizes {
    Sizes { batch, window, unordered: false }
}

pub const SIZES: [Sizes; 8] = [
    sizes(0, 0),
    sizes(1, 0),
    sizes(7, 0),
    sizes(0, 1),
    sizes(0, 3),
    sizes(0, 100),
    sizes(64, 100),
    Sizes { batch: 10, window: 0, unordered: true },
];

/// A map with these settings; a macro, since the input's type has no name.
macro_rules! map {
    ($sizes:expr, $map:expr) => {{
        let $crate::sizes::Sizes { batch, window, unordered } = $sizes;
        let map = $map;
        let map = if unordered { map.unordered() } else { map };
        let map = if batch > 0 { map.batch(batch) } else { map };
        if window > 0 { map.window(window) } else { map }
    }};
}
