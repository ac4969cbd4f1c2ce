//! Arrays with a shape, for the `ndarray` feature.

use std::fmt;
use std::marker::PhantomData;

use bytemuck::Pod;
use ndarray::{ArrayView, Dimension, IntoDimension, IxDyn, ShapeError};
use rkyv::bytecheck::CheckBytes;
use rkyv::munge::munge;
use rkyv::primitive::ArchivedU64;
use rkyv::rancor::{BoxedError, Fallible, Source};
use rkyv::{Archive, Deserialize, Place as Slot, Portable, Serialize};

use super::array::ArchivedArray;
use super::decode::DecodeStrategy;
use super::encode::EncodeStrategy;
use crate::memory::Array;

/// The most dimensions of a [`Shaped`] array: those of ndarray's `Ix6`.
const DIMENSIONS_MAX: usize = 6;

/// An [`Array`] with a shape, in row-major order: what a task takes as `ndarray::ArrayView<T, D>`.
///
/// Made by [`Array::with_shape`]; cheap to clone. Passed as `&shaped`, or by value inside other
/// arguments, and returned from tasks.
///
/// ```
/// use ndarray::{ArrayView1, ArrayView2};
/// use wharf::Executor;
///
/// fn product(matrix: ArrayView2<f64>, x: ArrayView1<f64>) -> Vec<f64> {
///     matrix.dot(&x).to_vec()
/// }
///
/// let executor = Executor::builder().workers(1).build()?;
/// let matrix = executor.array_from(&[1.0, 2.0, 3.0, 4.0])?.with_shape((2, 2))?;
/// let x = executor.array_from(&[1.0, 10.0])?;
/// assert_eq!(executor.submit(product, (&matrix, &x))?.join()?, [21.0, 43.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Shaped<T, D> {
    array: Array<T>,
    shape: D,
}

impl<T: Pod> Array<T> {
    /// Gives the array a shape, row-major, of up to six dimensions. Needs the feature `ndarray`.
    ///
    /// # Errors
    ///
    /// ndarray's `ShapeError`: the shape has another number of elements, or too many dimensions.
    pub fn with_shape<I: IntoDimension>(self, shape: I) -> Result<Shaped<T, I::Dim>, ShapeError> {
        let shape = shape.into_dimension();
        if shape.ndim() > DIMENSIONS_MAX {
            return Err(ShapeError::from_kind(ndarray::ErrorKind::Unsupported));
        }
        if shape.size_checked() != Some(self.len()) {
            return Err(ShapeError::from_kind(ndarray::ErrorKind::IncompatibleShape));
        }
        Ok(Shaped { array: self, shape })
    }
}

impl<T: Pod, D: Dimension> Shaped<T, D> {
    /// The array as ndarray sees it. Costs no copy.
    pub fn view(&self) -> ArrayView<'_, T, D> {
        let view = ArrayView::from_shape(self.shape.clone(), &self.array);
        view.expect("`with_shape` checked the shape, and neither changes")
    }

    /// The array without its shape.
    #[must_use]
    pub fn into_array(self) -> Array<T> {
        self.array
    }
}

impl<T, D: Clone> Clone for Shaped<T, D> {
    fn clone(&self) -> Self {
        Self { array: self.array.clone(), shape: self.shape.clone() }
    }
}

impl<T: Pod + fmt::Debug, D: Dimension> fmt::Debug for Shaped<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

/// A [`Shaped`] array inside an archive.
#[derive(Portable)]
#[rkyv(crate = rkyv)]
#[repr(C)]
pub struct ArchivedShaped<T, D> {
    array: ArchivedArray<T>,
    dimensions: ArchivedU64,
    lengths: [ArchivedU64; DIMENSIONS_MAX],
    _shape: PhantomData<D>,
}

impl<T: Pod, D: Dimension> ArchivedShaped<T, D> {
    /// The array as ndarray sees it. `None`: its memory cannot be mapped, or the shape is broken.
    pub fn view(&self) -> Option<ArrayView<'_, T, D>> {
        ArrayView::from_shape(self.shape()?, self.array.find()?).ok()
    }

    fn shape(&self) -> Option<D> {
        let dimensions = usize::try_from(self.dimensions.to_native()).ok()?;
        let lengths: Vec<usize> =
            self.lengths.get(..dimensions)?.iter().map(|n| n.to_native() as usize).collect();
        D::from_dimension(&IxDyn(&lengths))
    }
}

impl<T: Pod + fmt::Debug, D: Dimension> fmt::Debug for ArchivedShaped<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the shape of an array does not fit its elements")]
struct BrokenShape;

// SAFETY: apart from the array, which checks itself, the bytes are words, for which every value is
// valid; `view` checks the shape each time.
unsafe impl<T, D, C> CheckBytes<C> for ArchivedShaped<T, D>
where
    T: Pod,
    C: Fallible<Error: Source> + ?Sized,
{
    unsafe fn check_bytes(value: *const Self, context: &mut C) -> Result<(), C::Error> {
        // SAFETY: the caller promises memory of this type's size and alignment.
        let array = unsafe { &raw const (*value).array };
        // SAFETY: `array` is a field of the value that the caller points to.
        unsafe { ArchivedArray::check_bytes(array, context) }
    }
}

impl<T: Pod, D: Dimension> Archive for Shaped<T, D> {
    type Archived = ArchivedShaped<T, D>;
    type Resolver = ();

    fn resolve(&self, (): (), out: Slot<Self::Archived>) {
        let slice = self.shape.slice();
        munge!(let ArchivedShaped { array, dimensions, lengths, .. } = out);
        self.array.resolve((), array);
        (slice.len() as u64).resolve((), dimensions);
        let all: [u64; DIMENSIONS_MAX] =
            std::array::from_fn(|i| slice.get(i).map_or(0, |n| *n as u64));
        all.resolve([(); DIMENSIONS_MAX], lengths);
    }
}

impl<T: Pod, D: Dimension> Serialize<EncodeStrategy> for Shaped<T, D> {
    fn serialize(&self, serializer: &mut EncodeStrategy) -> Result<(), BoxedError> {
        self.array.serialize(serializer)
    }
}

impl<T: Pod, D: Dimension> Deserialize<Shaped<T, D>, DecodeStrategy> for ArchivedShaped<T, D> {
    fn deserialize(&self, decoder: &mut DecodeStrategy) -> Result<Shaped<T, D>, BoxedError> {
        let array = self.array.deserialize(decoder)?;
        let shape = self.shape().ok_or_else(|| BoxedError::new(BrokenShape))?;
        array.with_shape(shape).map_err(BoxedError::new)
    }
}
