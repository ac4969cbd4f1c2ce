//! What the optional features add.

mod common;

#[cfg(feature = "ndarray")]
mod shaped {
    use ndarray::{Array2, ArrayView1, ArrayView2, ArrayView3, ArrayViewMut2, Ix2};
    use wharf::{ArchivedShaped, ChunkStart, Shaped, rows};

    use crate::common::executor;

    fn product(matrix: ArrayView2<f64>, x: ArrayView1<f64>) -> Vec<f64> {
        matrix.dot(&x).to_vec()
    }

    fn identity(n: u64) -> Shaped<f64, Ix2> {
        let n = n as usize;
        let mut array = wharf::array::<f64>(n * n).expect("memory");
        (0..n).for_each(|i| array[i * n + i] = 1.0);
        array.freeze().with_shape((n, n)).expect("n times n elements")
    }

    #[test]
    fn a_matrix_is_an_array_view_in_the_task() {
        let executor = executor(2);
        let matrix = Array2::from_shape_fn((300, 200), |(i, j)| (i * 7 + j) as f64);
        let x: Vec<f64> = (0..200).map(f64::from).collect();
        let expected = matrix.dot(&ArrayView1::from(&x)).to_vec();
        let flat = executor.array_from(matrix.as_slice().unwrap()).unwrap();
        let shaped = flat.with_shape((300, 200)).unwrap();
        let x = executor.array_from(&x).unwrap();
        let by_reference = executor.submit(product, (&shaped, &x)).unwrap();
        assert_eq!(by_reference.join().unwrap(), expected);
        let by_value = executor.submit(product, (shaped.clone(), x.clone())).unwrap();
        assert_eq!(by_value.join().unwrap(), expected);
        let flat = shaped.into_array().with_shape((30, 10, 200)).unwrap();
        let cube = |a: ArrayView3<f64>| a[[29, 9, 199]];
        assert_eq!(executor.submit(cube, (&flat,)).unwrap().join().unwrap(), matrix[[299, 199]]);
    }

    #[test]
    fn a_loop_sees_blocks_of_rows_as_matrices() {
        fn scale(mut out: ArrayViewMut2<f64>, x: ArrayView2<f64>, first: usize) {
            assert_eq!(out.dim(), x.dim());
            for (i, mut row) in out.rows_mut().into_iter().enumerate() {
                row.assign(&(&x.row(i) * (first + i) as f64));
            }
        }
        let executor = executor(2);
        let x = executor.array_from(&[2.0; 700]).unwrap();
        let mut y = executor.array::<f64>(700).unwrap();
        let arrays = (rows(&mut y, 7), rows(&x, 7));
        executor.fill_chunks(arrays, 9, scale, (ChunkStart,)).unwrap();
        assert!(y.chunks_exact(7).enumerate().all(|(i, row)| row == [2.0 * i as f64; 7]));
    }

    #[test]
    fn a_matrix_is_a_result_and_a_wrong_shape_an_error() {
        let executor = executor(1);
        let eye = executor.submit(identity, (50u64,)).unwrap().join().unwrap();
        assert_eq!(eye.view(), Array2::<f64>::eye(50));
        let nested = |m: &rkyv::vec::ArchivedVec<ArchivedShaped<f64, Ix2>>| {
            m.iter().map(|m| m.view().expect("it is mapped").sum()).sum::<f64>()
        };
        let task = executor.submit(nested, (vec![eye.clone(), eye],)).unwrap();
        assert_eq!(task.join().unwrap(), 100.0);
        assert!(executor.array_from(&[1.0; 5]).unwrap().with_shape((2, 2)).is_err());
    }
}

#[cfg(feature = "postcard")]
#[test]
fn postcard_is_a_codec_like_messagepack() {
    use wharf::{Postcard, Serialized};
    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Shape {
        Circle { radius: f64 },
        Polygon(Vec<(f32, f32)>),
    }
    fn area(Serialized(shape): Serialized<Shape, Postcard>) -> Serialized<Shape, Postcard> {
        Serialized(match shape {
            Shape::Circle { radius } => Shape::Circle { radius: radius * 2.0 },
            other => other,
        })
    }
    let executor = common::executor(1);
    let run = |shape: Shape| {
        let task = executor.submit(area, (Serialized::<_, Postcard>(shape),)).unwrap();
        task.join().unwrap().into_inner()
    };
    assert_eq!(run(Shape::Circle { radius: 1.5 }), Shape::Circle { radius: 3.0 });
    let polygon = Shape::Polygon(vec![(0.0, 1.0); 100]);
    assert_eq!(run(polygon.clone()), polygon);
}
