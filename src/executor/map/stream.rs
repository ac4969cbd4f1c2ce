//! A map as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::stream::FusedStream;

use super::super::progress::{Observer, PAUSE, STREAM_PAUSE};
use super::Map;
use super::parts::Course;
use crate::archive::Returnable;
use crate::error::TaskError;
use crate::task::Argument;

/// Draws from the input in the thread that polls. It sleeps there, as `submit` does, while the task
/// table or the memory is used up by other tasks and nothing of its own is under way.
impl<I: Iterator<Item: Argument>, R: Returnable, P: Observer> Stream for Map<'_, I, R, P> {
    type Item = Result<R, TaskError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let map = &mut *self;
        if !map.is_here() {
            return Poll::Ready(map.fork_error().map(Err));
        }
        let _entered = map.span.enter();
        map.watch.look(PAUSE);
        loop {
            if let Some(taken) = map.advance() {
                map.watch.count();
                let Course { desk, name, .. } = &map.course;
                let value = taken.and_then(|outcome| desk.value_of(&outcome, name));
                return Poll::Ready(Some(value));
            }
            if map.is_over() {
                map.watch.end(true);
                return Poll::Ready(None);
            }
            map.watch.look(STREAM_PAUSE);
            map.course.cut();
            if !map.course.is_posted() {
                map.rest();
            } else if map.course.watch(context.waker()) && map.course.hasten() && !map.stir() {
                return Poll::Pending;
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        Iterator::size_hint(self)
    }
}

impl<I: Iterator<Item: Argument>, R: Returnable, P: Observer> FusedStream for Map<'_, I, R, P> {
    fn is_terminated(&self) -> bool {
        self.is_over()
    }
}
