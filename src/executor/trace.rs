//! A span that lasts as long as a map; nothing without the feature `tracing`.

/// Open from when it is made until it is dropped, and entered while its owner works.
#[derive(Debug)]
pub(super) struct Lasting(#[cfg(feature = "tracing")] tracing::Span);

impl Lasting {
    /// A map over a function of this name.
    pub(super) fn map(task: fn() -> &'static str) -> Self {
        #[cfg(not(feature = "tracing"))]
        let _ = task;
        Self(
            #[cfg(feature = "tracing")]
            tracing::debug_span!(target: "wharf", "map", task = task()),
        )
    }

    /// Enters the span until what this returns is dropped.
    pub(super) fn enter(&self) -> impl Drop + use<> {
        Entered(
            #[cfg(feature = "tracing")]
            self.0.clone().entered(),
        )
    }
}

struct Entered(
    #[cfg(feature = "tracing")]
    #[expect(dead_code, reason = "it leaves the span when it is dropped")]
    tracing::span::EnteredSpan,
);

impl Drop for Entered {
    fn drop(&mut self) {}
}
